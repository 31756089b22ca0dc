"""The table of algebraic rules. Each says what it does and whether it is exact."""

from __future__ import annotations

from collections.abc import Callable
from math import copysign, frexp, isfinite

from minigrad.core.node import Node

from .rewrite import Rule, literal, make, make_literal

__all__ = ["MOVES", "RULES", "table"]

Replace = Callable[[Node], Node | None]

#: All rules, by the primitive at which they start.
RULES: dict[str, list[Rule]] = {}


def rule(
    on: str, formula: str, *, exact: bool | str = True, final: bool = False
) -> Callable[[Replace], Replace]:
    """Enter a function into the table."""

    def enter(replace: Replace) -> Replace:
        for name in on.split():
            RULES.setdefault(name, []).append(Rule(formula, exact, final, replace))
        return replace

    return enter


def table(*, final: bool) -> dict[str, list[Rule]]:
    """Return the rules that may be applied; some only when nothing is differentiated any more."""
    return {name: [r for r in rules if final or not r.final] for name, rules in RULES.items()}


@rule("add", "x + 0  ->  x", exact="the sign of a zero may change: -0 + 0 is +0")
def _add_zero(node: Node) -> Node | None:
    x, y = node.inputs
    return x if literal(y) == 0 else y if literal(x) == 0 else None


@rule("sub", "x - 0  ->  x")
def _sub_zero(node: Node) -> Node | None:
    """Guarded: the zero is positive, since -0 - (-0) is +0."""
    x, y = node.inputs
    zero = literal(y)
    return x if zero is not None and zero == 0 and copysign(1.0, zero) > 0 else None


@rule("mul", "x * 1  ->  x")
def _mul_one(node: Node) -> Node | None:
    x, y = node.inputs
    return x if literal(y) == 1 else y if literal(x) == 1 else None


@rule("mul", "x * -1  ->  -x")
def _mul_minus_one(node: Node) -> Node | None:
    x, y = node.inputs
    if literal(y) == -1:
        return make(node, "neg", (x,), node.aval)
    return make(node, "neg", (y,), node.aval) if literal(x) == -1 else None


@rule("div pow", "x / 1, x ** 1  ->  x")
def _by_one(node: Node) -> Node | None:
    return node.inputs[0] if literal(node.inputs[1]) == 1 else None


@rule("div", "x / c  ->  x * (1 / c)", exact=True)
def _reciprocal(node: Node) -> Node | None:
    """Guarded: c is a power of two whose reciprocal is normal in the dtype."""
    x, divisor = node.inputs
    c = literal(divisor)
    if not c or not isfinite(c):
        return None
    mantissa, exponent = frexp(abs(c))
    if mantissa != 0.5 or abs(exponent) > (14 if node.aval.dtype.itemsize == 2 else 125):
        return None
    inverse = make_literal(divisor, 1.0 / c, divisor.aval)
    inverse.name = None
    return make(node, "mul", (x, inverse), node.aval)


@rule("neg", "-(-x)  ->  x")
def _neg_neg(node: Node) -> Node | None:
    (x,) = node.inputs
    return x.inputs[0] if x.primitive.name == "neg" and not x.name else None


@rule("add", "x + (-y)  ->  x - y")
def _add_neg(node: Node) -> Node | None:
    x, y = node.inputs
    if y.primitive.name == "neg":
        return make(node, "sub", (x, y.inputs[0]), node.aval)
    if x.primitive.name == "neg":
        return make(node, "sub", (y, x.inputs[0]), node.aval)
    return None


@rule("sub", "x - (-y)  ->  x + y")
def _sub_neg(node: Node) -> Node | None:
    x, y = node.inputs
    return make(node, "add", (x, y.inputs[0]), node.aval) if y.primitive.name == "neg" else None


@rule("where", "where(c, x, x)  ->  x")
def _same_branches(node: Node) -> Node | None:
    _, a, b = node.inputs
    return a if a is b else None


@rule("bitwise_invert", "not not x  ->  x")
def _not_not(node: Node) -> Node | None:
    (x,) = node.inputs
    return x.inputs[0] if x.primitive.name == "bitwise_invert" else None


@rule("reshape", "reshape(reshape(x))  ->  reshape(x), or x itself")
def _reshape(node: Node) -> Node | None:
    (x,) = node.inputs
    if x.aval is node.aval:
        return x
    if x.primitive.name == "reshape":
        return make(node, "reshape", x.inputs, node.aval, **node.params)
    return None


@rule("permute_dims", "permutations compose; the identity vanishes")
def _permute(node: Node) -> Node | None:
    (x,), axes = node.inputs, node.params["axes"]
    if axes == tuple(range(len(axes))):
        return x
    if x.primitive.name == "permute_dims":
        composed = tuple(x.params["axes"][a] for a in axes)
        return make(node, "permute_dims", x.inputs, node.aval, axes=composed)
    return None


@rule("permute_dims", "permuting axes of size 1 only  ->  reshape")
def _permute_units(node: Node) -> Node | None:
    (x,), axes = node.inputs, node.params["axes"]
    moved = [a for a in axes if x.aval.shape[a] != 1]
    if moved == sorted(moved):
        return make(node, "reshape", (x,), node.aval, shape=node.aval.shape)
    return None


@rule("broadcast_to", "repeating what is repeated  ->  repeating once")
def _broadcast(node: Node) -> Node | None:
    (x,) = node.inputs
    if x.aval is node.aval:
        return x
    if x.primitive.name == "broadcast_to":
        return make(node, "broadcast_to", x.inputs, node.aval, **node.params)
    return None


@rule("sum", "adding up axes of size 1  ->  reshape", exact="a sum of -0 alone is +0")
@rule("prod max min", "reducing axes of size 1  ->  reshape")
def _reduce_units(node: Node) -> Node | None:
    (x,) = node.inputs
    if all(x.aval.shape[a] == 1 for a in node.params["axes"]):
        return make(node, "reshape", (x,), node.aval, shape=node.aval.shape)
    return None


@rule("slice", "a slice of everything  ->  x")
def _whole_slice(node: Node) -> Node | None:
    return node.inputs[0] if node.inputs[0].aval is node.aval else None


@rule("pad", "padding by nothing  ->  x")
def _no_pad(node: Node) -> Node | None:
    return node.inputs[0] if node.inputs[0].aval is node.aval else None


@rule("concat", "joining one operand  ->  x")
def _join_one(node: Node) -> Node | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


@rule("flip", "flip(flip(x))  ->  x")
def _flip_flip(node: Node) -> Node | None:
    (x,) = node.inputs
    same = x.primitive.name == "flip" and x.params == node.params
    return x.inputs[0] if same else None


@rule("all_reduce", "a sum over one process  ->  x")
def _one_process(node: Node) -> Node | None:
    return node.inputs[0] if node.params["group"].size == 1 else None


@rule("astype", "a conversion to the same dtype  ->  x")
def _same_dtype(node: Node) -> Node | None:
    return node.inputs[0] if node.inputs[0].aval is node.aval else None


#: Movements that leave equal elements equal: of a literal they make a literal.
MOVES = ("broadcast_to", "reshape", "permute_dims", "slice", "flip")


@rule(" ".join(MOVES), "moving equal elements  ->  a literal of the new shape")
def _move_literal(node: Node) -> Node | None:
    (x,) = node.inputs
    if x.primitive.name != "full":
        return None
    return make_literal(node, x.params["value"], node.aval)


@rule("stop_gradient", "stop_gradient(x)  ->  x", final=True)
def _no_stop(node: Node) -> Node | None:
    return node.inputs[0]
