"""Dropout as many networks: B3 folded weights, B5, B7 all sub-networks, B8, B9."""

from __future__ import annotations

import numpy as np
import pytest
from hand_oracles import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

RNG = np.random.default_rng(0)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def one_hidden(features, hidden, classes, p=0.5, mode="standard"):
    return nn.Sequential(
        nn.Linear(features, hidden, dtype=mg.float64),
        nn.Tanh(),
        nn.Dropout(p, mode),
        nn.Linear(hidden, classes, dtype=mg.float64),
        nn.Softmax(1),
    )


# B3: folded weights -----------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(p=st.floats(0.0, 0.95), q=st.floats(0.0, 0.95), seed=st.integers(0, 10**6))
def test_folded_weights_give_the_outputs_of_standard_dropout_in_evaluation(p, q, seed) -> None:
    mg.random.seed(seed)
    net = nn.Sequential(
        nn.Dropout(q, "standard"),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(p, "standard"),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Dropout(q, "standard"), nn.Linear(12, 4)),
        nn.Dropout(0.3),
        nn.Linear(4, 2),
    ).float64()
    x = np.random.default_rng(seed).normal(size=(3, 2, 4, 4))
    before = {name: cell.numpy() for name, cell in net.state_dict().items()}
    folded = nn.fold_dropout(net)
    assert_close(folded.eval()(x), net.eval()(x), rtol=1e-12, atol=1e-12)
    kinds = [type(m).__name__ for m in folded.modules()]
    assert kinds.count("Dropout") == 1  # the inverted one
    assert_close(folded[5][2].weight, before["5.2.weight"] * (1 - p) * (1 - q), rtol=1e-14)
    assert_close(folded[7].weight, before["7.weight"], rtol=0, atol=0)
    for name, cell in net.state_dict().items():
        assert_close(cell, before[name], rtol=0, atol=0)


def test_what_cannot_be_folded_is_refused_with_the_layer_that_is_in_the_way() -> None:
    drop, linear = (lambda: nn.Dropout(0.5, "standard")), (lambda: nn.Linear(3, 3))
    with pytest.raises(mg.errors.DataError, match=r"1 \(Tanh\) stands between .*0 \(Dropout\)"):
        nn.fold_dropout(nn.Sequential(drop(), nn.Tanh(), linear()))
    with pytest.raises(mg.errors.DataError, match=r"no weights follow .*1 \(Dropout\)"):
        nn.fold_dropout(nn.Sequential(linear(), drop()))
    with pytest.raises(mg.errors.DataError, match=r"not an nn\.Sequential"):
        nn.fold_dropout(linear())
    tied = linear()
    with pytest.raises(mg.errors.DataError, match="shared with another layer"):
        nn.fold_dropout(nn.Sequential(tied, drop(), tied))


# B5: dropout on the input, and the denoising autoencoder --------------------------------


def test_the_denoising_autoencoder_has_the_gradient_of_its_hand_derivation() -> None:
    """L = mean (V tanh(W x' + a) + b - x)^2: the input x' is masked, the target x is not."""
    n, features, hidden, p = 5, 6, 4, 0.2
    encoder = nn.Linear(features, hidden, dtype=mg.float64)
    decoder = nn.Linear(hidden, features, dtype=mg.float64)
    net = nn.Sequential(nn.Dropout(p), encoder, nn.Tanh(), decoder)
    x = RNG.uniform(1, 2, size=(n, features))
    mg.random.seed(4)
    mask = np.asarray(nn.Dropout(p)(np.ones_like(x)))
    mg.random.seed(4)
    loss = F.mse_loss(net(x), x)
    loss.backward()
    w, a, v, b = (np.array(t) for t in (encoder.weight, encoder.bias, decoder.weight, decoder.bias))
    seen = x * mask
    h = np.tanh(seen @ w.T + a)
    error = h @ v.T + b - x
    assert_close(loss, (error**2).mean())
    d_y = 2 * error / error.size
    d_z = d_y @ v * (1 - h**2)
    assert_close(decoder.weight.grad, d_y.T @ h)
    assert_close(decoder.bias.grad, d_y.sum(0))
    assert_close(encoder.weight.grad, d_z.T @ seen)
    assert_close(encoder.bias.grad, d_z.sum(0))
    assert 0 < (mask == 0).mean() < 0.5
    assert_close(net.eval()(x), np.tanh(x @ w.T + a) @ v.T + b)  # nothing is hidden


