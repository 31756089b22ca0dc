"""Tensor: the one array type. At the prompt it has a value; while tracing it has none.

A tensor is a handle on a node. Operators and methods look their function up by name
in ``functions``, which ``ops`` fills: this floor does not know what addition is.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minigrad.dtypes import Array, DType, DTypeLike, foreign
from minigrad.errors import DtypeError, MinigradError, ShapeError, TraceError
from minigrad.shapes import Shape

from .aval import aval
from .late import call
from .node import Node, ancestors
from .tape import INPUT

if TYPE_CHECKING:
    from .graph import Graph

__all__ = ["Tensor", "functions"]

#: What operators and methods call, by name; filled by ``minigrad.ops``.
functions: dict[str, Callable[..., Tensor]] = {}

#: Versions of the Python Array API standard whose names and meanings are here.
API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")

#: What an operator takes for an operand, whatever it may know itself.
ARRAYS = (int, float, list, tuple, np.ndarray, np.generic)

Method: TypeAlias = "Callable[[Tensor, Any], Tensor]"


def _operator(name: str, reflected: str = "__eq__") -> tuple[Method, Method]:
    """Return the methods that call a function with self on the left, and on the right.

    What is no array, but knows the ``reflected`` operator, is left to do it.
    """

    def left(self: Tensor, other: Any) -> Tensor:
        try:
            return functions[name](self, other)
        except DtypeError:
            if isinstance(other, (Tensor, *ARRAYS)) or not hasattr(other, reflected):
                raise
            return NotImplemented  # type: ignore[no-any-return]

    def right(self: Tensor, other: Any) -> Tensor:
        return functions[name](other, self)

    return left, right


class Tensor:
    """An array that remembers how it was made.

    Make one with ``mg.tensor``. Operators follow NumPy, names the Python Array API
    standard. ``t.graph()`` is the static graph of everything that produced ``t``;
    ``t.backward()`` derives gradients into ``.grad`` of the tensors and parameters
    that require them.
    """

    __slots__ = ("__weakref__", "_grad", "_trainable", "node")

    node: Node

    def __init__(self, node: Node) -> None:
        self.node = node

    # What it is ----------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """The size of each axis."""
        return self.node.aval.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.node.aval.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.node.aval.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.node.aval.size

    @property
    def device(self) -> str:
        """Where the value is: ``"cpu"``, or ``"cuda:0"`` for CuPy arrays."""
        value = self.node.value
        return (
            "cpu" if value is None or isinstance(value, np.ndarray) else f"cuda:{value.device.id}"
        )

    @property
    def name(self) -> str | None:
        """The name given by ``mg.tensor(..., name=)`` or ``mg.tag``."""
        return self.node.name

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(
                f"T: needs 2 axes, got shape {self.shape}",
                fix="use .mT for the last two axes, or mg.permute_dims",
            )
        return functions["permute_dims"](self, (1, 0))

    @property
    def mT(self) -> Tensor:
        """The transpose of the last two axes."""
        return functions["matrix_transpose"](self)

    # Its value -----------------------------------------------------------------

    @property
    def value(self) -> Any:
        """The NumPy or CuPy array itself. Treat it as read-only.

        Raises
        ------
        TraceError
            While tracing: there is no value yet.
        """
        value = self.node.value
        if value is None:
            raise _no_value(self, "its value")
        return value

    def numpy(self) -> Array:
        """Return a copy as a NumPy array that may be changed freely."""
        value = self.value
        return np.array(value if isinstance(value, np.ndarray) else value.get())

    def item(self) -> float | int | bool:
        """Return the only element as a Python number."""
        if self.size != 1:
            raise ShapeError(
                f"item: needs exactly one element, got shape {self.shape}",
                fix="reduce first, e.g. t.sum().item(), or use t.numpy()",
            )
        return self.value.item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """Return nested Python lists."""
        return self.value.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy:
            return self.numpy().astype(dtype or self.dtype)
        value = self.value
        kept = isinstance(value, np.ndarray) and (dtype is None or dtype == value.dtype)
        if copy is False and not kept:
            raise ValueError(f"{self.dtype} on {self.device} cannot become {dtype} without a copy")
        array = np.asarray(value if isinstance(value, np.ndarray) else value.get(), dtype)
        if array is value:
            array = array.view()
            array.flags.writeable = False
        return array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return functions["array_ufunc"](ufunc, method, inputs, options)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        return functions["array_function"](function, args, options)

    def __dlpack__(self, **options: Any) -> Any:
        value = self.value
        if value.dtype in foreign:
            raise BufferError(f"NumPy has no DLPack for {self.dtype}: export x.astype(mg.float32)")
        if isinstance(value, np.ndarray) and not (
            value.flags.writeable and value.flags.c_contiguous
        ):
            if options.get("copy") is False:
                raise BufferError("a read-only array, or a view, is not exported without a copy")
            value = value.copy()  # NumPy refuses to export a read-only array
        return value.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.value.__dlpack_device__()  # type: ignore[no-any-return]

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        if api_version not in (None, *API_VERSIONS):
            raise ValueError(f"Array API {api_version!r}: versions here are {API_VERSIONS}")
        return sys.modules["minigrad"]

    def __bool__(self) -> bool:
        if self.node.value is None:
            raise _no_value(self, "a truth value, as `if` and `while` do,", _DECIDE)
        return bool(self.item()) if self.size == 1 else self._ambiguous()

    def _ambiguous(self) -> bool:
        raise ShapeError(
            f"the truth value of shape {self.shape} is ambiguous",
            fix="use .any() or .all()",
        )

    def __float__(self) -> float:
        return float(self._scalar("float()"))

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __index__(self) -> int:
        value = self._scalar("an index")
        if self.node.aval.kind not in "iu":
            raise TypeError(f"only integer tensors can be an index, got {self.dtype}")
        return int(value)

    def _scalar(self, what: str) -> Any:
        if self.node.value is None:
            raise _no_value(self, what)
        return self.item()

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the value, without its history."""
        return _restored, (self.value, self.node.name, not self.node.inputs and self.requires_grad)

    def __repr__(self) -> str:
        node = self.node
        name = f", name={node.name!r}" if node.name else ""
        if node.value is None:
            return f"tensor({node.aval!r}, traced at {node.origin.label}{name})"
        text = np.array2string(np.asarray(self), separator=", ", prefix="tensor(", threshold=200)
        shape = f", shape={self.shape}" if self.size == 0 or self.size > 200 else ""
        return f"tensor({text}{shape}, dtype={self.dtype}{name})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return call("display", self)  # type: ignore[no-any-return]

    # Its history and gradient --------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` fills ``.grad``; for a computed tensor, of any it depends on."""
        if not self.node.inputs:
            return getattr(self, "_trainable", False)
        return any("owner" in n.params or _trainable(n) for n in ancestors([self.node]))

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.node.inputs:
            raise MinigradError(
                "requires_grad: this tensor was computed, it is not a leaf",
                fix="set it on the tensor made by mg.tensor, or use .detach() first",
            )
        if wanted:
            call("check_differentiable", self.node, "requires_grad")
            self.node = Node(
                INPUT, (), {"owner": weakref.ref(self)}, self.node.aval, self.node.value,
                self.node.where, None, self.node.name,
            )  # fmt: skip
        else:
            self.node.params.pop("owner", None)
        self._trainable = wanted

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient, or None before ``backward``."""
        return getattr(self, "_grad", None)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self._grad = value

    def backward(self, cotangent: Any = None) -> None:
        """Add the gradient of this tensor to ``.grad`` of all that require it.

        Parameters
        ----------
        cotangent
            The gradient with respect to this tensor itself, of the same shape. May be
            left out for a scalar, where it is 1.
        """
        call("backward", self, cotangent)

    def detach(self) -> Tensor:
        """Return the same value without its history: no gradient flows back."""
        return functions["stop_gradient"](self)

    def graph(self) -> Graph:
        """Return the static graph of everything that produced this tensor, with values."""
        return call("history", self)  # type: ignore[no-any-return]

    def to(self, target: Any) -> Tensor:
        """Return the tensor on another device (``"cpu"``, ``"cupy"``) or with another dtype."""
        return functions["to"](self, target)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:  # noqa: ARG002
        """Return the tensor on another device: what the Array API standard calls ``to``."""
        return self if device == self.device else functions["to"](self, device)

    # Indexing ------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Tensor:
        return functions["getitem"](self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise MinigradError(
            "a tensor is not changed in place: its value is part of the graph",
            fix="use mg.where(mask, new, t), or t.numpy() for an array of your own",
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # Operators -----------------------------------------------------------------

    __add__, __radd__ = _operator("add", "__radd__")
    __sub__, __rsub__ = _operator("subtract", "__rsub__")
    __mul__, __rmul__ = _operator("multiply", "__rmul__")
    __truediv__, __rtruediv__ = _operator("divide", "__rtruediv__")
    __floordiv__, __rfloordiv__ = _operator("floor_divide", "__rfloordiv__")
    __mod__, __rmod__ = _operator("remainder", "__rmod__")
    __pow__, __rpow__ = _operator("pow", "__rpow__")
    __matmul__, __rmatmul__ = _operator("matmul", "__rmatmul__")
    __and__, __rand__ = _operator("bitwise_and", "__rand__")
    __or__, __ror__ = _operator("bitwise_or", "__ror__")
    __xor__, __rxor__ = _operator("bitwise_xor", "__rxor__")
    __lshift__, __rlshift__ = _operator("bitwise_left_shift", "__rlshift__")
    __rshift__, __rrshift__ = _operator("bitwise_right_shift", "__rrshift__")
    __lt__, __gt__ = _operator("less", "__gt__")
    __le__, __ge__ = _operator("less_equal", "__ge__")
    __eq__ = _operator("equal")[0]  # type: ignore[assignment]
    __ne__ = _operator("not_equal")[0]  # type: ignore[assignment]

    def __neg__(self) -> Tensor:
        return functions["negative"](self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return functions["abs"](self)

    def __invert__(self) -> Tensor:
        return functions["bitwise_invert"](self)

    __hash__ = object.__hash__

    # Methods, for those who type them by habit ----------------------------------

    def astype(self, dtype: DTypeLike) -> Tensor:
        """Return the tensor converted to ``dtype``."""
        return functions["astype"](self, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in another shape; one size may be -1."""
        return functions["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def squeeze(self, axis: int | Sequence[int]) -> Tensor:
        """Remove axes of size 1."""
        return functions["squeeze"](self, axis)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the sum over ``axis``; see ``mg.sum``."""
        return functions["sum"](self, axis, keepdims=keepdims)

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the mean over ``axis``; see ``mg.mean``."""
        return functions["mean"](self, axis, keepdims=keepdims)

    def var(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Return the variance over ``axis``; see ``mg.var``."""
        return functions["var"](self, axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Return the standard deviation over ``axis``; see ``mg.std``."""
        return functions["std"](self, axis, correction=correction, keepdims=keepdims)

    def prod(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the product over ``axis``."""
        return functions["prod"](self, axis, keepdims=keepdims)

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the maximum over ``axis``; tied winners share the cotangent."""
        return functions["max"](self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the minimum over ``axis``; tied winners share the cotangent."""
        return functions["min"](self, axis, keepdims=keepdims)

    def any(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return whether any element over ``axis`` is true."""
        return functions["any"](self, axis, keepdims=keepdims)

    def all(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return whether all elements over ``axis`` are true."""
        return functions["all"](self, axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """Return the index of the first maximum over ``axis``."""
        return functions["argmax"](self, axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """Return the index of the first minimum over ``axis``."""
        return functions["argmin"](self, axis, keepdims=keepdims)


def _restored(value: Any, name: str | None, trainable: bool) -> Tensor:
    """Return a leaf like a tensor that was copied or pickled."""
    leaf = Node(INPUT, (), {}, aval(value.shape, value.dtype), value, (None, 0, ()), None, name)
    tensor = Tensor(leaf)
    if trainable:
        tensor.requires_grad = True
    return tensor


def _trainable(node: Node) -> bool:
    return getattr(node.params.get("cell"), "trainable", False)


_DECIDE = (
    "use mg.where(condition, a, b) instead of `if`; keep float(), .item() and .numpy() "
    "outside the function given to mg.trace, mg.compile or mg.vmap"
)
_RETURN = (
    "return it from the function given to mg.trace, mg.compile or mg.vmap, and ask there: "
    "`loss = step(x)`, then loss.item(); instead of t[mask] use mg.where(mask, t, 0)"
)


def _no_value(tensor: Tensor, wanted: str, fix: str = _RETURN) -> TraceError:
    message = f"a traced tensor was asked for {wanted} but has no value while tracing"
    return TraceError(message, operands=[tensor.node.describe()], fix=fix)
