"""What a GPU does with compiled graphs: bandwidth of the kernels, time of training steps.

Kernels are timed by device events around replays of their CUDA graph, the median of several;
their bytes are what must be moved at least (each array read or written once a sweep). Steps
are timed by the clock, many in a row, waiting once at the end.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.backends import backend_named
from minigrad.backends.cupy import nvrtc, runtime
from minigrad.backends.cupy.device import CupyDevice
from minigrad.backends.cupy.executable import Executable
from minigrad.passes import finalise

from .peers import compare
from .workloads import WORKLOADS

__all__ = ["kernels", "main", "steps"]

F = mg.nn.functional


def _events(stream: Any, run: Callable[[], Any], repeat: int = 15) -> float:
    """Return the median time of a piece of work on a stream, in seconds."""
    cuda = import_module("cupy").cuda
    times = []
    for _ in range(3):
        run()
    for _ in range(repeat):
        start, stop = cuda.Event(), cuda.Event()
        start.record(stream)
        run()
        stop.record(stream)
        stop.synchronize()
        times.append(cuda.get_elapsed_time(start, stop) / 1e3)
    return float(statistics.median(times))


def copy_bandwidth(nbytes: int = 1 << 30) -> float:
    """Return bytes per second of a copy on the device, read and written bytes counted."""
    cupy = import_module("cupy")
    a, b = (cupy.ones(nbytes // 4, np.float32) for _ in range(2))
    stream = cupy.cuda.Stream(non_blocking=True)
    function = cupy.cuda.runtime.memcpyAsync
    seconds = _events(stream, lambda: function(b.data.ptr, a.data.ptr, nbytes, 3, stream.ptr))
    return float(2 * nbytes / seconds)


def _layer_norm(x: Any, g: Any, b: Any) -> Any:
    return F.layer_norm(x, (x.shape[-1],), g, b)


def _layer_norm_back(x: Any, g: Any, b: Any, d: Any) -> Any:
    return mg.grad(lambda *a: mg.sum(_layer_norm(*a) * d), (0, 1, 2))(x, g, b)


def _batch_norm(x: Any, g: Any, b: Any) -> Any:
    return F.batch_norm(x, None, None, g, b, training=True)


def _batch_norm_back(x: Any, g: Any, b: Any, d: Any) -> Any:
    return mg.grad(lambda *a: mg.sum(_batch_norm(*a) * d), (0, 1, 2))(x, g, b)


def _cases() -> Iterator[tuple[str, Callable[..., Any], list[tuple[int, ...]], float]]:
    """Yield a name, a function, shapes, and how often an array of the first shape is moved."""
    big = (8192, 8192)
    yield "x * 2 + 1", lambda x: x * 2.0 + 1.0, [big], 2
    yield "tanh(x) * y", lambda x, y: mg.tanh(x) * y, [big, big], 3
    yield "dropout(gelu(x))", lambda x: F.dropout(F.gelu(x), 0.5), [big], 2
    yield "sum", mg.sum, [big], 1
    yield "sum over rows", lambda x: mg.sum(x, 0), [big], 1
    yield "sum along rows", lambda x: mg.sum(x, 1), [big], 1
    for d in (256, 1024, 4096, 8192):
        rows = (2**26 // d, d)
        yield f"softmax, rows of {d}", lambda x: F.softmax(x, -1), [rows], 2
        yield f"layer norm, rows of {d}", _layer_norm, [rows, (d,), (d,)], 2
        yield f"its gradients, rows of {d}", _layer_norm_back, [rows, (d,), (d,), rows], 3
    image, columns = (64, 256, 64, 64), (65536, 1024)
    yield "batch norm (N, C, H, W)", _batch_norm, [image, (256,), (256,)], 3
    yield "its gradients (N, C, H, W)", _batch_norm_back, [image, (256,), (256,), image], 5
    yield "batch norm (N, C)", _batch_norm, [columns, (1024,), (1024,)], 3
    yield "its gradients (N, C)", _batch_norm_back, [columns, (1024,), (1024,), columns], 5


def kernels(print_line: Callable[[str], None]) -> None:
    """Print the bandwidth of each case, and its part of a copy's."""
    cupy = import_module("cupy")
    copy = copy_bandwidth()
    print_line(f"copy of 1 GiB: {copy / 1e9:.0f} GB/s")
    print_line(f"{'at 256 MiB':32} {'ms':>8} {'GB/s':>7} {'of copy':>8}   kernels")
    for name, f, shapes, passes in _cases():
        graph = finalise(mg.compile(f).graph(*[mg.spec(s) for s in shapes]))
        device = CupyDevice()
        executable = Executable(graph, device)
        for view in executable.inputs:
            noise = cupy.random.standard_normal(view.shape, np.float32)
            view[...] = noise.astype(view.dtype)
        cupy.cuda.Device().synchronize()
        executable._launch()
        executable._launch()
        seconds = _events(device.stream, executable._launch)
        nbytes = passes * 4 * float(np.prod(shapes[0]))
        steps_ = ", ".join(getattr(s, "what", type(s).__name__) for s in executable.program.steps)
        print_line(
            f"{name:32} {1e3 * seconds:8.3f} {nbytes / seconds / 1e9:7.0f} "
            f"{nbytes / seconds / copy:8.1%}   {steps_}"
        )
        del executable, device
        cupy.get_default_memory_pool().free_all_blocks()


