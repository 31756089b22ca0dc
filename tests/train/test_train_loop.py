"""The training loop: order of calls, averages, Ctrl-C, going on, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.errors import DataError
from minigrad.nn import functional as F
from minigrad.train import EarlyStopping, History, evaluation, fit, interruptible, training_step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(22, 3)).astype(np.float32)
Y = (X @ [[1.0], [-2.0], [0.5]]).astype(np.float32)


def parts(seed: int = 0, rows: int = 22) -> dict[str, Any]:
    mg.random.seed(seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm(8), nn.Dropout(0.2), nn.Linear(8, 1))
    return {
        "model": model,
        "optimiser": mg.optim.Adam(model.parameters(), lr=0.05),
        "batches": mg.data.Batches(X[:rows], Y[:rows], batch_size=5, shuffle=True, seed=1),
    }


def step_of(p: dict[str, Any]) -> Any:
    return training_step(p["model"], F.mse_loss, p["optimiser"])


def weights(p: dict[str, Any]) -> list[np.ndarray]:
    return [c.numpy() for c in p["model"].state_dict().values()]


def test_fit_is_the_loop_that_one_would_write() -> None:
    first, second = parts(), parts()
    step = step_of(first)
    mg.random.seed(3)
    losses = [[float(step(x, y)) for x, y in first["batches"]] for _ in range(3)]
    mg.random.seed(3)
    history = fit(step_of(second), second["batches"], 3, progress=False)
    np.testing.assert_array_equal(history.steps["loss"], np.concatenate(losses))
    np.testing.assert_allclose(history.epochs["loss"], np.mean(losses, axis=1))
    assert history.epochs["step"].tolist() == [5, 10, 15]
    assert history.ended == "done"
    for a, b in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_training_step_is_forward_backward_update_and_leaves_no_gradient() -> None:
    """By hand: W <- W - lr (2 / m) sum (W x - y) x, for the mean squared error."""
    model = nn.Linear(3, 1, bias=False, dtype=mg.float64)
    step = training_step(model, F.mse_loss, mg.optim.SGD(model.parameters(), lr=0.1))
    x, y, w = X.astype(np.float64), Y.astype(np.float64), model.weight.numpy()
    for _ in range(5):
        residual = x @ w.T - y
        assert step(x, y).item() == pytest.approx((residual**2).mean(), rel=1e-12)
        w = w - 0.1 * 2 / len(x) * residual.T @ x
        np.testing.assert_allclose(model.weight.numpy(), w, rtol=1e-12)
        assert model.weight.grad is None
    assert step.signatures == 1


def test_evaluation_weighs_batches_by_their_rows_in_evaluation_mode() -> None:
    p = parts()
    model = p["model"]
    model[2].eval()  # a mode of its own, which must come back
    test = evaluation(model, error=F.mse_loss, size=lambda out, y: mg.mean(mg.abs(out)))
    found = test(mg.data.Batches(X, Y, batch_size=5))
    assert [m.training for m in model.modules()] == [True, True, True, False, True]
    model.eval()
    out = model(X).numpy()
    np.testing.assert_allclose(found["error"], ((out - Y) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["size"], np.abs(out).mean(), rtol=1e-5)
    with pytest.raises(DataError, match="no batches"):
        test([])


def test_evaluation_puts_the_modes_back_after_an_error() -> None:
    model = nn.Linear(3, 1)
    test = evaluation(model, error=F.mse_loss)
    with pytest.raises(mg.errors.MinigradError):
        test([(X[:, :2], Y)])
    assert model.training


def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_at_the_label() -> None:
    logits = np.array([[0.1, 0.9, 0.0], [2.0, 1.0, 3.0], [5.0, 4.0, 3.0], [0.0, 0.0, 1.0]])
    found = mg.train.accuracy(logits, np.array([1, 0, 0, 2]))
    assert found.shape == ()
    assert found.item() == 0.75


def test_evaluate_schedule_and_stop_are_called_after_each_epoch_in_this_order() -> None:
    calls: list[str] = []

    class Schedule:
        def step(self) -> None:
            calls.append("schedule")

    class Stop(EarlyStopping):
        def after(self, history: History) -> bool:
            calls.append(f"stop {history.epochs['test_loss'][-1]:g}")
            return super().after(history)

        def restore(self) -> None:
            calls.append("restore")

    def evaluate() -> dict[str, float]:
        calls.append("evaluate")
        return {"test_loss": 1.0}

    def step(x: Any) -> float:
        calls.append(f"step {x}")
        return 0.5

    history = fit(
        step, [1, 2], 3, evaluate=evaluate, schedule=Schedule(),
        stop=Stop(nn.Linear(1, 1), patience=1), progress=False,
    )  # fmt: skip
    epoch = ["step 1", "step 2", "evaluate", "schedule", "stop 1"]
    assert calls == [*epoch, *epoch, "restore"]
    assert history.ended == "stopped"
    assert history.epochs.rows == 2


def test_the_best_parameters_are_restored_at_the_last_epoch_too() -> None:
    model = nn.Linear(1, 1)
    values = iter([3.0, 1.0, 2.0])

    def step(x: Any) -> None:
        model.weight.assign(model.weight + 1.0)

    nn.init.zeros(model.weight)
    history = fit(
        step, [0], 3, evaluate=lambda: {"test_loss": next(values)}, stop=EarlyStopping(model),
        progress=False,
    )  # fmt: skip
    assert history.ended == "done"
    assert model.weight.item() == 2.0


def test_batches_may_be_tuples_dicts_or_single_and_steps_may_return_dicts_or_nothing() -> None:
    assert fit(lambda x, y: x + y, [(1, 2)], progress=False).steps["loss"].tolist() == [3]
    named = fit(lambda x, y: {"a": x, "b": y}, [{"x": 1, "y": 2}], progress=False)
    assert named.steps["b"].tolist() == [2]
    nothing = fit(lambda x: None, [0, 0], 2, progress=False)
    assert nothing.steps.rows == 4
    assert nothing.epochs["step"].tolist() == [2, 4]


def test_epochs_count_those_that_the_history_has() -> None:
    calls: list[int] = []
    history = fit(calls.append, [1, 2], 2, progress=False)
    again = fit(calls.append, [1, 2], 3, history=history, progress=False)
    assert again is history
    assert len(calls) == 6
    fit(calls.append, [1, 2], 3, history=history, progress=False)
    assert len(calls) == 6


def test_an_error_leaves_a_usable_history_and_is_raised() -> None:
    def step(x: int) -> float:
        if x == 3:
            raise ValueError("no")
        return float(x)

    history = History()
    with pytest.raises(ValueError, match="no"):
        fit(step, [1, 2, 3], 1, history=history, progress=False)
    assert history.ended == "failed"
    assert history.steps["loss"].tolist() == [1.0, 2.0]


# Ctrl-C ------------------------------------------------------------------------------


def press(after: int, step: Any) -> Any:
    """Return a step that receives SIGINT within call number ``after``, before its work."""
    count = 0

    def interrupted(*batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == after:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*batch)

    return interrupted


@pytest.mark.parametrize("after", [1, 3, 5, 6])  # 5 batches an epoch: 5 is the last of one
def test_ctrl_c_ends_after_the_step_and_the_same_call_goes_on_bit_for_bit(after: int) -> None:
    straight, broken = parts(), parts()
    mg.random.seed(7)
    whole = fit(step_of(straight), straight["batches"], 3, progress=False)
    mg.random.seed(7)
    step = step_of(broken)
    history = fit(press(after, step), broken["batches"], 3, progress=False)
    assert history.ended == "interrupted"
    assert history.steps.rows == after
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(step, broken["batches"], 3, history=history, progress=False)
    assert history.ended == "done"
    assert history.state_dict() == whole.state_dict()
    for a, b in zip(weights(straight), weights(broken), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_interrupted_run_is_not_restored_to_its_best() -> None:
    model = nn.Linear(1, 1)
    stopping = EarlyStopping(model)
    stopping.update(0.0)
    nn.init.constant(model.weight, 9.0)
    fit(press(1, lambda x: 0.0), [0, 0], stop=stopping, progress=False)
    assert model.weight.item() == 9.0


def test_ctrl_c_twice_is_raised_at_once() -> None:
    def step(x: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second one was not raised")

    history = History()
    with pytest.raises(KeyboardInterrupt):
        fit(step, [0], history=history, progress=False)
    assert history.ended == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_within_a_loop_over_seeds_ends_both() -> None:
    runs = []
    with interruptible() as interrupt:
        for seed in range(5):
            runs.append(fit(press(2 if seed == 1 else 9, float), [0, 1, 2], progress=False).ended)
            if interrupt:
                break
    assert runs == ["done", "interrupted"]


def test_without_ctrl_c_the_loop_is_not_interrupted() -> None:
    """The tests above must be able to fail."""
    assert fit(press(9, float), [0, 1, 2], progress=False).ended == "done"


def test_another_handler_and_another_thread_are_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        assert fit(press(1, float), [0, 1], progress=False).ended == "done"
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(fit(float, [0], progress=False).ended))
    thread.start()
    thread.join()
    assert ended == ["done"]


PROGRAM = """
import sys
import numpy as np
import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
mg.random.seed(5)
model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm(6), nn.Dropout(0.3), nn.Linear(6, 1))
optimiser = mg.optim.Adam(model.parameters(), lr=0.01)
schedule = mg.optim.CosineAnnealingLR(optimiser, T_max=4)
batches = mg.data.Batches(x, x[:, :1], batch_size=4, shuffle=True, seed=2)
test = mg.train.evaluation(model, test_loss=F.mse_loss)
stopping = mg.train.EarlyStopping(model, patience=9)
history = mg.train.History()
everything = dict(model=model, optimiser=optimiser, schedule=schedule, batches=batches,
                  stopping=stopping, history=history, generator=mg.random.default_generator)
