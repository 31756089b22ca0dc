"""What must be true of every primitive. Each checker raises AssertionError; none knows a name.

Three oracles are kept apart: the numerical derivative (central differences, and the
complex step where the record says that its reference is analytic), the reference on
NumPy arrays, and identities (a batch is a stack, forward mode is reverse mode's transpose).
"""

from __future__ import annotations

import itertools
import string
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.core import Primitive, Sample, Tensor, Zero, apply, as_tensor, aval
from minigrad.core.primitive import REAL, Each
from minigrad.dtypes import ALL, tolerance
from minigrad.errors import DtypeError, ShapeError
from minigrad.transform import pullback, pushforward

Array = np.ndarray[Any, Any]

STEP = 5e-4  # of the central difference; its error is STEP**4 and eps / STEP
NUMERIC = 1e-9  # tolerance for central differences
COMPLEX = 1e-12  # tolerance for the complex step, and for identities in float64


def run(primitive: Primitive, arrays: Sequence[Any], params: Any) -> Array:
    """Return the reference on arrays, as the engine calls it: quiet about infinities."""
    with np.errstate(all="ignore"):
        return np.asarray(primitive.reference(*arrays, **params))


def domains(sample: Sample) -> tuple[Any, ...]:
    return sample.domains or (REAL,) * len(sample.shapes)


def draw(primitive: Primitive, sample: Sample, seed: int, dtypes: Any = None) -> list[Array]:
    """Return operands; ``dtypes`` maps a domain's dtype to the one to draw instead."""
    rng = np.random.default_rng(seed)
    arrays = []
    for domain, shape in zip(domains(sample), sample.shapes, strict=True):
        dtype = (dtypes or {}).get(domain.dtype, domain.dtype)
        with np.errstate(over="ignore"):  # a word of 32 bits may not fit float16
            arrays.append(domain.draw(rng, shape, dtype))
    if primitive.name == "pow" and arrays[1].dtype.kind == "i":
        arrays[1] = abs(arrays[1])  # an integer to a negative power is refused
    return arrays


def differentiable(sample: Sample) -> list[int]:
    """Return which operands are floating in the sample."""
    return [i for i, d in enumerate(domains(sample)) if d.dtype.kind == "f"]


def has_derivative(primitive: Primitive, sample: Sample) -> bool:
    """Whether an operand and the result are floating."""
    result = run(primitive, draw(primitive, sample, 0), sample.params)
    return bool(differentiable(sample)) and result.dtype.kind == "f"


# The record -----------------------------------------------------------------------


def check_record(primitive: Primitive) -> None:
    """Every field is there, fits the others, and says something."""
    assert primitive.name.isidentifier()
    assert primitive.note.endswith("."), "the note is a sentence"
    assert primitive.samples
    for sample in primitive.samples:
        assert len(domains(sample)) == len(sample.shapes)
        if not isinstance(primitive.vjp, Each):
            assert len(primitive.vjp) == len(sample.shapes), "a rule for each operand"
    if not isinstance(primitive.vjp, Each):
        for rule in primitive.vjp:
            assert callable(rule) or (isinstance(rule, Zero) and len(rule.reason) > 10)
    assert (primitive.scalar is not None) == (primitive.kind == "elementwise")
    check_latex(primitive)


def check_latex(primitive: Primitive) -> None:
    """The template takes the operands and params, and its braces balance."""
    for sample in primitive.samples:
        text = primitive.latex.format(*"abcdef"[: len(sample.shapes)], **sample.params)
        depth = 0
        for previous, char in itertools.pairwise(" " + text):
            if previous != "\\":
                depth += {"{": 1, "}": -1}.get(char, 0)
            assert depth >= 0, text
        assert depth == 0, text
        fields = {f for _, f, _, _ in string.Formatter().parse(primitive.latex) if f is not None}
        assert fields or primitive.kind == "creation", "the formula mentions an operand"


# Types ----------------------------------------------------------------------------


