"""Training steps W1 and W2 as other libraries do them, on the same device.

Each way is a process of its own, and the processes take turns: what one leaves behind on a
device or in a cache is no other's. Products are float32's in all of them. Run with
``python -m minigrad bench --backend cupy peers``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from .workloads import CONVOLUTIONAL, PERCEPTRON, WORKLOADS

__all__ = ["WAYS", "compare", "measured"]

#: What is measured, and the library that it needs.
WAYS = {
    "minigrad": "cupy",
    "JAX, jit": "jax",
    "PyTorch, eager": "torch",
    "PyTorch, step captured by hand": "torch",
    "PyTorch, torch.compile(mode='reduce-overhead')": "torch",
}
#: A step, and what waits for the device.
Steps = tuple[Callable[[], Any], Callable[[], Any]]


def _sizes(name: str, tiny: bool) -> tuple[int, int, int, int]:
    """Return rows, inputs (or the side of an image), channels (none in W1) and width."""
    if name == "W1":
        rows, inputs, width = PERCEPTRON[tiny]
        return rows, inputs, 0, width
    return CONVOLUTIONAL[tiny]


def _batch(name: str, tiny: bool) -> tuple[Any, Any]:
    rows, side, _, _ = _sizes(name, tiny)
    rng = np.random.default_rng(1)
    shape = (rows, side) if name == "W1" else (rows, 1, side, side)
    return rng.standard_normal(shape, np.float32), rng.integers(0, 10, rows)


# The libraries -------------------------------------------------------------------------


def _minigrad(name: str, way: str, device: str, tiny: bool) -> Steps:
    del way
    mg = import_module("minigrad")
    job = WORKLOADS[name].make(tiny)
    if device == "cpu":
        return _called(mg.compile(job.function), job.arguments), lambda: None
    step = mg.compile(job.function, backend="cupy")
    synchronize = import_module("cupy").cuda.Device().synchronize
    return _called(step, [x.to("cupy") for x in job.arguments]), synchronize


def _called(step: Callable[..., Any], arguments: Any) -> Callable[[], Any]:
    return lambda: step(*arguments)


def _torch(name: str, way: str, device: str, tiny: bool) -> Steps:
    torch = import_module("torch")
    nn, cuda = torch.nn, torch.cuda
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    _, side, channels, width = _sizes(name, tiny)
    if name == "W1":
        layers: list[Any] = []
        for inputs in (side, width):
            layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
                       nn.Dropout(0.5)]  # fmt: skip
        layers.append(nn.Linear(width, 10))
    else:
        layers = [
            nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(2 * channels * (side // 2) ** 2, width), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(width, 10),
        ]  # fmt: skip
    model = nn.Sequential(*layers).to(device)
    away = device != "cpu"
    if name == "W1":
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    else:
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=away)
    x, y = (torch.from_numpy(a).to(device) for a in _batch(name, tiny))
    run = torch.compile(model, mode="reduce-overhead") if "compile" in way else model

    def step() -> Any:
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(run(x), y)
        loss.backward()
        optimiser.step()
        return loss

    wait = cuda.synchronize if away else lambda: None
    if "captured" not in way:
        return step, wait
    stream = cuda.Stream()
    stream.wait_stream(cuda.current_stream())
    with cuda.stream(stream):
        for _ in range(3):
            step()
    cuda.current_stream().wait_stream(stream)
    graph, given = cuda.CUDAGraph(), (x.clone(), y.clone())
    with cuda.graph(graph):
        step()

    def replay() -> None:
        x.copy_(given[0])
        y.copy_(given[1])
        graph.replay()

    return replay, wait


def _jax(name: str, way: str, device: str, tiny: bool) -> Steps:
    del way, device
    jax = import_module("jax")
    jnp, lax, nn = jax.numpy, jax.lax, jax.nn
    jax.config.update("jax_default_matmul_precision", "highest")
    _, side, channels, width = _sizes(name, tiny)
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return jnp.asarray(rng.standard_normal(shape, np.float32) * np.float32(scale))

    def norm(x: Any, p: Any, s: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        n = x.size / mean.size
        new = (0.9 * s[0] + 0.1 * mean.ravel(), 0.9 * s[1] + 0.1 * var.ravel() * n / (n - 1))
        y = (x - mean) * lax.rsqrt(var + 1e-5)
        return y * p[0].reshape(shape) + p[1].reshape(shape), new

    def drop(x: Any, key: Any) -> Any:
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * 2, 0)

    def network(p: Any, s: Any, key: Any, x: Any) -> Any:
        new = []
        keys = jax.random.split(key)
        for i, layer in enumerate(p["layers"]):
            if name == "W1":
                x, state = norm(x @ layer[0].T, layer[1:], s[i], (0,), (1, -1))
                x = drop(nn.relu(x), keys[i])
            else:
                x = lax.conv_general_dilated(x, layer[0], (1, 1), "SAME")
                x, state = norm(x, layer[1:], s[i], (0, 2, 3), (1, -1, 1, 1))
                x = nn.relu(x)
            new.append(state)
        if name == "W2":
            window = (1, 1, 2, 2)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            w, b = p["hidden"]
            x = drop(nn.relu(x.reshape(len(x), -1) @ w.T + b), keys[0])
        w, b = p["last"]
        return x @ w.T + b, new

    def loss(p: Any, s: Any, key: Any, x: Any, y: Any) -> Any:
        out, new = network(p, s, key, x)
        return -jnp.take_along_axis(nn.log_softmax(out), y[:, None], 1).mean(), new

    def update(p: Any, m: Any, g: Any, t: Any) -> Any:
        if name == "W1":
            m = 0.9 * m + g
            return p - 0.01 * m, m
        m, v = 0.9 * m[0] + 0.1 * g, 0.999 * m[1] + 0.001 * g * g
        return p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), (m, v)

    def train(p: Any, m: Any, s: Any, key: Any, t: Any, x: Any, y: Any) -> Any:
        key, now = jax.random.split(key)
        (value, s), g = jax.value_and_grad(loss, has_aux=True)(p, s, now, x, y)
        leaves, tree = jax.tree.flatten(p)
        pairs = zip(leaves, m, jax.tree.leaves(g), strict=True)
        done = [update(*of, t) for of in pairs]
        return value, tree.unflatten([d[0] for d in done]), [d[1] for d in done], s, key, t + 1

    widths = [width, width] if name == "W1" else [channels, 2 * channels]
    shapes = [(width, side), (width, width)] if name == "W1" else [
        (channels, 1, 3, 3), (2 * channels, channels, 3, 3)]  # fmt: skip
    p: dict[str, Any] = {
        "layers": [
            (weight(*shape), jnp.ones(n), jnp.zeros(n))
            for shape, n in zip(shapes, widths, strict=True)
        ],
        "last": (weight(10, width), jnp.zeros(10)),
    }
    if name == "W2":
        p["hidden"] = (weight(width, 2 * channels * (side // 2) ** 2), jnp.zeros(width))
    zeros = [jnp.zeros_like(a) for a in jax.tree.leaves(p)]
    held: dict[str, Any] = {
        "state": (
            p, zeros if name == "W1" else [(z, jnp.zeros_like(z)) for z in zeros],
            [(jnp.zeros(n), jnp.ones(n)) for n in widths], jax.random.key(0), jnp.float32(1),
        ),
        "loss": None,
    }  # fmt: skip
    compiled = jax.jit(train, donate_argnums=range(5))
    x, y = (jnp.asarray(a) for a in _batch(name, tiny))

    def step() -> Any:
        held["loss"], *state = compiled(*held["state"], x, y)
        held["state"] = tuple(state)
        return held["loss"]

    return step, lambda: jax.block_until_ready(held["state"])


# Measuring -----------------------------------------------------------------------------


def measured(
    way: str, name: str, device: str = "cuda", *, tiny: bool = False, count: int = 300
) -> dict[str, Any]:
    """Return the first call's seconds, and the microseconds of a step in three series in a row."""
    library = way.partition(",")[0]
    make = {"minigrad": _minigrad, "JAX": _jax, "PyTorch": _torch}[library]
    start = time.perf_counter()
    step, wait = make(name, way, device, tiny)
    step()
    wait()
    first = time.perf_counter() - start
    for _ in range(10):
        step()
    series = []
    for _ in range(3):
        wait()
        start = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        series.append(1e6 * (time.perf_counter() - start) / count)
    return {"way": way, "workload": name, "first": first, "series": series}


