"""CuPy's device for executables: memory, launches, cuBLAS, CUDA graphs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

import numpy as np

from minigrad.core.place import sent
from minigrad.dtypes import DType, float32, float64
from minigrad.errors import BackendUnavailable
from minigrad.shapes import Shape

from . import eager, runtime
from .emit import Kernel
from .executable import Executable, Kind, Run, Work
from .order import LANES
from .products import Matrix, Multiply

__all__ = ["CupyDevice", "compile_graph", "tensor_float32"]

_WORKSPACE: Final = 32 << 20  # bytes that cuBLAS may use; its documentation names this for Hopper
_TYPES: Final = {float32: 0, float64: 1}  # CUDA_R_32F, CUDA_R_64F
_COMPUTE: Final = {float32: 68, float64: 70}  # CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_64F
_COMPUTE_TF32: Final = 77  # CUBLAS_COMPUTE_32F_FAST_TF32


def tensor_float32() -> bool:
    """Return whether products of float32 may round their factors to TF32's 10 bits.

    Off unless the environment says ``MINIGRAD_TF32=1``: results then are float32's.
    """
    return os.environ.get("MINIGRAD_TF32", "0") == "1"


def compile_graph(graph: Any) -> Executable:
    """Return the executable of a final graph on the current CUDA device."""
    return Executable(graph, CupyDevice())


@lru_cache(maxsize=1)
def _library() -> Any:
    """Return cuBLAS, as CuPy has loaded it."""
    cupy = import_module("cupy")
    cupy.cuda.device.get_cublas_handle()  # loads it
    names = ["libcublas.so.13", "libcublas.so.12", "libcublas.so"]
    try:
        pathfinder = import_module("cuda.pathfinder")
        names.insert(0, pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception:
        pass
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise BackendUnavailable("cuBLAS is not found", fix="pip install nvidia-cublas")


class CupyDevice:
    """The current CUDA device, with streams of its own for what it runs: one for each lane."""

    def __init__(self) -> None:
        self.cupy = import_module("cupy")
        self.streams = [self.cupy.cuda.Stream(non_blocking=True) for _ in range(LANES)]
        self.stream = self.streams[0]
        self.memory: list[Any] = []
        self._source = ""
        self._workspaces: dict[int, Any] = {}
        self._before = self.cupy.cuda.Event(disable_timing=True)
        self._after = self.cupy.cuda.Event(disable_timing=True)

    def enter(self) -> None:
        """Let the work that follows wait for what the user's stream has begun."""
        self._before.record(self.cupy.cuda.get_current_stream())
        self.stream.wait_event(self._before)

    def leave(self) -> None:
        """Let the user's stream wait for the work that was begun."""
        self._after.record(self.stream)
        self.cupy.cuda.get_current_stream().wait_event(self._after)

    # Memory -----------------------------------------------------------------------------

    def allocate(self, nbytes: int, what: str) -> int:
        """Return the address of new memory, aligned to 256 bytes at least."""
        try:
            memory = self.cupy.empty(max(1, nbytes), np.uint8)
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            raise runtime.memory_error(error, what, nbytes) from error
        self.memory = [memory]  # views keep what was there before
        return int(memory.data.ptr)

    def upload(self, address: int, array: Any) -> None:
        """Copy a host array to memory."""
        if array.nbytes:
            flat = np.ascontiguousarray(array)
            self.cupy.cuda.runtime.memcpy(address, flat.ctypes.data, flat.nbytes, 1)

    def view(self, address: int, shape: Shape, dtype: DType, strides: Sequence[int] = ()) -> Any:
        """Return memory as an array."""
        cuda = self.cupy.cuda
        owner = self.memory[-1]
        offset = address - owner.data.ptr
        pointer = cuda.MemoryPointer(owner.data.mem, owner.data.ptr - owner.data.mem.ptr + offset)
        steps = tuple(s * dtype.itemsize for s in strides)
        return self.cupy.ndarray(shape, dtype, pointer, steps)

    def take(self, view: Any, array: Any) -> None:
        """Copy an array to a view, in the stream of the work."""
        if isinstance(array, np.ndarray):
            view.set(np.ascontiguousarray(array).reshape(array.shape), self.stream)
        elif array.flags.c_contiguous and array.dtype == view.dtype and view.flags.c_contiguous:
            function = self.cupy.cuda.runtime.memcpyAsync
            function(view.data.ptr, array.data.ptr, array.nbytes, 3, self.stream.ptr)
        else:
            with self.stream:
                view[...] = array

    def same(self, view: Any, array: Any) -> bool:
        """Return whether an array is the memory of a view."""
        return not isinstance(array, np.ndarray) and array.data.ptr == view.data.ptr

    def copy(self, view: Any) -> Any:
        """Return an array of its own, which work on other streams may use at once."""
        with self.stream:
            return sent(self.cupy, view) if isinstance(view, np.ndarray) else self.cupy.array(view)

    # Work -------------------------------------------------------------------------------

    def prepare(self, source: str, names: Collection[str]) -> None:
        """Compile a translation unit."""
        del names
        self._source = source

    def kernel(self, step: Kernel, addresses: Sequence[int], lane: int) -> Run:
        """Return the launch of a kernel, with all of its arguments made beforehand."""
        pointer = import_module("cupy.cuda.function").CIntptr
        function = runtime.function(self._source, step.name)
        grid, block = step.grid, (step.threads, 1, 1)
        arguments, stream = tuple(pointer(a) for a in addresses), self.streams[lane]
        return lambda: function(grid, block, arguments, 0, stream)

    def product(self, step: Multiply, addresses: Sequence[int], lane: int) -> Run:
        """Return the call of cuBLAS: in its column-major terms, c' = b' a'.

        It is called through ctypes, since CuPy's own wrappers refuse to be captured.
        """
        library = _library()
        handle = ctypes.c_void_p(self.cupy.cuda.device.get_cublas_handle())
        if lane not in self._workspaces:  # what runs side by side must not share it
            self._workspaces[lane] = self.cupy.empty(_WORKSPACE, np.uint8)
        workspace = ctypes.c_void_p(self._workspaces[lane].data.ptr)
        size = step.dtype.itemsize
        a, b, c = (
            ctypes.c_void_p(address + m.offset * size)
            for m, address in zip((step.a, step.b, step.c), addresses, strict=True)
        )
        n, m, k = step.n, step.m, step.k
        # rows of c in memory: c' (m x n) = b' (m x k) a' (k x n); a column-major c is a' b'
        plain = step.c.column == 1
        if plain:
            left, right = _factor(step.b, k, m), _factor(step.a, n, k)
            pointers, sizes = (b, a), (m, n, k)
            strides = (step.b.batch, step.a.batch)
            leading = step.c.row
        else:
            left, right = _factor(step.a, n, k, flip=True), _factor(step.b, k, m, flip=True)
            pointers, sizes = (a, b), (n, m, k)
            strides = (step.a.batch, step.b.batch)
            leading = step.c.column
        number = np.float64 if step.dtype == float64 else np.float32
        one, zero = np.array(1, number), np.array(0, number)
        compute = _COMPUTE_TF32 if step.dtype == float32 and tensor_float32() else (
            _COMPUTE[step.dtype]
        )  # fmt: skip
        kind, long = _TYPES[step.dtype], ctypes.c_longlong
        stream = ctypes.c_void_p(self.streams[lane].ptr)
        form = (handle, left[0], right[0], *sizes)
        alpha, beta = (ctypes.c_void_p(x.ctypes.data) for x in (one, zero))
        first, second = (pointers[0], kind, left[1]), (pointers[1], kind, right[1])
        third = c, kind, max(leading, sizes[0], 1)
        call = getattr(library, step.function)
        arguments: tuple[Any, ...] = (*form, alpha, *first, *second, beta, *third, compute, -1)
        if step.batch != 1:
            arguments = (
                *form, alpha, *first, long(strides[0]), *second, long(strides[1]), beta, *third,
                long(step.c.batch), step.batch, compute, -1,
            )  # fmt: skip
        numbers = one, zero  # cuBLAS reads them where they are

        def run() -> None:
            library.cublasSetStream_v2(handle, stream)
            library.cublasSetWorkspace_v2(handle, workspace, ctypes.c_size_t(_WORKSPACE))
            failed = call(*arguments)
            if failed:
                raise RuntimeError(f"cuBLAS: status {failed} for {step}, {numbers}")

        return run

    def compute(self, node: Any, operands: Sequence[Any]) -> Any:
        """Return the result of one operation, by the function that eager work uses."""
        with self.stream:
            return eager.compute(node.primitive, operands, node.params)

    def play(self, work: Sequence[Work]) -> None:
        """Begin work, its lanes side by side: the first one goes before and after the others."""
        heard = {i for w in work for i in w.waits}
        events: dict[int, Any] = {}
        beside = sorted({w.lane for w in work} - {0})
        begun = self._mark(0) if beside else None
        for lane in beside:
            self.streams[lane].wait_event(begun)
        for i, w in enumerate(work):
            for j in w.waits:
                self.streams[w.lane].wait_event(events[j])
            w.run()
            if i in heard:
                events[i] = self._mark(w.lane)
        for lane in beside:
            self.stream.wait_event(self._mark(lane))

    def _mark(self, lane: int) -> Any:
        event = self.cupy.cuda.Event(disable_timing=True)
        event.record(self.streams[lane])
        return event

    def captured(self, work: Sequence[Work]) -> Run:
        """Return the launch of a CUDA graph of the work."""
        if not work:
            return lambda: None
        for stream in self.streams:
            stream.synchronize()
        with self.stream:
            self.stream.begin_capture()
            try:
                self.play(work)
            finally:
                graph = self.stream.end_capture()
        stream = self.stream
        return lambda: graph.launch(stream)

    def watch(self, views: Sequence[Any], lane: int) -> tuple[Run, Callable[[], bool]]:
        """Return what begins to fetch flags, and what waits for them and tells if any is set.

        Within a CUDA graph the event must be one that is seen from outside.
        """
        memory = self.cupy.cuda.alloc_pinned_memory(8 * len(views))
        flags = np.frombuffer(memory, np.int64, len(views))
        event = self.cupy.cuda.Event(disable_timing=True)
        copy, stream = self.cupy.cuda.runtime.memcpyAsync, self.streams[lane]
        pairs = [(memory.ptr + 8 * i, v.data.ptr) for i, v in enumerate(views)]

        def begin() -> None:
            for target, source in pairs:
                copy(target, source, 8, 2, stream.ptr)
            if stream.is_capturing():
                runtime.record_outside(event, stream)
            else:
                event.record(stream)

        def found() -> bool:
            event.synchronize()
            return bool(flags.any())

        return begin, found

    def room(self, nbytes: int, kinds: Sequence[Kind]) -> list[Any]:
        """Return arrays in new memory, each by its offset there."""
        with self.stream:
            memory = self.cupy.cuda.alloc(nbytes)
        return [self.cupy.ndarray(shape, dtype, memory + at) for at, shape, dtype in kinds]

    def address(self, array: Any) -> int:
        """Return where an array lies."""
        return int(array.data.ptr)

    def outputs(self, address: int, nbytes: int, kinds: Sequence[Kind]) -> list[Any]:
        """Return arrays in a copy of a stretch of memory, each by its offset there."""
        made = self.room(nbytes, kinds)
        low = made[0].data.ptr - kinds[0][0]
        self.cupy.cuda.runtime.memcpyAsync(low, address, nbytes, 3, self.stream.ptr)
        return made


def _factor(m: Matrix, rows: int, columns: int, *, flip: bool = False) -> tuple[int, int]:
    """Return cuBLAS's operation (0 as it is, 1 transposed) and leading size for a factor.

    A matrix whose rows lie in memory is, for cuBLAS, its transpose; that is what a product
    in rows wants. ``flip`` asks for the matrix itself.
    """
    in_rows = m.column == 1
    leading = m.row if in_rows else m.column
    leading = max(leading, columns if in_rows else rows, 1)
    return int(in_rows == flip), leading