def check_types(primitive: Primitive, sample: Sample) -> None:
    """For each dtype: either the rule says what the reference does, or it is a DtypeError."""
    accepted = 0
    for wanted in {d.dtype for d in domains(sample)}:
        for dtype in ALL:
            arrays = draw(primitive, sample, 1, {wanted: dtype})
            if _typed(primitive, arrays, sample.params) is not None:
                accepted += 1
    assert accepted, "no dtype is accepted"
    _check_refusals(primitive, sample)


def _typed(primitive: Primitive, arrays: Sequence[Array], params: Any) -> Any:
    try:
        found = primitive.aval(*(aval(a.shape, a.dtype) for a in arrays), **params)
    except DtypeError:
        return None
    result = run(primitive, arrays, params)
    types = [a.dtype.name for a in arrays]
    assert result.shape == found.shape, f"{types}: shape {result.shape}, rule {found!r}"
    assert result.dtype == found.dtype, f"{types}: dtype {result.dtype}, rule {found!r}"
    return found


def _check_refusals(primitive: Primitive, sample: Sample) -> None:
    """Operands that must agree and do not are refused, never converted in silence."""
    kinds = [d.dtype for d in domains(sample)]
    for i, j in itertools.combinations(range(len(kinds)), 2):
        if kinds[i] != kinds[j] or kinds[i].kind != "f":
            continue
        arrays = draw(primitive, sample, 1)
        arrays[j] = arrays[j].astype(np.float32)
        _must_raise(DtypeError, primitive, arrays, sample.params)
        if primitive.kind == "elementwise":
            arrays = draw(primitive, sample, 1)
            arrays[j] = np.concatenate([arrays[j], arrays[j]])
            _must_raise(ShapeError, primitive, arrays, sample.params)


def _must_raise(kind: type[Exception], primitive: Primitive, arrays: Any, params: Any) -> None:
    try:
        primitive.aval(*(aval(a.shape, a.dtype) for a in arrays), **params)
    except kind:
        return
    raise AssertionError(f"{[a.dtype.name for a in arrays]} was not a {kind.__name__}")


