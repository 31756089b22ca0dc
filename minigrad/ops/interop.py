"""NumPy's own functions on tensors: what happens at ``np.exp(t)``, ``a * t``, ``np.sum(t)``.

A universal function that has an equal here records that one, so ``array * tensor`` and
``np.exp(tensor)`` are tensors with a history. Every other function of NumPy works on the
values and returns arrays, as ``np.asarray(t)`` would; a traced tensor has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.core.tensor import Tensor, functions
from minigrad.errors import TraceError
from minigrad.trees import flatten

__all__ = ["array_function", "array_ufunc"]

#: Universal functions of NumPy that are called differently here.
RENAMED = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh",
    "conjugate": "positive", "fabs": "abs", "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift", "power": "pow", "right_shift": "bitwise_right_shift",
    "rint": "round", "true_divide": "divide",
}  # fmt: skip


def array_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a universal function of NumPy gives on operands that hold a tensor."""
    name = RENAMED.get(ufunc.__name__, ufunc.__name__)
    if method == "__call__" and not options and name in functions:
        return functions[name](*inputs)
    call = ufunc if method == "__call__" else getattr(ufunc, method)
    return _on_values(call, f"np.{ufunc.__name__}", name, inputs, options)


def array_function(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a function of NumPy gives on the values of tensors."""
    return _on_values(function, f"np.{function.__name__}", function.__name__, args, options)


def _on_values(
    call: Callable[..., Any], spelling: str, name: str, args: tuple[Any, ...], options: Any
) -> Any:
    leaves, tree = flatten((list(args), dict(options)))
    for x in leaves:
        if isinstance(x, Tensor) and x.node.value is None:
            raise TraceError(
                f"{spelling} works on values, and a traced tensor has none",
                operands=[x.node.describe()],
                fix=f"use mg.{name}" if name in functions else "write it with functions of mg",
            )
    values = [x.numpy() if isinstance(x, Tensor) else x for x in leaves]
    positional, named = tree.build(values)
    return call(*positional, **named)
