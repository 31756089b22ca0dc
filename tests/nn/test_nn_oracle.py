"""Layers and losses against PyTorch: values, gradients, running statistics, defaults."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

torch = pytest.importorskip("torch", reason="pip install 'minigrad[oracle]'")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel"),
]

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


def same(ours, theirs, args, **tolerance):
    """Compare values and the gradients by every floating argument."""
    tolerance = {"rtol": 1e-10, "atol": 1e-10, **tolerance}
    floats = [np.asarray(a).dtype.kind == "f" for a in args]
    inputs = [
        torch.tensor(a, requires_grad=f) if isinstance(a, np.ndarray) else a
        for a, f in zip(args, floats, strict=True)
    ]
    wanted = theirs(*inputs)
    delta = normal(*wanted.shape)
    wanted.backward(torch.tensor(delta))
    at = [i for i, f in enumerate(floats) if f]

    def partial(*some):
        full = list(args)
        for i, value in zip(at, some, strict=True):
            full[i] = value
        return ours(*full)

    out, pullback = mg.vjp(partial, *(args[i] for i in at))
    np.testing.assert_allclose(out, wanted.detach().numpy(), **tolerance)
    for i, gradient in zip(at, pullback(delta), strict=True):
        np.testing.assert_allclose(gradient, inputs[i].grad.numpy(), **tolerance)


P = torch.nn.functional


ACTIVATIONS = {
    "relu": (F.relu, P.relu),
    "leaky_relu": (F.leaky_relu, P.leaky_relu),
    "elu": (F.elu, P.elu),
    "gelu": (F.gelu, P.gelu),
    "gelu_tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: P.gelu(x, approximate="tanh"),
    ),
    "silu": (F.silu, P.silu),
    "sigmoid": (F.sigmoid, torch.sigmoid),
    "tanh": (F.tanh, torch.tanh),
    "softplus": (F.softplus, P.softplus),
    "softplus_beta": (lambda x: F.softplus(x, 2.0), lambda x: P.softplus(x, 2.0)),
    "softmax": (lambda x: F.softmax(x, dim=0), lambda x: P.softmax(x, dim=0)),
    "log_softmax": (lambda x: F.log_softmax(x, dim=1), lambda x: P.log_softmax(x, dim=1)),
    "normalize": (F.normalize, P.normalize),
    "normalize_p": (lambda x: F.normalize(x, 3.0, 0), lambda x: P.normalize(x, 3.0, 0)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_pytorchs(name) -> None:
    same(*ACTIVATIONS[name], [normal(4, 5) * 3], atol=1e-8)
    ours, theirs = ACTIVATIONS[name]
    at_zero = np.array([[0.0, 1.0], [-0.0, 2.0]])  # the conventions where there is a kink
    same(ours, theirs, [at_zero])


@pytest.mark.parametrize(
    ("stride", "padding"), [(1, 0), (1, (1, 2)), (1, "same"), ((2, 1), (1, 2)), (2, "valid")]
)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_equals_pytorchs(stride, padding, dilation, groups) -> None:
    args = [normal(2, 4, 9, 8), normal(6, 4 // groups, 3, 2), normal(6)]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    same(lambda *a: F.conv2d(*a, **options), lambda *a: P.conv2d(*a, **options), args)


def test_conv1d_equals_pytorchs() -> None:
    args = [normal(2, 3, 10), normal(4, 3, 3), normal(4)]
    for a in [(1, 0, 1), (2, 1, 1), (1, 2, 2), (1, "same", 3)]:
        same(lambda *x, a=a: F.conv1d(*x, *a), lambda *x, a=a: P.conv1d(*x, *a), args)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("settings", [(2,), (3, 2, 1), ((2, 3), (1, 2)), (3, 3, 1), (4, 3, 2)])
def test_pooling_equals_pytorchs(settings, ceil_mode) -> None:
    x = normal(2, 3, 9, 10)
    same(
        lambda x: F.max_pool2d(x, *settings, ceil_mode=ceil_mode),
        lambda x: P.max_pool2d(x, *settings, ceil_mode=ceil_mode),
        [x],
    )
    for include in (True, False):
        options = {"ceil_mode": ceil_mode, "count_include_pad": include}
        same(
            lambda x, o=options: F.avg_pool2d(x, *settings, **o),
            lambda x, o=options: P.avg_pool2d(x, *settings, **o),
            [x],
        )


def test_other_pooling_equals_pytorchs() -> None:
    x = normal(2, 3, 11)
    same(lambda x: F.max_pool1d(x, 3, 2, 1, 2), lambda x: P.max_pool1d(x, 3, 2, 1, 2), [x])
    same(lambda x: F.avg_pool1d(x, 3, 2, 1), lambda x: P.avg_pool1d(x, 3, 2, 1), [x])
    for n in (1, 3, 4, 11):
        same(
            lambda x, n=n: F.adaptive_avg_pool1d(x, n),
            lambda x, n=n: P.adaptive_avg_pool1d(x, n),
            [x],
        )
    image = normal(2, 3, 7, 5)
    for n in (1, (3, 2)):
        same(
            lambda x, n=n: F.adaptive_avg_pool2d(x, n),
            lambda x, n=n: P.adaptive_avg_pool2d(x, n),
            [image],
        )
    same(
        lambda x: F.avg_pool2d(x, 2, divisor_override=3),
        lambda x: P.avg_pool2d(x, 2, divisor_override=3),
        [image],
    )


def test_normalisations_equal_pytorchs() -> None:
    x, w, b = normal(4, 6, 5, 3), normal(6), normal(6)
    none = (None, None)
    same(
        lambda x, w, b: F.batch_norm(x, *none, w, b, True),
        lambda x, w, b: P.batch_norm(x, *none, w, b, True),
        [x, w, b],
    )
    same(
        lambda x, w, b: F.group_norm(x, 3, w, b),
        lambda x, w, b: P.group_norm(x, 3, w, b),
        [x, w, b],
    )
    same(
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        lambda x, w, b: P.instance_norm(x, weight=w, bias=b),
        [x, w, b],
    )
    last = [normal(4, 6, 5), normal(6, 5), normal(6, 5)]
    same(
        lambda x, w, b: F.layer_norm(x, (6, 5), w, b),
        lambda x, w, b: P.layer_norm(x, (6, 5), w, b),
        last,
    )


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_batch_norm_layer_keeps_pytorchs_statistics(momentum) -> None:
    ours = nn.BatchNorm(3, momentum=momentum, dtype=mg.float64)
    theirs = torch.nn.BatchNorm2d(3, momentum=momentum, dtype=torch.float64)
    for _ in range(4):
        x = normal(5, 3, 4, 2) * 3 + 1
        np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=1e-10)
    for name, cell in ours.state_dict().items():
        np.testing.assert_allclose(cell, theirs.state_dict()[name].numpy(), rtol=1e-12)
    ours.eval()
    theirs.eval()
    np.testing.assert_allclose(ours(x[:1]), theirs(torch.tensor(x[:1])).detach(), rtol=1e-10)


def test_instance_norm_layer_keeps_pytorchs_statistics() -> None:
    options = {"affine": True, "track_running_stats": True}
    ours = nn.InstanceNorm(3, dtype=mg.float64, **options)
    theirs = torch.nn.InstanceNorm1d(3, dtype=torch.float64, **options)
    for _ in range(2):
        x = normal(5, 3, 4)
        np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var, rtol=1e-12)
    same(ours.eval(), theirs.eval(), [x])


REGRESSION = {
    "mse_loss": {},
    "l1_loss": {},
    "smooth_l1_loss": {"beta": 0.5},
    "huber_loss": {"delta": 0.8},
    "binary_cross_entropy_with_logits": {},
}


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_elementwise_loss_equals_pytorchs(name, reduction) -> None:
    options = {"reduction": reduction, **REGRESSION[name]}
    same(
        lambda x, t: getattr(F, name)(x, t, **options),
        lambda x, t: getattr(P, name)(x, t, **options),
        [normal(4, 3), RNG.uniform(size=(4, 3))],
    )


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
def test_divergence_equals_pytorchs(reduction) -> None:
    x = np.log(RNG.dirichlet(np.ones(4), size=3))
    t = RNG.dirichlet(np.ones(4), size=3)
    for log in (False, True):
        same(
            lambda x, t, log=log: F.kl_div(x, t, reduction, log),
            lambda x, t, log=log: P.kl_div(x, t, reduction=reduction, log_target=log),
            [x, np.log(t) if log else t],
        )


def test_binary_cross_entropy_equals_pytorchs_inside_and_at_the_ends() -> None:
    p, t, w = RNG.uniform(0.01, 0.99, size=(3, 4, 3))
    same(
        lambda p: F.binary_cross_entropy(p, t, w),
        lambda p: P.binary_cross_entropy(p, torch.tensor(t), torch.tensor(w)),
        [p],
    )
    ends, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    wanted = P.binary_cross_entropy(torch.tensor(ends), torch.tensor(t), reduction="none")
    np.testing.assert_allclose(F.binary_cross_entropy(ends, t, reduction="none"), wanted)
    v = RNG.uniform(0.5, 2.0, size=3)
    same(
        lambda x: F.binary_cross_entropy_with_logits(x, w, pos_weight=v),
        lambda x: P.binary_cross_entropy_with_logits(
            x, torch.tensor(w), pos_weight=torch.tensor(v)
        ),
        [normal(4, 3)],
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 5, 2, 2)])
def test_cross_entropy_equals_pytorchs(reduction, smoothing, weighted, shape) -> None:
    axis = min(1, len(shape) - 1)
    labels = RNG.integers(0, 5, size=(*shape[:axis], *shape[axis + 1 :]))
    if labels.size > 3:
        labels.flat[1], labels.flat[2] = -100, 2
    w = RNG.uniform(0.5, 2.0, size=5) if weighted else None
    ours = {"weight": w, "reduction": reduction, "label_smoothing": smoothing}
    theirs = {**ours, "weight": None if w is None else torch.tensor(w)}
    x = normal(*shape) * 2
    same(
        lambda x: F.cross_entropy(x, labels, **ours),
        lambda x: P.cross_entropy(x, torch.tensor(labels), **theirs),
        [x],
    )
    probabilities = np.moveaxis(RNG.dirichlet(np.ones(5), size=labels.shape), -1, axis)
    same(
        lambda x, t: F.cross_entropy(x, t, **ours),
        lambda x, t: P.cross_entropy(x, t, **theirs),
        [x, np.ascontiguousarray(probabilities)],
    )
    if not smoothing:
        del ours["label_smoothing"], theirs["label_smoothing"]
        same(
            lambda x: F.nll_loss(x, labels, **ours),
            lambda x: P.nll_loss(x, torch.tensor(labels), **theirs),
            [x],
        )


def test_embedding_equals_pytorchs() -> None:
    index = RNG.integers(0, 5, size=(3, 4))
    for padding in (None, 2, -1):
        same(
            lambda w, p=padding: F.embedding(index, w, padding_idx=p),
            lambda w, p=padding: P.embedding(torch.tensor(index), w, padding_idx=p),
            [normal(5, 3)],
        )
    assert np.array_equal(F.one_hot(index), P.one_hot(torch.tensor(index)))


def test_a_model_loaded_from_pytorchs_state_gives_its_result_and_gradients() -> None:
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(8 * 4 * 4, 10),
    ).double()  # fmt: skip
    ours = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    ).float64()  # fmt: skip
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x, t = normal(6, 3, 8, 8), RNG.integers(0, 10, size=6)
    wanted = P.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t))
    wanted.backward()
    loss = F.cross_entropy(ours(x), t)
    loss.backward()
    np.testing.assert_allclose(loss.item(), wanted.item(), rtol=1e-12)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12, err_msg=name)
    assert [name for name, _ in ours.named_parameters()] == [
        n for n, _ in theirs.named_parameters()
    ]


ABSENT = {
    # PyTorch's own, which have no meaning here: arrays are never changed in place, there is
    # one device at a time, and the reductions of old versions
    "inplace", "device", "dtype", "size_average", "reduce", "_stacklevel", "padding_mode",
    "threshold", "return_indices", "scale_grad_by_freq", "sparse", "max_norm", "norm_type",
    "_weight", "_freeze", "out", "args", "kwargs", "ceil_mode",
}  # fmt: skip


#: Classes whose arguments are our own: SyncBatchNorm's are those of nn.BatchNorm, and the group.
OURS = ("Module", "Sequential", "ModuleList", "SyncBatchNorm")


def names(function):
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)]


def test_argument_names_and_order_are_pytorchs() -> None:
    for name in F.__all__:
        theirs = getattr(P, name, None) or getattr(torch, name, None)
        if theirs is None:  # accuracy
            continue
        try:
            wanted = [n for n in names(theirs) if n not in ABSENT]
        except ValueError:  # a built-in function without a signature
            continue
        if name in ("l1_loss", "mse_loss", "huber_loss") and "weight" in wanted:
            wanted.remove("weight")  # the last argument, new in 2.6
        found = [n for n in names(getattr(F, name)) if n not in ABSENT]
        assert found[: len(wanted)] == wanted, name
    for name in nn.__all__:
        theirs = getattr(torch.nn, name, None)
        if not isinstance(theirs, type) or name in OURS:
            continue
        wanted = [n for n in names(theirs.__init__) if n not in ABSENT]
        found = [n for n in names(getattr(nn, name).__init__) if n not in ABSENT]
        assert found[: len(wanted)] == wanted, name