def check_quiet(primitive: Primitive, sample: Sample, arrays: Sequence[Array]) -> None:
    """Applying the primitive warns of nothing, whatever the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply(primitive, tuple(as_tensor(a) for a in arrays), dict(sample.params))


# Derivatives ----------------------------------------------------------------------

Scalar = Callable[[Sequence[Array]], tuple[Tensor, list[Tensor]]]


def _levels(primitive: Primitive, sample: Sample, order: int, seed: int) -> list[Scalar]:
    """Return F_0 = <c, f(x)> and F_k+1 = <u_k, grad F_k>, as functions of the float operands."""
    rng = np.random.default_rng(seed)
    fixed = draw(primitive, sample, seed)
    places = differentiable(sample)
    shape = run(primitive, fixed, sample.params).shape
    cotangent = rng.normal(size=shape)
    weights = [[rng.normal(size=fixed[i].shape) for i in places] for _ in range(order)]

    def level(k: int) -> Scalar:
        def function(arrays: Sequence[Array]) -> tuple[Tensor, list[Tensor]]:
            operands = [mg.tensor(a) for a in fixed]
            inputs = [mg.tensor(a) for a in arrays]
            for i, x in zip(places, inputs, strict=True):
                operands[i] = x
            y = apply(primitive, tuple(operands), dict(sample.params))
            value = mg.sum(y * cotangent)
            for step in range(k):
                value = _dot(gradients(value, inputs), weights[step])
            return value, inputs

        return function

    return [level(k) for k in range(order)]


def _dot(parts: Sequence[Tensor], weights: Sequence[Array]) -> Tensor:
    total = mg.zeros((), dtype=mg.float64)
    for part, weight in zip(parts, weights, strict=True):
        total = total + mg.sum(part * weight)
    return total


def gradients(value: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    one = mg.ones((), dtype=value.dtype)
    return pullback([value.node], [one], [x.node for x in inputs])


def check_derivatives(primitive: Primitive, sample: Sample, order: int = 3) -> None:
    """Reverse mode agrees with central differences, and so do its own derivatives."""
    places = differentiable(sample)
    arrays = draw(primitive, sample, 2)
    rng = np.random.default_rng(3)
    at = [arrays[i] for i in places]
    direction = [rng.normal(size=a.shape) for a in at]
    for k, function in enumerate(_levels(primitive, sample, order, 2)):

        def line(t: float, function: Scalar = function) -> float:
            moved = [a + t * v for a, v in zip(at, direction, strict=True)]
            return float(function(moved)[0].numpy())

        numeric = central(line)
        value, inputs = function(at)
        found = sum(
            float(np.sum(g.numpy() * v))
            for g, v in zip(gradients(value, inputs), direction, strict=True)
        )
        scale = 1.0 + abs(numeric)
        assert abs(found - numeric) < NUMERIC * 10**k * scale, (
            f"derivative {k + 1}: {found}, numerically {numeric}"
        )


def central(line: Callable[[float], float], h: float = STEP) -> float:
    """Return the derivative of ``line`` at 0, by differences of fourth order."""
    near, far = line(h) - line(-h), line(2 * h) - line(-2 * h)
    return (8.0 * near - far) / (12.0 * h)


def check_forward(primitive: Primitive, sample: Sample) -> None:
    """Forward mode is the transpose of reverse mode: <c, J v> = <J' c, v>."""
    places = differentiable(sample)
    arrays = draw(primitive, sample, 4)
    rng = np.random.default_rng(5)
    operands = [mg.tensor(a) for a in arrays]
    inputs = [operands[i] for i in places]
    y = apply(primitive, tuple(operands), dict(sample.params))
    c = rng.normal(size=y.shape)
    v = [rng.normal(size=x.shape) for x in inputs]
    nodes = [x.node for x in inputs]
    (forward,) = pushforward(nodes, [as_tensor(d) for d in v], [y.node])
    back = pullback([y.node], [as_tensor(c)], nodes)
    left = float(np.sum(c * forward.numpy()))
    right = sum(float(np.sum(b.numpy() * d)) for b, d in zip(back, v, strict=True))
    assert abs(left - right) < COMPLEX * (1 + abs(left)), f"{left} and {right}"


def check_analytic(primitive: Primitive, sample: Sample, *, derivative: bool = True) -> None:
    """The reference continues to complex numbers as the record says, to 1e-12."""
    places = differentiable(sample)
    if not primitive.analytic or not places:
        return
    arrays = draw(primitive, sample, 6)
    expected = run(primitive, arrays, sample.params)
    continued = primitive.analytic if callable(primitive.analytic) else primitive.reference
    rng = np.random.default_rng(7)
    direction = [rng.normal(size=arrays[i].shape) for i in places]
    moved: list[Any] = list(arrays)
    tiny = 1e-30
    for i, v in zip(places, direction, strict=True):
        moved[i] = arrays[i] + 1j * tiny * v
    with np.errstate(all="ignore"):
        result = np.asarray(continued(*moved, **sample.params))
    assert result.shape == expected.shape
    close(result.real, expected, COMPLEX)
    if expected.dtype.kind != "f" or not derivative:
        return
    c = rng.normal(size=expected.shape)
    complex_step = float(np.sum(c * result.imag)) / tiny
    inputs = [mg.tensor(a) for a in arrays]
    y = apply(primitive, tuple(inputs), dict(sample.params))
    back = pullback([y.node], [as_tensor(c)], [inputs[i].node for i in places])
    found = sum(float(np.sum(b.numpy() * v)) for b, v in zip(back, direction, strict=True))
    assert abs(found - complex_step) < COMPLEX * (1 + abs(found)), f"{found}, {complex_step}"


# Batches --------------------------------------------------------------------------


