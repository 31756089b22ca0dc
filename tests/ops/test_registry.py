"""Every record of the registry, one by one. A new record brings its own tests."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.core import Primitive, Sample, apply, as_tensor, registry, verify
from minigrad.passes import finalise, simplify

from . import checkers as check

#: Not in these tests, and why.
EXCLUDED = {
    "input": "a leaf: it is given, never computed",
    "constant": "a leaf: it is given, never computed",
    "call": "stands for a graph; tests/api checks checkpoints, compiled calls and random bits",
}
#: Primitives whose gradient is not the derivative, on purpose.
OPAQUE = {"stop_gradient": "the identity, with derivative 0 by definition"}
#: Kinds that have nothing to differentiate or to batch.
CREATION = "creation"

NAMES = sorted(n for n in registry if n not in EXCLUDED)
CASES = [
    pytest.param(registry[n], s, id=f"{n}-{i}")
    for n in NAMES
    for i, s in enumerate(registry[n].samples)
]
OPERATIONS = [c for c in CASES if c.values[0].kind != CREATION]
#: Those whose operands and result are floating: what there is to differentiate.
FLOATING = [c for c in OPERATIONS if check.has_derivative(*c.values)]
CREATIONS = [c for c in CASES if c.values[0].kind == CREATION]


def test_registry_excludes_only_what_has_a_reason() -> None:
    unused = [n for n in EXCLUDED if n not in registry]
    assert not unused
    assert all(registry[n].kind in ("leaf", "call") for n in EXCLUDED)


@pytest.mark.parametrize("name", NAMES)
def test_record_is_complete(name: str) -> None:
    check.check_record(registry[name])


@pytest.mark.parametrize("name", [n for n in NAMES if registry[n].kind != "elementwise"])
def test_record_has_a_sample_without_elements(name: str) -> None:
    primitive = registry[name]
    sizes = [
        check.run(primitive, _operands(primitive, s), s.params).size for s in primitive.samples
    ]
    empty = [s for s in primitive.samples if any(0 in shape for shape in s.shapes)]
    assert 0 in sizes or empty


def _operands(primitive: Primitive, sample: Sample) -> list[object]:
    return [np] if primitive.kind == CREATION else list(check.draw(primitive, sample, 0))


@pytest.mark.parametrize(("primitive", "sample"), OPERATIONS)
def test_type_rule_says_what_the_reference_does(primitive: Primitive, sample: Sample) -> None:
    check.check_types(primitive, sample)


@pytest.mark.parametrize(("primitive", "sample"), CREATIONS)
def test_creation_type_rule_says_what_the_reference_does(
    primitive: Primitive, sample: Sample
) -> None:
    result = np.asarray(primitive.reference(np, **sample.params))
    found = primitive.aval(**sample.params)
    assert (result.shape, result.dtype) == (found.shape, found.dtype)


@pytest.mark.parametrize(("primitive", "sample"), OPERATIONS)
def test_primitive_is_quiet(primitive: Primitive, sample: Sample) -> None:
    arrays = check.draw(primitive, sample, 0)
    check.check_quiet(primitive, sample, arrays)
    for special in (np.nan, np.inf, -np.inf, 1e300, -0.0, 5e-324):
        moved = [np.full_like(a, special) if a.dtype.kind == "f" else a for a in arrays]
        check.check_quiet(primitive, sample, moved)


@pytest.mark.parametrize(
    ("primitive", "sample"), [c for c in FLOATING if c.values[0].name not in OPAQUE]
)
def test_reverse_mode_is_the_numerical_derivative_to_third_order(
    primitive: Primitive, sample: Sample
) -> None:
    check.check_derivatives(primitive, sample)


@pytest.mark.parametrize(("primitive", "sample"), FLOATING)
def test_forward_mode_is_the_transpose(primitive: Primitive, sample: Sample) -> None:
    check.check_forward(primitive, sample)


@pytest.mark.parametrize(("primitive", "sample"), OPERATIONS)
def test_analytic_reference_gives_the_complex_step(primitive: Primitive, sample: Sample) -> None:
    check.check_analytic(primitive, sample)


@pytest.mark.parametrize(("primitive", "sample"), OPERATIONS)
def test_batch_is_a_stack(primitive: Primitive, sample: Sample) -> None:
    check.check_batches(primitive, sample)


@pytest.mark.parametrize(("primitive", "sample"), OPERATIONS)
def test_nested_batch_is_a_nested_stack(primitive: Primitive, sample: Sample) -> None:
    check.check_nested_batches(primitive, sample)


@pytest.mark.parametrize(("primitive", "sample"), FLOATING)
def test_batch_of_gradients_is_a_stack(primitive: Primitive, sample: Sample) -> None:
    check.check_batches(primitive, sample, gradient=True)


@pytest.mark.parametrize(("primitive", "sample"), OPERATIONS)
def test_graphs_of_a_primitive_verify(primitive: Primitive, sample: Sample) -> None:
    """The forward graph, its gradient, and both after the passes, with the same values."""
    arrays = check.draw(primitive, sample, 8)
    graph = mg.trace(
        lambda *xs: apply(primitive, tuple(map(as_tensor, xs)), dict(sample.params)), *arrays
    )
    graphs = [graph]
    if graph.outputs[0].aval.kind == "f" and any(n.aval.kind == "f" for n in graph.inputs):
        graphs.append(graph.grad(cotangent=np.ones(graph.outputs[0].aval.shape)))
    for g in graphs:
        expected = _results(g, arrays)
        for version in (g, simplify(g), finalise(g)):
            verify(version)
            for found, wanted in zip(_results(version, arrays), expected, strict=True):
                check.close(found, wanted, 0.0)


def _results(graph: mg.Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    found = graph(*arrays)
    return [np.asarray(f) for f in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("name", [n for n in NAMES if registry[n].kind == "elementwise"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (2, 1, 3)], ids=str)
def test_elementwise_keeps_any_shape(name: str, shape: tuple[int, ...]) -> None:
    primitive, sample = registry[name], registry[name].samples[0]
    like = Sample((shape,) * len(sample.shapes), sample.params, sample.domains)
    arrays = check.draw(primitive, like, 0)
    result = apply(primitive, tuple(map(as_tensor, arrays)), dict(like.params))
    assert result.shape == shape
    assert np.asarray(result).shape == shape
    if check.has_derivative(primitive, like):
        check.check_forward(primitive, like)
    check.check_batches(primitive, like)
