"""Reads the pages of ``docs/derivations``: their code blocks are the formulas that tests evaluate.

A page has sections (``## Name``), a section has Python blocks, which are run one after the
other with NumPy. Nothing here computes a gradient: that is on the pages.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

__all__ = ["PAGES", "Problem", "Section", "check", "damaged", "evaluate", "same", "sections"]

PAGES = Path(__file__).parents[2] / "docs" / "derivations"

#: What the formulas may call, besides what a case gives them.
LETTERS: dict[str, Any] = {
    name: getattr(np, name)
    for name in (
        "abs", "arange", "concatenate", "einsum", "exp", "log", "maximum", "pi", "sign", "sqrt",
        "stack", "tanh", "where", "zeros",
    )
} | {"erf": np.vectorize(math.erf, otypes=[float])}  # fmt: skip

RTOL = ATOL = 1e-9


@dataclass(frozen=True)
class Section:
    """One section of a page: its code."""

    page: str
    title: str
    code: str

    @property
    def id(self) -> str:
        return f"{self.page.removesuffix('.md')}/{self.title}"


def sections(path: Path) -> list[Section]:
    """Return the sections of a page that have code."""
    found = []
    for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title = part.partition("\n")[0].strip()
        blocks = re.findall(r"^```python\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        if blocks:
            found.append(Section(path.name, title, "\n".join(blocks)))
    return found


def evaluate(code: str | ast.AST, given: dict[str, Any]) -> dict[str, Any]:
    """Return all letters after a section's code has run on the given ones."""
    space: dict[str, Any] = {**LETTERS, **given}
    exec(compile(code, "page", "exec"), space)
    return space


class _Damage(ast.NodeTransformer):
    """Changes what one assignment assigns, in size and by a constant."""

    def __init__(self, which: int) -> None:
        self.which = which
        self.count = -1

    def _maybe(self, node: Any) -> Any:
        self.count += 1
        if self.count == self.which:
            source = f"damage({ast.unparse(node.value)})"
            node.value = ast.parse(source, mode="eval").body
        return node

    visit_Assign = visit_AugAssign = _maybe


def _damage(value: Any) -> Any:
    if isinstance(value, list):
        return [_damage(v) for v in value]
    return value * 1.01 + 0.01


def damaged(code: str, which: int) -> tuple[ast.AST, str] | None:
    """Return the code with assignment number ``which`` damaged, and the line; None at the end."""
    tree = ast.parse(code)
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.AugAssign)]
    if which >= len(statements):
        return None
    damage = _Damage(which)
    whole = damage.visit(tree)
    (line,) = [
        ast.unparse(n)
        for n in ast.walk(whole)
        if isinstance(n, ast.Assign | ast.AugAssign) and "damage(" in ast.unparse(n.value)
    ]
    return ast.fix_missing_locations(whole), line


def _equal(a: Any, b: Any) -> None:
    a, b = np.broadcast_arrays(a, b)
    np.testing.assert_allclose(a, b, rtol=RTOL, atol=ATOL, err_msg="a statement on the page")


LETTERS |= {"damage": _damage, "same": _equal}


@dataclass
class Problem:
    """A layer, or a function, with values: what a section is compared with.

    Attributes
    ----------
    given
        The letters that the page reads.
    layer
        A module or a function of the inputs.
    inputs
        The arguments of the layer by letter, those with a gradient.
    others
        Arguments after these, without a gradient.
    parameters
        The layer's parameters: letter to path. They are set to the given values.
    tags
        Intermediates: letter to the name in the graph.
    value
        The letter of the result.
    seed
        Of the random draws that the layer makes, if it makes any.
    compare
        Compares in another way, where a layer called once is not all there is.
    """

    given: dict[str, Any]
    layer: Any
    inputs: dict[str, Any]
    others: Sequence[Any] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    value: str = "y"
    seed: int = 0
    compare: Callable[[dict[str, Any]], None] | None = None


def same(found: Any, wanted: Any, letter: str) -> None:
    """Raise AssertionError unless two arrays have the same numbers, to 1e-9."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.size == wanted.size, f"{letter}: {found.shape} and {wanted.shape}"
    np.testing.assert_allclose(
        found.ravel(), wanted.ravel(), rtol=RTOL, atol=ATOL, err_msg=letter, equal_nan=False
    )


def check(problem: Problem, letters: dict[str, Any]) -> None:
    """Compare the layer's value and all its gradients with the page's."""
    if problem.compare is not None:
        problem.compare(letters)
        return
    layer, inputs = problem.layer, list(problem.inputs.values())
    module = isinstance(layer, nn.Module)
    if module:
        cells = dict(layer.named_parameters())
        assert set(problem.parameters.values()) == set(cells), "every parameter is compared"
        for letter, path in problem.parameters.items():
            cells[path].assign(np.reshape(problem.given[letter], cells[path].shape))
    call: Callable[..., Any] = lambda f, *xs: f(*xs, *problem.others)
    mg.random.seed(problem.seed)
    if module and problem.parameters:
        out, pullback = mg.vjp(call, layer, *inputs)
    else:
        out, pullback = mg.vjp(lambda *xs: call(layer, *xs), *inputs)
    same(out, letters[problem.value], problem.value)
    delta = problem.given.get("δ", np.ones(()))
    parts = list(pullback(np.reshape(delta, out.shape)))
    if module and problem.parameters:
        by_path = dict(parts.pop(0).named_parameters())
        for letter, path in problem.parameters.items():
            same(by_path[path], letters[f"d{letter}"], f"d{letter}")
    for letter, part in zip(problem.inputs, parts, strict=True):
        same(part, letters[f"d{letter}"], f"d{letter}")
    if problem.tags:
        _check_tags(problem, letters, np.reshape(delta, out.shape))


def _check_tags(problem: Problem, letters: dict[str, Any], delta: Any) -> None:
    names = list(problem.inputs)

    def f(*xs: Any) -> Any:
        return problem.layer(*xs, *problem.others)

    specs = [mg.spec(np.shape(x), mg.float64) for x in problem.inputs.values()]
    graph = mg.trace(f, *specs)
    wrt = list(problem.tags.values())
    arrays = [problem.inputs[n] for n in names]
    _, *found = graph.grad(wrt=wrt, cotangent=delta)(*arrays)
    for letter, gradient in zip(problem.tags, found, strict=True):
        same(gradient, letters[f"d{letter}"], f"d{letter}")
