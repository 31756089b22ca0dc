"""Pooling against naive loops with their hand-written gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


def positions(n, k, s, p, d, ceil):
    """Return the starts of the windows, in padded coordinates."""
    extent = d * (k - 1) + 1
    span = n + 2 * p - extent
    count = (-(-span // s) if ceil else span // s) + 1
    if ceil and (count - 1) * s >= n + p:
        count -= 1
    return [i * s for i in range(count)]


def pooled(x, kernel, stride, padding, dilation, ceil, delta=None, mean=None):
    """Pool the last two axes of one image by the definition; ``mean`` is None or a divisor rule."""
    h, w = x.shape
    rows = positions(h, kernel[0], stride[0], padding[0], dilation[0], ceil)
    columns = positions(w, kernel[1], stride[1], padding[1], dilation[1], ceil)
    y, d_x = np.zeros((len(rows), len(columns))), np.zeros_like(x)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            cells = [
                (r + k * dilation[0] - padding[0], c + m * dilation[1] - padding[1])
                for k in range(kernel[0])
                for m in range(kernel[1])
            ]
            real = [at for at in cells if 0 <= at[0] < h and 0 <= at[1] < w]
            values = np.array([x[at] for at in real])
            if mean is None:
                y[i, j] = values.max()
                won = [at for at in real if x[at] == y[i, j]]
            else:
                within = [a for a in cells if a[0] < h + padding[0] and a[1] < w + padding[1]]
                divisor = {"all": len(within), "real": len(real)}.get(mean, mean)
                y[i, j] = values.sum() / divisor
            if delta is not None and mean is None:
                for at in won:
                    d_x[at] += delta[i, j] / len(won)
            elif delta is not None:
                for at in real:
                    d_x[at] += delta[i, j] / divisor
    return y if delta is None else (y, d_x)


@st.composite
def pools(draw, dilated):
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(2))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    dilation = tuple(draw(st.integers(1, 2)) if dilated else 1 for _ in range(2))
    size = tuple(
        d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)
    )
    return size, kernel, stride, padding, dilation, draw(st.booleans())


@settings(max_examples=40, deadline=None)
@given(pool=pools(dilated=True), ties=st.booleans(), seed=st.integers(0, 10**6))
def test_max_pool_matches_the_loop_and_ties_share(pool, ties, seed) -> None:
    size, kernel, stride, padding, dilation, ceil = pool
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, size=size) * 1.0 if ties else rng.normal(size=size)
    delta = rng.normal(size=pooled(x, kernel, stride, padding, dilation, ceil).shape)
    y, d_x = pooled(x, kernel, stride, padding, dilation, ceil, delta)
    f = lambda t: F.max_pool2d(t, kernel, stride, padding, dilation, ceil_mode=ceil)
    x4, d4 = x[None, None], delta[None, None]
    assert_value_and_vjp(f, (x4,), y[None, None], d4, (d_x[None, None],))


@settings(max_examples=40, deadline=None)
@given(
    pool=pools(dilated=False),
    mean=st.sampled_from(["all", "real", 5]),
    seed=st.integers(0, 10**6),
)
def test_avg_pool_matches_the_loop(pool, mean, seed) -> None:
    size, kernel, stride, padding, dilation, ceil = pool
    rng = np.random.default_rng(seed)
    x = rng.normal(size=size)
    delta = rng.normal(size=pooled(x, kernel, stride, padding, dilation, ceil).shape)
    y, d_x = pooled(x, kernel, stride, padding, dilation, ceil, delta, mean)
    f = lambda t: F.avg_pool2d(
        t, kernel, stride, padding, ceil, mean != "real", mean if mean == 5 else None
    )
    assert_value_and_vjp(f, (x[None, None],), y[None, None], delta[None, None], (d_x[None, None],))


@pytest.mark.parametrize("training", [True, False])
def test_pooling_layers_are_the_functions_per_image_and_channel(training) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 6))
    biggest = nn.MaxPool2d(3, 2, 1).train(training)
    average = nn.AvgPool2d(2, count_include_pad=False).train(training)
    for n in range(2):
        for c in range(3):
            one = x[n, c]
            wanted = pooled(one, (3, 3), (2, 2), (1, 1), (1, 1), False)
            assert_close(biggest(x)[n, c], wanted)
            assert_close(
                average(x)[n, c], pooled(one, (2, 2), (2, 2), (0, 0), (1, 1), False, None, "real")
            )
    assert_close(biggest(x[0]), np.asarray(biggest(x))[0])
    assert_close(average(x[0]), np.asarray(average(x))[0])


def test_pooling_over_one_axis_is_pooling_over_two_with_height_one() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 9))
    image = x[:, :, None]
    line, flat = nn.MaxPool1d(3, 2, 1), nn.MaxPool2d((1, 3), (1, 2), (0, 1))
    assert_close(line(x), np.asarray(flat(image))[:, :, 0])
    line, flat = nn.AvgPool1d(3, 2, 1), nn.AvgPool2d((1, 3), (1, 2), (0, 1))
    assert_close(line(x), np.asarray(flat(image))[:, :, 0])
    assert_close(line(x[0]), np.asarray(line(x))[0])


@pytest.mark.parametrize(("n", "parts"), [(6, 1), (6, 3), (7, 3), (5, 5), (3, 5)])
def test_adaptive_average_takes_means_of_nearly_equal_parts(n, parts) -> None:
    rng = np.random.default_rng(n)
    x, delta = rng.normal(size=(2, 3, n)), rng.normal(size=(2, 3, parts))
    cuts = [(i * n // parts, -(-(i + 1) * n // parts)) for i in range(parts)]
    y = np.stack([x[..., a:b].mean(-1) for a, b in cuts], axis=-1)
    hand = np.zeros_like(x)
    for i, (a, b) in enumerate(cuts):
        hand[..., a:b] += delta[..., i : i + 1] / (b - a)
    assert_value_and_vjp(lambda t: F.adaptive_avg_pool1d(t, parts), (x,), y, delta, (hand,))
    assert_close(nn.AdaptiveAvgPool1d(parts)(x[0]), y[0])


def test_adaptive_average_of_one_is_global_pooling() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    assert_close(nn.AdaptiveAvgPool2d(1)(x), x.mean((2, 3), keepdims=True))
    rows = nn.AdaptiveAvgPool2d((2, 5))(x[0])
    assert_close(rows, x[0].reshape(3, 2, 2, 5).mean(2))
    with pytest.raises(mg.errors.DataError, match="no 0 parts"):
        F.adaptive_avg_pool2d(x, 0)


def test_max_pool_of_negative_numbers_is_not_won_by_the_padding() -> None:
    x = -np.ones((1, 1, 2, 2))
    assert_close(F.max_pool2d(x, 2, 2, 1), -np.ones((1, 1, 2, 2)))


def test_integers_are_pooled_and_padded_only_as_floats() -> None:
    x = np.arange(16).reshape(1, 1, 4, 4)
    assert F.max_pool2d(x, 2).dtype == mg.int64
    with pytest.raises(mg.errors.DtypeError, match="cannot be padded"):
        F.max_pool2d(x, 2, padding=1)
    assert F.avg_pool2d(x, 2).dtype == mg.float32


def test_pooling_errors_state_the_rule() -> None:
    with pytest.raises(mg.errors.DataError, match="half of the window"):
        F.max_pool2d(np.zeros((1, 1, 4, 4)), 2, padding=2)
    with pytest.raises(mg.errors.ShapeError, match="does not fit an input of"):
        nn.AvgPool2d(5)(np.zeros((1, 1, 4, 4)))
    with pytest.raises(mg.errors.ShapeError, match="with 2 axes"):
        nn.MaxPool2d(2)(np.zeros((4, 4)))
