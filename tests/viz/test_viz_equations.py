"""Equations: the textbook's letters, correct parentheses, LaTeX that parses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viz_samples import batch_norm, gradient_graph, history, needs_matplotlib, random_graph

import minigrad as mg
from minigrad.core.node import Node
from minigrad.viz import equations
from minigrad.viz.texnames import symbol
from minigrad.viz.texterms import ATOM, LOOSE, Term, term

BN = mg.trace(batch_norm, mg.spec((8, 3)), mg.spec((3,)), mg.spec((3,)))


def balanced(latex: str) -> bool:
    """Whether braces, \\left and \\right, \\begin and \\end match."""
    depth, i = 0, 0
    while i < len(latex):
        if latex[i] == "\\":
            i += 2
            continue
        depth += {"{": 1, "}": -1}.get(latex[i], 0)
        if depth < 0:
            return False
        i += 1
    pairs = (r"\left", r"\right"), (r"\begin", r"\end")
    commands = latex.replace(r"\leftarrow", "")
    return depth == 0 and all(commands.count(a) == commands.count(b) for a, b in pairs)


def test_viz_equations_of_batch_norm_are_the_textbook() -> None:
    lines = [line.latex for line in equations(BN).lines]
    assert lines == [
        r"\mu = \frac{\sum_{\mathrm{axis}\ 0} x}{8}",
        r"\sigma^{2} = \frac{\sum_{\mathrm{axis}\ 0} \left(x - \mu\right)^{2}}{8}",
        r"u = \frac{x - \mu}{\sqrt{\sigma^{2} + 10^{-5}}}",
        r"y = \gamma \cdot u + \beta",
    ]


def test_viz_equations_of_the_backward_pass_have_bars_and_name_their_step() -> None:
    graph = BN.grad(["u", "var", "mu", "x"], cotangent=mg.spec((8, 3)))
    found = {line.left: line for line in equations(graph).lines}
    assert found[r"\bar{u}"].right == r"\delta \cdot \gamma"
    assert found[r"\bar{u}"].remark == r"\text{from } y"
    assert found[r"\bar{x}"].remark == r"\text{from } \mu"
    assert r"\bar{\mu}" in found
    assert r"\overline{\sigma^{2}}" in found


def test_viz_latex_of_a_graph_is_aligned() -> None:
    text = BN.latex()
    assert text.startswith(r"\begin{aligned}")
    assert text.endswith(r"\end{aligned}")
    assert text.count("&=") == 4
    assert text == equations(BN).latex


def test_viz_equations_show_themselves() -> None:
    bundle = equations(history())._repr_mimebundle_()
    assert bundle["text/latex"].startswith("$$")
    assert r"\tanh" in bundle["text/plain"]
    assert "equations of" in repr(equations(history()))


def test_viz_equations_write_updates_with_an_arrow() -> None:
    text = gradient_graph().latex()
    assert r"{\mathrm{running\_mean}}_{\mathrm{norm}} &\leftarrow" in text
    assert balanced(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", "x"), ("mu", r"\mu"), ("var", r"\sigma^{2}"), ("gamma", r"\gamma"), ("w1", "w_{1}"),
        ("w_12", "w_{12}"), ("beta2", r"\beta_{2}"), ("x_hat", r"\hat{x}"),
        ("loss", r"\mathcal{L}"),
        ("fc.weight", r"{\mathrm{weight}}_{\mathrm{fc}}"), ("fc.w", r"{w}_{\mathrm{fc}}"),
        ("running_mean", r"\mathrm{running\_mean}"), ("50%", r"\mathrm{50\%}"),
        ("a{b", r"\mathrm{a\{b}"), ("d_u", r"\mathrm{d\_u}"),
    ],
)  # fmt: skip
def test_viz_names_become_symbols(name: str, expected: str) -> None:
    assert symbol(name) == expected


@given(st.text(min_size=1, max_size=12))
def test_viz_any_name_becomes_balanced_latex(name: str) -> None:
    assert balanced(symbol(name))


A, B = Term("a + b", 1), Term("-c", 1)


def node_of(name: str) -> tuple[Node, int]:
    primitive = mg.registry[name]
    sample = primitive.samples[0]
    arrays = sample.draw(np.random.default_rng(0))
    leaves = [
        Node(mg.registry["input"], (), {}, mg.tensor(a).node.aval, None, (None, 0, ()))
        for a in arrays
    ]
    params = dict(sample.params)
    kind = primitive.aval(*(n.aval for n in leaves), **params)
    return Node(primitive, tuple(leaves), params, kind, None, (None, 0, ())), len(leaves)


@pytest.mark.parametrize(
    ("name", "operands", "expected"),
    [
        ("mul", [A, B], r"\left(a + b\right) \cdot \left(-c\right)"),
        ("sub", [A, A], r"a + b - \left(a + b\right)"),
        ("add", [A, B], r"a + b + \left(-c\right)"),
        ("neg", [A], r"-\left(a + b\right)"),
        ("div", [A, B], r"\frac{a + b}{-c}"),
        ("sin", [A], r"\sin\left(a + b\right)"),
        ("asinh", [A], r"\mathrm{arsinh}\left(a + b\right)"),
        ("pow", [Term(r"x^{2}", 3), A], r"\left(x^{2}\right)^{a + b}"),
        ("rsqrt", [A], r"\left(a + b\right)^{-1/2}"),
        ("sqrt", [A], r"\sqrt{a + b}"),
        ("matmul", [A, Term("B")], r"\left(a + b\right) B"),
        ("less", [Term(r"a \gg b", LOOSE), A], r"\left(a \gg b\right) < a + b"),
        ("sum", [A], r"\sum_{\mathrm{axis}\ 0} \left(a + b\right)"),
        ("take", [Term("w_{1}"), Term("i")], r"{w_{1}}_{i}"),
        ("reshape", [A], "a + b"),
    ],
)
def test_viz_terms_are_bracketed_where_needed(
    name: str, operands: list[Term], expected: str
) -> None:
    node, _ = node_of(name)
    assert term(node, operands).text == expected


OPERATIONS = [n for n, p in mg.registry.items() if p.samples and p.kind not in ("leaf", "creation")]


@pytest.mark.parametrize("name", OPERATIONS)
def test_viz_every_primitive_gives_balanced_latex(name: str) -> None:
    node, count = node_of(name)
    simple = term(node, [Term(c) for c in "abcdef"[:count]])
    assert balanced(simple.text)
    compound = term(node, [Term("p + q", 1)] * 1 + [Term("r + s", 1)] * (count - 1))
    assert balanced(compound.text)
    assert balanced(compound.within(ATOM))


@needs_matplotlib
@pytest.mark.parametrize("name", [n for n in OPERATIONS if n != "where"])
def test_viz_every_primitive_gives_latex_that_parses(name: str) -> None:
    from matplotlib.mathtext import MathTextParser

    node, count = node_of(name)
    text = term(node, [Term(c) for c in "abcdef"[:count]]).text
    for ours, theirs in ((r"\le ", r"\leq "), (r"\bmod", r"\ \mathrm{mod}\ ")):
        text = text.replace(ours, theirs)  # matplotlib lacks these two commands of LaTeX
    MathTextParser("path").parse(f"${text}$")


@needs_matplotlib
def test_viz_equation_lines_parse() -> None:
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    for line in equations(BN.grad(["u", "x"], cotangent=mg.spec((8, 3)))).lines:
        parser.parse(f"${line.latex}$")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 30), st.integers(0, 30)), max_size=14),
    st.booleans(),
)
def test_viz_equations_of_random_graphs_define_before_use_and_balance(
    choices: list[tuple[int, int, int]], backward: bool
) -> None:
    graph = random_graph(choices)
    found = equations(graph.grad() if backward else graph)
    lefts = [line.left for line in found.lines]
    assert len(set(lefts)) == len(lefts), "every symbol is defined once"
    for line in found.lines:
        assert balanced(line.latex)
    for early, late in pairwise(found.lines):
        assert early.node.serial != late.node.serial


def test_viz_a_name_used_twice_gets_a_number() -> None:
    def f(h: mg.Tensor) -> mg.Tensor:
        h = mg.tanh(h)
        h = mg.exp(h)
        return mg.sum(h)

    lines = [line.latex for line in equations(mg.trace(f, mg.spec((3,)))).lines]
    assert lines[0] == r"h^{(2)} = \tanh\left(h\right)"
    assert lines[1] == r"h^{(3)} = e^{h^{(2)}}"


def test_viz_clean_up_does_not_give_a_name_to_two_steps_of_a_statement() -> None:
    """Clean-up sorts nodes anew; the sum within ``mu = mean(x)`` is still not mu."""
    lines = [line.latex for line in equations(BN.simplify()).lines]
    assert lines[0] == r"\mu = \left(\sum_{\mathrm{axis}\ 0} x\right) \cdot 0.125"
    assert not [line for line in lines if r"\mu^{(2)}" in line]