def _turns() -> Iterator[str]:
    """Yield the ways that are here; minigrad first, in the middle and last."""
    others = [w for w, library in WAYS.items() if w != "minigrad" and find_spec(library)]
    yield "minigrad"
    for i, way in enumerate(others):
        yield way
        if i == len(others) // 2:
            yield "minigrad"
    yield "minigrad"


def compare(print_line: Callable[[str], None], names: tuple[str, ...] = ("W1", "W2")) -> None:
    """Print what a step takes in each way, and its ratio to minigrad's."""
    ways = list(_turns())
    for name in names:
        found: dict[str, list[float]] = {}
        first: dict[str, float] = {}
        for way in ways:
            call = [sys.executable, "-m", "minigrad.bench.peers", way, name]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            lines = done.stdout.splitlines()
            if done.returncode or not lines:
                error = done.stderr.strip().splitlines()[-1:] or ["no output"]
                print_line(f"{name} {way}: failed: {error[0][:200]}")
                continue
            result = json.loads(lines[-1])
            found.setdefault(way, []).extend(result["series"])
            first.setdefault(way, result["first"])
        ours = statistics.median(found.get("minigrad", [float("nan")]))
        for way, series in found.items():
            middle = statistics.median(series)
            print_line(
                f"{name} {way:48} {middle:7.0f} us ({min(series):.0f} to {max(series):.0f}), "
                f"{middle / ours:5.2f} of minigrad's; first call {first[way]:.1f} s"
            )


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], sys.argv[2])))  # noqa: T201
