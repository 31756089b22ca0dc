"""One operation in LaTeX, from its primitive's template, with parentheses where they are needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from minigrad.core.node import Node

from .symbols import literal_text
from .texnames import upright

__all__ = ["ATOM", "LOOSE", "Term", "literal_term", "term"]

# How tightly an expression holds together, loosest first.
LOOSE, SUM, PRODUCT, POWER, ATOM = range(5)


@dataclass(frozen=True, slots=True)
class Term:
    """A piece of LaTeX and how tightly it holds together."""

    text: str
    binding: int = ATOM

    def within(self, needed: int) -> str:
        """Return the text, in parentheses unless it holds at least so tightly."""
        return self.text if self.binding >= needed else rf"\left({self.text}\right)"


@dataclass(frozen=True, slots=True)
class _Rule:
    """How tightly a result holds, and how tightly each operand must."""

    result: int
    operands: tuple[int, ...]


_CALL = _Rule(ATOM, (LOOSE, LOOSE, LOOSE))  # the template has its own brackets
_RULES: Final = {
    "add": _Rule(SUM, (SUM, SUM)),
    "sub": _Rule(SUM, (SUM, PRODUCT)),
    "neg": _Rule(SUM, (PRODUCT,)),
    "mul": _Rule(PRODUCT, (PRODUCT, PRODUCT)),
    "matmul": _Rule(PRODUCT, (POWER, POWER)),
    "div": _Rule(PRODUCT, (LOOSE, LOOSE)),
    "remainder": _Rule(SUM, (POWER, POWER)),
    "pow": _Rule(POWER, (ATOM, LOOSE)),
    "rsqrt": _Rule(POWER, (ATOM,)),
    "permute_dims": _Rule(POWER, (ATOM,)),
    "exp": _Rule(POWER, (LOOSE,)),
    "expm1": _Rule(SUM, (LOOSE,)),
    "log1p": _Rule(ATOM, (SUM,)),
    "equal": _Rule(LOOSE, (SUM, SUM)),
    "less": _Rule(LOOSE, (SUM, SUM)),
    "less_equal": _Rule(LOOSE, (SUM, SUM)),
    "where": _Rule(LOOSE, (LOOSE, LOOSE, LOOSE)),
    "take": _Rule(POWER, (ATOM, LOOSE)),
    "slice": _Rule(POWER, (ATOM,)),
    "mulhi": _Rule(ATOM, (POWER, POWER)),
    "sqrt": _CALL,
    "abs": _CALL,
    "floor": _CALL,
    "ceil": _CALL,
    "floor_divide": _CALL,
}

#: Written as ``\sin {0}``: the operand gets parentheses, so that ``\sin(x) \cdot y`` is clear.
_BARE_CALL = re.compile(r"(\\(?:mathrm\{\{\w+\}\}|[a-z]+))(?:\\,| )\{0\}")
_BRACKETED = re.compile(r"[({|]\s*\{\d\}|,\s*\{\d\}")


def _rule(node: Node) -> _Rule:
    """Return how to bracket an operation; one that is not known is bracketed throughout."""
    known = _RULES.get(node.primitive.name)
    if known is not None:
        return known
    template = node.primitive.latex
    slots = len(re.findall(r"\{\d\}", template))
    inside = slots > 0 and len(_BRACKETED.findall(template)) == slots
    return _CALL if inside else _Rule(LOOSE, (ATOM,) * slots)


def term(node: Node, operands: Sequence[Term]) -> Term:
    """Return an operation applied to terms."""
    name, template = node.primitive.name, node.primitive.latex
    if name in ("reshape", "broadcast_to", "barrier", "in_range"):
        return operands[0]  # moves or checks data, says nothing in a formula
    if name == "mul" and operands[0] == operands[1]:
        return Term(f"{operands[0].within(ATOM)}^{{2}}", POWER)
    if name in ("sum", "prod", "max", "min", "argmax", "argmin"):
        return _reduction(node, operands[0])
    if name == "concat":
        return Term(rf"\left[{', '.join(t.text for t in operands)}\right]")
    if name == "call":
        inside = ", ".join(t.text for t in operands)
        return Term(rf"{upright(node.params['graph'].name)}\left({inside}\right)")
    bare = _BARE_CALL.fullmatch(template)
    if bare:
        return Term(rf"{bare[1].format()}\left({operands[0].text}\right)")
    rule = _rule(node)
    needed = rule.operands + (LOOSE,) * (len(operands) - len(rule.operands))
    texts = [t.within(n) for t, n in zip(operands, needed, strict=False)]
    if name == "add" and texts[1].startswith("-"):
        texts[1] = rf"\left({texts[1]}\right)"
    if name in ("take", "slice"):
        texts[0] = f"{{{texts[0]}}}"  # its own index may not meet this one
    return Term(template.format(*texts, **_params(node)), rule.result)


def _params(node: Node) -> dict[str, object]:
    return {k: str(v) for k, v in node.params.items()}


def _reduction(node: Node, operand: Term) -> Term:
    """Return a reduction; which axes is said unless it is all of them."""
    head = node.primitive.latex.replace(" {0}", "")
    axes = node.params.get("axes", node.params.get("axis"))
    listed = (axes,) if isinstance(axes, int) else tuple(axes or ())
    if len(listed) < node.inputs[0].aval.ndim and listed:
        head += rf"_{{\mathrm{{axis}}\ {', '.join(map(str, listed))}}}"
    if node.primitive.name in ("sum", "prod"):
        return Term(f"{head} {operand.within(PRODUCT)}", SUM)
    return Term(rf"{head}\left({operand.text}\right)")


def literal_term(node: Node) -> Term:
    """Return a number, or a name for an array that the code mentions."""
    text = literal_text(node).replace("−", "-")
    mantissa, e, power = text.partition("e")
    if e and (power.lstrip("-").isdigit()):
        if mantissa in ("1", "-1"):
            return Term(f"{mantissa[:-1]}10^{{{power}}}", SUM if text.startswith("-") else POWER)
        return Term(rf"{mantissa} \cdot 10^{{{power}}}", PRODUCT)
    special = {"inf": r"\infty", "-inf": r"-\infty", "NaN": r"\mathrm{NaN}", "0, 1, …": r"\iota"}
    if text in special:
        return Term(special[text], SUM if text.startswith("-") else ATOM)
    if text.lstrip("-").replace(".", "", 1).isdigit():
        return Term(text, SUM if text.startswith("-") else ATOM)
    return Term(upright(text))
