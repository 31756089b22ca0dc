"""Node: one recorded operation and its result. Nodes are what graphs are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import count
from operator import attrgetter
from typing import Any

from .aval import Aval
from .origin import Origin, Where
from .primitive import Primitive

__all__ = ["Node", "ancestors"]

_serial: Callable[[], int] = count(1).__next__
_by_serial: Callable[[Node], int] = attrgetter("serial")


class Node:
    """One application of a primitive, and its one result. Never changed once made.

    Attributes
    ----------
    primitive, inputs, params
        What was applied to what.
    aval
        Shape and dtype of the result.
    value
        The result itself where it is known: at the prompt, and for constants.
    where
        The user's place and layer (see ``origin``).
    partner
        For a node of a backward pass, the forward node that it serves.
    name
        The name of an input, or the tag that the user gave it.
    stopped
        Made under ``no_grad``: no gradient flows through it.
    serial
        Its place on the tape. Every node is recorded after its inputs, so sorting by
        serial number is a topological order, and needs no recursion.
    """

    __slots__ = (
        "__weakref__", "aval", "inputs", "name", "params", "partner", "primitive", "serial",
        "stopped", "value", "where",
    )  # fmt: skip

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Node, ...],
        params: dict[str, Any],
        aval: Aval,
        value: Any,
        where: Where,
        partner: Node | None = None,
        name: str | None = None,
        stopped: bool = False,
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.params = params
        self.aval = aval
        self.value = value
        self.where = where
        self.partner = partner
        self.name = name
        self.stopped = stopped
        self.serial = _serial()

    @property
    def origin(self) -> Origin:
        """Where in the user's code this node was made."""
        return Origin(*self.where)

    @property
    def scope(self) -> tuple[str, ...]:
        """The layers within which it was made, outermost first."""
        return self.where[2]

    def rebuilt(self, inputs: tuple[Node, ...]) -> Node:
        """Return this node, or its copy if the inputs are others."""
        if inputs == self.inputs:
            return self
        return Node(
            self.primitive, inputs, self.params, self.aval, None, self.where, self.partner,
            self.name, self.stopped,
        )  # fmt: skip

    def describe(self) -> str:
        """Return one line for an error message: name, type, place, source text."""
        if self.where[0] is None and "value" in self.params:  # a literal, which has no place
            return f"{self.params['value']}  {self.aval!r}    a Python number"
        return f"{self.name or self.primitive.name}  {self.aval!r}    {self.origin}"

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<node {self.primitive.name}{name}: {self.aval!r}>"


def ancestors(
    outputs: Iterable[Node],
    stop: Collection[Node] = (),
    since: int = 0,
) -> list[Node]:
    """Return the outputs and all they depend on, in the order of recording.

    ``stop`` are returned but not looked behind. Nodes recorded before ``since`` are
    left out. Iterative: a chain of any length is fine.
    """
    seen = {node for node in outputs if node.serial >= since}
    found = list(seen)
    for node in found:  # grows while it is read
        if node not in stop:
            for source in node.inputs:
                if source not in seen and source.serial >= since:
                    seen.add(source)
                    found.append(source)
    found.sort(key=_by_serial)
    return found
