"""Twenty steps straight are ten steps, a save, a fresh process, a load and ten steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

PROGRAM = """
import sys
import numpy as np
import minigrad as mg


class Model:
    def __init__(self):
        g = mg.random.Generator(1)
        self.w1 = mg.Parameter(mg.random.normal((6, 16), generator=g))
        self.w2 = mg.Parameter(mg.random.normal((16, 1), generator=g))

    def state_dict(self):
        return {"w1": self.w1, "w2": self.w2}

    def __call__(self, x):
        h = mg.tanh(x @ self.w1)
        keep = mg.random.bernoulli(0.7, h.shape)
        return mg.where(keep, h / 0.7, 0.0) @ self.w2


def main(how, first, steps, source, target):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    y = (x[:, :1] * x[:, 1:2]).astype(np.float32)
    mg.random.seed(11)
    model = Model()
    optimiser = mg.optim.AdamW(list(model.state_dict().items()), lr=0.05)
    schedule = mg.optim.OneCycleLR(optimiser, 0.1, total_steps=20)
    batches = mg.data.Batches(x, y, batch_size=8, shuffle=True, drop_last=True)
    parts = dict(model=model, optimiser=optimiser, schedule=schedule, batches=batches,
                 generator=mg.random.default_generator)
    notes = {"losses": []}
    if source:
        mg.load(source, **parts, notes=notes)

    def step(x, y):
        loss = mg.mean((model(x) - y) ** 2)
        loss.backward()
        mg.optim.clip_grad_norm(model.state_dict().values(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return loss

    step = mg.compile(step, backend=how) if how != "eager" else step
    done = first
    while done < first + steps:
        for a, b in batches:
            notes["losses"].append(step(a, b).item())
            schedule.step()
            done += 1
            if done == first + steps:
                break
    mg.save(target, **parts, notes=notes)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
"""


BACKENDS = [name for name in ("numpy", "cpu") if mg.backends()[name] == "usable"]


def run(folder: Path, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, arguments)], check=True, cwd=folder)


@pytest.mark.parametrize("how", ["eager", *BACKENDS])
def test_training_goes_on_bit_for_bit_in_a_fresh_process(how: str, tmp_path: Path) -> None:
    run(tmp_path, how, 0, 20, "", "straight")
    run(tmp_path, how, 0, 13, "", "half")  # in the middle of an epoch of 5 batches
    run(tmp_path, how, 13, 7, "half", "resumed")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "straight").read_bytes()
    assert (tmp_path / "half").read_bytes() != (tmp_path / "straight").read_bytes()
    losses = mg.load(tmp_path / "straight")["notes"]["losses"]
    assert len(losses) == 20
    assert losses[-1] < losses[0]
