"""Layer, group and instance normalisation against one hand derivation over any axes."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close, assert_value_and_vjp
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

EPS = 1e-5


def by_hand(x, gamma, beta, delta, axes):
    """Return y, and the gradients by x, and by gamma and beta before they are summed."""
    m = np.prod([x.shape[a] for a in axes])
    mean = lambda t: t.sum(axes, keepdims=True) / m
    s = np.sqrt(mean((x - mean(x)) ** 2) + EPS)
    u = (x - mean(x)) / s
    d_u = delta * gamma
    d_x = (d_u - mean(d_u) - u * mean(d_u * u)) / s  # the three paths of C2, added up
    return gamma * u + beta, d_x, delta * u, delta


@settings(max_examples=25, deadline=None)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    last=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    seed=st.integers(0, 10**6),
)
def test_layer_norm_matches_the_hand_derivation(lead, last, seed) -> None:
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, *lead, *last))
    gamma, beta = rng.normal(size=(2, *last))
    axes = tuple(range(len(lead), len(lead) + len(last)))
    y, d_x, d_gamma, d_beta = by_hand(x, gamma, beta, delta, axes)
    first = tuple(range(len(lead)))
    hand = (d_x, d_gamma.sum(first), d_beta.sum(first))
    f = lambda x, w, b: F.layer_norm(x, last, w, b)
    assert_value_and_vjp(f, (x, gamma, beta), y, delta, hand, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 3),
    inside=st.integers(1, 3),
    spatial=st.lists(st.integers(2, 3), min_size=1, max_size=2),
    seed=st.integers(0, 10**6),
)
def test_group_and_instance_norm_match_the_hand_derivation(groups, inside, spatial, seed) -> None:
    rng = np.random.default_rng(seed)
    n, c = 2, groups * inside
    x, delta = rng.normal(size=(2, n, c, *spatial))
    gamma, beta = rng.normal(size=(2, c))
    ones = (1,) * len(spatial)
    per_channel = (0, *range(2, x.ndim))

    def expected(k):  # k groups
        split = lambda t: t.reshape(n, k, c // k, *spatial)
        wide = lambda t: np.broadcast_to(t.reshape(1, k, c // k, *ones), split(x).shape)
        axes = tuple(range(2, x.ndim + 1))
        parts = by_hand(split(x), wide(gamma), wide(beta), split(delta), axes)
        y, d_x, d_gamma, d_beta = (p.reshape(x.shape) for p in parts)
        return y, (d_x, d_gamma.sum(per_channel), d_beta.sum(per_channel))

    y, hand = expected(groups)
    f = lambda x, w, b: F.group_norm(x, groups, w, b)
    assert_value_and_vjp(f, (x, gamma, beta), y, delta, hand, atol=1e-8)
    y, hand = expected(c)
    f = lambda x, w, b: F.instance_norm(x, weight=w, bias=b)
    assert_value_and_vjp(f, (x, gamma, beta), y, delta, hand, atol=1e-8)


@pytest.mark.parametrize("training", [True, False])
def test_layers_are_the_functions_and_the_same_in_both_modes(training) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 4, 3))
    cases = [
        (nn.LayerNorm((4, 3), dtype=mg.float64), lambda w, b: F.layer_norm(x, (4, 3), w, b)),
        (nn.LayerNorm(3, bias=False, dtype=mg.float64), lambda w, b: F.layer_norm(x, 3, w)),
        (nn.GroupNorm(2, 6, dtype=mg.float64), lambda w, b: F.group_norm(x, 2, w, b)),
        (nn.GroupNorm(3, 6, affine=False), lambda w, b: F.group_norm(x, 3)),
        (nn.InstanceNorm(6), lambda w, b: F.instance_norm(x)),
        (
            nn.InstanceNorm(6, affine=True, dtype=mg.float64),
            lambda w, b: F.instance_norm(x, weight=w, bias=b),
        ),
    ]
    for layer, function in cases:
        for parameter in layer.parameters():
            parameter.assign(rng.normal(size=parameter.shape))
        assert_close(layer.train(training)(x), function(layer.weight, layer.bias))


def test_group_norm_with_one_group_is_layer_norm_and_with_c_groups_instance_norm() -> None:
    x = np.random.default_rng(1).normal(size=(2, 6, 4))
    assert_close(F.group_norm(x, 1), F.layer_norm(x, (6, 4)))
    assert_close(F.group_norm(x, 6), F.instance_norm(x))


def test_instance_norm_running_statistics_average_over_examples() -> None:
    rng = np.random.default_rng(2)
    layer = nn.InstanceNorm(3, momentum=0.3, track_running_stats=True, dtype=mg.float64)
    x = rng.normal(size=(4, 3, 5))
    layer(x)
    assert_close(layer.running_mean, 0.3 * x.mean(2).mean(0))
    assert_close(layer.running_var, 0.7 + 0.3 * x.var(2, ddof=1).mean(0))
    mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
    layer.eval()
    one = rng.normal(size=(1, 3, 1))
    assert_close(layer(one), (one - mean[:, None]) / np.sqrt(var[:, None] + EPS))


def test_intermediates_carry_their_names() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3))
    for layer in (nn.LayerNorm(3), nn.GroupNorm(2, 4), nn.InstanceNorm(4)):
        names = {node.name for node in mg.trace(layer, x).nodes}
        assert {"mu", "var", "u"} <= names


def test_shape_errors_name_the_layer() -> None:
    x = np.zeros((2, 5, 3))
    cases = [
        (nn.LayerNorm(4), r"^model\.0 \(LayerNorm 4\): input of shape \(2, 5, 3\) does not end in"),
        (nn.GroupNorm(2, 4), r"^model\.0 \(GroupNorm 4 in 2\): .* does not have 4 channels"),
        (nn.InstanceNorm(4), r"^model\.0 \(InstanceNorm 4\): .* does not have 4 channels"),
    ]
    for layer, pattern in cases:
        with pytest.raises(mg.errors.ShapeError, match=pattern):
            nn.Sequential(layer)(x)
    with pytest.raises(mg.errors.DataError, match="3 groups do not divide 4"):
        nn.GroupNorm(3, 4)
    with pytest.raises(mg.errors.ShapeError, match="no spatial axes"):
        F.instance_norm(np.zeros((2, 3)))
    with pytest.raises(mg.errors.ShapeError, match="1 value for each"):
        F.instance_norm(np.zeros((2, 3, 1)))
    with pytest.raises(mg.errors.ShapeError, match="in 2 groups"):
        F.group_norm(x, 2)
    with pytest.raises(mg.errors.MinigradError, match="neither the input's"):
        F.instance_norm(x, use_input_stats=False)
    with pytest.raises(mg.errors.ShapeError, match="does not end in"):
        F.layer_norm(x, (5, 4))
    with pytest.raises(mg.errors.ShapeError, match="no batch or no channel axis"):
        F.batch_norm(np.zeros(3), None, None, training=True, channel_axis=0)