compiled = mg.train.training_step(model, F.mse_loss, optimiser)
most, source, target = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if source:
    mg.load(source, **everything)


def step(x, y):
    if history.steps.rows + 1 == most:
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
    return compiled(x, y)


mg.train.fit(step, batches, 4, evaluate=lambda: test([(x, x[:, :1])]), schedule=schedule,
             stop=stopping, history=history, progress=False)
mg.save(target, **everything)
"""


def test_all_of_it_is_saved_after_ctrl_c_and_goes_on_in_a_fresh_process(tmp_path: Path) -> None:
    def run(*arguments: object) -> None:
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        subprocess.run(command, check=True, cwd=tmp_path)

    run(0, "", "straight")
    run(13, "", "half")
    run(0, "half", "resumed")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "straight").read_bytes()
    assert mg.load(tmp_path / "half")["history"]["ended"] == "interrupted"


# What it shows -------------------------------------------------------------------------


def test_progress_has_epoch_and_recent_mean(capsys: pytest.CaptureFixture[str]) -> None:
    fit(float, [1, 2, 3], 2, progress="learning")
    line = capsys.readouterr().err
    assert "learning" in line
    assert "6/6" in line
    assert "epoch 2" in line
    assert "loss 2" in line


def test_an_interrupted_bar_says_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    fit(press(1, float), [1, 2, 3], 2)
    assert "1/6" in (line := capsys.readouterr().err)
    assert "stopped" in line


def test_trying_something_out_leaves_the_model_as_it_was() -> None:
    p = parts()
    before = weights(p)
    with mg.train.kept(p["model"]):
        p["model"].eval()
        p["model"].train()
        fit(step_of(p), p["batches"], 1, progress=False)
        assert any((a != b).any() for a, b in zip(before, weights(p), strict=True))
        p["model"].eval()
    for a, b in zip(before, weights(p), strict=True):
        np.testing.assert_array_equal(a, b)
    assert p["model"].training


class Handle:
    def __init__(self, shown: list[Any]) -> None:
        self.shown = shown

    def update(self, bundle: Any, raw: bool) -> None:
        self.shown[-1] = bundle


def test_live_curves_are_one_display_of_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    shown: list[Any] = []

    class Display:
        @staticmethod
        def display(bundle: Any, raw: bool, display_id: bool) -> Handle:
            shown.append(bundle)
            return Handle(shown)

    from importlib import import_module as real

    module = "minigrad.train.curves"
    monkeypatch.setattr(f"{module}.in_notebook", lambda: True)
    monkeypatch.setattr(f"{module}._EVERY", 0.0)
    monkeypatch.setattr(
        f"{module}.import_module", lambda n: Display if n == "IPython.display" else real(n)
    )
    fit(float, [1, 2, 3], 2, progress=False, live=True)
    (bundle,) = shown
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "2 epochs, 6 steps, done" in bundle["text/plain"]


def test_outside_of_a_notebook_live_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigrad.train.curves.bundle_of", lambda history: 1 / 0)
    fit(float, [1, 2, 3], progress=False, live=True)
