"""How an operation is written in a picture: its sign, with operands that are not drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from minigrad.core.node import Node

from .stats import number

__all__ = [
    "PASSING", "VIEWS", "commutes", "is_infix", "is_literal", "literal_text", "moved_mark", "sign",
    "written",
]  # fmt: skip

_DOT = "·"

#: Operations between two operands, and how tightly they bind (for ``written``).
_INFIX: Final = {
    "add": "+", "sub": "−", "mul": "×", "div": "÷", "matmul": "@", "pow": "^", "less": "<",
    "less_equal": "≤", "equal": "=", "not_equal": "≠", "remainder": "mod", "floor_divide": "//",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "⊕", "bitwise_left_shift": "<<",
    "bitwise_right_shift": ">>",
}  # fmt: skip

_NAMES: Final = {
    "neg": "−", "sqrt": "√", "rsqrt": "1/√", "sum": "Σ", "prod": "∏", "maximum": "max",
    "minimum": "min", "bitwise_invert": "not", "cumulative_sum": "running Σ",
    "permute_dims": "transpose", "broadcast_to": "repeat", "stop_gradient": "stop gradient",
    "scatter_add": "scatter Σ",
}  # fmt: skip

#: Operations that only move data: drawn as part of an edge.
PASSING: Final = frozenset(
    {"broadcast_to", "reshape", "permute_dims", "barrier", "in_range", "astype"}
)

#: Those of them whose result shares the memory of the operand.
VIEWS: Final = frozenset({"broadcast_to", "reshape", "permute_dims", "barrier", "in_range"})


def is_literal(node: Node) -> bool:
    """Whether a node is a number that the user wrote, or another array without data."""
    if node.inputs or node.name:
        return False
    return node.primitive.kind == "creation" or (
        node.primitive.kind == "leaf" and node.aval.size == 1 and not node.params
    )


def literal_text(node: Node) -> str:
    """Return a literal as it is written into the operation that uses it."""
    if node.primitive.name == "full":
        return number(node.params["value"], 5)
    if node.primitive.kind == "leaf" and node.value is not None and node.aval.size == 1:
        return number(node.value.item(), 5)
    return "0, 1, …" if node.primitive.name == "iota" else node.primitive.name


def moved_mark(moves: Sequence[Node]) -> str:
    """Return what an edge says about data that is moved on its way; mostly nothing."""
    order: tuple[int, ...] | None = None
    mark = ""
    for node in moves:
        if node.primitive.name == "permute_dims":
            axes = node.params["axes"]
            fits = order is not None and len(order) == len(axes)
            order = tuple(order[a] for a in axes) if fits and order else axes
        elif node.primitive.name == "astype":
            mark = f" → {node.aval!r}".partition("[")[0]
    turned = order is not None and order != tuple(range(len(order)))
    return ("ᵀ" if turned else "") + mark


def sign(node: Node) -> str:
    """Return the name or sign of the operation alone."""
    name = node.primitive.name
    if name == "call":
        return str(node.params["graph"].name)
    return _INFIX.get(name) or _NAMES.get(name) or name.replace("_", " ")


def _axes(node: Node) -> str:
    axes = node.params.get("axes", node.params.get("axis"))
    if axes is None or node.primitive.kind not in ("reduction", "scan"):
        return ""
    listed = (axes,) if isinstance(axes, int) else tuple(axes)
    whole = len(listed) == node.inputs[0].aval.ndim
    if whole or not listed:
        return ""
    return f" axis {listed[0]}" if len(listed) == 1 else f" axes {', '.join(map(str, listed))}"


def written(node: Node, operands: Sequence[str | None], whole: bool = False) -> str:
    """Return the operation with the operands that are not drawn; those drawn are None.

    ``× 0.5``, ``1 − ·``, ``max(·, 0)``, ``Σ axis 0``; with ``whole`` drawn operands have
    their place too: ``· × 0.5``.
    """
    name, mark = node.primitive.name, sign(node)
    if name in ("mul", "add") and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]:
        text = operands[0] or _DOT
        return f"{text}²" if name == "mul" else f"2 {text}"
    if name in _INFIX:
        return _between(name, mark, *operands, whole=whole)
    if not whole and all(text is None for text in operands):
        return mark + _axes(node)
    if name == "neg":
        return f"−{operands[0] or _DOT}"
    if name == "sum":
        return f"Σ {operands[0] or _DOT}{_axes(node)}"
    inside = ", ".join(text or _DOT for text in operands)
    return f"{mark}({inside}){_axes(node)}"


def _between(name: str, mark: str, left: str | None, right: str | None, *, whole: bool) -> str:
    if not whole:
        if left is None and right is None:
            return mark
        if left is None:
            return f"{mark} {right}"
        if right is None and name in ("mul", "add"):
            return f"{mark} {left}"
    return f"{left or _DOT} {mark} {right or _DOT}"


def commutes(node: Node) -> bool:
    """Whether the order of the operands does not matter."""
    return node.primitive.name in ("add", "mul", "equal", "not_equal", "maximum", "minimum")


def is_infix(node: Node) -> bool:
    """Whether an operation is written between its two operands."""
    return node.primitive.name in _INFIX
