"""Gradient tests: hand-written against automatic against numerical, step by step."""

from .checks import check_grads
from .compare import compare_gradients
from .report import GradientReport, Row

__all__ = ["GradientReport", "Row", "check_grads", "compare_gradients"]
