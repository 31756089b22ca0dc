"""The error function: a polynomial near 0, and 1 - e^q(|x|) further out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from minigrad.backends.cpu.values import Value
from minigrad.dtypes import float32, float64

from .exponential import clamp, exp_middle, polynomial

if TYPE_CHECKING:
    from minigrad.backends.cpu.dialect import Writer

__all__ = ["erf"]

#: (erf(x) - x) / x in powers of x^2, up to the border; below 2^-26, 2^-55.
_NEAR: Final = {
    float32: (
        -0.0006303489790298045, 0.005050379317253828, -0.026803212240338326,
        0.11282776296138763, -0.37612584233283997, 0.12837916612625122,
    ),
    float64: (
        1.3108677118686303e-10, -1.5838053351105415e-09, 1.587882624535235e-08,
        -1.654136511801234e-07, 1.6479970770797632e-06, -1.492683781084132e-05,
        0.00012055385306374404, -0.0008548328532914291, 0.005223977652896052,
        -0.026866170648059573, 0.11283791670971172, -0.376126389031841, 0.1283791670955126,
    ),
}  # fmt: skip
#: ln(1 - erf(t + shift)) from the border to where erf is 1; erf below 2^-28, 2^-58.
_FAR: Final = {
    float32: (
        0.00020472981850616634, -0.003127775155007839, 0.022556966170668602,
        -0.10460115224123001, -0.636437177658081, -1.1281071901321411, -9.392114588990808e-05,
    ),
    float64: (
        1.245057017532687e-12, -3.37114371002247e-11, 4.208009041700317e-10,
        -3.2014356473151962e-09, 1.635805243797723e-08, -5.6418323866731793e-08,
        1.0720922502378631e-07, 1.2709316520830793e-07, -2.040548484610777e-06,
        9.591452722500486e-06, -2.71474033344325e-05, 2.6272152392121314e-05,
        0.00023732447012020827, -0.001977903041903807, 0.010033825447831006,
        -0.04156109804860518, -0.8431072563583506, -2.6389675142347944, -1.8496055099332482,
    ),
}  # fmt: skip
#: Border, shift, and where erf has become 1.
_PLACES: Final = {float32: (0.855, 0.0, 4.0), float64: (1.0, 1.0, 5.95)}


def erf(k: Writer, x: Value) -> Value:
    """Return 2/sqrt(pi) times the integral of e^-t^2 from 0 to x."""
    border, shift, end = _PLACES[x.dtype]
    a = k.intrinsic("fabs", x)
    near = k.fma(x, polynomial(k, k.mul(x, x), _NEAR[x.dtype]), x)
    t = clamp(k, a, None, end)
    t = k.sub(t, shift) if shift else t
    rest = exp_middle(k, polynomial(k, t, _FAR[x.dtype]))
    far = k.intrinsic("copysign", k.sub(1.0, rest), x)
    return k.select(k.less(a, border), near, far)
