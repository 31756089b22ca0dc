"""What an L2 penalty does to a quadratic loss, direction by direction: catalogue row G4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.dtypes import Array
from minigrad.errors import DataError, ShapeError

__all__ = ["Shrinkage", "l2_shrinkage"]


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """The optimum with an L2 penalty, in the eigenvectors of the Hessian.

    Attributes
    ----------
    eigenvalues
        The curvatures lambda, ascending, (n).
    eigenvectors
        Q, a column for each, (n, n).
    factors
        lambda / (lambda + alpha): what is left of each component, (n).
    components
        Q^T w*, the optimum without penalty in this basis, (n).
    optimum
        Q (Lambda + alpha I)^-1 Lambda Q^T w*, the optimum with the penalty, (n).
    """

    eigenvalues: Array
    eigenvectors: Array
    factors: Array
    components: Array
    optimum: Array

    @property
    def effective(self) -> float:
        """The sum of the factors: how many parameters the penalty leaves free, in effect."""
        return float(self.factors.sum())


def l2_shrinkage(hessian: Any, optimum: Any, alpha: float) -> Shrinkage:
    r"""Return where the minimum of a quadratic loss moves when an L2 penalty is added.

    .. math::
        J(w) = J(w^*) + \tfrac12 (w - w^*)^T H (w - w^*), \quad H = Q \Lambda Q^T

    .. math::
        \arg\min_w J(w) + \tfrac{\alpha}{2} \|w\|^2 = Q (\Lambda + \alpha I)^{-1} \Lambda Q^T w^*

    For other losses it is the quadratic approximation at w*.

    Parameters
    ----------
    hessian
        H, (n, n), symmetric: ``mg.hessian(loss)(w)``.
    optimum
        w*, (n), where the loss without penalty is lowest.
    alpha
        The strength of the penalty, not negative. Where lambda and alpha are both 0 the loss
        is flat, and the component stays.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    DataError
        If H is not symmetric, or H + alpha I has a negative eigenvalue: then there is no
        minimum.

    Source
    ------
    Catalogue row G4.
    """
    h = np.asarray(hessian, np.float64)
    w = np.asarray(optimum, np.float64)
    if w.ndim != 1 or h.shape != (len(w), len(w)):
        raise ShapeError(
            f"l2_shrinkage: a Hessian of shape {h.shape} and an optimum of shape {w.shape}",
            rule="(n, n) and (n)",
            fix="take the Hessian by one vector of all parameters",
        )
    scale = np.abs(h).max(initial=0.0)
    if alpha < 0 or np.abs(h - h.T).max(initial=0.0) > 1e-6 * scale:
        raise DataError(
            f"l2_shrinkage: alpha = {alpha}, asymmetry {np.abs(h - h.T).max(initial=0.0):.3g}",
            rule="alpha is not negative, H symmetric",
        )
    values, q = np.linalg.eigh((h + h.T) / 2)
    rounding = len(w) * np.finfo(np.float64).eps * scale
    total = values + alpha
    if (total < -rounding).any():
        raise DataError(
            f"l2_shrinkage: H + alpha I has the eigenvalue {total.min():.3g}: there is no minimum",
            fix="is w* a minimum? A larger alpha makes one",
        )
    flat = total <= rounding
    factors = np.where(flat, 1.0, values / np.where(flat, 1.0, total))
    components = q.T @ w
    return Shrinkage(values, q, factors, components, q @ (factors * components))