# Training steps ------------------------------------------------------------------------


def training(name: str) -> tuple[Callable[..., Any], Sequence[Any]]:
    """Return the step of a workload, and its batch on the device."""
    job = WORKLOADS[name].make(False)
    return job.function, [x.to("cupy") for x in job.arguments]


def steps(print_line: Callable[[str], None], count: int = 500) -> None:
    """Print the time of a compiled training step: cold, warm, and on the device alone."""
    cupy = import_module("cupy")
    pool = cupy.get_default_memory_pool()
    for name in ("W1", "W2"):
        mg.random.seed(0)
        step, batch = training(name)
        compiled = mg.compile(step, backend="cupy")
        start = time.perf_counter()
        first = compiled(*batch).item()
        cold = time.perf_counter() - start
        for _ in range(20):
            compiled(*batch)
        cupy.cuda.Device().synchronize()
        before = pool.used_bytes()
        start = time.perf_counter()
        for _ in range(count):
            loss = compiled(*batch)
        last = loss.item()
        warm = (time.perf_counter() - start) / count
        (entry,) = [e for found in compiled._entries.values() for e in found]
        executable = entry.execute
        alone = _events(executable.device.stream, executable._launch, 50)
        print_line(
            f"{name} {WORKLOADS[name].title}: cold {cold:.2f} s, warm {1e6 * warm:.0f} us, "
            f"device alone {1e6 * alone:.0f} us, {len(executable.program.steps)} steps, "
            f"loss {first:.3f} -> {last:.3f}, "
            f"memory {pool.used_bytes() - before:+d} bytes over {count} steps"
        )


def main(arguments: Sequence[str]) -> None:
    """Print the device and versions, and all figures or those named: kernels, steps, peers."""
    backend_named("cupy")  # says what is missing, if anything is
    cupy = import_module("cupy")
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)

    def line(text: str) -> None:
        print(text, flush=True)  # noqa: T201

    driver = cupy.cuda.runtime.driverGetVersion()
    line(f"{properties['name'].decode()}, CUDA driver {driver // 1000}.{driver % 1000 // 10}, "
         f"NVRTC {'.'.join(map(str, nvrtc.library().version))}, CuPy {cupy.__version__}, "
         f"{runtime.architecture()}")  # fmt: skip
    parts = {"kernels": kernels, "steps": steps, "peers": compare}
    for part in [a for a in parts if a in arguments] or parts:
        parts[part](line)
