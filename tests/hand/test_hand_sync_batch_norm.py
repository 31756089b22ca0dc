"""SyncBatchNorm (D6): workers with parts of a batch do what one worker does with all of it."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from hand_oracles import assert_close
from hand_workers import run
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

RNG = np.random.default_rng(0)


def prepared(layer):
    layer.weight.assign(np.linspace(0.5, 1.5, layer.num_features))
    layer.bias.assign(np.linspace(-1, 1, layer.num_features))
    return layer


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=3),
    spatial=st.lists(st.integers(1, 3), max_size=2),
    compiled=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_workers_together_are_one_batch_norm_of_all(sizes, spatial, compiled, seed) -> None:
    """Outputs, statistics and gradients; the workers' batches have different sizes."""
    rng = np.random.default_rng(seed)
    x, delta = rng.normal(size=(2, sum(sizes), 3, *spatial))
    cuts = np.cumsum(sizes)[:-1]
    parts, deltas = np.split(x, cuts), np.split(delta, cuts)
    whole = prepared(nn.BatchNorm(3, dtype=mg.float64))
    y = whole(x)
    y.backward(delta)
    d_x = mg.vjp(lambda t: F.batch_norm(t, None, None, whole.weight, training=True), x)[1](delta)[0]

    def work(worker):
        layer = prepared(nn.SyncBatchNorm(3, dtype=mg.float64, group=worker))

        def step(x, delta):
            y = layer(x)
            y.backward(delta)
            return y

        out = (mg.compile(step) if compiled else step)(parts[worker.rank], deltas[worker.rank])
        f = lambda t: F.batch_norm(t, None, None, layer.weight, training=True, group=worker)
        back = mg.vjp(f, parts[worker.rank])[1](deltas[worker.rank])[0]
        return out, back, layer

    found = run(len(sizes), work)
    assert_close(np.concatenate([np.asarray(o) for o, _, _ in found]), y)
    assert_close(np.concatenate([np.asarray(b) for _, b, _ in found]), d_x, atol=1e-8)
    for name in ("weight", "bias"):
        total = sum(np.asarray(getattr(layer, name).grad) for _, _, layer in found)
        assert_close(total, getattr(whole, name).grad)
    for _, _, layer in found:
        assert_close(layer.running_mean, whole.running_mean)
        assert_close(layer.running_var, whole.running_var)
        assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize("axis", [1, -1])
def test_one_worker_is_batch_norm_and_leaves_no_trace_of_the_primitive(axis) -> None:
    x, delta = RNG.normal(size=(2, 5, 3, 3))
    alone = prepared(nn.SyncBatchNorm(3, channel_axis=axis, dtype=mg.float64))
    plain = prepared(nn.BatchNorm(3, channel_axis=axis, dtype=mg.float64))
    for mode in (True, False):
        a, back_a = mg.vjp(alone.train(mode), x)
        b, back_b = mg.vjp(plain.train(mode), x)
        assert_close(a, b, rtol=1e-13)
        assert_close(back_a(delta)[0], back_b(delta)[0], atol=1e-13)
    for cell, other in zip(alone.buffers(), plain.buffers(), strict=True):
        assert_close(cell, other, rtol=1e-13)
    graph = mg.trace(alone.train(), x)
    assert [n.primitive.name for n in graph.nodes].count("all_reduce") == 2
    assert "all_reduce" not in [n.primitive.name for n in graph.simplify().nodes]


def test_a_training_step_sends_two_messages_forward_and_evaluation_none() -> None:
    def work(worker):
        layer = nn.SyncBatchNorm(3, group=worker)
        layer(np.ones((2, 3), np.float32))
        training = worker.messages
        layer.eval()(np.ones((2, 3), np.float32))
        return training, worker.messages

    assert run(2, work) == [(2, 2), (2, 2)]


