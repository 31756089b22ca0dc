"""Training: a small loop, its history, early stopping, measurements (floor 7).

Any of it can be left out, and replaced by a loop of your own.
"""

from .curves import COLOURS, band
from .eigenbasis import Shrinkage, l2_shrinkage
from .history import History, exponential_average, moving_average
from .interrupt import interruptible
from .keep import kept
from .loop import accuracy, evaluation, fit, training_step
from .measure import AlongStep, LayerShift, along_step, covariate_shift, layer_inputs
from .stopping import EarlyStopping
from .sweep import Sweep, sweep

__all__ = [
    "COLOURS", "AlongStep", "EarlyStopping", "History", "LayerShift", "Shrinkage", "Sweep",
    "accuracy", "along_step", "band", "covariate_shift", "evaluation", "exponential_average",
    "fit", "interruptible", "kept", "l2_shrinkage", "layer_inputs", "moving_average", "sweep",
    "training_step",
]  # fmt: skip
