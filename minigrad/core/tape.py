"""Recording: what is being recorded now, on this thread, and the one function that does it.

At the prompt every operation is computed at once and its node remembers its inputs.
A ``Tape`` is a region in which values are unknown: its arguments and the state cells
that it reads become inputs, and what it assigns to cells becomes outputs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from .aval import Aval
from .node import Node
from .origin import Where, where
from .place import in_use, placeless
from .primitive import Each, Primitive, register, registry

if TYPE_CHECKING:
    from .state import Cell, Parameter

__all__ = [
    "CONSTANT",
    "INPUT",
    "Tape",
    "constant",
    "no_grad",
    "placeholder",
    "record",
    "recorder",
    "scope",
]


def _no_rule(*_: Any, **__: Any) -> Any:
    raise AssertionError("a leaf is given, never computed")


def _leaf(name: str, note: str) -> Primitive:
    return register(
        Primitive(
            name=name,
            kind="leaf",
            aval=_no_rule,
            reference=_no_rule,
            vjp=(),
            batch=_no_rule,
            latex=r"\mathrm{{{name}}}",
            samples=(),
            note=note,
            analytic=True,
        )
    )


INPUT = _leaf("input", "An argument, a state cell, or a tensor made from data at the prompt.")
CONSTANT = _leaf("constant", "An array that the user's code mentions but does not pass.")


class Recorder(threading.local):
    """The state of recording on one thread."""

    tape: Tape | None = None
    recording: bool = True  # False under no_grad
    partner: Node | None = None  # the forward node served by what is recorded now
    source: Node | None = None  # the node that is being copied: its place is kept
    place: Where | None = None  # the place of copies of what has none, such as random bits
    scope: tuple[str, ...] = ()
    transforming: int = 0  # inside how many of grad, vjp, vmap, ...

    def __init__(self) -> None:
        context = copy_context()
        context.run(np.seterr, all="ignore")
        self._quiet = context.run

    def quietly(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function on arrays without NumPy's floating-point warnings.

        Ten times cheaper than ``np.errstate``: the setting is kept in a context of this
        thread, which a signal handler that interrupts a call cannot enter again.
        """
        try:
            return self._quiet(function, *args, **kwargs)
        except RuntimeError as error:
            if "cannot enter context" not in str(error):
                raise
            with np.errstate(all="ignore"):
                return function(*args, **kwargs)


recorder = Recorder()


