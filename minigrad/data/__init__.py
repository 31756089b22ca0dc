"""Data: handwritten digits, IDX files, batches, scaling (floor 7)."""

from .batches import Batches
from .idx import read_idx, write_idx
from .order import stratified_split
from .scaling import MinMax, Scaler, Standardize
from .sets import Split, digits, mnist

__all__ = [
    "Batches", "MinMax", "Scaler", "Split", "Standardize", "digits", "mnist", "read_idx",
    "stratified_split", "write_idx",
]  # fmt: skip
