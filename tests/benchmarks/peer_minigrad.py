"""minigrad, for the benchmark driver that runs libraries side by side.

Public API only: ordinary layers, whose gradients are derived, ordinary optimisers, one
compiled call a step. The models are those of ``minigrad.bench.workloads``, with the driver's
data. Variants: "" the native CPU backend; "numpy" the reference backend; "eager" without
``mg.compile``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import workloads as wl
from worker import Built, Unsupported

import minigrad as mg
from minigrad import nn
from minigrad.bench import workloads as models
from minigrad.nn import functional as F


class Masked(nn.Module):
    """Dropout with a given mask, to compare numbers with the other libraries."""

    def __init__(self, mask: np.ndarray) -> None:
        super().__init__()
        self.mask = mg.tensor(mask)

    def forward(self, x: Any) -> Any:
        """Return x times the mask."""
        return x * self.mask


def build(workload: str, check: bool = False, variant: str = "") -> Built:
    """Return the workload's step, and what it computes."""
    data = wl.get(workload)
    if variant == "eager":
        jit = lambda f: f
    elif variant in ("", "numpy"):
        jit = lambda f: mg.compile(f, backend=variant or "cpu")
    else:
        raise Unsupported(f"no variant {variant!r}")
    make = {
        "W1": training, "W2": training, "W3a": normalisation, "W3b": normalisation,
        "W4": chain, "W5": tiny, "W6": program, "W7": normalisation, "W8a": logistic,
        "W8b": logistic,
    }[workload]  # fmt: skip
    return make(workload, data, jit, check)


def drop(data: Any, name: str, check: bool) -> nn.Module:
    return Masked(data[name]) if check else nn.Dropout(data["drop"])


def training(workload: str, data: Any, jit: Any, check: bool) -> Built:
    """Return a training step of the MLP or the CNN."""
    if workload == "W1":
        linear = {"W1": "0.weight", "W2": "4.weight", "W3": "8.weight", "c3": "8.bias"}
        norms = {1: "1", 2: "5"}
        model = models.perceptron(drops=[drop(data, m, check) for m in ("m1", "m2")])
    else:
        linear = {"K1": "0.weight", "K2": "3.weight", "W3": "8.weight", "c3": "8.bias"}
        linear |= {"W4": "11.weight", "c4": "11.bias"}
        norms = {1: "1", 2: "4"}
        model = models.convolutional(drops=[drop(data, "m3", check)])
    names = dict(linear)
    for i, place in norms.items():
        names |= {f"g{i}": f"{place}.weight", f"b{i}": f"{place}.bias"}
    cells = dict(model.named_parameters())
    for ours, theirs in ((names[k], v) for k, v in data["params"].items()):
        cells[ours].assign(theirs.T.copy() if theirs.ndim == 2 else theirs)
    if workload == "W1":
        optimiser: Any = mg.optim.SGD(model.parameters(), lr=data["lr"], momentum=data["mu"])
    else:
        betas = (data["beta1"], data["beta2"])
        optimiser = mg.optim.Adam(
            model.parameters(), lr=data["lr"], betas=betas, eps=data["adam_eps"]
        )
    x, y = mg.tensor(data["x"]), mg.tensor(data["y"])
    state: dict[str, Any] = {}

    one = jit(models.training(model, optimiser, F.cross_entropy))

    def step() -> None:
        state["loss"] = one(x, y)

    def outputs() -> dict[str, np.ndarray]:
        found = {"loss": state["loss"].numpy()}
        for theirs, ours in names.items():
            p = cells[ours]
            assert p.grad is not None
            turn = (lambda a: a.T) if p.ndim == 2 else (lambda a: a)
            found["g_" + theirs], found["p_" + theirs] = turn(p.grad.numpy()), turn(p.numpy())
        for i, place in norms.items():
            buffers = model.state_dict()
            found[f"rm{i}"] = buffers[f"{place}.running_mean"].numpy()
            found[f"rv{i}"] = buffers[f"{place}.running_var"].numpy()
        return found

    return Built(step, outputs)


def normalisation(workload: str, data: Any, jit: Any, check: bool) -> Built:
    """Return BatchNorm or LayerNorm, forward and backward."""
    assert wl.EPS == 1e-5
    arrays = [mg.tensor(data[k]) for k in ("x", "gamma", "beta", "dy")]
    function = models.layer_norm if workload == "W7" else models.batch_norm
    both, state = jit(models.with_pullback(function)), {}

    def step() -> None:
        state["o"] = both(*arrays)

    names = ("y", "dx", "dgamma", "dbeta")
    return Built(step, lambda: {k: v.numpy() for k, v in zip(names, state["o"], strict=True)})


def chain(workload: str, data: Any, jit: Any, check: bool) -> Built:
    """Return the chain of elementwise operations, with its gradient."""
    return _scalar_and_gradient(models.chain, data, jit)


def program(workload: str, data: Any, jit: Any, check: bool) -> Built:
    """Return the program of many small operations, with its gradient."""
    return _scalar_and_gradient(models.program(data["prog"]), data, jit)


def _scalar_and_gradient(function: Any, data: Any, jit: Any) -> Built:
    x, state = mg.tensor(data["x"]), {}
    both = jit(mg.value_and_grad(function))

    def step() -> None:
        state["o"] = both(x)

    return Built(
        step, lambda: {k: v.numpy() for k, v in zip(("loss", "dx"), state["o"], strict=True)}
    )


def tiny(workload: str, data: Any, jit: Any, check: bool) -> Built:
    """Return a training step of the tiny network."""
    model = models.small()
    names = {
        f"{k}{i + 1}": f"{2 * i}.{n}" for i in range(3) for k, n in (("W", "weight"), ("b", "bias"))
    }
    cells = dict(model.named_parameters())
    for k, v in data["params"].items():
        cells[names[k]].assign(v.T.copy() if v.ndim == 2 else v)
    optimiser = mg.optim.SGD(model.parameters(), lr=data["lr"])
    x, y = mg.tensor(data["x"]), mg.tensor(data["y"])
    state: dict[str, Any] = {}

    one = jit(models.training(model, optimiser, F.mse_loss, keep=False))

    def step() -> None:
        state["loss"] = one(x, y)

    def outputs() -> dict[str, np.ndarray]:
        found = {"loss": state["loss"].numpy()}
        for k, name in names.items():
            p = cells[name].numpy()
            found["p_" + k] = p.T if p.ndim == 2 else p
        return found

    return Built(step, outputs)


def logistic(workload: str, data: Any, jit: Any, check: bool) -> Built:
    """Return the Hessian of logistic regression, or its product with a vector."""
    x, y, w, v = (mg.tensor(data[k]) for k in ("X", "y", "w", "v"))

    loss = models.logistic(x, y)
    state: dict[str, Any] = {}
    if workload == "W8a":
        function, args = jit(mg.hessian(loss)), (w,)
    else:
        function, args = jit(models.product(loss)), (w, v)

    def step() -> None:
        state["o"] = function(*args)

    def outputs() -> dict[str, np.ndarray]:
        found = state["o"]
        return {"o": (found[0] if isinstance(found, tuple) else found).numpy()}

    return Built(step, outputs)
