"""Optimisers, learning-rate schedules, clipping and penalties (floor 7).

The names, keywords and formulas are those of PyTorch. All state is in cells, so a whole
training step, with its update, can be one call of a function made by ``mg.compile``.
"""

from .clip import clip_grad_norm, clip_grad_value, max_norm
from .cycles import OneCycleLR, ReduceLROnPlateau
from .groups import Group, decay_groups, is_weight
from .optimiser import Optimiser
from .penalties import l1_penalty, l2_penalty
from .rules import SGD, Adam, AdamW, RMSProp
from .schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    Schedule,
    SequentialLR,
    StepLR,
)

__all__ = [
    "SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "Group", "LambdaLR", "LinearLR",
    "MultiStepLR", "OneCycleLR", "Optimiser", "RMSProp", "ReduceLROnPlateau", "Schedule",
    "SequentialLR", "StepLR", "clip_grad_norm", "clip_grad_value", "decay_groups", "is_weight",
    "l1_penalty", "l2_penalty", "max_norm",
]  # fmt: skip
