"""Convolutions against a naive loop, its hand-written gradient, and central differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp, numerical_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F


def loop(x, w, b, stride, padding, dilation, groups, delta=None):
    """Convolve any number of axes by the definition; with ``delta`` return the gradients."""
    n = x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    out = [
        (padded.shape[2 + a] - dilation[a] * (w.shape[2 + a] - 1) - 1) // stride[a] + 1
        for a in range(n)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    d_padded, d_w = np.zeros_like(padded), np.zeros_like(w)
    inside, per_group = w.shape[1], w.shape[0] // groups
    for m, o in itertools.product(range(x.shape[0]), range(w.shape[0])):
        first = (o // per_group) * inside
        for at in np.ndindex(*out):
            total = b[o]
            for c, *k in np.ndindex(*w.shape[1:]):
                place = tuple(at[a] * stride[a] + k[a] * dilation[a] for a in range(n))
                total += w[(o, c, *k)] * padded[(m, first + c, *place)]
                if delta is not None:
                    d_w[(o, c, *k)] += delta[(m, o, *at)] * padded[(m, first + c, *place)]
                    d_padded[(m, first + c, *place)] += delta[(m, o, *at)] * w[(o, c, *k)]
            y[(m, o, *at)] = total
    if delta is None:
        return y
    crop = tuple(slice(lo, lo + s) for (lo, _), s in zip(padding, x.shape[2:], strict=True))
    d_b = delta.sum((0, *range(2, delta.ndim)))
    return y, d_padded[(slice(None), slice(None), *crop)], d_w, d_b


@st.composite
def settings_of_a_convolution(draw, n):
    small = st.integers(1, 2)
    groups = draw(small)
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(n))
    stride = tuple(draw(small) for _ in range(n))
    dilation = tuple(draw(small) for _ in range(n))
    pad = tuple(draw(st.integers(0, 2)) for _ in range(n))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, pad, strict=True)]
    size = tuple(draw(st.integers(lo, lo + 2)) for lo in least)
    channels = groups * draw(small), groups * draw(small)
    return draw(small), channels, size, kernel, stride, pad, dilation, groups


@pytest.mark.parametrize("n", [1, 2])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_convolution_matches_the_loop_and_its_hand_gradient(n, data, seed) -> None:
    m, (c, o), size, kernel, stride, pad, dilation, groups = data.draw(settings_of_a_convolution(n))
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(m, c, *size)), rng.normal(size=(o, c // groups, *kernel))
    b = rng.normal(size=o)
    padding = [(p, p) for p in pad]
    shape = loop(x, w, b, stride, padding, dilation, groups).shape
    delta = rng.normal(size=shape)
    y, *hand = loop(x, w, b, stride, padding, dilation, groups, delta)
    f = {1: F.conv1d, 2: F.conv2d}[n]
    call = lambda x, w, b: f(x, w, b, stride, pad, dilation, groups)
    assert_value_and_vjp(call, (x, w, b), y, delta, hand)


def test_convolution_gradients_match_central_differences() -> None:
    rng = np.random.default_rng(5)
    args = rng.normal(size=(2, 4, 5, 5)), rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6)
    f = lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=1, groups=2)
    out, pullback = mg.vjp(f, *args)
    delta = rng.normal(size=out.shape)
    for found, wanted in zip(pullback(delta), numerical_vjp(f, args, delta), strict=True):
        assert_close(found, wanted, rtol=1e-7, atol=1e-7)


def test_convolution_is_linear_so_second_order_is_exact() -> None:
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(1, 2, 4, 4)), rng.normal(size=(3, 2, 3, 3))
    d_x, d_w = rng.normal(size=x.shape), rng.normal(size=w.shape)
    f = lambda x, w: (F.conv2d(x, w, padding=1) ** 2).sum()
    found = mg.hvp(f, (x, w), (d_x, d_w))
    conv = lambda a, b: np.asarray(F.conv2d(a, b, padding=1))
    # f = |x * w|^2, so H [d_x, d_w] differentiates 2 <y, .> along the direction
    step = 1e-5
    gradient = lambda t: mg.grad(f, argnums=(0, 1))(x + t * d_x, w + t * d_w)
    for h, up, down in zip(found, gradient(step), gradient(-step), strict=True):
        assert_close(h, (np.asarray(up) - np.asarray(down)) / (2 * step), rtol=1e-6, atol=1e-6)
    assert_close(conv(x, w + d_w), conv(x, w) + conv(x, d_w))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_keeps_the_size_and_pads_more_behind(kernel, dilation) -> None:
    rng = np.random.default_rng(kernel)
    x, w = rng.normal(size=(1, 1, 7)), rng.normal(size=(1, 1, kernel))
    total = dilation * (kernel - 1)
    padding = [(total // 2, total - total // 2)]
    y = F.conv1d(x, w, padding="same", dilation=dilation)
    assert_close(y, loop(x, w, np.zeros(1), (1,), padding, (dilation,), 1))
    assert y.shape == x.shape
    valid = F.conv1d(x, w, padding="valid")
    assert valid.shape == (1, 1, 8 - kernel)


def test_padding_words_are_checked() -> None:
    x, w = np.zeros((1, 1, 5)), np.zeros((1, 1, 3))
    with pytest.raises(mg.errors.DataError, match='"same" with stride'):
        F.conv1d(x, w, stride=2, padding="same")
    with pytest.raises(mg.errors.DataError, match="'full' is not known"):
        nn.Conv1d(1, 1, 3, padding="full")
    with pytest.raises(mg.errors.DataError, match="negative"):
        F.conv1d(x, w, padding=-1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_layers_are_the_functions_with_their_parameters(training, groups) -> None:
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 5))
    layer = nn.Conv2d(4, 6, (3, 2), 2, (1, 0), groups=groups, dtype=mg.float64).train(training)
    w, b = layer.weight.numpy(), layer.bias.numpy()
    assert w.shape == (6, 4 // groups, 3, 2)
    assert_close(layer(x), loop(x, w, b, (2, 2), [(1, 1), (0, 0)], (1, 1), groups))
    bound = 1 / np.sqrt(4 // groups * 6)
    assert max(np.abs(w).max(), np.abs(b).max()) <= bound
    line = nn.Conv1d(4, 2, 3, bias=False, dtype=mg.float64)
    assert line.bias is None
    row = x[:, :, 0]
    w = line.weight.numpy()
    assert_close(line(row), loop(row, w, np.zeros(2), (1,), [(0, 0)], (1,), 1))


def test_convolution_takes_one_example_without_a_batch_axis() -> None:
    layer = nn.Conv2d(3, 2, 3)
    x = np.random.default_rng(0).normal(size=(3, 5, 5))
    assert_close(layer(x), np.asarray(layer(x[None]))[0])
    assert_close(mg.vmap(layer)(x[None]), layer(x[None]))


def test_convolution_of_an_empty_batch_is_empty() -> None:
    assert nn.Conv2d(3, 2, 3)(np.zeros((0, 3, 5, 5), np.float32)).shape == (0, 2, 3, 3)


def test_convolution_errors_name_the_layer_and_the_rule() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 5))
    with pytest.raises(
        mg.errors.ShapeError, match=r"^model\.0 \(Conv2d 3 -> 8, kernel 5 x 5\): input has 4 ch"
    ):
        net(np.zeros((1, 4, 9, 9)))
    with pytest.raises(mg.errors.ShapeError, match="input has 2 axes"):
        net(np.zeros((9, 9)))
    with pytest.raises(mg.errors.ShapeError, match=r"window of \(5, 5\) does not fit") as caught:
        net(np.zeros((1, 3, 4, 4)))
    assert "in     model.0 (Conv2d 3 -> 8" in str(caught.value)
    with pytest.raises(mg.errors.DataError, match="groups do not divide"):
        nn.Conv2d(3, 8, 3, groups=2)
    with pytest.raises(mg.errors.ShapeError, match="input has 2 channels, weight takes 3"):
        F.conv1d(np.zeros((1, 2, 5)), np.zeros((4, 3, 2)))
    with pytest.raises(mg.errors.DataError, match="kernel_size = 0"):
        nn.Conv2d(3, 8, 0)
    with pytest.raises(mg.errors.ShapeError, match=r"weight has shape \(4, 3\)"):
        F.conv1d(np.zeros((1, 3, 5)), np.zeros((4, 3)))
    with pytest.raises(mg.errors.DataError, match="3 groups do not divide 4 output"):
        F.conv1d(np.zeros((1, 3, 5)), np.zeros((4, 1, 2)), groups=3)
