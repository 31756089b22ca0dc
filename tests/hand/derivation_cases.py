"""What each section of a derivation is compared with: layers, activations, losses.

A case draws sizes and values and returns a Problem. It holds no formula: only what the page's
letters stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from derivations import Problem

import minigrad as mg
from minigrad import nn

__all__ = ["CASES", "Case", "Draw", "case", "sums"]


class Draw(Protocol):
    """Where a case gets its sizes and values from."""

    training: bool
    seed: int

    def size(self, low: int, high: int) -> int: ...
    def choice(self, options: Any) -> Any: ...
    def normal(self, *shape: int) -> Any: ...
    def uniform(self, low: float, high: float, *shape: int) -> Any: ...


class Case:
    """A section's problem: which layers it covers, and in which modes it holds."""

    def __init__(
        self, section: str, make: Callable[[Draw], Problem], layers: tuple[str, ...], modes: Any
    ) -> None:
        self.section, self.make, self.layers, self.modes = section, make, layers, modes


CASES: dict[str, Case] = {}


def case(section: str, *layers: str, modes: tuple[bool, ...] = (True, False)) -> Any:
    """Register a function as the case of a section, ``page/Title``."""

    def enter(make: Callable[[Draw], Problem]) -> Callable[[Draw], Problem]:
        assert section not in CASES, section
        CASES[section] = Case(section, make, layers, modes)
        return make

    return enter


def sums(*axes: int) -> Callable[[Any], Any]:
    """Return the sum over axes, which are kept with size 1."""
    return lambda t: np.sum(t, axes, keepdims=True)


# Maps ---------------------------------------------------------------------------------


@case("linear/Linear", "Linear")
def linear(draw: Draw) -> Problem:
    lead = [draw.size(1, 3) for _ in range(draw.size(0, 2))]
    i, o = draw.size(1, 4), draw.size(1, 4)
    x, δ = draw.normal(*lead, i), draw.normal(*lead, o)
    given = {"W": draw.normal(o, i), "b": draw.normal(o)}
    given |= {"x": x.reshape(-1, i), "δ": δ.reshape(-1, o)}
    layer = nn.Linear(i, o, dtype=mg.float64)
    return Problem(given, layer, {"x": x}, parameters={"W": "weight", "b": "bias"})


def _table(draw: Draw, padding: bool) -> Problem:
    n, d, m = draw.size(1, 4), draw.size(1, 3), draw.size(1, 6)
    index = np.array([draw.size(0, n - 1) for _ in range(m)])
    k = draw.size(0, n - 1) if padding else None
    given = {"i": index, "n": n, "k": k, "W": draw.normal(n, d), "δ": draw.normal(m, d)}
    layer = nn.Embedding(n, d, padding_idx=k, dtype=mg.float64)
    return Problem(given, layer, {}, (index,), {"W": "weight"})


@case("embedding/Embedding", "Embedding")
def embedding(draw: Draw) -> Problem:
    return _table(draw, padding=False)


@case("embedding/Padding")
def embedding_padding(draw: Draw) -> Problem:
    return _table(draw, padding=True)


@case("flatten/Flatten", "Flatten")
def flatten(draw: Draw) -> Problem:
    x = draw.normal(*(draw.size(1, 3) for _ in range(draw.size(2, 4))))
    joined = (x.shape[0], -1)
    δ = draw.normal(*x.reshape(joined).shape)
    return Problem({"x": x, "joined": joined, "δ": δ}, nn.Flatten(), {"x": x})


@case("flatten/Unflatten", "Unflatten")
def unflatten(draw: Draw) -> Problem:
    n, a, b = draw.size(1, 3), draw.size(1, 3), draw.size(1, 3)
    x, δ = draw.normal(n, a * b), draw.normal(n, a, b)
    given = {"x": x, "parts": (n, a, b), "δ": δ}
    return Problem(given, nn.Unflatten(1, (a, b)), {"x": x})


