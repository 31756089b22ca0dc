"""Wrong shapes and values name the layer by its path: at the prompt, traced, compiled."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Mine(nn.Module):
    def forward(self, x):
        return x + mg.ones((3, 3))


#: path and kind of the layer at fault: the model, and a shape that it cannot take
CASES = {
    "model.2 (Linear 5 -> 2)": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2)), (2, 3)
    ),
    "model.1.1 (Linear 5 -> 2)": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 2))), (2, 3)
    ),
    "model.head.0 (Linear 3 -> 2)": (
        lambda: nn.Sequential({"head": nn.Sequential(nn.Linear(3, 2))}), (2, 4)
    ),
    "model.1 (Conv2d 3 -> 2, kernel 3 x 3)": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(3, 2, 3)), (2, 1, 8, 8)
    ),
    "model.1 (Conv2d 2 -> 2, kernel 9 x 9)": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 9)), (2, 1, 8, 8)
    ),
    "model.0 (Conv1d 1 -> 2, kernel 3)": (lambda: nn.Sequential(nn.Conv1d(1, 2, 3)), (2, 2, 8)),
    "model.1 (BatchNorm 3)": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(3)), (2, 3)),
    "model.1 (BatchNorm 4)": (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4)), (1, 3)),
    "model.0 (SyncBatchNorm 4)": (lambda: nn.Sequential(nn.SyncBatchNorm(4)), (2, 3)),
    "model.1 (LayerNorm 3)": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(3)), (2, 3)),
    "model.0 (GroupNorm 4 in 2)": (lambda: nn.Sequential(nn.GroupNorm(2, 4)), (2, 3, 4)),
    "model.0 (InstanceNorm 3)": (lambda: nn.Sequential(nn.InstanceNorm(3)), (2, 3)),
    "model.0 (MaxPool2d)": (lambda: nn.Sequential(nn.MaxPool2d(5)), (2, 3, 4, 4)),
    "model.0 (MaxPool1d)": (lambda: nn.Sequential(nn.MaxPool1d(5)), (2, 3, 4)),
    "model.0 (AvgPool2d)": (lambda: nn.Sequential(nn.AvgPool2d(2)), (4,)),
    "model.0 (AdaptiveAvgPool2d)": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2)), (4,)),
    "model.0 (Flatten)": (lambda: nn.Sequential(nn.Flatten(2)), (4,)),
    "model.0 (Unflatten)": (lambda: nn.Sequential(nn.Unflatten(1, (3, 3))), (4, 4)),
    "model.0 (Softmax)": (lambda: nn.Sequential(nn.Softmax(3)), (4, 4)),
    "model.0.layer (Linear 3 -> 4)": (
        lambda: nn.Sequential(nn.WeightNorm(nn.Linear(3, 4))), (2, 2)
    ),
    "model.models.1 (Linear 4 -> 1)": (
        lambda: nn.Bagging([nn.Linear(3, 1), nn.Linear(4, 1)]), (2, 3)
    ),
    "model.1 (Mine)": (lambda: nn.Sequential(nn.Linear(3, 4), Mine()), (2, 3)),
}  # fmt: skip

WAYS = {
    "prompt": lambda model: model,
    "traced": lambda model: lambda x: mg.trace(model, x),
    "spec": lambda model: lambda x: mg.trace(model, mg.spec(x.shape)),
    "compiled": mg.compile,
    "gradient": lambda model: lambda x: mg.grad(lambda m: m(x).sum())(model),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("title", CASES)
def test_a_wrong_shape_names_the_layer_by_its_path(title, way) -> None:
    make, shape = CASES[title]
    with pytest.raises(mg.errors.ShapeError) as caught:
        WAYS[way](make())(np.ones(shape, np.float32))
    text = str(caught.value).splitlines()
    assert text[0].startswith(f"{title}: ") or text[1] == f"  in     {title}"
    assert "test_nn_errors.py, line" in str(caught.value)


@pytest.mark.parametrize("way", ["prompt", "compiled"])
def test_a_wrong_value_found_while_running_names_the_layer_too(way) -> None:
    model = nn.Sequential({"table": nn.Embedding(4, 2)})
    with pytest.raises(mg.errors.DataError, match="5 is out of range") as caught:
        WAYS[way](model)(np.array([5]))
    assert "  in     model.table (Embedding" in str(caught.value)


def test_an_error_outside_of_layers_names_none() -> None:
    with pytest.raises(mg.errors.ShapeError) as caught:
        mg.ones((2, 3)) + mg.ones((2, 4))
    assert caught.value.layer is None
    assert "  in " not in str(caught.value)
