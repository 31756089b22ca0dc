"""From LLVM text to the addresses of native functions; compiled once, then read from a cache.

Code is never unloaded while the process lives: a thread may be inside it, and an address
may be in any plan. One text is compiled at a time, under one lock, its pieces side by side;
never in a thread in which Ctrl-C could be raised half-way through a call.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from typing import Any, Final, TypeVar

from minigrad.errors import CompileError

from . import objects
from .half import half_routines
from .pieces import functions, split
from .target import (
    Target,
    current_target,
    host_target,
    llvm,
    missing,
    named_target,
    use_target,
)
from .threads import get_num_threads

__all__ = [
    "Target",
    "assembly",
    "current_target",
    "host_target",
    "load",
    "missing",
    "named_target",
    "use_target",
]

#: Part of every key on the disk; raised when the same text must give other code.
FORMAT: Final = 1

T = TypeVar("T")

_lock = threading.RLock()
_loaded: dict[tuple[str, str, int], dict[str, int]] = {}
_serial = count()
_kept: list[object] = []

# A fork copies the lock in whatever state it is: let it be free.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


class _Rejected(Exception):
    """LLVM's message about a text, and the text."""

    def __init__(self, message: str, text: str) -> None:
        super().__init__(message)
        self.message = message
        self.text = text


class _Stopped(Exception):
    """Nobody waits for the result any more."""


def load(
    text: str, names: Sequence[str], *, target: Target | None = None, level: int = 2
) -> dict[str, int]:
    """Return the addresses of functions that a text defines, compiling it if need be.

    Parameters
    ----------
    text
        LLVM assembly. Functions that it only declares are looked for in the process and
        in the mathematical library.
    names
        The functions wanted; none of them ``internal`` or ``private``.
    target
        What to compile for; by default :func:`current_target`.
    level
        Effort of code generation, 0 to 3. No pass over the text is run at any level.

    Raises
    ------
    CompileError
        If LLVM does not accept the text, or a function that it calls does not exist.
    """
    target = target or current_target()
    key = (hashlib.sha256(text.encode()).hexdigest(), target.key, level)
    found = _loaded.get(key)
    if found is None:
        try:
            found = _interruptibly(lambda stop: _obtain(text, key, target, stop))
        except _Rejected as error:
            raise _compile_error(error) from None
    absent = [name for name in names if name not in found]
    if absent:
        raise CompileError(
            f"native code: the text defines no function {', '.join(absent)}",
            rule=f"it defines {', '.join(found) or 'nothing'}",
        )
    return {name: found[name] for name in names}


def assembly(text: str, *, target: Target | None = None, level: int = 2) -> str:
    """Return the target's assembly for a text, as :func:`load` would compile it."""
    target = target or current_target()

    def write() -> str:
        with _lock, _machine(target, level) as machine, _module(text, target) as module:
            listing: str = machine.emit_assembly(module)
            return listing

    try:
        return _interruptibly(lambda _: write())
    except _Rejected as error:
        raise _compile_error(error) from None