def check_batches(primitive: Primitive, sample: Sample, *, gradient: bool = False) -> None:
    """``vmap`` is a loop and a stack, whichever operands have a batch."""
    count = len(sample.shapes)
    function = _gradient_of(primitive, sample) if gradient else _call_of(primitive, sample)
    for pattern in _some(itertools.product((True, False), repeat=count)):
        if not any(pattern):
            continue
        batches = [draw(primitive, sample, 10 + b) for b in range(3)]
        operands = [
            np.stack([b[i] for b in batches]) if on else batches[0][i]
            for i, on in enumerate(pattern)
        ]
        axes = tuple(0 if on else None for on in pattern)
        found = mg.vmap(function, in_axes=axes)(*operands)
        for b in range(3):
            one = [x[b] if on else x for x, on in zip(operands, pattern, strict=True)]
            _equal_parts(found, function(*one), b, f"pattern {pattern}")


def check_nested_batches(primitive: Primitive, sample: Sample) -> None:
    """Two nested ``vmap`` are two nested loops: an operand has neither, one or both batches."""
    count = len(sample.shapes)
    function = _call_of(primitive, sample)
    for pattern in _some(itertools.product(((), (0,), (1,), (0, 1)), repeat=count)):
        inner = tuple(0 if 1 in p else None for p in pattern)
        outer = tuple(0 if 0 in p else None for p in pattern)
        if all(a is None for a in inner) or all(a is None for a in outer):
            continue
        sizes = (2, 3)
        operands = []
        for i, p in enumerate(pattern):
            draws = [draw(primitive, sample, 20 + n)[i] for n in range(6)]
            shape = tuple(sizes[k] for k in p)
            stacked = np.stack(draws[: int(np.prod(shape))])
            operands.append(stacked.reshape(shape + stacked.shape[1:]))
        found = mg.vmap(mg.vmap(function, in_axes=inner), in_axes=outer)(*operands)
        for at in np.ndindex(*sizes):
            one = [x[tuple(at[k] for k in p)] for x, p in zip(operands, pattern, strict=True)]
            _equal_parts(found, function(*one), at, f"pattern {pattern}")


def _some(patterns: Any, most: int = 16) -> Iterator[Any]:
    """Return all patterns, or an evenly spaced choice of them."""
    found = list(patterns)
    step = max(1, len(found) // most)
    return iter(found[::step] if step == 1 else found[1::step])


def _call_of(primitive: Primitive, sample: Sample) -> Callable[..., Any]:
    def function(*xs: Any) -> Any:
        return (apply(primitive, tuple(as_tensor(x) for x in xs), dict(sample.params)),)

    return function


def _gradient_of(primitive: Primitive, sample: Sample) -> Callable[..., Any]:
    places = differentiable(sample)

    def function(*xs: Any) -> Any:
        operands = [as_tensor(x) for x in xs]
        y = apply(primitive, tuple(operands), dict(sample.params))
        return tuple(gradients(mg.sum(y * y), [operands[i] for i in places]))

    return function


def _equal_parts(found: Any, expected: Any, at: Any, where: str) -> None:
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        part = np.asarray(f)[at]
        assert part.shape == e.shape, f"{where}: shape {part.shape}, alone {e.shape}"
        assert f.dtype == e.dtype, f"{where}: {f.dtype}, alone {e.dtype}"
        close(part, np.asarray(e), COMPLEX, where)


# Comparison -----------------------------------------------------------------------


def close(found: Any, expected: Any, rtol: float, where: str = "") -> None:
    """NaN where NaN, infinities equal, the rest within ``rtol`` of the largest magnitude here."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{where}: {found.shape}, {expected.shape}"
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=where)
        return
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol, err_msg=where)


def same_bits(found: Any, expected: Any, where: str = "") -> None:
    """NaN where NaN, and every other bit equal: the sign of zero too."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{where}: {found.shape}, {expected.shape}"
    assert found.dtype == expected.dtype, f"{where}: {found.dtype}, {expected.dtype}"
    np.testing.assert_array_equal(found, expected, err_msg=where)
    if expected.dtype.kind == "f":
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(
            np.signbit(found)[numbers], np.signbit(expected)[numbers], err_msg=f"{where}: signs"
        )


def tolerance_of(dtype: Any) -> float:
    return tolerance(np.dtype(dtype))
