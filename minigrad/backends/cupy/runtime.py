"""The device as this backend needs it: what is missing, machine code, launches, memory.

Everything that touches CuPy's own types is here and in ``eager``, so that the rest can be
run on a CPU in tests, with another ``Device``.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from minigrad.errors import DeviceMemoryError

from . import nvrtc

__all__ = [
    "architecture", "function", "launcher", "memory_error", "missing", "record_outside",
]  # fmt: skip

#: A kernel ready to be launched: grid, threads in a block, arguments.
Launcher = Callable[[tuple[int, int, int], int, Sequence[Any]], None]

_EXTRAS = "pip install 'minigrad[cuda13]' (or 'minigrad[cuda12]' for a driver before 580)"


def missing() -> str | None:
    """Return what is missing for running on a GPU, with the numbers and the repair, or None."""
    if find_spec("cupy") is None:
        return f"CuPy is not installed: {_EXTRAS}"
    try:
        cupy = import_module("cupy")
    except Exception as error:  # a broken installation raises what it likes
        return f"CuPy is installed but does not load ({_first_line(error)}): {_EXTRAS}"
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        return _driver(runtime, error)
    if count == 0:
        return "CuPy is installed but there is no CUDA device"
    return nvrtc.missing()


def _driver(runtime: Any, error: Exception) -> str:
    """Say why no device answers: no driver, or one that is too old for this CuPy."""
    try:
        have, need = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    except Exception:
        have = need = 0
    if need and not have:
        return f"CuPy is installed but there is no NVIDIA driver (CuPy needs CUDA {_version(need)})"
    if have // 1000 < need // 1000:  # within a major version they are compatible
        return (
            f"the NVIDIA driver supports CUDA {_version(have)}, this CuPy needs "
            f"{_version(need)}: update the driver, or pip install 'minigrad[cuda12]'"
        )
    return f"CuPy is installed but no CUDA device answers: {_first_line(error)}"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


@lru_cache(maxsize=8)
def _architecture(device: int, capability: str) -> str:
    """Return the newest architecture that the device runs and NVRTC compiles for."""
    del device
    wanted = int(capability)
    known = [int(a.removeprefix("sm_")) for a in nvrtc.architectures()]
    same = [n for n in known if n <= wanted and n // 10 == wanted // 10]
    return f"sm_{max(same)}" if same else f"compute_{max(n for n in known if n <= wanted)}"


def architecture() -> str:
    """Return the architecture to compile for on the current device, e.g. ``sm_90``."""
    device = import_module("cupy").cuda.Device()
    return _architecture(device.id, device.compute_capability)


def launcher(source: str, name: str) -> Launcher:
    """Return a kernel of a translation unit, compiled for the current device.

    Arguments are CuPy arrays, CuPy pointers or NumPy scalars.
    """
    run = function(source, name)

    def launch(grid: tuple[int, int, int], threads: int, arguments: Sequence[Any]) -> None:
        run(grid, (threads, 1, 1), tuple(arguments))

    return launch


def function(source: str, name: str) -> Any:
    """Return CuPy's function of a kernel, compiled for the current device."""
    return _loaded(source, architecture()).get_function(name)


@lru_cache(maxsize=4096)
def _loaded(source: str, arch: str) -> Any:
    module = import_module("cupy.cuda.function").Module()
    module.load(nvrtc.cubin(source, arch))
    return module


def record_outside(event: Any, stream: Any) -> None:
    """Record an event in a stream that is captured, as one for which the host may wait.

    CuPy has no name for it: it is the driver's, flag 1 of whose meaning is "external".
    """
    failed = _driver_library().cuEventRecordWithFlags(
        ctypes.c_void_p(event.ptr), ctypes.c_void_p(stream.ptr), ctypes.c_uint(1)
    )
    if failed:
        raise RuntimeError(f"cuEventRecordWithFlags: status {failed}")


@lru_cache(maxsize=1)
def _driver_library() -> Any:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def memory_error(error: Exception, what: str, wanted: int | None = None) -> DeviceMemoryError:
    """Return the error for memory that was not to be had, with the numbers."""
    cupy = import_module("cupy")
    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    asked = f"{_mebi(wanted)} for " if wanted is not None else ""
    return DeviceMemoryError(
        f"the GPU has no memory left: {asked}{what}",
        rule=f"{_mebi(free)} of {_mebi(total)} are free, this process holds "
        f"{_mebi(pool.used_bytes())} in arrays and {_mebi(pool.free_bytes())} in reserve",
        fix="use a smaller batch, or mg.checkpoint on parts of the model; nothing was changed, "
        f"so the work can go on ({_first_line(error)})",
    )


def _mebi(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"
