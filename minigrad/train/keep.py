"""Leaving a model as it was: its modes, and its parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minigrad.nn.module import Module

__all__ = ["kept", "modes_kept"]


@contextmanager
def modes_kept(model: Module) -> Iterator[None]:
    """Put every layer back into the mode (training or evaluation) that it was in."""
    before = [(m, m.training) for m in model.modules()]
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def kept(model: Module) -> Iterator[None]:
    """Put modes, parameters and buffers back as they were: for trying something out.

    Example
    -------
    ::

        with mg.train.kept(model):
            for _ in range(100):
                step(x, y)
        # nothing happened
    """
    before = [(cell, cell.leaf.value.copy()) for cell in model.state_dict().values()]
    with modes_kept(model):
        try:
            yield
        finally:
            for cell, value in before:
                cell.load(value)