# B7: all sub-networks -----------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    hidden=st.integers(1, 12),
    m=st.integers(1, 3),
    classes=st.integers(2, 4),
    mode=st.sampled_from(["standard", "inverted"]),
    p=st.sampled_from([0.5, 0.2, 0.7]),
    seed=st.integers(0, 10**6),
)
def test_the_geometric_mean_of_all_sub_networks_is_evaluation_exactly(
    hidden, m, classes, mode, p, seed
) -> None:
    """For p = 0.5 all weigh the same, and evaluation halves the outgoing weights."""
    mg.random.seed(seed)
    net = one_hidden(3, hidden, classes, p, mode)
    x = np.random.default_rng(seed).normal(size=(m, 3))
    found = nn.subnetworks(net, x)
    assert found.outputs.shape == (2**hidden, m, classes)
    assert len({tuple(row) for row in found.masks.tolist()}) == 2**hidden
    assert found.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    weights = None if p == 0.5 else found.probabilities
    if p == 0.5:
        assert_close(found.probabilities, np.full(2**hidden, 0.5**hidden))
    exact = nn.geometric_mean(found.outputs, weights)
    assert_close(exact, net.eval()(x), rtol=1e-12, atol=1e-12)
    if p == 0.5 and mode == "standard":
        h = np.tanh(x @ net[0].weight.numpy().T + net[0].bias.numpy())
        halved = softmax(h @ (net[3].weight.numpy() / 2).T + net[3].bias.numpy())
        assert_close(exact, halved, rtol=1e-12, atol=1e-12)


def test_each_sub_network_is_the_network_with_its_units_removed() -> None:
    net = one_hidden(3, 4, 2)
    x = RNG.normal(size=(5, 3))
    found = nn.subnetworks(net, x)
    h = np.tanh(x @ net[0].weight.numpy().T + net[0].bias.numpy())
    w, b = net[3].weight.numpy(), net[3].bias.numpy()
    for mask, out in zip(found.masks, np.asarray(found.outputs), strict=True):
        assert_close(out, softmax(h[:, mask] @ w[:, mask].T + b))
    assert not found.masks[0].any()
    assert found.masks[-1].all()


def test_with_two_hidden_layers_the_mean_network_is_an_approximation() -> None:
    """B7: measured over 20 networks; never exact, and closer than one sub-network is."""
    gaps, single = [], []
    for seed in range(20):
        mg.random.seed(seed)
        net = nn.Sequential(
            nn.Linear(3, 5, dtype=mg.float64), nn.Tanh(), nn.Dropout(0.5, "standard"),
            nn.Linear(5, 5, dtype=mg.float64), nn.Tanh(), nn.Dropout(0.5, "standard"),
            nn.Linear(5, 3, dtype=mg.float64), nn.Softmax(1),
        )  # fmt: skip
        x = np.random.default_rng(seed).normal(size=(4, 3))
        found = nn.subnetworks(net, x)
        assert found.masks.shape == (2**10, 10)
        true = np.asarray(nn.geometric_mean(found.outputs))
        gaps.append(np.abs(true - np.asarray(net.eval()(x))).max())
        single.append(np.abs(np.asarray(found.outputs) - true).max(-1).mean())
    assert min(gaps) > 1e-6
    assert max(gaps) < 0.02
    assert np.mean(gaps) < np.mean(single) / 5


def test_masks_keep_the_shape_of_what_they_are_put_on_and_models_stay_as_they_were() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.Dropout(0.4), nn.BatchNorm(2), nn.Flatten(), nn.Linear(8, 3)
    ).float64()
    x = RNG.normal(size=(2, 1, 3, 3))
    names = [n for n, _ in net.named_parameters()]
    labels = [p.name for p in net.parameters()]
    found = nn.subnetworks(net, x)
    assert found.outputs.shape == (2**8, 2, 3)
    assert [n for n, _ in net.named_parameters()] == names
    assert [p.name for p in net.parameters()] == labels
    assert all(m.training for m in net.modules())
    assert net[2].num_batches_tracked.item() == 0
    alone = nn.subnetworks(nn.Dropout(0.5), np.ones((1, 3)))
    assert_close(alone.outputs[:, 0], 2.0 * alone.masks)


def test_many_rows_are_computed_in_parts_with_the_same_result(monkeypatch) -> None:
    from minigrad.nn import ensemble

    net, x = one_hidden(3, 5, 2), RNG.normal(size=(7, 3))
    whole = nn.subnetworks(net, x)
    for rows in (1, 50):
        monkeypatch.setattr(ensemble, "_ROWS", rows)
        parts = nn.subnetworks(net, x)
        assert_close(parts.outputs, whole.outputs, rtol=1e-14)
        assert np.array_equal(parts.probabilities, whole.probabilities)


def test_too_many_units_or_none_are_refused() -> None:
    with pytest.raises(mg.errors.DataError, match="17 units under dropout have 2\\^17"):
        nn.subnetworks(nn.Sequential(nn.Dropout(0.5)), np.ones((1, 17)))
    with pytest.raises(mg.errors.DataError, match="has no Dropout layer"):
        nn.subnetworks(nn.Linear(2, 2), np.ones((1, 2)))
    drop = nn.Dropout(0.5)
    with pytest.raises(mg.errors.DataError, match="is used twice"):
        nn.subnetworks(nn.Sequential(drop, nn.ReLU(), drop), np.ones((1, 2)))
    with pytest.raises(mg.errors.ShapeError, match="weights of shape"):
        nn.geometric_mean(np.ones((4, 2)), np.ones(3))


