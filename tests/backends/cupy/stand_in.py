"""A module called ``cupy`` for machines without a GPU: host memory behind a strict door.

Its arrays are of another type than NumPy's and refuse, as CuPy's do, to become NumPy arrays
unasked or to be mixed with them. It has the functions and keywords that minigrad uses, in
CuPy's own signatures, and no others: what it lacks is an error, not a fallback. bfloat16 it
only stores and views: nothing that minigrad does may rest on what CuPy can compute of it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minigrad.backends import Program
from minigrad.backends.cupy import device, eager, runtime
from minigrad.core.primitive import defined
from minigrad.dtypes import foreign

from . import emulator

UFUNCS = {"matmul", "power", "less", "greater_equal", "subtract", "add"}


class OutOfMemoryError(MemoryError):
    pass


class Function:
    """Set ``limit`` to the bytes that one array may have."""

    limit: int | None = None


class ndarray:
    """A host array that behaves like one on a device."""

    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    device = SimpleNamespace(id=0)

    def __init__(self, array: Any) -> None:
        assert isinstance(array, np.ndarray)
        if Function.limit is not None and array.base is None and array.nbytes > Function.limit:
            raise OutOfMemoryError(f"out of memory allocating {array.nbytes} bytes")
        self._a = array
        self.base = array.base

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use .get()")

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **options: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in UFUNCS or set(options) - {"dtype"}:
            return NotImplemented
        with np.errstate(all="ignore"):
            return wrap(ufunc(*map(computed, args), **options))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if any(not issubclass(t, ndarray) for t in types):
            return NotImplemented
        own = getattr(sys.modules["cupy"], function.__name__, None)
        return NotImplemented if own is None else own(*args, **options)

    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    strides = property(lambda self: self._a.strides)
    itemsize = property(lambda self: self._a.itemsize)
    real = property(lambda self: self)
    T = property(lambda self: wrap(self._a.T))
    data = property(lambda self: SimpleNamespace(ptr=self._a.ctypes.data))

    @property
    def flags(self) -> Any:
        flags = self._a.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    def get(self) -> Any:
        return np.array(self._a)

    def item(self) -> Any:
        return self._a.item()

    def tolist(self) -> Any:
        return self._a.tolist()

    def view(self, dtype: Any) -> ndarray:
        assert np.dtype(dtype).itemsize == self.itemsize
        return wrap(self._a.view(dtype))

    def astype(self, dtype: Any) -> ndarray:
        with np.errstate(all="ignore"):
            return ndarray(computed(self).astype(dtype))

    def copy(self) -> ndarray:
        return ndarray(np.array(self._a))

    def reshape(self, *shape: Any) -> ndarray:
        return wrap(self._a.reshape(*shape))

    def transpose(self, *axes: Any) -> ndarray:
        return wrap(self._a.transpose(*axes))

    def ravel(self) -> ndarray:
        return wrap(self._a.ravel())

    def min(self) -> ndarray:
        return wrap(self._a.min())

    def max(self) -> ndarray:
        return wrap(self._a.max())

    def __getitem__(self, key: Any) -> ndarray:
        return wrap(self._a[index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._a[index(key)] = bare(value)

    def __len__(self) -> int:
        return len(self._a)

    def __bool__(self) -> bool:
        return bool(self._a)

    def __int__(self) -> int:
        return int(self._a)

    def __float__(self) -> float:
        return float(self._a)

    def __dlpack__(self, **options: Any) -> Any:
        return self._a.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __reduce__(self) -> Any:
        return _unpickled, (self._a,)

    def __repr__(self) -> str:
        return f"stand-in {self._a!r}"

    def __format__(self, spec: str) -> str:
        return format(self._a, spec)


def _unpickled(a: Any) -> ndarray:
    return ndarray(a)


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> Any:
        with np.errstate(all="ignore"):
            return wrap(getattr(computed(self), name)(*map(computed, others)))

    return method


_OPERATORS = [
    "add", "radd", "sub", "rsub", "mul", "rmul", "iadd", "neg", "invert", "lt", "le", "gt", "ge",
    "eq", "ne", "and", "or", "rshift",
]  # fmt: skip
for _name in _OPERATORS:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def wrap(x: Any) -> Any:
    return ndarray(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


def bare(x: Any) -> Any:
    """Return the host array inside; NumPy arrays are refused, scalars are not."""
    if isinstance(x, ndarray):
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return x


def computed(x: Any) -> Any:
    """Return the host array inside, for arithmetic."""
    array = bare(x)
    if getattr(array, "dtype", None) in foreign:
        raise TypeError(f"{array.dtype} is stored here, not computed with")
    return array


def index(key: Any) -> Any:
    return tuple(map(index, key)) if isinstance(key, tuple) else bare(key)


def asarray(a: Any, dtype: Any = None) -> ndarray:
    if not isinstance(a, ndarray) and np.ndim(a) == 0 and a == 0:
        a = abs(a)  # as CuPy does: the sign of -0.0 is lost
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    return ndarray(np.array(a, dtype))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    return ndarray(np.arange(*((start,) if stop is None else (start, stop, step)), dtype=dtype))


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return wrap(np.ascontiguousarray(bare(a)).reshape(a.shape))


def from_dlpack(array: Any) -> ndarray:
    """Return the same memory: NumPy calls it read-only, CuPy knows no such thing."""
    taken = np.from_dlpack(_Host(array))
    memory = (ctypes.c_char * taken.nbytes).from_address(taken.ctypes.data)
    memory.owner = taken  # type: ignore[attr-defined]
    return ndarray(np.frombuffer(memory, taken.dtype).reshape(taken.shape))


def argsort(a: Any, axis: int = -1, kind: Any = None) -> ndarray:
    return wrap(np.argsort(computed(a), axis=axis, stable=True))


def _reduction(name: str) -> Any:
    def plain(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        assert axis != () and bare(a).size
        return wrap(getattr(np, name)(computed(a), axis=axis, keepdims=keepdims))

    def typed(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        with np.errstate(all="ignore"):
            return wrap(getattr(np, name)(computed(a), axis=axis, dtype=dtype, keepdims=keepdims))

    return typed if name in ("sum", "prod") else plain


def _position(name: str) -> Any:
    def position(a: Any, axis: Any = None) -> Any:
        return wrap(np.asarray(getattr(np, name)(computed(a), axis=axis)))

    return position


def _same(name: str, *keywords: str) -> Any:
    def function(*args: Any, **options: Any) -> Any:
        assert set(options) <= set(keywords), f"cupy.{name} takes {keywords}, got {set(options)}"
        first, *rest = args
        opened = bare if name == "moveaxis" else computed
        given = [opened(x) for x in first] if isinstance(first, tuple | list) and name == (
            "concatenate"
        ) else opened(first)  # fmt: skip
        with np.errstate(all="ignore"):
            return wrap(getattr(np, name)(given, *map(bare, rest), **options))

    return function


def module() -> ModuleType:
    """Return a new module with everything that minigrad uses of CuPy."""
    cupy = ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)
    made: dict[str, Any] = {
        "ndarray": ndarray, "asarray": asarray, "argsort": argsort, "arange": arange,
        "shape": lambda a: np.shape(getattr(a, "_a", a)),
        "array": lambda a, dtype=None: ndarray(np.array(getattr(a, "_a", a), dtype)),
        "empty": lambda shape, dtype=float: ndarray(_poisoned(shape, dtype)),
        "zeros": lambda shape, dtype=float: ndarray(np.zeros(shape, dtype)),
        "ascontiguousarray": ascontiguousarray,
        "broadcast_to": lambda array, shape: wrap(np.broadcast_to(bare(array), shape)),
        "from_dlpack": from_dlpack,
        "concatenate": _same("concatenate", "axis"), "take": _same("take", "axis"),
        "flip": _same("flip", "axis"), "moveaxis": _same("moveaxis"),
        "cumsum": _same("cumsum", "axis", "dtype"),
        "full_like": _same("full_like", "dtype", "shape"),
        "zeros_like": _same("zeros_like", "dtype", "shape"),
        **{n: _reduction(n) for n in ("sum", "prod", "max", "min")},
        **{n: _position(n) for n in ("argmax", "argmin")},
    }  # fmt: skip
    cupy.__dict__.update(made)
    strided = SimpleNamespace(
        as_strided=lambda x, shape=None, strides=None: wrap(
            np.lib.stride_tricks.as_strided(bare(x), shape, strides, writeable=False)
        )
    )
    cupy.__dict__["lib"] = SimpleNamespace(stride_tricks=strided)
    cupy.__dict__["cuda"] = SimpleNamespace(
        Device=lambda: SimpleNamespace(id=0, compute_capability="90"),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=SimpleNamespace(
            getDeviceCount=lambda: 1, driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000, memGetInfo=lambda: (3 << 20, 5 << 20),
        ),
    )  # fmt: skip
    cupy.__dict__["get_default_memory_pool"] = lambda: SimpleNamespace(
        used_bytes=lambda: 1 << 20, free_bytes=lambda: 1 << 19
    )
    return cupy


def _poisoned(shape: Any, dtype: Any) -> Any:
    """Return new memory full of NaN, or of ones where there is none: it must be written to."""
    made = np.empty(shape, dtype)
    made.reshape(-1).view(np.uint8)[...] = 0xFF if made.dtype.kind != "b" else 1
    return made


class _Host:
    """An array whose DLPack says CUDA, as NumPy reads it."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **_: Any) -> Any:
        return self._array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def emulated_launcher(source: str, name: str) -> runtime.Launcher:
    """Launch kernels on the emulator instead of a device."""
    unit = emulator.emulated(source)

    def launch(grid: tuple[int, int, int], threads: int, arguments: Sequence[Any]) -> None:
        kept = [np.array(a) for a in arguments if isinstance(a, np.generic)]
        scalars = iter(kept)
        pointers = [
            next(scalars).ctypes.data if isinstance(a, np.generic) else a.data.ptr
            for a in arguments
        ]
        unit.launch(name, grid, threads, pointers)

    return launch


