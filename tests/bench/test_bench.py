"""The benchmarks measure what they say: tiny sizes, structure and results, never a time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.__main__ import main
from minigrad.backends.cpu import target
from minigrad.bench import cpu, graph, single, timing
from minigrad.bench.workloads import WORKLOADS, instructions, program
from minigrad.errors import MinigradError

pytestmark = pytest.mark.host
native = pytest.mark.skipif(target.missing() is not None, reason=str(target.missing()))
REPOSITORY = Path(__file__).parents[2]
DRIVER = REPOSITORY.parent / "shared" / "bench"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))


def results(name: str, backend: str) -> list[np.ndarray]:
    """Return what two calls of a workload compute, and the state that they leave."""
    mg.random.seed(0)
    job = WORKLOADS[name].make(True)
    step = mg.compile(job.function, backend=backend)
    step(*job.arguments)
    found = step(*job.arguments)
    ((entry,),) = step._entries.values()
    state = [cell.array for cell, _, _ in entry.state if cell is not None]
    leaves = found if isinstance(found, tuple) else [found]
    return [np.asarray(x) for leaf in leaves for x in (leaf if isinstance(leaf, tuple) else [leaf])
            ] + state  # fmt: skip


@native
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_is_the_same_on_both_backends(name: str) -> None:
    for ours, theirs in zip(results(name, "cpu"), results(name, "numpy"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@native
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_result_has_everything(name: str) -> None:
    found = single.measure(name, 0.01, tiny=True)
    assert found.name == name
    parts = (found.trace, found.clean, found.compile, found.first_run, found.step.fastest)
    assert all(seconds > 0 for seconds in parts)
    assert found.first_call == pytest.approx(sum(parts[:4]))
    assert found.step.fastest <= found.step.lower <= found.step.median <= found.step.upper
    assert found.step.runs >= 5
    assert found.arithmetic > 1e8 and found.traffic is None  # a tiny array measures nothing
    assert 0 < found.plan <= found.unshared
    assert 1e7 < found.imported <= found.process < 1e11


@native
def test_what_is_counted() -> None:
    linear = mg.compile(lambda x, w: x @ w + 1.0, backend="cpu")
    x, w = mg.ones((256, 512)), mg.ones((512, 1024))
    job = WORKLOADS["W4"]
    counted = replace(job, make=lambda tiny: single_job(linear.function, x, w))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WORKLOADS, "W4", counted)
        found = single.measure("W4", 0.01, tiny=True)
    assert found.operations == 2 * 256 * 512 * 1024 + 256 * 1024
    assert found.moved == 4 * (256 * 512 + 512 * 1024 + 256 * 1024)
    assert found.traffic is not None and found.traffic > 1e7


def single_job(function: object, *arguments: mg.Tensor) -> object:
    return type("Job", (), {"function": staticmethod(function), "arguments": arguments})()


@native
def test_the_second_process_loads_what_the_first_compiled() -> None:
    ((cold, warm),) = cpu.run(["W5"], 0.01, tiny=True)
    assert (cold.name, cold.operations, cold.plan) == (warm.name, warm.operations, warm.plan)
    text = cpu.describe([(cold, warm)])
    head, row, _, title = text.splitlines()
    assert row.startswith("W5") and title == f"W5   {WORKLOADS['W5'].title}"
    assert len(head) == len(row), "columns end where their heads end"
    assert cpu._time(warm.step.median) in row and cpu._memory(warm.plan) in row
    assert "-" in row.split(), "too few bytes to compare with the bandwidth"


@native
def test_a_process_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MinigradError, match="KeyError: 'W0'"):
        cpu._process("W0", 0.01, tmp_path, tmp_path, tiny=True)


@native
def test_unknown_workload(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cpu", "W0"]) == 1
    assert "no workload 'W0'" in capsys.readouterr().err


def test_without_llvmlite_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(target, "find_spec", lambda name: None)
    assert main(["bench", "cpu", "W5"]) == 1
    assert "pip install 'minigrad[cpu]'" in capsys.readouterr().err


@native
def test_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    one = single.measure("W5", 0.01, tiny=True)
    asked = []
    monkeypatch.setattr(cpu, "run", lambda names, seconds: asked.append(names) or [(one, one)])
    out = io.StringIO()
    cpu.main([], write=out.write)
    cpu.main(["W5"], as_json=True, write=out.write)
    assert asked == [list(WORKLOADS), ["W5"]]
    *_, last = out.getvalue().splitlines()
    assert single.Result.read(json.dumps(json.loads(last)["warm"])) == one
    assert "GFLOP/s" in out.getvalue() and f"NumPy {np.__version__}" in out.getvalue()


def test_what_a_node_costs_is_printed() -> None:
    out = io.StringIO()
    with redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "import_time", lambda: [])
        patch.setattr(graph, "memory", lambda: timing.figure("memory", "bytes", [3.0]))
        assert main(["bench", "graph", "50", "--json"]) == 0
    names = {json.loads(line)["name"] for line in out.getvalue().splitlines()}
    assert {"trace", "gradient", "clean-up", "memory"} <= names


def test_figures_and_spreads() -> None:
    found = timing.figure("a", "ms", [3.0, 1.0, 2.0, 9.0])
    assert (found.median, found.low, found.high) == (2.5, 1.0, 9.0)
    found = timing.spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.lower, found.median, found.upper, found.fastest, found.runs) == (2, 3, 4, 1, 5)
    assert timing.table(["", "b"], [["aa", "1"], ["a", "22"]]) == "     b\naa   1\na   22"
    assert [cpu._time(s) for s in (2.5, 0.25, 1.234e-3, 5.67e-6)] == [
        "2.50 s", "250 ms", "1.23 ms", "5.67 µs",
    ]  # fmt: skip


def test_repeated_warms_up_and_counts() -> None:
    calls = []
    found = timing.repeated(lambda: calls.append(1), 0.0, least=7)
    assert len(found) == 7 and len(calls) >= 8


def test_programs_use_every_value_and_stay_in_bounds() -> None:
    code = instructions(300, width=10)
    assert len(code) + 1 == 300  # and the mean
    used = {v for name, a, b in code for v in ((a,) if name in ("tanh", "scale") else (a, b))}
    assert used == set(range(len(code))), "nothing is dead but the last, which is the result"
    x = mg.tensor(np.random.default_rng(0).uniform(-1, 1, 32), requires_grad=True)
    mean = program(code)(x)
    assert np.isfinite(mean.numpy())
    (gradient,) = mg.grad(program(code), (0,))(x)
    assert np.isfinite(gradient.numpy()).all() and (gradient.numpy() != 0).any()


@native
@pytest.mark.skipif(not DRIVER.is_dir(), reason="the driver that runs libraries side by side")
@pytest.mark.parametrize("name", ["W5", "W8b"])
def test_the_drivers_own_process_runs_the_adapter(name: str) -> None:
    path = os.pathsep.join([str(REPOSITORY / "tests" / "benchmarks"), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "worker.py", "minigrad", name, "time", "0.01"], cwd=DRIVER,
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("@@")]
    assert json.loads(line[2:])["median"] > 0
