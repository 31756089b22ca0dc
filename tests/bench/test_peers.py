"""The comparison on a device: what it runs, what it prints, and that the steps are steps."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from minigrad.bench import peers

pytestmark = pytest.mark.host


@pytest.mark.parametrize("name", ["W1", "W2"])
@pytest.mark.parametrize("way", [w for w in peers.WAYS if "captured" not in w and "comp" not in w])
def test_steps_of_each_library_train(way: str, name: str) -> None:
    library = peers.WAYS[way]
    if library != "cupy":
        pytest.importorskip(library, reason="pip install 'minigrad[oracle]'")
    make = {"cupy": peers._minigrad, "jax": peers._jax, "torch": peers._torch}[library]
    step, wait = make(name, way, "cpu", True)
    losses = [float(step().item()) for _ in range(120)]
    wait()
    assert all(map(math.isfinite, losses))
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])
    found = peers.measured(way, name, "cpu", tiny=True, count=2)
    assert len(found["series"]) == 3
    assert min(found["series"]) > 0


def test_ratios_are_to_minigrads_in_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def run(call: list[str], **_: Any) -> Any:
        way, name = call[-2:]
        calls.append(way)
        if "captured" in way:
            return SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nNo device")
        times = [100.0, 100.0, 103.0] if way == "minigrad" else [150.0, 140.0, 160.0]
        result = {"way": way, "workload": name, "first": 0.5, "series": times}
        return SimpleNamespace(returncode=0, stdout=f"noise\n{json.dumps(result)}\n", stderr="")

    monkeypatch.setattr(peers.subprocess, "run", run)
    monkeypatch.setattr(peers, "find_spec", lambda library: library == "torch")
    lines: list[str] = []
    peers.compare(lines.append, ("W1",))
    assert calls == ["minigrad", *[w for w in peers.WAYS if "PyTorch" in w][:2], "minigrad",
                     "PyTorch, torch.compile(mode='reduce-overhead')", "minigrad"]  # fmt: skip
    assert lines[0] == "W1 PyTorch, step captured by hand: failed: No device"
    assert any("PyTorch, eager" in s and "1.50 of minigrad's" in s for s in lines)
    assert any("minigrad " in s and "1.00 of minigrad's" in s and "100 to 103" in s for s in lines)
