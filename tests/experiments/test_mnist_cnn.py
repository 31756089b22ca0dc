"""A convolutional network learns real handwritten digits, through the public API alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "mnist"


@pytest.mark.skipif(not FOLDER.is_dir(), reason="put MNIST's IDX files in ../shared/data/mnist")
def test_a_cnn_trained_on_8000_images_of_mnist_knows_97_of_100_others() -> None:
    mg.random.seed(0)
    data = mg.data.mnist(FOLDER, train=8000)
    assert (len(data.x_train), len(data.x_test)) == (8000, 2000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, bias=False),
        nn.BatchNorm(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 14 * 14, 64),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(64, 10),
    )
    optimiser = mg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = mg.optim.CosineAnnealingLR(optimiser, T_max=4)

    @mg.compile
    def step(images: Any, labels: Any) -> Any:
        loss = F.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    @mg.compile
    def predict(images: Any) -> Any:
        return model(images).argmax(axis=1)

    batches = mg.data.Batches(
        data.x_train, data.y_train, batch_size=64, shuffle=True, seed=0, drop_last=True
    )
    for _ in range(4):
        for images, labels in batches:
            step(images, labels)
        schedule.step()
    model.eval()
    right = [
        np.asarray(predict(images) == labels)
        for images, labels in mg.data.Batches(data.x_test, data.y_test, batch_size=500)
    ]
    assert np.concatenate(right).mean() >= 0.97
