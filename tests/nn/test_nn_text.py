"""How layers describe themselves: ``repr`` for people, brief titles for errors."""

from __future__ import annotations

import pytest

from minigrad import nn

REPRS = {
    "LeakyReLU(negative_slope=0.2)": nn.LeakyReLU(0.2),
    "ELU(alpha=1.0)": nn.ELU(),
    "GELU(approximate='tanh')": nn.GELU("tanh"),
    "Softplus(beta=2.0)": nn.Softplus(2.0),
    "Softmax(dim=1)": nn.Softmax(1),
    "LogSoftmax(dim=-1)": nn.LogSoftmax(),
    "Linear(in_features=3, out_features=2, bias=False)": nn.Linear(3, 2, bias=False),
    "Embedding(5, 3)": nn.Embedding(5, 3),
    "Embedding(5, 3, padding_idx=0)": nn.Embedding(5, 3, 0),
    "Flatten(start_dim=1, end_dim=-1)": nn.Flatten(),
    "Unflatten(dim=1, unflattened_size=(2, 3))": nn.Unflatten(1, [2, 3]),
    "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))": nn.Conv2d(3, 8, 3),
    (
        "Conv1d(4, 8, kernel_size=(3,), stride=(2,), padding=(1,), dilation=(2,), groups=2, "
        "bias=False)"
    ): nn.Conv1d(4, 8, 3, 2, 1, 2, 2, bias=False),
    "Conv1d(4, 8, kernel_size=(3,), stride=(1,), padding='same')": nn.Conv1d(
        4, 8, 3, padding="same"
    ),
    "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)": nn.MaxPool2d(2),
    "AvgPool2d(kernel_size=(2, 3), stride=(2, 3), padding=0)": nn.AvgPool2d((2, 3)),
    "AdaptiveAvgPool1d(output_size=2)": nn.AdaptiveAvgPool1d(2),
    "AdaptiveAvgPool2d(output_size=(1, 2))": nn.AdaptiveAvgPool2d([1, 2]),
    "Dropout(p=0.5, mode='standard')": nn.Dropout(0.5, "standard"),
    "DropConnect(p=0.5\n  (layer): ReLU()\n)": nn.DropConnect(nn.ReLU(), names=()),
    "BatchNorm(3, eps=1e-05, momentum=0.1, affine=True)": nn.BatchNorm(3),
    (
        "BatchNorm(3, eps=1e-05, momentum=None, affine=False, statistics='batch', channel_axis=-1)"
    ): nn.BatchNorm(3, momentum=None, affine=False, statistics="batch", channel_axis=-1),
    "LayerNorm((3,), eps=1e-05, affine=True)": nn.LayerNorm(3),
    "GroupNorm(2, 4, eps=1e-05, affine=True)": nn.GroupNorm(2, 4),
    "InstanceNorm(3, eps=1e-05, affine=False)": nn.InstanceNorm(3),
    "MSELoss()": nn.MSELoss(),
}


@pytest.mark.parametrize("text", REPRS)
def test_repr_shows_the_settings(text) -> None:
    assert repr(REPRS[text]) == text


def test_an_embeddings_title_has_its_sizes() -> None:
    net = nn.Sequential(nn.Embedding(5, 3))
    assert net[0]._title == "model.0 (Embedding 5 x 3)"


def test_a_layer_that_exists_once_is_named_to_those_who_look_for_its_twins() -> None:
    for name in ("BatchNorm1d", "BatchNorm2d", "InstanceNorm2d"):
        with pytest.raises(AttributeError, match=rf"it is nn\.{name[:-2]}, for any number"):
            getattr(nn, name)
    with pytest.raises(AttributeError, match=r"no attribute 'Linear2d'$"):
        nn.Linear2d  # noqa: B018