class Tape:
    """A region of abstract recording: what it reads from and writes to state.

    A ``closed`` tape turns known values with a history into constants: nothing outside
    can be differentiated through it. An open one keeps the link.
    """

    def __init__(self, *, closed: bool = True) -> None:
        self.closed = closed
        self.reads: dict[Cell, Node] = {}
        self.writes: dict[Cell, Node] = {}
        self.grads: dict[Parameter, Node | None] = {}
        self.grad_reads: dict[Parameter, Node] = {}
        self.guards: dict[tuple[int, str], tuple[Callable[[], Any], str, Any]] = {}
        self._owners: list[Any] = []  # of guards: none may go, and its id return, meanwhile
        self._captured: dict[Node, Node] = {}

    def __enter__(self) -> Tape:
        self._outer = recorder.tape, recorder.recording, recorder.scope
        recorder.tape, recorder.recording, recorder.scope = self, True, ()
        return self

    def __exit__(self, *_: object) -> None:
        recorder.tape, recorder.recording, recorder.scope = self._outer
        if recorder.tape is not None:
            recorder.tape._owners += self._owners
        self._owners = []

    def capture(self, node: Node) -> Node:
        """Return a constant for a value that was known before or during tracing.

        Of what was only repeated or reshaped, the source is the constant.
        """
        moves = []
        while node.primitive.name in ("broadcast_to", "reshape") and node not in self._captured:
            moves.append(node)
            (node,) = node.inputs
        found = self._captured.get(node, node)
        if found.inputs and found is node:
            found = Node(CONSTANT, (), {}, node.aval, node.value, node.where, None, node.name)
            self._captured[node] = found
        for move in reversed(moves):
            found = Node(
                move.primitive, (found,), move.params, move.aval, move.value, move.where, None,
                move.name,
            )  # fmt: skip
            self._captured[move] = self._captured[found] = found
        return found

    def read(self, cell: Cell) -> Node:
        """Return the node for a cell's present value, an input if it was not assigned yet."""
        node = self.writes.get(cell) or self.reads.get(cell)
        if node is None:
            leaf = cell.leaf
            node = Node(INPUT, (), {"cell": cell}, leaf.aval, None, leaf.where, None, cell.name)
            self.reads[cell] = node
        return node

    def read_grad(self, parameter: Parameter) -> Node | None:
        """Return the node for a parameter's ``.grad``, an input if it had one before."""
        if parameter in self.grads:
            return self.grads[parameter]
        self.guard(parameter, "has_grad", parameter.has_grad)
        before: Any = getattr(parameter, "_grad", None)
        if before is None:
            return None
        name = f"{parameter._name}.grad" if parameter._name else None
        node = Node(
            INPUT, (), {"gradient": parameter}, before.node.aval, None, parameter.leaf.where,
            None, name,
        )  # fmt: skip
        self.grads[parameter] = self.grad_reads[parameter] = node
        return node

    def guard(self, owner: Any, name: str, value: Any) -> None:
        """Note that the trace depends on a plain attribute, such as ``layer.training``.

        The owner is not kept alive after the trace: nobody can change what is gone.
        """
        if (id(owner), name) not in self.guards:
            weak = type(owner).__weakrefoffset__ != 0
            self.guards[id(owner), name] = ref(owner) if weak else lambda: owner, name, value
            self._owners.append(owner)

    @property
    def valid(self) -> bool:
        """Whether every attribute that the trace depended on still has its value."""
        for owner, name, value in self.guards.values():
            present = owner()
            if present is not None:
                now = getattr(present, name)
                if now is not value and now != value:
                    return False
        return True


def guarded(owner: Any, name: str, value: Any) -> Any:
    """Return ``value``; while tracing, note that the trace depends on it."""
    if recorder.tape is not None:
        recorder.tape.guard(owner, name, value)
    return value


def placeholder(aval: Aval, name: str | None = None) -> Node:
    """Return a node for an argument whose value is not known."""
    return Node(INPUT, (), {}, aval, None, where(recorder.scope), None, name)


def constant(aval: Aval, value: Any) -> Node:
    """Return a node for a known array."""
    return Node(CONSTANT, (), {}, aval, value, where(recorder.scope))


def record(
    primitive: Primitive,
    inputs: tuple[Node, ...],
    params: dict[str, Any],
    aval: Aval,
    value: Any,
) -> Node:
    """Append one operation to the tape. Every node but a leaf is made here.

    The node's place is the user's line; a node of a backward pass has its partner's,
    and a copy has the original's.
    """
    now = recorder
    partner, source, name = now.partner, now.source, None
    if source is not None:
        at, name = source.where, source.name
        if at[0] is None and now.place is not None:
            at = now.place
        partner = partner or source.partner
    elif partner is not None:
        at = partner.where
    else:
        at = where(now.scope, 3)
    if value is None:
        if now.tape is not None and now.tape.closed:
            for i in inputs:
                if i.inputs and i.value is not None:  # known: becomes a constant of the graph
                    capture = now.tape.capture
                    inputs = tuple([
                        capture(i) if i.inputs and i.value is not None else i for i in inputs
                    ])  # fmt: skip
                    break
    elif inputs and not now.recording and now.tape is None:
        free = in_use[0] and isinstance(value, np.ndarray) and all(map(placeless, inputs))
        leaf = CONSTANT if free else INPUT
        return Node(leaf, (), {}, aval, value, at, None, name)
    stopped = not now.recording and bool(inputs)  # a literal has nothing to stop
    return Node(primitive, inputs, params, aval, value, at, partner, name, stopped)


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing at the prompt; let no gradient flow through what is traced."""
    before = recorder.recording
    recorder.recording = False
    try:
        yield
    finally:
        recorder.recording = before


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Give all nodes recorded inside the layer or function name ``name``."""
    before = recorder.scope
    recorder.scope = (*before, name)
    try:
        yield
    finally:
        recorder.scope = before


__all__ += ["Each", "guarded", "registry"]
