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
        1.2820069691247562e-10, -1.5670496418466378e-09, 1.583665366419996e-08,
        -1.6535340747533083e-07, 1.6479433903818367e-06, -1.4926806929414061e-05,
        0.00012055384160548978, -0.000854832850633353, 0.005223977652536732,
        -0.02686617064803491, 0.11283791670971108, -0.376126389031841, 0.1283791670955126,
    ),
}  # fmt: skip
#: ln(1 - erf(t + shift)) from the border to where erf is 1; erf below 2^-28, 2^-58.
_FAR: Final = {
    float32: (
        0.00020473565382417291, -0.0031278044916689396, 0.02255701646208763,
        -0.1046011820435524, -0.636437177658081, -1.1281071901321411, -9.39182864385657e-05,
    ),
    float64: (
        1.245612341092178e-12, -3.3723945532126254e-11, 4.209278928791688e-10,
        -3.2022051122246363e-09, 1.6361158634933463e-08, -5.6427154752153686e-08,
        1.0722745103556774e-07, 1.2706542187144745e-07, -2.0405171561214744e-06,
        9.591426536946481e-06, -2.7147387293683455e-05, 2.6272145321640547e-05,
        0.00023732447229826177, -0.0019779030423520646, 0.010033825447888335,
        -0.04156109804860918, -0.8431072563583505, -2.6389675142347944, -1.8496055099332482,
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