def _interruptibly(work: Callable[[threading.Event], T]) -> T:
    """Do the work where Ctrl-C cannot strike, and wait for it where it can.

    Signals are raised in the main thread only, so that one lends the work to another
    thread. If it is interrupted while waiting, the work stops at the next piece.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        return work(stop)
    done = threading.Event()
    result: list[T] = []
    failure: list[BaseException] = []

    def lent() -> None:
        try:
            result.append(work(stop))
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=lent, name="minigrad-compile")
    try:
        thread.start()
    except RuntimeError:  # no thread can be had, at the end of the process for one
        return work(stop)
    try:
        done.wait()
    except BaseException:
        stop.set()
        raise
    if failure:
        raise failure[0]
    return result[0]


def _obtain(
    text: str, key: tuple[str, str, int], target: Target, stop: threading.Event
) -> dict[str, int]:
    """Return addresses from memory, else from the disk, else by compiling."""
    with _lock:
        found = _loaded.get(key)  # another thread may have been first
        if found is not None:
            return found
        on_disk = _disk_key(key)
        kept = objects.read(on_disk)
        if kept is not None:
            with suppress(RuntimeError):  # not code of this process after all: compile it
                _loaded[key] = found = _link(*kept)
                return found
        names = [f.name for f in functions(text)[0] if f.exported]
        made = _compile(text, target, key[2], stop)
        try:
            found = _link(names, made)
        except RuntimeError as error:
            raise _Rejected(_unresolved(text) or str(error), text) from None
        objects.write(on_disk, names, made)
        _loaded[key] = found
        return found


def _disk_key(key: tuple[str, str, int]) -> str:
    import llvmlite

    version = ".".join(str(n) for n in llvm().llvm_version_info)
    digest, target, level = key
    return (
        f"minigrad {FORMAT}; llvmlite {llvmlite.__version__}; LLVM {version}; "
        f"{target}; level {level}; {digest}"
    )


@contextmanager
def _machine(target: Target, level: int) -> Iterator[Any]:
    machine = (
        llvm()
        .Target.from_triple(target.triple)
        .create_target_machine(
            cpu=target.cpu, features=target.features, opt=level, reloc="pic", codemodel="default"
        )
    )
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def _module(text: str, target: Target) -> Iterator[Any]:
    """Parse and verify a text, in a context of its own.

    Both are closed here and in this order: the garbage collector would do it in any order
    and in any thread.
    """
    context = llvm().create_context()
    try:
        module = None
        try:
            module = llvm().parse_assembly(text, context=context)
            module.triple = target.triple
            module.verify()
        except RuntimeError as error:
            raise _Rejected(str(error), text) from None
        else:
            yield module
        finally:
            if module is not None:
                module.close()
    finally:
        context.close()


def _compile(text: str, target: Target, level: int, stop: threading.Event) -> list[bytes]:
    """Return the objects that a text becomes, one for each piece."""
    threads = get_num_threads()
    pieces = split(text, threads)
    if re.search(r"\bhalf\b", text):
        pieces.append(half_routines(target))

    def emit(piece: str) -> bytes:
        if stop.is_set():
            raise _Stopped
        try:
            with _machine(target, level) as machine, _module(piece, target) as module:
                return _emit(machine, module)
        except BaseException:
            stop.set()
            raise

    try:
        return _side_by_side(emit, pieces, threads)
    except _Rejected as error:
        if error.text is not text:
            with _module(text, target):  # has the line numbers of the whole
                pass
        raise


def _side_by_side(emit: Callable[[str], bytes], pieces: list[str], threads: int) -> list[bytes]:
    """Return what ``emit`` makes of each piece, with several threads at work."""
    if len(pieces) == 1 or threads == 1:
        return [emit(piece) for piece in pieces]
    with ThreadPoolExecutor(min(threads, len(pieces)), "minigrad-compile") as executor:
        made = [executor.submit(emit, piece) for piece in pieces]
    failures = [error for each in made if (error := each.exception())]
    if failures:  # one is the reason, and the others were stopped by it
        raise next((e for e in failures if not isinstance(e, _Stopped)), failures[0])
    return [each.result() for each in made]


def _emit(machine: Any, module: Any) -> bytes:
    """Return a module's object code, as ``machine.emit_object(module)`` does.

    llvmlite would hold its own lock meanwhile, which LLVM does not need: what it works on
    is of one thread alone, context and machine.
    """
    functions = _emission()
    if functions is None:
        emitted: bytes = machine.emit_object(module)
        return emitted
    to_memory, start, size, dispose, message = functions
    with message() as error:
        buffer = to_memory(machine, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        return ctypes.string_at(start(buffer), size(buffer))
    finally:
        dispose(buffer)


@cache
def _emission() -> tuple[Any, ...] | None:
    """Return llvmlite's functions for emission, without its lock; None if it hides them."""
    from llvmlite.binding import ffi

    try:
        library = ctypes.CDLL(ffi.lib._name)
        to_memory = library.LLVMPY_TargetMachineEmitToMemory
        start = library.LLVMPY_GetBufferStart
        size = library.LLVMPY_GetBufferSize
        dispose = library.LLVMPY_DisposeMemoryBuffer
        message = ffi.OutputString
    except (AttributeError, OSError):
        return None
    pointer = ctypes.c_void_p
    to_memory.argtypes, to_memory.restype = [pointer, pointer, ctypes.c_int, pointer], pointer
    start.argtypes, start.restype = [pointer], pointer
    size.argtypes, size.restype = [pointer], ctypes.c_size_t
    dispose.argtypes, dispose.restype = [pointer], None
    return to_memory, start, size, dispose, message


def _link(names: Sequence[str], made: Sequence[bytes]) -> dict[str, int]:
    """Return the addresses of names, with the objects in memory for good.

    Raises
    ------
    RuntimeError
        If the objects are not objects, or need a function that is nowhere.
    """
    builder = llvm().JITLibraryBuilder()
    for object in made:
        builder.add_object_img(object)
    builder.add_current_process()
    for name in names:
        builder.export_symbol(name)
    tracker = builder.link(_linker(), f"minigrad{next(_serial)}")
    addresses = {name: int(tracker[name]) for name in names}
    tracker.detach()  # never unloaded
    return addresses


@cache
def _linker() -> Any:
    """Return the process's one linker."""
    if not hasattr(ctypes.CDLL(None), "sinf"):  # a Python that was linked without libm
        library = ctypes.util.find_library("m")
        if library:
            _kept.append(ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL))
    return llvm().create_lljit_compiler(use_jit_link=True, suppress_errors=True)


def _unresolved(text: str) -> str | None:
    """Return a message about functions that a text declares and nobody defines, or None."""
    process = ctypes.CDLL(None)
    declared = re.findall(r"^declare\b.*?@([\w.$]+)\s*\(", text, re.MULTILINE)
    absent = [n for n in declared if not n.startswith("llvm.") and not hasattr(process, n)]
    return f"undefined: {', '.join(absent)}" if absent else None


def _compile_error(error: _Rejected) -> CompileError:
    """Return LLVM's complaint as an error, with the line of text that it is about."""
    summary = next((line for line in error.message.splitlines() if "error:" in line), "")
    summary = summary.partition("error:")[2].strip() or error.message.strip().partition("\n")[0]
    lines = error.text.splitlines()
    place = re.search(r"<string>:(\d+):\d+:", error.message)
    if place:
        number = min(int(place.group(1)), len(lines))  # the end of the text is a place, too
    else:  # the verifier quotes the instruction; the linker names the function
        quoted = {line.strip() for line in error.message.splitlines() if line.strip()}
        words = re.findall(r"@[\w.$]+|(?<=undefined: )[\w.$]+", error.message)
        number = next(
            (
                i
                for i, line in enumerate(lines, 1)
                if line.strip() in quoted or any(w.lstrip("@") in line for w in words)
            ),
            0,
        )
    operands = [f"line {number}: {lines[number - 1].strip()}"] if 0 < number <= len(lines) else []
    return CompileError(
        f"native code is not accepted by LLVM: {summary}",
        operands=operands,
        rule="every kernel that minigrad writes compiles: this is a bug in minigrad",
        fix='use backend="numpy" until it is repaired',
    )
