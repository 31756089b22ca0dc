"""Floor 2: the primitives, and what is composed of them.

Importing this package fills the registry, and gives Tensor its operators and methods.
"""

from ..core.tensor import functions
from . import (
    analytic,
    arithmetic,
    call,
    composed,
    contraction,
    creation,
    getitem,
    indexing,
    logic,
    movement,
    random,
    reductions,
    structural,
    windows,
)

#: The public functions, by the module that holds them; ``minigrad`` re-exports them all.
PUBLIC = {
    arithmetic: (
        "abs add astype ceil clip copysign divide floor floor_divide maximum minimum multiply "
        "negative remainder round sign signbit square stop_gradient subtract trunc"
    ),
    analytic: (
        "acos acosh asin asinh atan atan2 atanh cos cosh erf exp expm1 log log1p pow rsqrt sin "
        "sinh sqrt tan tanh"
    ),
    logic: (
        "bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift "
        "bitwise_xor equal greater greater_equal isfinite isinf isnan less less_equal "
        "logical_and logical_not logical_or logical_xor not_equal where"
    ),
    structural: (
        "broadcast_arrays broadcast_to expand_dims matrix_transpose moveaxis permute_dims "
        "reshape squeeze sum"
    ),
    movement: "concat flip pad roll split stack tile unstack",
    reductions: "all any argmax argmin argsort cumulative_sum max min prod",
    contraction: "einsum matmul tensordot vecdot",
    creation: (
        "arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones "
        "ones_like tril triu zeros zeros_like"
    ),
    indexing: "repeat sort take take_along_axis",
    composed: (
        "hypot log10 log2 log_softmax logaddexp logsumexp mean reciprocal sigmoid softmax std "
        "tag var"
    ),
}

public = {name: getattr(m, name) for m, listed in PUBLIC.items() for name in listed.split()}
functions.update(public, getitem=getitem.getitem, to=composed.to)

__all__ = ["call", "public", "random", "windows"]