def test_the_geometric_mean_takes_any_axis_and_certain_zeros() -> None:
    p = RNG.dirichlet(np.ones(3), size=(2, 4))
    by_hand = np.exp(np.log(p).mean(1))
    by_hand /= by_hand.sum(-1, keepdims=True)
    assert_close(nn.geometric_mean(p, axis=1), by_hand)
    w = RNG.dirichlet(np.ones(4))
    weighted = np.prod(p ** w[:, None], axis=1)
    weighted /= weighted.sum(-1, keepdims=True)
    assert_close(nn.geometric_mean(p, w, axis=-2), weighted)
    assert_close(nn.geometric_mean([[0.5, 0.5], [1.0, 0.0]]), [1.0, 0.0])


# B8: Monte-Carlo prediction -------------------------------------------------------------


def test_monte_carlo_mean_approaches_the_weight_scaled_prediction() -> None:
    """For a linear model the two agree in the limit: the error falls as std / sqrt(S)."""
    mg.random.seed(1)
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2, dtype=mg.float64))
    x = RNG.normal(size=(3, 6))
    found = nn.monte_carlo(net, x, samples=4000)
    assert found.samples.shape == (4000, 3, 2)
    error = np.abs(np.asarray(found.mean) - np.asarray(net.eval()(x)))
    assert (error < 4 * np.asarray(found.std) / np.sqrt(4000)).all()
    w = net[1].weight.numpy()
    spread = np.sqrt(((x[:, None] * w) ** 2).sum(-1))  # the mask times 2 has variance 1
    assert_close(found.std, spread, rtol=0.05)
    samples = np.asarray(found.samples)
    assert_close(found.mean, samples.mean(0))
    assert_close(found.std, samples.std(0, ddof=1))


def test_monte_carlo_leaves_modes_and_statistics_alone_and_follows_the_seed() -> None:
    net = nn.Sequential(nn.BatchNorm(3), nn.DropConnect(nn.Linear(3, 2)), nn.Softmax(1))
    net[0].eval()
    modes = [m.training for m in net.modules()]
    x = RNG.normal(size=(1, 3)).astype(np.float32)
    mg.random.seed(3)
    first = nn.monte_carlo(net, x, samples=5)
    mg.random.seed(3)
    assert_close(nn.monte_carlo(net, x, samples=5).samples, first.samples, rtol=0, atol=0)
    assert [m.training for m in net.modules()] == modes
    assert net[0].num_batches_tracked.item() == 0
    assert np.asarray(first.std).max() > 0
    with pytest.raises(mg.errors.DataError, match="has no Dropout layer"):
        nn.monte_carlo(nn.Linear(3, 2), x)
    with pytest.raises(mg.errors.DataError, match="samples = 1"):
        nn.monte_carlo(net, x, samples=1)
    with pytest.raises(mg.errors.ShapeError):
        nn.monte_carlo(net, np.ones((2, 4), np.float32))
    assert [m.training for m in net.modules()] == modes


# B9: bagging ------------------------------------------------------------------------------


def test_bagging_is_the_mean_of_its_models_and_trains_them_all() -> None:
    models = [nn.Linear(3, 2, dtype=mg.float64) for _ in range(4)]
    together = nn.Bagging(models)
    x, delta = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    each = [x @ m.weight.numpy().T + m.bias.numpy() for m in models]
    assert_close(together(x), np.mean(each, 0))
    assert_close(together.predictions(x), np.stack(each))
    together(x).backward(delta)
    for model in models:
        assert_close(model.weight.grad, delta.T @ x / 4)
    assert len(list(together.parameters())) == 8
    with pytest.raises(mg.errors.DataError, match="no models"):
        nn.Bagging([])


def test_a_bootstrap_sample_has_as_many_rows_with_63_percent_of_them() -> None:
    x, y = np.arange(20000).reshape(-1, 2), np.arange(10000)
    drawn, labels = mg.data.bootstrap(x, y, seed=5)
    assert drawn.shape == x.shape
    assert np.array_equal(drawn[:, 0], 2 * labels)
    assert len(np.unique(labels)) / 10000 == pytest.approx(1 - np.exp(-1), abs=0.01)
    again, _ = mg.data.bootstrap(x, y, seed=5)
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, mg.data.bootstrap(x, y, seed=6)[0])
    for wrong in ([x, y[:-1]], [x[:0]], []):
        with pytest.raises(mg.errors.DataError, match="bootstrap"):
            mg.data.bootstrap(*wrong)
    with pytest.raises(mg.errors.TraceError, match="bootstrap"):
        mg.trace(lambda t: t * mg.data.bootstrap(y)[0][0], 1.0)
