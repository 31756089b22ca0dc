"""References that NumPy lacks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["erf_reference"]


def erf_reference(x: Any) -> Any:
    """Return the error function, from the C library element by element (about 40 ns each)."""
    values = np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size)
    return values.reshape(x.shape).astype(x.dtype)