def test_tracing_and_simplifying_send_nothing() -> None:
    """A worker that traces again, for another batch size, must not wait for the others."""

    def work(worker):
        layer = nn.SyncBatchNorm(3, group=worker)
        mg.trace(layer, mg.spec((4 + worker.rank, 3))).simplify()
        return worker.messages

    assert run(2, work, timeout=5) == [0, 0]


def test_one_example_for_each_worker_is_a_batch_and_one_alone_is_not() -> None:
    x = np.ones((1, 3), np.float32)
    run(2, lambda worker: nn.SyncBatchNorm(3, group=worker)(x + worker.rank))
    with pytest.raises(mg.errors.ShapeError, match="1 value for each mean and variance"):
        nn.SyncBatchNorm(3)(x)


def test_population_statistics_and_errors_are_those_of_batch_norm() -> None:
    net = nn.Sequential(nn.SyncBatchNorm(3, statistics="population", dtype=mg.float64))
    batches = RNG.normal(size=(4, 5, 3))
    nn.population_statistics(net, batches)
    assert_close(net[0].running_mean, batches.mean((0, 1)))
    with pytest.raises(mg.errors.ShapeError, match=r"0 \(SyncBatchNorm 3\)"):
        net(np.zeros((2, 4)))
    assert repr(nn.SyncBatchNorm(3)) == "SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True)"


def test_all_reduce_over_one_process_is_the_identity_with_the_identity_as_derivative() -> None:
    x = RNG.normal(size=(2, 3))
    assert_close(mg.collective.all_reduce(x), x, rtol=0, atol=0)
    assert_close(mg.grad(lambda t: (mg.collective.all_reduce(t) ** 2).sum())(x), 2 * x)
    assert isinstance(mg.collective.ALONE, mg.collective.Group)
    with pytest.raises(mg.errors.DtypeError, match="all_reduce"):
        mg.collective.all_reduce(np.array([True]))


def test_the_gradient_of_a_sum_over_workers_is_that_of_all_losses() -> None:
    """L = sum_w w_r (sum x)^2 with another weight in each worker: each sees all of them."""

    def work(worker):
        f = lambda t: (worker.rank + 1.0) * mg.collective.all_reduce(t, worker) ** 2
        return float(mg.grad(f)(np.float64(worker.rank + 2.0)))

    total = 2.0 + 3.0
    assert run(2, work) == [(1.0 + 2.0) * 2 * total] * 2


def test_mpi_that_is_missing_is_named_with_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(mg.errors.BackendUnavailable, match="MPI cannot be used") as caught:
        mg.collective.world()
    assert "minigrad[mpi]" in str(caught.value)


PROGRAM = Path(__file__).with_name("mpi_program.py")


@pytest.mark.host
@pytest.mark.mpi
@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_of_a_real_mpi_job_are_one_batch_norm_of_all(count) -> None:
    launcher = which("mpiexec", path=f"{Path(sys.executable).parent}") or which("mpiexec")
    assert launcher, "mpi4py is installed but mpiexec is not on the PATH"
    done = subprocess.run(
        [launcher, "-n", str(count), sys.executable, str(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("agrees") == count  # their lines may run into each other


def test_a_copied_model_stays_in_its_job() -> None:
    class Communicator:
        def Get_rank(self):
            return 0

        def Get_size(self):
            return 2

        def Allreduce(self, sent, received):
            assert sent.dtype == received.dtype != np.float16
            received[...] = 2 * sent

        def __deepcopy__(self, memo):
            raise TypeError("a communicator cannot be copied")

    group = mg.collective.Mpi(Communicator())
    layer = copy.deepcopy(nn.SyncBatchNorm(3, group=group))
    assert layer.group is group
    assert repr(group) == "Mpi(rank=0, size=2)"
    assert "Mpi(rank=0, size=2)" in repr(layer)
    for dtype in (np.float16, np.float32, np.int64):
        x = np.arange(6).reshape(2, 3).T.astype(dtype)
        y = np.asarray(mg.collective.all_reduce(x, group))
        assert y.dtype == dtype
        assert np.array_equal(y, 2 * x)
