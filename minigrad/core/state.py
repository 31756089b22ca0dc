"""State cells: parameters, buffers, optimiser moments, random generators.

A cell is a tensor whose value can be replaced. In a graph, reading a cell makes an
input and assigning it makes an output; the user sees neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from minigrad.changes import changes
from minigrad.dtypes import DType, as_dtype
from minigrad.errors import MinigradError, ShapeError, TraceError

from .aval import Aval, aval
from .door import as_tensor, cast, owned
from .late import call
from .node import Node
from .origin import where
from .tape import INPUT, guarded, recorder
from .tensor import Tensor

__all__ = ["Buffer", "Cell", "Parameter", "load_all"]


class Cell(Tensor):
    """A tensor with a name whose value can be assigned."""

    __slots__ = ("_held", "_name", "_where", "kind")

    trainable = False
    placeless = False  # whether its value may be brought to another device unasked
    kind: Aval  #: Shape and dtype of the present array.
    _held: Any  # the present array or, once somebody has asked for it, the node that has it

    def __init__(self, data: Any, name: str | None = None, *, dtype: Any = None) -> None:
        self._name = name
        self._where = where(())
        self.load(_own(data, None if dtype is None else as_dtype(dtype)))

    def load(self, array: Any) -> None:
        """Replace the value by an array, here and now, whatever is being traced."""
        kind = aval(array.shape, array.dtype)
        if kind is not getattr(self, "kind", None):
            changes.note()
        self.kind = kind
        self._held = array

    @property
    def array(self) -> Any:
        """The present array, whatever is being traced."""
        held = self._held
        return held.value if type(held) is Node else held

    @property
    def leaf(self) -> Node:
        """The node of the present array, made when somebody asks for it."""
        held = self._held
        if type(held) is not Node:
            held = self._held = Node(
                INPUT, (), {"cell": self}, self.kind, held, self._where, None, self._name
            )
        return held

    @property
    def node(self) -> Node:  # type: ignore[override]
        """The node of the present value: an input of the graph while tracing."""
        tape = recorder.tape
        return self.leaf if tape is None else tape.read(self)

    @property
    def name(self) -> str | None:
        """The name, for a layer's cell its path in the model."""
        return self._name

    @name.setter
    def name(self, value: str | None) -> None:
        self._name = value
        if type(self._held) is Node:
            self._held.name = value

    def assign(self, value: Any) -> None:
        """Replace the value; shape and dtype stay.

        Raises
        ------
        ShapeError
            If the new value has another shape.
        TraceError
            If the value is abstract and no trace can carry the assignment, as in ``vmap``.
        """
        given = value if isinstance(value, Tensor) else as_tensor(_own(value, self.dtype))
        new = cast(given, self.dtype)
        if new.shape != self.shape:
            raise ShapeError(
                f"assign: {self._name or 'the cell'} has shape {self.shape}, "
                f"the new value {new.shape}",
                fix="reshape the value, or make a new parameter",
            )
        if recorder.tape is not None:
            recorder.tape.writes[self] = new.node
        elif new.node.value is None:
            raise TraceError(
                f"{self._name or 'a cell'} cannot be assigned a value for a whole batch or "
                "direction at once",
                operands=[new.node.describe()],
                fix="call model.eval() before mg.vmap or mg.jvp, so that no statistics are kept",
            )
        else:
            self.load(new.node.value)

    def __iadd__(self, other: Any) -> Cell:
        self.assign(self + other)
        return self

    def __isub__(self, other: Any) -> Cell:
        self.assign(self - other)
        return self

    def __imul__(self, other: Any) -> Cell:
        self.assign(self * other)
        return self

    def __itruediv__(self, other: Any) -> Cell:
        self.assign(self / other)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({Tensor(self.node)!r})"

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are derived for it: only for a parameter."""
        return False

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted:
            raise MinigradError(
                f"requires_grad: {self._name or 'the buffer'} is state that is not trained",
                fix="make it an mg.Parameter",
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        twin = _restored(type(self), self.leaf.value, self._name, self.trainable)
        memo[id(self)] = twin
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.leaf.value, self._name, self.trainable)


def _own(data: Any, dtype: DType | None) -> Any:
    """Return data as an array that nobody else will write to."""
    return owned(data.value if isinstance(data, Tensor) else data, dtype)


def _restored(kind: type[Cell], value: Any, name: str | None, trainable: bool) -> Cell:
    """Return a cell like one that was copied or pickled."""
    cell = kind(value, name)
    if kind.trainable and not trainable:
        cell.requires_grad = False
    return cell


def load_all(cells: Sequence[Cell], arrays: Sequence[Any]) -> None:
    """Replace the values of all cells, each by an array of its type, or of none.

    One loop without Python code of its own: Ctrl-C comes before it or after it.
    """
    deque(map(setattr, cells, repeat("_held"), arrays), maxlen=0)


class Parameter(Cell):
    """State that is trained: ``backward`` fills its ``.grad``, an optimiser changes it."""

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None, *, dtype: Any = None) -> None:
        super().__init__(data, name, dtype=dtype)
        call("check_differentiable", self.leaf, "Parameter")

    @property
    def trainable(self) -> bool:  # type: ignore[override]
        """Whether gradients are derived for it."""
        return getattr(self, "_trainable", True)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are derived for it; set it to False to freeze the parameter."""
        return bool(guarded(self, "trainable", self.trainable))

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self._trainable = wanted
        changes.note()

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient, or None. Inside a trace it is part of the trace."""
        tape = recorder.tape
        if tape is None:
            return getattr(self, "_grad", None)
        node = tape.read_grad(self)
        return None if node is None else Tensor(node)

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if recorder.tape is None:
            if (value is None) is self.has_grad:
                changes.note()
            self._grad = value
        else:
            recorder.tape.grads[self] = None if value is None else value.node

    @property
    def has_grad(self) -> bool:
        """Whether a gradient is accumulated now."""
        return getattr(self, "_grad", None) is not None


class Buffer(Cell):
    """State that is not trained: running statistics, counters, optimiser moments."""

    __slots__ = ()
