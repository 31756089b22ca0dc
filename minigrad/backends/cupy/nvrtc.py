"""CUDA C to machine code by NVRTC, called through ctypes: no driver, no device, no headers.

The library comes with the wheel ``nvidia-cuda-nvrtc`` alone, with CuPy's own, or with a
CUDA installation. Machine code is kept on disk under everything it depends on: the text,
the options, the version of NVRTC and the architecture.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from minigrad.backends.cache import DiskCache, digest
from minigrad.errors import BackendUnavailable, GraphInvalid

__all__ = ["OPTIONS", "Library", "architectures", "compile", "cubin", "library", "missing"]

#: No product and sum are contracted to one rounding: results are NumPy's, and a value that
#: is computed twice is the same value. (Memory, not arithmetic, bounds these kernels.)
OPTIONS = ("-std=c++17", "--fmad=false")

_cache = DiskCache(".cubin")
_lock = Lock()
_FIX = "pip install nvidia-cuda-nvrtc"


class Library:
    """NVRTC itself: the loaded library, its version and where it lies."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._c = ctypes.CDLL(path)
        self._c.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._c.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), None)
        self.version = (major.value, minor.value)

    def architectures(self) -> tuple[str, ...]:
        """Return the architectures that it compiles for: ``sm_75``, ``sm_80``, ..."""
        count = ctypes.c_int()
        self._check(self._c.nvrtcGetNumSupportedArchs(ctypes.byref(count)), None)
        found = (ctypes.c_int * count.value)()
        self._check(self._c.nvrtcGetSupportedArchs(found), None)
        return tuple(f"sm_{n}" for n in found)

    def compile(self, source: str, arch: str, options: Sequence[str] = OPTIONS) -> bytes:
        """Return machine code for ``sm_80`` and the like, PTX for ``compute_80``.

        Raises
        ------
        GraphInvalid
            If the text does not compile; the message has NVRTC's log.
        """
        program = ctypes.c_void_p()
        made = self._c.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"minigrad.cu", 0, None, None
        )
        self._check(made, None)
        try:
            flags = [f"-arch={arch}".encode(), *(o.encode() for o in options)]
            array = (ctypes.c_char_p * len(flags))(*flags)
            self._check(self._c.nvrtcCompileProgram(program, len(flags), array), program)
            kind = "CUBIN" if arch.startswith("sm_") else "PTX"
            size = ctypes.c_size_t()
            self._check(getattr(self._c, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)), None)
            code = ctypes.create_string_buffer(size.value)
            self._check(getattr(self._c, f"nvrtcGet{kind}")(program, code), None)
            return code.raw
        finally:
            self._c.nvrtcDestroyProgram(ctypes.byref(program))

    def _check(self, code: int, program: ctypes.c_void_p | None) -> None:
        if code == 0:
            return
        message = (self._c.nvrtcGetErrorString(code) or b"").decode()
        log = ""
        if program is not None:
            size = ctypes.c_size_t()
            self._c.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            text = ctypes.create_string_buffer(size.value)
            self._c.nvrtcGetProgramLog(program, text)
            log = text.value.decode(errors="replace")
        raise GraphInvalid(
            f"NVRTC: {message}\n{log}".rstrip(),
            fix="generated kernels always compile: please report this with the text above",
        )


def _candidates() -> Iterator[str]:
    """Return paths where NVRTC may lie: the wheels', the system's, CUDA's usual folder."""
    windows = sys.platform == "win32"
    pattern = "*/bin/**/nvrtc64_*.dll" if windows else "*/lib/libnvrtc.so.*"
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob(pattern), reverse=True):
            if "builtins" not in path.name and ".alt." not in path.name:
                yield str(path)
    system = find_library("nvrtc")
    if system:
        yield system
    yield from map(str, sorted(Path("/usr/local").glob("cuda*/lib64/libnvrtc.so"), reverse=True))


@lru_cache(maxsize=1)
def _loaded() -> Library | str:
    """Return the library, or why there is none."""
    tried = []
    for path in _candidates():
        try:
            return Library(path)
        except (OSError, AttributeError) as error:
            tried.append(f"{path}: {error}")
    return "; ".join(tried) or "no NVRTC library was found"


def missing() -> str | None:
    """Return what is missing for compiling CUDA C, or None."""
    found = _loaded()
    return f"{found}: {_FIX}" if isinstance(found, str) else None


def library() -> Library:
    """Return NVRTC.

    Raises
    ------
    BackendUnavailable
        If it is not installed.
    """
    found = _loaded()
    if isinstance(found, str):
        raise BackendUnavailable(f"CUDA C cannot be compiled: {found}", fix=_FIX)
    return found


def architectures() -> tuple[str, ...]:
    """Return the architectures that NVRTC compiles for."""
    return library().architectures()


def compile(source: str, arch: str, options: Sequence[str] = OPTIONS) -> bytes:
    """Return machine code for an architecture such as ``sm_90``, not looking at the cache."""
    with _lock:
        return library().compile(source, arch, options)


def cubin(source: str, arch: str, options: Sequence[str] = OPTIONS) -> bytes:
    """Return machine code, from the cache on disk if it is there."""
    version = ".".join(map(str, library().version))
    key = digest("cubin", version, arch, "\0".join(options), source)
    code = _cache.get(key)
    if code is None:
        code = compile(source, arch, options)
        _cache.put(key, code)
    return code