class Grid:
    """One axis of a sliding window: sizes, stride, padding, dilation, and the page's letters."""

    def __init__(self, draw: Draw, *, dilated: bool = True) -> None:
        self.kernel, self.stride = draw.size(1, 3), draw.size(1, 3)
        self.dilation = draw.size(1, 2) if dilated else 1
        self.padding = draw.size(0, self.kernel // 2)
        reach = self.dilation * (self.kernel - 1) + 1
        self.size = draw.size(max(1, reach - 2 * self.padding), reach + 3)
        self.count = (self.size + 2 * self.padding - reach) // self.stride + 1

    def at(self, k: int) -> slice:
        start = self.dilation * k
        return slice(start, start + self.stride * (self.count - 1) + 1, self.stride)


def _padding(grids: list[Grid], fill: float) -> dict[str, Any]:
    widths = [(g.padding, g.padding) for g in grids]
    inside = tuple(slice(g.padding, g.padding + g.size) for g in grids)

    def pad(x: Any) -> Any:
        lead = [(0, 0)] * (x.ndim - len(grids))
        return np.pad(x, [*lead, *widths], constant_values=fill)

    letters = {"pad": pad, "unpad": lambda t: t[(..., *inside)]}
    for grid, at, size in zip(grids, ("at", "across"), ("K", "L"), strict=False):
        letters |= {at: grid.at, size: grid.kernel}
    return letters


def _convolution(draw: Draw, dimensions: int) -> Problem:
    grids = [Grid(draw) for _ in range(dimensions)]
    n, c, o = draw.size(1, 2), draw.size(1, 3), draw.size(1, 3)
    x = draw.normal(n, c, *(g.size for g in grids))
    given = {
        "x": x,
        "W": draw.normal(o, c, *(g.kernel for g in grids)),
        "b": draw.normal(o),
        "δ": draw.normal(n, o, *(g.count for g in grids)),
        **_padding(grids, 0.0),
    }
    kind: Any = nn.Conv1d if dimensions == 1 else nn.Conv2d
    layer = kind(
        c, o,
        tuple(g.kernel for g in grids),
        stride=tuple(g.stride for g in grids),
        padding=tuple(g.padding for g in grids),
        dilation=tuple(g.dilation for g in grids),
        dtype=mg.float64,
    )  # fmt: skip
    return Problem(given, layer, {"x": x}, parameters={"W": "weight", "b": "bias"})


@case("convolution/Conv1d", "Conv1d")
def conv1d(draw: Draw) -> Problem:
    return _convolution(draw, 1)


@case("convolution/Conv2d", "Conv2d")
def conv2d(draw: Draw) -> Problem:
    return _convolution(draw, 2)


def _pooling(draw: Draw, kind: Any, dimensions: int, fill: float, dilated: bool) -> Problem:
    grids = [Grid(draw, dilated=dilated) for _ in range(dimensions)]
    shape = (draw.size(1, 2), draw.size(1, 2), *(g.size for g in grids))
    x = draw.normal(*shape)
    if draw.choice([False, True]):
        x = np.round(x)  # so that there are ties
    δ = draw.normal(*shape[:2], *(g.count for g in grids))
    sizes: Any = [tuple(getattr(g, k) for g in grids) for k in ("kernel", "stride", "padding")]
    sizes += [tuple(g.dilation for g in grids)] if dilated else []
    layer = kind(*(s[0] if dimensions == 1 else s for s in sizes))
    return Problem({"x": x, "δ": δ, **_padding(grids, fill)}, layer, {"x": x})


@case("max_pooling/MaxPool1d", "MaxPool1d")
def max_pool1d(draw: Draw) -> Problem:
    return _pooling(draw, nn.MaxPool1d, 1, -np.inf, dilated=True)


@case("max_pooling/MaxPool2d", "MaxPool2d")
def max_pool2d(draw: Draw) -> Problem:
    return _pooling(draw, nn.MaxPool2d, 2, -np.inf, dilated=True)


@case("average_pooling/AvgPool1d", "AvgPool1d")
def avg_pool1d(draw: Draw) -> Problem:
    return _pooling(draw, nn.AvgPool1d, 1, 0.0, dilated=False)


@case("average_pooling/AvgPool2d", "AvgPool2d")
def avg_pool2d(draw: Draw) -> Problem:
    return _pooling(draw, nn.AvgPool2d, 2, 0.0, dilated=False)


def _adaptive(draw: Draw, dimensions: int) -> Problem:
    sizes = [draw.size(1, 6) for _ in range(dimensions)]
    parts = [draw.size(1, n) for n in sizes]
    x = draw.normal(draw.size(1, 2), draw.size(1, 2), *sizes)
    given: dict[str, Any] = {"x": x, "δ": draw.normal(*x.shape[:2], *parts)}
    names = [("first", "last", "M"), ("left", "right", "P")]
    for n, count, (low, high, size) in zip(sizes, parts, names, strict=False):
        given[low] = lambda i, n=n, count=count: i * n // count
        given[high] = lambda i, n=n, count=count: -(-(i + 1) * n // count)
        given[size] = count
    kind: Any = nn.AdaptiveAvgPool1d if dimensions == 1 else nn.AdaptiveAvgPool2d
    return Problem(given, kind(parts[0] if dimensions == 1 else parts), {"x": x})


@case("average_pooling/AdaptiveAvgPool1d", "AdaptiveAvgPool1d")
def adaptive1d(draw: Draw) -> Problem:
    return _adaptive(draw, 1)


@case("average_pooling/AdaptiveAvgPool2d", "AdaptiveAvgPool2d")
def adaptive2d(draw: Draw) -> Problem:
    return _adaptive(draw, 2)


# Activations --------------------------------------------------------------------------


def _activation(section: str, name: str, make: Callable[[dict[str, Any]], Any], **options: Any):
    def build(draw: Draw) -> Problem:
        shape = [draw.size(1, 4) for _ in range(draw.size(0, 3))]
        letters = {letter: draw.choice(values) for letter, values in options.items()}
        x = 2 * draw.normal(*shape)
        given = {"x": x, "δ": draw.normal(*shape), **letters}
        return Problem(given, make(letters), {"x": x})

    case(section, name)(build)


_activation("relu/ReLU", "ReLU", lambda o: nn.ReLU())
_activation("relu/LeakyReLU", "LeakyReLU", lambda o: nn.LeakyReLU(o["a"]), a=[0.01, 0.2, 0.5])
_activation("elu/ELU", "ELU", lambda o: nn.ELU(o["α"]), α=[1.0, 0.3, 2.0])
_activation("gelu/GELU", "GELU", lambda o: nn.GELU())
_activation("gelu/Tanh approximation", "GELU", lambda o: nn.GELU("tanh"))
_activation("silu/SiLU", "SiLU", lambda o: nn.SiLU())
_activation("sigmoid/Sigmoid", "Sigmoid", lambda o: nn.Sigmoid())
_activation("tanh/Tanh", "Tanh", lambda o: nn.Tanh())
_activation("softplus/Softplus", "Softplus", lambda o: nn.Softplus(o["β"]), β=[1.0, 0.5, 3.0])


def _over_an_axis(section: str, kind: Any) -> None:
    def build(draw: Draw) -> Problem:
        shape = [draw.size(1, 4) for _ in range(draw.size(1, 3))]
        axis = draw.size(-len(shape), len(shape) - 1)
        x = 2 * draw.normal(*shape)
        given = {"x": x, "δ": draw.normal(*shape), "Σ": sums(axis)}
        return Problem(given, kind(axis), {"x": x})

    case(section, kind.__name__)(build)


_over_an_axis("softmax/Softmax", nn.Softmax)
_over_an_axis("log_softmax/LogSoftmax", nn.LogSoftmax)


# Losses -------------------------------------------------------------------------------


def _shape(draw: Draw) -> list[int]:
    return [draw.size(1, 4) for _ in range(draw.size(1, 3))]


def _divisor(draw: Draw, x: Any) -> tuple[str, float]:
    reduction = draw.choice(["mean", "sum"])
    return reduction, float(x.size) if reduction == "mean" else 1.0


def _regression(section: str, kind: Any, option: str | None = None) -> None:
    def build(draw: Draw) -> Problem:
        shape = _shape(draw)
        x, t = draw.normal(*shape), draw.normal(*shape)
        reduction, n = _divisor(draw, x)
        c = draw.choice([0.3, 1.0, 2.0])
        options = {} if option is None else {option: c}
        given = {"x": x, "t": t, "n": n, "c": c, "Σ": np.sum}
        layer = kind(reduction=reduction, **options)
        return Problem(given, layer, {"x": x, "t": t}, value="L")

    case(section, kind.__name__)(build)


_regression("mse_loss/MSELoss", nn.MSELoss)
_regression("l1_loss/L1Loss", nn.L1Loss)
_regression("huber_loss/HuberLoss", nn.HuberLoss, "delta")
_regression("huber_loss/SmoothL1Loss", nn.SmoothL1Loss, "beta")


def _classes(draw: Draw) -> dict[str, Any]:
    n, classes = draw.size(1, 4), draw.size(1, 5)
    labels = np.array([draw.size(0, classes - 1) for _ in range(n)])
    weighted = draw.choice([False, True])
    w = draw.uniform(0.5, 2.0, classes) if weighted else np.ones(classes)
    reduction = draw.choice(["mean", "sum"])
    divisor = float(w[labels].sum()) if reduction == "mean" else 1.0
    return {
        "x": 2 * draw.normal(n, classes), "w": w, "labels": labels, "t": np.eye(classes)[labels],
        "C": classes, "n": divisor, "reduction": reduction, "Σ": sums(-1), "total": np.sum,
        "weight": w if weighted else None,
    }  # fmt: skip


@case("cross_entropy/Labels", "CrossEntropyLoss")
def cross_entropy(draw: Draw) -> Problem:
    given = _classes(draw)
    given["s"] = draw.choice([0.0, 0.1, 0.7])
    layer = nn.CrossEntropyLoss(
        given["weight"], reduction=given["reduction"], label_smoothing=given["s"]
    )
    return Problem(given, layer, {"x": given["x"]}, (given["labels"],), value="L")


@case("cross_entropy/Probabilities")
def cross_entropy_probabilities(draw: Draw) -> Problem:
    given = _classes(draw)
    given["s"] = draw.choice([0.0, 0.1, 0.7])
    t = draw.uniform(0.1, 1.0, *given["x"].shape)
    given["t"] = t / t.sum(1, keepdims=True)
    given["n"] = float(len(t)) if given["reduction"] == "mean" else 1.0
    layer = nn.CrossEntropyLoss(
        given["weight"], reduction=given["reduction"], label_smoothing=given["s"]
    )
    return Problem(given, layer, {"x": given["x"], "t": given["t"]}, value="L")


@case("nll_loss/NLLLoss", "NLLLoss")
def nll_loss(draw: Draw) -> Problem:
    given = _classes(draw)
    layer = nn.NLLLoss(given["weight"], reduction=given["reduction"])
    return Problem(given, layer, {"x": given["x"]}, (given["labels"],), value="L")


@case("binary_cross_entropy/BCEWithLogitsLoss", "BCEWithLogitsLoss")
def bce_with_logits(draw: Draw) -> Problem:
    shape = _shape(draw)
    z, t = 2 * draw.normal(*shape), draw.uniform(0.0, 1.0, *shape)
    w, v = draw.uniform(0.5, 2.0, *shape), draw.uniform(0.5, 2.0, *shape)
    reduction, n = _divisor(draw, z)
    given = {"z": z, "t": t, "w": w, "v": v, "n": n, "Σ": np.sum}
    return Problem(given, nn.BCEWithLogitsLoss(w, reduction, v), {"z": z}, (t,), value="L")


@case("binary_cross_entropy/BCELoss", "BCELoss")
def bce(draw: Draw) -> Problem:
    shape = _shape(draw)
    p, t = draw.uniform(0.05, 0.95, *shape), draw.uniform(0.0, 1.0, *shape)
    w = draw.uniform(0.5, 2.0, *shape)
    reduction, n = _divisor(draw, p)
    given = {"p": p, "t": t, "w": w, "n": n, "Σ": np.sum}
    return Problem(given, nn.BCELoss(w, reduction), {"p": p}, (t,), value="L")


def _divergence(draw: Draw, log_target: bool) -> Problem:
    shape = _shape(draw)
    x, t = -draw.uniform(0.1, 3.0, *shape), draw.uniform(0.1, 1.0, *shape)
    reduction = draw.choice(["mean", "sum", "batchmean"])
    n = {"mean": x.size, "sum": 1, "batchmean": len(x)}[reduction]
    t = np.log(t) if log_target else t
    given = {"x": x, "t": t, "n": float(n), "Σ": np.sum}
    return Problem(given, nn.KLDivLoss(reduction, log_target), {"x": x, "t": t}, value="L")


@case("kl_div/KLDivLoss", "KLDivLoss")
def kl_div(draw: Draw) -> Problem:
    return _divergence(draw, log_target=False)


@case("kl_div/Logarithmic target")
def kl_div_logarithmic(draw: Draw) -> Problem:
    return _divergence(draw, log_target=True)
