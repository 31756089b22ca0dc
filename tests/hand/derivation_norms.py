"""What the sections on dropout and on normalisations are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from derivation_cases import Draw, case, sums
from derivations import Problem, same
from hand_workers import run

import minigrad as mg
from minigrad import nn
from minigrad.ops.random import keep_mask

__all__: list[str] = []

STATISTICS = {"σ2": "var", "μ": "mu", "u": "u"}


def spatial(draw: Draw, low: int, high: int) -> list[int]:
    return [draw.size(2, 3) for _ in range(draw.size(low, high))]


# Dropout ------------------------------------------------------------------------------


def _mask(draw: Draw, p: float, shape: tuple[int, ...]) -> Any:
    """Draw the mask again: it is a function of the seed."""
    mg.random.seed(draw.seed)
    return np.asarray(keep_mask(p, shape)).astype(float)


def _dropout(section: str, mode: str, training: bool) -> None:
    def build(draw: Draw) -> Problem:
        p = draw.choice([0.1, 0.5, 0.8])
        x = draw.normal(*(draw.size(1, 4) for _ in range(draw.size(1, 3))))
        given = {"x": x, "p": p, "δ": draw.normal(*x.shape), "mask": _mask(draw, p, x.shape)}
        return Problem(given, nn.Dropout(p, mode), {"x": x}, seed=draw.seed)

    case(section, "Dropout", modes=(training,))(build)


_dropout("dropout/Inverted, training", "inverted", training=True)
_dropout("dropout/Inverted, evaluation", "inverted", training=False)
_dropout("dropout/Standard, training", "standard", training=True)
_dropout("dropout/Standard, evaluation", "standard", training=False)


@case("dropout/Folded weights", modes=(False,))
def folded(draw: Draw) -> Problem:
    n, i, o = draw.size(1, 3), draw.size(1, 4), draw.size(1, 4)
    p = draw.choice([0.1, 0.5, 0.8])
    net = nn.Sequential(nn.Dropout(p, "standard"), nn.Linear(i, o, dtype=mg.float64))
    weight, bias = net[1].weight.numpy(), net[1].bias.numpy()
    x = draw.normal(n, i)
    given = {"x": x, "p": p, "W": weight, "b": bias, "δ": draw.normal(n, o)}
    folded = nn.fold_dropout(net).eval()
    return Problem(given, lambda x: folded(x), {"x": x})


def _drop_connect(draw: Draw) -> Problem:
    n, i, o = draw.size(1, 3), draw.size(1, 4), draw.size(1, 4)
    p = draw.choice([0.1, 0.5, 0.8])
    x = draw.normal(n, i)
    given = {
        "x": x, "p": p, "W": draw.normal(o, i), "b": draw.normal(o), "δ": draw.normal(n, o),
        "mask": _mask(draw, p, (o, i)),
    }  # fmt: skip
    layer = nn.DropConnect(nn.Linear(i, o, dtype=mg.float64), p)
    parameters = {"W": "layer.weight", "b": "layer.bias"}
    return Problem(given, layer, {"x": x}, parameters=parameters, seed=draw.seed)


case("drop_connect/Training", "DropConnect", modes=(True,))(_drop_connect)
case("drop_connect/Evaluation", "DropConnect", modes=(False,))(_drop_connect)


@case("ensembles/Sub-networks", modes=(False,))
def all_sub_networks(draw: Draw) -> Problem:
    hidden, classes, n = draw.size(1, 6), draw.size(2, 4), draw.size(1, 3)
    net = nn.Sequential(
        nn.Dropout(0.5, "standard"), nn.Linear(hidden, classes, dtype=mg.float64), nn.Softmax(1)
    )
    weight, bias = draw.normal(classes, hidden), draw.normal(classes)
    net[1].weight.assign(weight)
    net[1].bias.assign(bias)
    h = draw.normal(n, hidden)
    masks = np.array(list(np.ndindex(*(2,) * hidden)))
    given = {"h": h, "W": weight, "b": bias, "masks": masks}

    def compare(letters: dict[str, Any]) -> None:
        found = nn.subnetworks(net, h)
        order = np.lexsort(found.masks.T[::-1])
        same(found.outputs.numpy()[order], letters["P"], "P")
        same(nn.geometric_mean(found.outputs), letters["G"], "G")
        same(net.eval()(h), letters["y"], "y")
        same(letters["G"], letters["y"], "G and y")

    return Problem(given, net, {}, compare=compare)


@case("ensembles/Bagging", "Bagging")
def bagging(draw: Draw) -> Problem:
    """The models return an input of their own, so that df is what reaches each."""

    class Own(nn.Module):
        def __init__(self, at: int) -> None:
            self.at = at

        def forward(self, f: Any) -> Any:
            return f[self.at]

    m = draw.size(1, 4)
    f = draw.normal(m, draw.size(1, 3), draw.size(1, 3))
    given = {"f": f, "M": m, "δ": draw.normal(*f.shape[1:])}
    return Problem(given, nn.Bagging([Own(i) for i in range(m)]), {"f": f})


# Normalisation --------------------------------------------------------------------------


def _channels(draw: Draw, low: int = 0) -> tuple[Any, int, tuple[int, ...]]:
    """Return an input, the axis of its channels, and the other axes."""
    last = draw.choice([False, True])
    shape = [draw.size(2, 4), *spatial(draw, low, 2)]
    axis = len(shape) if last else 1
    shape.insert(axis, draw.size(1, 3))
    return draw.normal(*shape), axis, tuple(a for a in range(len(shape)) if a != axis)


def _wide(values: Any, ndim: int, axis: int) -> Any:
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


def _scale(draw: Draw, x: Any, axis: int) -> dict[str, Any]:
    c = x.shape[axis]
    return {
        "x": x, "δ": draw.normal(*x.shape), "ε": draw.choice([1e-5, 1e-2]),
        "γ": _wide(draw.normal(c), x.ndim, axis), "β": _wide(draw.normal(c), x.ndim, axis),
    }  # fmt: skip


AFFINE = {"γ": "weight", "β": "bias"}


@case("batch_norm/Training", "BatchNorm", modes=(True,))
def batch_norm(draw: Draw) -> Problem:
    x, axis, axes = _channels(draw)
    given = _scale(draw, x, axis) | {"Σ": sums(*axes), "m": x.size // x.shape[axis]}
    statistics = draw.choice(["running", "population", "batch"])
    layer = nn.BatchNorm(
        x.shape[axis], given["ε"], statistics=statistics, channel_axis=axis, dtype=mg.float64
    )
    return Problem(given, layer, {"x": x}, parameters=AFFINE, tags=STATISTICS)


@case("batch_norm/Evaluation", "BatchNorm", modes=(False,))
def batch_norm_evaluation(draw: Draw) -> Problem:
    x, axis, axes = _channels(draw)
    x = x[: draw.size(1, len(x))]
    c = x.shape[axis]
    mean, var = draw.normal(c), draw.uniform(0.5, 2.0, c)
    given = _scale(draw, x, axis) | {"Σ": sums(*axes)}
    given |= {"μ": _wide(mean, x.ndim, axis), "σ2": _wide(var, x.ndim, axis)}
    layer = nn.BatchNorm(c, given["ε"], channel_axis=axis, dtype=mg.float64)
    layer.running_mean.assign(mean)
    layer.running_var.assign(var)
    return Problem(given, layer, {"x": x}, parameters=AFFINE, tags={"u": "u"})


@case("sync_batch_norm/Training", "SyncBatchNorm", modes=(True,))
def sync_batch_norm(draw: Draw) -> Problem:
    sizes = [draw.size(1, 3) for _ in range(draw.size(2, 3))]
    c, rest = draw.size(1, 3), spatial(draw, 0, 1)
    cuts = np.cumsum(sizes)[:-1]
    x = draw.normal(sum(sizes), c, *rest)
    axes = tuple(a for a in range(x.ndim) if a != 1)
    given = _scale(draw, x, 1)
    given |= {
        "parts": np.split(x, cuts), "δs": np.split(given["δ"], cuts), "Σ": sums(*axes),
        "all": sum, "values": lambda t: t.size // c,
    }  # fmt: skip

    def work(worker: Any) -> Any:
        f = lambda x, gamma, beta: nn.functional.batch_norm(
            x, None, None, gamma, beta, True, 0.1, given["ε"], 1, worker
        )
        gamma, beta = given["γ"].reshape(c), given["β"].reshape(c)
        out, pullback = mg.vjp(f, given["parts"][worker.rank], gamma, beta)
        return [out, *pullback(given["δs"][worker.rank])]

    def compare(letters: dict[str, Any]) -> None:
        """What the workers return is joined along the batch; their gradients add up."""
        y, dx, dγ, dβ = (list(map(np.asarray, r)) for r in zip(*run(len(sizes), work), strict=True))
        same(np.concatenate(y), letters["y"], "y")
        same(np.concatenate(dx), letters["dx"], "dx")
        same(sum(dγ), letters["dγ"], "dγ")
        same(sum(dβ), letters["dβ"], "dβ")

    return Problem(given, None, {}, compare=compare)


@case("layer_norm/LayerNorm", "LayerNorm")
def layer_norm(draw: Draw) -> Problem:
    lead = [draw.size(1, 3) for _ in range(draw.size(0, 2))]
    last = [draw.size(2, 4) for _ in range(draw.size(1, 2))]
    x = draw.normal(*lead, *last)
    given = {
        "x": x, "δ": draw.normal(*x.shape), "ε": draw.choice([1e-5, 1e-2]),
        "γ": draw.normal(*last), "β": draw.normal(*last), "m": int(np.prod(last)),
        "Σ": sums(*range(len(lead), x.ndim)),
        "over_rows": lambda t: t.sum(tuple(range(len(lead)))),
    }  # fmt: skip
    layer = nn.LayerNorm(last, given["ε"], dtype=mg.float64)
    return Problem(given, layer, {"x": x}, parameters=AFFINE, tags=STATISTICS)


def _example(draw: Draw, channels: int) -> dict[str, Any]:
    x = draw.normal(draw.size(1, 3), channels, *spatial(draw, 1, 2))
    axes = tuple(range(2, x.ndim))
    return _scale(draw, x, 1) | {
        "Σ": sums(*axes),
        "m": int(np.prod(x.shape[2:])),
        "per_channel": sums(0, *axes),
    }


@case("group_norm/GroupNorm", "GroupNorm")
def group_norm(draw: Draw) -> Problem:
    groups, inside = draw.size(1, 3), draw.size(1, 3)
    given = _example(draw, groups * inside)
    x = given["x"]
    parts = (x.shape[0], groups, inside, *x.shape[2:])
    given |= {
        "split": lambda t: t.reshape(parts),
        "join": lambda t: t.reshape(x.shape),
        "Σ": sums(*range(2, len(parts))),
        "m": given["m"] * inside,
    }
    layer = nn.GroupNorm(groups, groups * inside, given["ε"], dtype=mg.float64)
    tags = {"σ2": "var", "μ": "mu"}
    return Problem(given, layer, {"x": x}, parameters=AFFINE, tags=tags)


@case("instance_norm/Own statistics", "InstanceNorm")
def instance_norm(draw: Draw) -> Problem:
    given = _example(draw, draw.size(1, 3))
    layer = nn.InstanceNorm(given["γ"].size, given["ε"], affine=True, dtype=mg.float64)
    return Problem(given, layer, {"x": given["x"]}, parameters=AFFINE, tags=STATISTICS)


@case("instance_norm/Running statistics", "InstanceNorm", modes=(False,))
def instance_norm_running(draw: Draw) -> Problem:
    given = _example(draw, draw.size(1, 3))
    c, ndim = given["γ"].size, given["x"].ndim
    mean, var = draw.normal(c), draw.uniform(0.5, 2.0, c)
    given |= {"μ": _wide(mean, ndim, 1), "σ2": _wide(var, ndim, 1)}
    layer = nn.InstanceNorm(c, given["ε"], affine=True, track_running_stats=True, dtype=mg.float64)
    layer.running_mean.assign(mean)
    layer.running_var.assign(var)
    return Problem(given, layer, {"x": given["x"]}, parameters=AFFINE)


@case("adain/AdaIN", "AdaIN")
def adain(draw: Draw) -> Problem:
    given = _example(draw, draw.size(1, 3))
    x = given["x"]
    axes = tuple(range(2, x.ndim))
    one = draw.choice([False, True])
    s = draw.normal(1 if one else len(x), x.shape[1], *(draw.size(2, 4) for _ in axes))
    given |= {
        "s": s,
        "k": int(np.prod(s.shape[2:])),
        "for_style": (lambda t: t.sum(0, keepdims=True)) if one else (lambda t: t),
    }
    tags = STATISTICS | {"γ": "gamma", "β": "beta"}
    if one:  # β is tagged before it is repeated for the batch
        tags = dict(STATISTICS)
    return Problem(given, nn.AdaIN(given["ε"]), {"x": x, "s": s}, tags=tags)


def _linear(draw: Draw) -> dict[str, Any]:
    n, i, o = draw.size(1, 3), draw.size(2, 4), draw.size(1, 4)
    x, δ = draw.normal(n, i), draw.normal(n, o)
    return {"x": x, "δ": δ, "W": draw.normal(o, i), "b": draw.normal(o), "Σ": sums(1)}


@case("weight_norm/WeightNorm", "WeightNorm")
def weight_norm(draw: Draw) -> Problem:
    given = _linear(draw)
    given["v"] = given.pop("W")
    o, i = given["v"].shape
    given["g"] = draw.uniform(0.5, 2.0, o, 1)
    layer = nn.WeightNorm(nn.Linear(i, o, dtype=mg.float64))
    parameters = {"g": "weight_g", "v": "layer.weight", "b": "layer.bias"}
    return Problem(given, layer, {"x": given["x"]}, parameters=parameters, tags={"l": "length"})


@case("weight_standardization/WeightStandardization", "WeightStandardization")
def weight_standardization(draw: Draw) -> Problem:
    given = _linear(draw)
    o, i = given["W"].shape
    given |= {"m": i, "ε": draw.choice([1e-5, 1e-2])}
    layer = nn.WeightStandardization(nn.Linear(i, o, dtype=mg.float64), eps=given["ε"])
    parameters = {"W": "layer.weight", "b": "layer.bias"}
    return Problem(given, layer, {"x": given["x"]}, parameters=parameters, tags=STATISTICS)


def _same_convolution(k: int) -> dict[str, Any]:
    """Return a convolution that keeps the size, and its gradients: those of its own page."""
    r = k // 2

    def windows(t: Any) -> Any:  # (n, c, h, w, k, k)
        padded = np.pad(t, [(0, 0), (0, 0), (r, r), (r, r)])
        return np.lib.stride_tricks.sliding_window_view(padded, (k, k), (2, 3))

    flipped = lambda weight: np.flip(weight, (2, 3))
    return {
        "conv": lambda t, weight, b: (
            np.einsum("nchwkl,ockl->nohw", windows(t), weight) + b[:, None, None]
        ),
        "conv_x": lambda d, weight: np.einsum("nohwkl,ockl->nchw", windows(d), flipped(weight)),
        "conv_W": lambda d, t: np.einsum("nohw,nchwkl->ockl", d, windows(t)),
        "conv_b": lambda d: d.sum((0, 2, 3)),
    }


@case("spade/SPADE", "SPADE")
def spade(draw: Draw) -> Problem:
    n, c, labels, hidden = draw.size(1, 2), draw.size(1, 3), draw.size(1, 3), draw.size(1, 3)
    height, width, k = draw.size(2, 4), draw.size(2, 4), draw.choice([1, 3])
    x = draw.normal(n, c, height, width)
    s = draw.normal(n, labels, height, width)
    given = {
        "x": x, "s": s, "δ": draw.normal(*x.shape), "ε": draw.choice([1e-5, 1e-2]),
        "m": n * height * width, "Σ": sums(0, 2, 3), **_same_convolution(k),
        "Ws": draw.normal(hidden, labels, k, k), "bs": draw.normal(hidden),
        "Wγ": draw.normal(c, hidden, k, k), "bγ": draw.normal(c),
        "Wβ": draw.normal(c, hidden, k, k), "bβ": draw.normal(c),
    }  # fmt: skip
    norm = nn.BatchNorm(c, given["ε"], affine=False, statistics="batch")  # in both modes
    layer = nn.SPADE(c, labels, hidden, k, given["ε"], norm, dtype=mg.float64)
    parameters = {
        "Ws": "shared.weight", "bs": "shared.bias", "Wγ": "gamma.weight", "bγ": "gamma.bias",
        "Wβ": "beta.weight", "bβ": "beta.bias",
    }  # fmt: skip
    tags = STATISTICS | {"γ": "gamma", "β": "beta"}
    return Problem(given, layer, {"x": x, "s": s}, parameters=parameters, tags=tags)
