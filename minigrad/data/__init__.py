"""Data: handwritten digits, IDX files, batches, scaling, augmentation (floor 7)."""

from .augment import Augment, ColourJitter, Crop, Flip, Noise, Rotate, Shift
from .batches import Batches
from .idx import read_idx, write_idx
from .order import bootstrap, stratified_split
from .scaling import MinMax, Scaler, Standardize
from .sets import Split, digits, mnist

__all__ = [
    "Augment", "Batches", "ColourJitter", "Crop", "Flip", "MinMax", "Noise", "Rotate", "Scaler",
    "Shift", "Split", "Standardize", "bootstrap", "digits", "mnist", "read_idx",
    "stratified_split", "write_idx",
]  # fmt: skip
