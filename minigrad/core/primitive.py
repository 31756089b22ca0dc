"""What a primitive is: one record with everything about it, and the registry of them.

The record holds type rule, reference on arrays, scalar code, gradient rule, batching
rule, LaTeX and the samples on which the test suite tries it. A record with a gap is
refused. "No gradient" is a stated reason (``Zero``), never an omission.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from minigrad.dtypes import (
    Array,
    DType,
    bool,
    convert,
    float32,
    float64,
    foreign,
    int64,
    kind_of,
    uint32,
)
from minigrad.errors import DtypeError, GraphInvalid
from minigrad.shapes import Shape

from .aval import Aval

__all__ = [
    "ANY",
    "BITS",
    "BOOL",
    "FLOAT",
    "INTEGER",
    "NUMERIC",
    "Domain",
    "Each",
    "Primitive",
    "Sample",
    "Zero",
    "check_kind",
    "defined",
    "register",
    "registry",
]

Kind: TypeAlias = Literal[
    "leaf",
    "creation",
    "elementwise",
    "reduction",
    "scan",
    "movement",
    "contraction",
    "indexing",
    "windows",
    "collective",
    "call",
]

# Which dtypes a primitive accepts, by NumPy's kind letters.
BOOL = "b"
INTEGER = "iu"
BITS = "biu"
FLOAT = "f"
NUMERIC = "iuf"
ANY = "biuf"

_KIND_NAMES = {
    BOOL: "booleans", INTEGER: "integers", BITS: "booleans and integers", FLOAT: "floats",
    NUMERIC: "integers and floats", ANY: "every dtype",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Zero:
    """In place of a gradient rule: the derivative is zero, or there is none, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Each:
    """One gradient rule for any number of operands: ``rule(i, g, y, *xs, **params)``."""

    rule: Callable[..., Any]


#: ``rule(g, y, *xs, **params)``: the cotangent of one operand, given the result's.
Rule: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a primitive's operand may be drawn from in tests: an interval and a dtype."""

    low: float = -2.0
    high: float = 2.0
    dtype: DType = float64

    def draw(self, rng: np.random.Generator, shape: Shape, dtype: DType | None = None) -> Array:
        """Return an array of this shape, uniform on the interval."""
        dtype = dtype or self.dtype
        if dtype == bool:
            return rng.random(shape) < 0.5
        if kind_of(dtype) in "iu":
            low, high = int(self.low), max(int(self.high), int(self.low) + 1)
            return rng.integers(low, high, shape, dtype=np.int64).astype(dtype)
        return np.asarray(rng.uniform(self.low, self.high, shape), dtype)


REAL = Domain()
INTEGERS = Domain(0, 7, int64)
WORDS = Domain(0, 2**32, uint32)
BOOLEANS = Domain(0, 2, bool)


@dataclass(frozen=True, slots=True)
class Sample:
    """One way to call a primitive in a test: a domain and a shape per operand, and params."""

    shapes: tuple[Shape, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    domains: tuple[Domain, ...] = ()

    def draw(self, rng: np.random.Generator) -> list[Array]:
        """Return one array per operand."""
        domains = self.domains or (REAL,) * len(self.shapes)
        return [d.draw(rng, s) for d, s in zip(domains, self.shapes, strict=True)]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Primitive:
    """One operation that the engine knows. Everything else is composed of these.

    Attributes
    ----------
    aval
        Type rule: avals of the operands and params to the aval of the result. It
        raises ShapeError or DtypeError with the rule that was broken.
    reference
        The definition, on NumPy or CuPy arrays: ``reference(*arrays, **params)``. It
        may return a view. For kind "creation" the array module comes first.
    vjp
        A rule or a Zero for each operand, or an Each. Rules are written with
        primitives, on tensors, and linear in the cotangent.
    batch
        ``batch(operands, batched, size, params)``: the same operation for a batch,
        with the batch as axis 0 of every batched operand and of the result.
    scalar
        The same function on scalars, in the dialect; elementwise primitives only.
    analytic
        Whether ``reference`` continues analytically to complex numbers, which the
        complex step needs; or a function that does.
    latex
        The formula, with ``{0}``, ``{1}`` for the operands and params by name.
    samples
        What the test suite tries.
    note
        Why it is a primitive, and what is special about it.
    """

    name: str
    kind: Kind
    aval: Callable[..., Aval]
    reference: Callable[..., Any]
    vjp: tuple[Rule | Zero, ...] | Each
    batch: Callable[..., Any]
    latex: str
    samples: tuple[Sample, ...]
    note: str
    scalar: Callable[..., Any] | None = None
    analytic: Any = False  # bool, or a callable

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def rule(self, i: int) -> Rule | Zero:
        """Return the gradient rule of operand ``i``."""
        if isinstance(self.vjp, Each):
            rule = self.vjp.rule
            return lambda *args, **params: rule(i, *args, **params)
        return self.vjp[i]


#: Kinds whose references do not compute with elements: they move them, make them, or leave it to
#: the operations of a graph.
_OF_ANY_DTYPE = {"movement", "creation", "call"}


def defined(primitive: Primitive, values: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Return what the reference says: the one definition of every result.

    What NumPy does not compute with is computed in float32, and rounded once.
    """
    if foreign and primitive.kind not in _OF_ANY_DTYPE:
        dtype = params.get("dtype")
        given = [v.dtype for v in values if getattr(v, "dtype", None) in foreign]
        if given or dtype in foreign:
            return _in_float32(primitive, values, params, dtype or given[0])
    return primitive.reference(*values, **params)


def _in_float32(
    primitive: Primitive, values: Sequence[Any], params: Mapping[str, Any], dtype: DType
) -> Any:
    given = [v.astype(float32) if getattr(v, "dtype", None) in foreign else v for v in values]
    if "dtype" in params and dtype in foreign:  # what converts a number is exact
        params = {**params, "dtype": float64}
    result = np.asarray(primitive.reference(*given, **params))
    return convert(result, dtype) if kind_of(result.dtype) == "f" else result


registry: dict[str, Primitive] = {}


def register(primitive: Primitive) -> Primitive:
    """Add a record to the registry, and return it.

    Raises
    ------
    GraphInvalid
        If the name is taken or a field is missing.
    """
    name = primitive.name
    if name in registry:
        raise GraphInvalid(f"primitive {name!r} is registered twice")
    needed = {"latex", "note", "samples", "vjp", "scalar"}
    needed -= {
        "leaf": needed, "call": {"samples", "scalar"}, "creation": {"vjp", "scalar"},
        "elementwise": set(),
    }.get(primitive.kind, {"scalar"})  # fmt: skip
    gaps = sorted(f for f in needed if not getattr(primitive, f))
    if gaps:
        raise GraphInvalid(f"primitive {name!r} lacks {', '.join(gaps)}")
    registry[name] = primitive
    return primitive


def check_kind(name: str, aval: Aval, accepts: str | tuple[DType, ...]) -> None:
    """Raise DtypeError unless the aval's dtype is among the kinds, or dtypes, accepted."""
    if (aval.kind if isinstance(accepts, str) else aval.dtype) not in accepts:
        if isinstance(accepts, str):
            allowed = _KIND_NAMES.get(accepts, accepts)
        else:
            allowed = " and ".join(map(str, accepts))
        raise DtypeError(
            f"{name}: {aval.dtype} is not accepted",
            rule=f"{name} takes {allowed}",
            fix="convert the operand first, e.g. x.astype(mg.float32)",
        )
