"""Each algebraic rule alone: that it fires, that it keeps every bit, and when it must not fire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Graph, Node, apply, registry, verify
from minigrad.core.tape import CONSTANT
from minigrad.passes import RULES, finalise, simplify
from minigrad.passes.rewrite import Rule, rewrite
from tests.ops.checkers import same_bits

NAN, INF = np.nan, np.inf
SPECIAL = np.array([0.0, -0.0, 1.0, -1.5, 5e-324, 2.2e-308, 1.7e308, INF, -INF, NAN, 3.0, -7.25])
X = SPECIAL.reshape(3, 4)
Y = np.array([2.0, -0.0, 0.0, NAN, 1.0, INF, -INF, -INF, 0.5, 1.0, -3.0, 1e-300]).reshape(3, 4)
FLAGS = X > 0


def narrow(dtype: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return X.astype(dtype)


def op(name: str, *xs: Any, **params: Any) -> mg.Tensor:
    """Apply a primitive with nothing in between that would tidy up."""
    return apply(registry[name], xs, params)


def number(value: float, like: Any) -> mg.Tensor:
    return mg.full(like.shape, value, dtype=like.dtype)


#: (primitive, start of the formula): (operands, program, what is left)
FIRES: dict[tuple[str, str], list[tuple[tuple[Any, ...], Callable[..., Any], list[str]]]] = {
    ("add", "x + 0"): [
        ((X,), lambda x: op("add", x, number(0.0, x)), []),
        ((X,), lambda x: op("add", number(0.0, x), x), []),
        ((X,), lambda x: op("add", number(-0.0, x), x), []),
        ((np.arange(4),), lambda x: op("add", x, number(0, x)), []),
    ],
    ("add", "x + (-y)"): [
        ((X, Y), lambda x, y: op("add", x, op("neg", y)), ["sub"]),
        ((X, Y), lambda x, y: op("add", op("neg", x), y), ["sub"]),
    ],
    ("sub", "x - 0"): [
        ((X,), lambda x: op("sub", x, number(0.0, x)), []),
        ((np.arange(4),), lambda x: op("sub", x, number(0, x)), []),
    ],
    ("sub", "x - (-y)"): [((X, Y), lambda x, y: op("sub", x, op("neg", y)), ["add"])],
    ("mul", "x * 1"): [
        ((X,), lambda x: op("mul", x, number(1.0, x)), []),
        ((X,), lambda x: op("mul", number(1, x), x), []),
    ],
    ("mul", "x * -1"): [
        ((X,), lambda x: op("mul", x, number(-1.0, x)), ["neg"]),
        ((X,), lambda x: op("mul", number(-1, x), x), ["neg"]),
    ],
    ("div", "x / 1"): [((X,), lambda x: op("div", x, number(1.0, x)), [])],
    ("pow", "x / 1"): [((X,), lambda x: op("pow", x, number(1.0, x)), [])],
    ("div", "x / c"): [
        ((X,), lambda x, c=c: op("div", x, number(c, x)), ["mul"])
        for c in (2.0, 0.5, -4.0, 2.0**100, -(2.0**-100))
    ]
    + [
        ((narrow(t),), lambda x, c=c: op("div", x, number(c, x)), ["mul"])
        for t, c in [(np.float32, 2.0**100), (np.float16, 2.0**-10), (np.float16, 2.0**12)]
    ],
    ("all_reduce", "a sum over one"): [
        ((X,), lambda x: op("all_reduce", x, group=mg.collective.ALONE), [])
    ],
    ("neg", "-(-x)"): [((X,), lambda x: op("neg", op("neg", x)), [])],
    ("where", "where(c, x, x)"): [((FLAGS, X), lambda c, x: op("where", c, x, x), [])],
    ("bitwise_invert", "not not x"): [
        ((FLAGS,), lambda c: op("bitwise_invert", op("bitwise_invert", c)), []),
        ((np.arange(4),), lambda i: op("bitwise_invert", op("bitwise_invert", i)), []),
    ],
    ("reshape", "reshape(reshape"): [
        ((X,), lambda x: op("reshape", op("reshape", x, shape=(12,)), shape=(2, 6)), ["reshape"]),
        ((X,), lambda x: op("reshape", x, shape=(3, 4)), []),
        ((X,), lambda x: op("reshape", op("reshape", x, shape=(12,)), shape=(3, 4)), []),
    ],
    ("permute_dims", "permutations compose"): [
        (
            (X[None],),
            lambda x: op("permute_dims", op("permute_dims", x, axes=(2, 0, 1)), axes=(1, 0, 2)),
            ["permute_dims"],
        ),
        ((X,), lambda x: op("permute_dims", x, axes=(0, 1)), []),
        ((X,), lambda x: op("permute_dims", op("permute_dims", x, axes=(1, 0)), axes=(1, 0)), []),
    ],
    ("permute_dims", "permuting axes of size 1"): [
        ((X[None],), lambda x: op("permute_dims", x, axes=(1, 0, 2)), ["reshape"]),
        ((X[:, None],), lambda x: op("permute_dims", x, axes=(0, 2, 1)), ["reshape"]),
    ],
    ("broadcast_to", "repeating what is repeated"): [
        (
            (X[:1],),
            lambda x: op("broadcast_to", op("broadcast_to", x, shape=(3, 4)), shape=(2, 3, 4)),
            ["broadcast_to"],
        ),
        ((X,), lambda x: op("broadcast_to", x, shape=(3, 4)), []),
    ],
    ("sum", "adding up axes"): [
        ((X[None],), lambda x: op("sum", x, axes=(0,), keepdims=False), ["reshape"]),
        ((X,), lambda x: op("sum", x, axes=(), keepdims=False), ["reshape"]),
    ],
    **{
        (name, "reducing axes"): [
            ((X[None],), lambda x, n=name: op(n, x, axes=(0,), keepdims=True), ["reshape"])
        ]
        for name in ("prod", "max", "min")
    },
    ("slice", "a slice of everything"): [
        ((X,), lambda x: op("slice", x, start=(0, 0), stop=(3, 4), step=(1, 1)), []),
        ((X[:1],), lambda x: op("slice", x, start=(0, 0), stop=(1, 4), step=(3, 1)), []),
    ],
    ("pad", "padding by nothing"): [
        ((X,), lambda x: op("pad", x, low=(0, 0), high=(0, 0), inner=(0, 0), value=7.0), []),
        ((X[:1],), lambda x: op("pad", x, low=(0, 0), high=(0, 0), inner=(5, 0), value=7.0), []),
    ],
    ("concat", "joining one operand"): [((X,), lambda x: op("concat", x, axis=0), [])],
    ("flip", "flip(flip"): [((X,), lambda x: op("flip", op("flip", x, axes=(1,)), axes=(1,)), [])],
    ("astype", "a conversion to the same"): [((X,), lambda x: op("astype", x, dtype=x.dtype), [])],
    ("stop_gradient", "stop_gradient(x)"): [((X,), lambda x: op("stop_gradient", x), [])],
    **{
        (name, "moving equal elements"): [
            ((X,), lambda x, n=name, p=params: mg.sum(x) * op(n, number(1.5, x), **p),
             ["broadcast_to", "mul", "sum"])
        ]
        for name, params in {
            "reshape": {"shape": (12,)},
            "permute_dims": {"axes": (1, 0)},
            "broadcast_to": {"shape": (2, 3, 4)},
            "slice": {"start": (1, 0), "stop": (2, 4), "step": (1, 2)},
            "flip": {"axes": (0,)},
        }.items()
    },
}  # fmt: skip

#: The same primitives where the rule's condition does not hold.
STAYS: list[tuple[str, str, tuple[Any, ...], Callable[..., Any]]] = [
    ("add", "x + 0", (X,), lambda x: op("add", x, number(1e-300, x))),
    ("add", "x + (-y)", (X, Y), lambda x, y: op("add", x, op("abs", y))),
    ("sub", "x - 0", (X,), lambda x: op("sub", number(0.0, x), x)),
    ("sub", "x - 0", (X,), lambda x: op("sub", x, number(-0.0, x))),
    ("sub", "x - (-y)", (X, Y), lambda x, y: op("sub", op("neg", x), y)),
    ("mul", "x * 1", (X,), lambda x: op("mul", x, number(1.0 + 1e-15, x))),
    ("mul", "x * -1", (X,), lambda x: op("mul", x, number(-1.0 - 1e-15, x))),
    ("div", "x / 1", (X,), lambda x: op("div", number(1.0, x), x)),
    ("pow", "x / 1", (X,), lambda x: op("pow", number(1.0, x), x)),
    *[
        ("div", "x / c", (narrow(t),), lambda x, c=c: op("div", x, number(c, x)))
        for t, c in [
            (np.float64, 3.0), (np.float64, 0.0), (np.float64, INF), (np.float64, NAN),
            (np.float64, 2.0**1000), (np.float32, 2.0**127), (np.float16, 2.0**-16),
        ]
    ],
    ("neg", "-(-x)", (X,), lambda x: op("neg", op("abs", x))),
    ("where", "where(c, x, x)", (FLAGS, X, Y), lambda c, x, y: op("where", c, x, y)),
    ("bitwise_invert", "not not x", (FLAGS,), lambda c: op("bitwise_invert", c)),
    ("reshape", "reshape(reshape", (X,), lambda x: op("reshape", x, shape=(12,))),
    ("permute_dims", "permutations compose", (X,), lambda x: op("permute_dims", x, axes=(1, 0))),
    ("permute_dims", "permuting axes", (X[None],), lambda x: op("permute_dims", x, axes=(0, 2, 1))),
    ("broadcast_to", "repeating", (X,), lambda x: op("broadcast_to", x, shape=(2, 3, 4))),
    ("sum", "adding up", (X,), lambda x: op("sum", x, axes=(0,), keepdims=False)),
    ("max", "reducing axes", (X[None],), lambda x: op("max", x, axes=(0, 1), keepdims=False)),
    ("slice", "a slice of everything", (X,),
     lambda x: op("slice", x, start=(0, 0), stop=(3, 4), step=(2, 1))),
    ("pad", "padding by nothing", (X,),
     lambda x: op("pad", x, low=(0, 0), high=(0, 1), inner=(0, 0), value=0.0)),
    ("concat", "joining one", (X,), lambda x: op("concat", x, x, axis=0)),
    ("flip", "flip(flip", (X,), lambda x: op("flip", op("flip", x, axes=(0,)), axes=(1,))),
    ("astype", "a conversion", (X,), lambda x: op("astype", x, dtype=np.dtype(np.float32))),
    ("reshape", "moving equal", (X,), lambda x: op("reshape", x, shape=(12,))),
]  # fmt: skip


def rule_of(primitive: str, formula: str) -> Rule:
    (found,) = [r for r in RULES[primitive] if r.formula.startswith(formula)]
    return found


def only(graph: Graph, primitive: str, rule: Rule) -> Graph:
    return rewrite(graph, {primitive: [rule]}, final=rule.final)


def operations(graph: Graph) -> list[str]:
    return sorted(n.primitive.name for n in graph.nodes if n.inputs)


def result(graph: Graph, operands: tuple[Any, ...]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(graph(*operands))


def test_every_rule_is_tested_here() -> None:
    listed = {(p, r.formula) for p, rules in RULES.items() for r in rules}
    tested = {(p, rule_of(p, f).formula) for p, f in FIRES}
    assert tested == listed


CASES = [
    pytest.param(p, f, *case, id=f"{p}: {f} ({i})")
    for (p, f), cases in FIRES.items()
    for i, case in enumerate(cases)
]


@pytest.mark.host
@pytest.mark.parametrize(("primitive", "formula", "operands", "program", "left"), CASES)
def test_rule_fires_and_keeps_the_value(
    primitive: str, formula: str, operands: tuple[Any, ...], program: Any, left: list[str]
) -> None:
    with np.errstate(over="ignore"):
        graph = mg.trace(program, *operands)
    rule = rule_of(primitive, formula)
    after = verify(only(graph, primitive, rule))
    assert operations(after) == left
    before, found = result(graph, operands), result(after, operands)
    if rule.exact is True:
        same_bits(found, before)
    else:
        assert "0" in str(rule.exact), "the exception is about zeros"
        same_bits(found + np.zeros(1, found.dtype), before + np.zeros(1, found.dtype))


@pytest.mark.parametrize(
    ("primitive", "formula", "operands", "program"),
    [pytest.param(*s, id=f"{s[0]}: {s[1]} ({i})") for i, s in enumerate(STAYS)],
)
def test_rule_stays_away_when_its_condition_fails(
    primitive: str, formula: str, operands: tuple[Any, ...], program: Any
) -> None:
    with np.errstate(over="ignore"):
        graph = mg.trace(program, *operands)
    assert operations(only(graph, primitive, rule_of(primitive, formula))) == operations(graph)


def test_inexact_rules_say_what_changes() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert rule.exact is True or len(str(rule.exact)) > 15


def test_a_wrong_rule_would_be_found() -> None:
    wrong = Rule("x * y  ->  x", True, False, lambda node: node.inputs[0])
    graph = mg.trace(lambda x, y: op("mul", x, y), X, Y)
    after = only(graph, "mul", wrong)
    with pytest.raises(AssertionError):
        same_bits(result(after, (X, Y)), result(graph, (X, Y)))


def test_a_table_that_does_not_end_is_an_error() -> None:
    from minigrad.passes.rewrite import make

    swap = Rule("x + y  ->  y + x", True, False, lambda n: make(n, "add", n.inputs[::-1], n.aval))
    graph = mg.trace(lambda x, y: x + y, X, Y)
    with pytest.raises(AssertionError, match="does not come to an end"):
        only(graph, "add", swap)


# What passes must respect ------------------------------------------------------------


def test_passes_do_not_let_gradients_through_what_was_stopped() -> None:
    """Identities recorded under no_grad stay, and are not looked through, until the end."""
    programs: list[Callable[[Any], Any]] = [
        lambda x: op("mul", x, number(1.0, x)),
        lambda x: op("neg", op("neg", x)),
        lambda x: op("reshape", op("reshape", x, shape=(12,)), shape=(3, 4)),
        lambda x: op("add", x, number(0.0, x)),
    ]

    def under_no_grad(f: Any) -> Any:
        def program(x: Any) -> Any:
            with mg.no_grad():
                y = f(x)
            return mg.sum(y * y * 2.0 + x)

        return program

    def half(x: Any) -> Any:
        with mg.no_grad():
            y = op("neg", x)
        return mg.sum(op("neg", y) * 3.0 + x + op("sub", x, y))

    x = np.arange(12.0).reshape(3, 4)
    for program in [*map(under_no_grad, programs), half]:
        graph = mg.trace(program, x)
        expected = graph.grad()(x)[1].tolist()
        assert simplify(graph).grad()(x)[1].tolist() == expected
        np.testing.assert_array_equal(finalise(graph)(x), graph(x))
    final = finalise(mg.trace(under_no_grad(programs[1]), x))
    assert "neg" not in operations(final), "when nothing is differentiated any more, it goes"


def test_passes_keep_every_tag() -> None:
    def program(x: Any) -> Any:
        a = mg.tag(op("neg", x), "a")
        b = mg.tag(op("neg", a), "b")
        c = mg.tag(op("reshape", b, shape=(3, 4)), "c")
        d = mg.tag(op("mul", c, number(1.0, c)), "d")
        e = mg.tag(op("mul", c, number(1.0, c)), "e")
        f = mg.tag(number(2.0, c) * 3.0, "f")
        return mg.sum(op("add", d, op("neg", a)) * e * f)

    x = np.arange(12.0).reshape(3, 4)
    graph = mg.trace(program, x)
    for version in (simplify(graph), finalise(graph), simplify(simplify(graph))):
        names = {n.name for n in version.nodes if n.name}
        assert names == set("abcdef")
        np.testing.assert_array_equal(version(x), graph(x))
    gradients = graph.grad(list("abcde"))(x)
    for found, expected in zip(simplify(graph).grad(list("abcde"))(x), gradients, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_folding_does_small_constants_and_leaves_errors_for_the_run() -> None:
    graph = mg.trace(lambda x: x + mg.exp(mg.full((3,), 0.0)) * 2.0, mg.spec((3,)))
    assert "constant([2.0, 2.0, 2.0])" in simplify(graph).text()
    seed = mg.trace(lambda x: mg.mean(x * 2.0), mg.spec((2, 2))).grad().simplify()
    assert "full(value=0.5)" in seed.text(), "1 / 4 * 2, repeated: literals all the way"
    assert len(seed) == 6
    scalar = mg.trace(lambda x: x * np.float32(1.0), mg.spec((2, 2))).simplify()
    assert len(scalar) == 0, "a constant of one element is a literal"
    for n, left in ((50, ["add"]), (5000, ["add", "broadcast_to"])):
        rows = mg.trace(lambda x, n=n: x + np.arange(n, dtype=np.float32), mg.spec((2, n)))
        assert operations(simplify(rows)) == left, "large results are cheaper made again"


@pytest.mark.host  # it looks at strides by NumPy's means
def test_one_element_for_all_places_stays_one() -> None:
    loss = lambda x: mg.mean(mg.exp(x) * 0.5)
    graph = mg.trace(mg.value_and_grad(loss), mg.spec((100, 100)))
    known = [n.value for n in graph.nodes if n.value is not None]
    assert max(np.lib.array_utils.byte_bounds(v)[1] - np.lib.array_utils.byte_bounds(v)[0]
               for v in known) == 4, "the gradient of a mean is one number"  # fmt: skip
    final = finalise(graph)
    assert "constant" not in final.text() and "full(value=4.999999873689376e-05)" in final.text()
    x = np.linspace(-1, 1, 10_000, dtype=np.float32).reshape(100, 100)
    same_bits(final(x)[1].numpy(), np.exp(x) * (np.float32(1e-4) * np.float32(0.5)))
    broadcast = mg.trace(lambda x: x * np.broadcast_to(np.float32(3), (3, 4)), mg.spec((3, 4)))
    assert "constant" not in finalise(broadcast).text(), "a view of one element is a literal"
    rows = mg.trace(lambda x: x * np.broadcast_to(SPECIAL[:4], (3, 4)), mg.spec((3, 4), mg.float64))
    assert "full" not in finalise(rows).text()


def test_folding_leaves_an_error_for_the_run() -> None:
    def program(x: Any) -> Any:
        bases, exponents = mg.tensor(np.array([2, 3])), mg.stop_gradient(mg.astype(x, np.int64))
        return mg.pow(bases, exponents)

    graph = mg.trace(program, mg.spec((2,)))
    node = graph.nodes[-1]
    exponents = Node(CONSTANT, (), {}, node.inputs[1].aval, np.array([1, -1]), (None, 0, ()))
    bad = Graph((), [node.rebuilt((node.inputs[0], exponents))])
    with pytest.raises(mg.errors.DataError, match="negative integer power"):
        simplify(bad)()


def test_merging_tells_apart_what_differs() -> None:
    x = np.arange(3.0)
    same = mg.trace(lambda x: mg.sin(x) * mg.sin(x) + mg.arange(3) * mg.arange(3), x)
    assert operations(simplify(same)) == ["add", "mul", "sin"]
    zeros = mg.trace(lambda x: (mg.copysign(x, mg.full((3,), -0.0)), x * 0.0, x * -0.0), x)
    found = simplify(zeros)(x)
    assert np.signbit(found[0].numpy()).all()
    assert not np.signbit(found[1].numpy()).any()
    assert np.signbit(found[2].numpy()).all()
    kinds = mg.trace(lambda x: (x + mg.full((3,), 1), x * mg.full((3,), True)), x)
    assert len(simplify(kinds)(x)) == 2
    barriers = mg.trace(lambda x: mg.sin(mg.ops.arithmetic.barrier(x)) + mg.sin(x), x)
    assert operations(finalise(barriers)).count("sin") == 2


def test_inlining_opens_calls_inside_calls() -> None:
    f = mg.checkpoint(lambda x: mg.checkpoint(lambda y: mg.sin(y) * 2.0)(x) + x)
    graph = mg.trace(lambda x: f(f(x)), np.ones(3))
    assert "call" in operations(graph)
    final = finalise(graph)
    assert "call" not in operations(final)
    np.testing.assert_array_equal(final(np.ones(3)), graph(np.ones(3)))


def test_an_equal_operation_without_the_tag_is_not_merged_into_the_tagged_one() -> None:
    def program(x: Any) -> Any:
        u = mg.tag(mg.exp(x), "u")
        return mg.sum(u * u + mg.sin(mg.exp(x)))

    x = np.array([0.5, -1.0])
    graph = mg.trace(program, x)
    _, by_tag = graph.simplify().grad(["u"])(x)
    np.testing.assert_allclose(by_tag, 2.0 * np.exp(x), rtol=1e-15)
    assert operations(graph.simplify()).count("exp") == 2
    assert operations(finalise(graph)).count("exp") == 1