def by_reference(cupy: Any, primitive: Any, values: Sequence[Any], params: Any) -> Any:
    """Compute elementwise primitives by their references, where compiling is too slow."""
    with np.errstate(all="ignore"):
        result = defined(primitive, [v._a for v in values], params)
    return ndarray(np.array(result))


@contextmanager
def installed(*, kernels: bool) -> Iterator[ModuleType]:
    """Make ``import cupy`` find the stand-in; run kernels on the emulator, or references."""
    before = (
        sys.modules.get("cupy"), runtime.launcher, eager.elementwise, runtime.nvrtc,
        device.compile_graph,
    )  # fmt: skip
    device.compile_graph = lambda graph: Program(graph, sys.modules["cupy"])
    cupy = module()
    sys.modules["cupy"] = cupy
    runtime.nvrtc = SimpleNamespace(missing=lambda: None)  # type: ignore[assignment]
    runtime.launcher = emulated_launcher
    eager._kernel.cache_clear()
    eager._scatter_kernel.cache_clear()
    if not kernels:
        eager.elementwise = by_reference
    try:
        yield cupy
    finally:
        old, runtime.launcher, eager.elementwise, runtime.nvrtc, device.compile_graph = before
        eager._kernel.cache_clear()
        eager._scatter_kernel.cache_clear()
        if old is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = old
