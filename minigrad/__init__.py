"""minigrad: a static-graph autodiff engine for notebooks.

Functions record primitive operations into a graph; gradients are derived by walking it
backwards, and are graphs again. See ``docs/`` and the notebooks; start with
``python -m minigrad tour``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import dtypes, errors, ops
from .api import (
    Compiled,
    backends,
    checkpoint,
    compile,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    spec,
    trace,
    use,
    value_and_grad,
    vjp,
    vmap,
)
from .core import Buffer, Graph, Node, Parameter, Tensor, bind, no_grad, registry, tensor
from .dtypes import (
    bool,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .ops import *  # noqa: F403  (its __all__ is the list of the array functions)
from .ops import collective, random

if TYPE_CHECKING:
    from . import data, nn, optim, testing, train, viz
    from .backends.cpu.pool import set_num_threads
    from .backends.cpu.threads import get_num_threads
    from .checkpoints import load, save
    from .dtypes import bfloat16 as bfloat16
    from .reporter import Progress, progress

__version__ = "0.1.0"

e = 2.718281828459045
pi = 3.141592653589793
inf = float("inf")
nan = float("nan")
newaxis = None

#: Loaded when first used: they need time, or extras. Not in ``__all__``, since ``import *`` would
#: ask for it: ``bfloat16``.
_LATER = {
    "nn": ("minigrad.nn", None),
    "optim": ("minigrad.optim", None),
    "data": ("minigrad.data", None),
    "testing": ("minigrad.testing", None),
    "train": ("minigrad.train", None),
    "viz": ("minigrad.viz", None),
    "bfloat16": ("minigrad.dtypes", "bfloat16"),
    "load": ("minigrad.checkpoints", "load"),
    "save": ("minigrad.checkpoints", "save"),
    "Progress": ("minigrad.reporter", "Progress"),
    "progress": ("minigrad.reporter", "progress"),
    "get_num_threads": ("minigrad.backends.cpu.threads", "get_num_threads"),
    "set_num_threads": ("minigrad.backends.cpu.pool", "set_num_threads"),
    "load_ipython_extension": ("minigrad.viz.magics", "load_ipython_extension"),
}

#: Names from other libraries, and what stands for them here.
_CALLED = {
    "array": "mg.tensor",
    "cat": "mg.concat",
    "concatenate": "mg.concat",
    "from_numpy": "mg.tensor",
    "manual_seed": "mg.random.seed",
    "rand": "mg.random.uniform",
    "randint": "mg.random.randint",
    "randn": "mg.random.normal",
    "transpose": "mg.permute_dims",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        hint = f": it is {_CALLED[name]}" if name in _CALLED else ""
        raise AttributeError(f"module 'minigrad' has no attribute {name!r}{hint}")
    module, attribute = _LATER[name]
    found = import_module(module)
    if attribute is not None:
        found = getattr(found, attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


bind("display", "minigrad.viz.html:mimebundle")
bind("graph.draw", "minigrad.viz.draw:draw")
bind("graph.latex", "minigrad.viz.equations:latex")
bind("graph.table", "minigrad.viz.table:table")
bind("graph.to_networkx", "minigrad.viz.networkx:to_networkx")
bind("graph.from_networkx", "minigrad.viz.networkx:from_networkx")
bind("plan.text", "minigrad.viz.plan:plan_text")

__all__ = [
    "Buffer",
    "Compiled",
    "Graph",
    "Node",
    "Parameter",
    "Progress",
    "Tensor",
    "backends",
    "bool",
    "checkpoint",
    "collective",
    "compile",
    "data",
    "dtypes",
    "e",
    "errors",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "get_num_threads",
    "grad",
    "hessian",
    "hvp",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "jacobian",
    "jvp",
    "load",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "optim",
    "pi",
    "progress",
    "random",
    "registry",
    "save",
    "set_default_dtype",
    "set_num_threads",
    "spec",
    "tensor",
    "testing",
    "trace",
    "train",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "use",
    "value_and_grad",
    "viz",
    "vjp",
    "vmap",
]  # fmt: skip

__all__ += ops.__all__
