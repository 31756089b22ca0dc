"""Training: a small loop, its history, early stopping (floor 7). All of it can be left out."""

from .curves import COLOURS, band
from .history import History, exponential_average, moving_average
from .interrupt import interruptible
from .keep import kept
from .loop import accuracy, evaluation, fit, training_step
from .stopping import EarlyStopping

__all__ = [
    "COLOURS", "EarlyStopping", "History", "accuracy", "band", "evaluation",
    "exponential_average", "fit", "interruptible", "kept", "moving_average", "training_step",
]  # fmt: skip
