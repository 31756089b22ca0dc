"""Index arithmetic that stays affine: an offset plus a sum of loop variables times constants.

Every movement of data (broadcasting, permuting, slicing, reshaping, windows) maps the indices
of its result to those of its operand. As long as the map is affine, an element's address is
a base plus strides times loop variables, and the movement costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import TypeAlias

from minigrad.shapes import Shape

__all__ = ["ZERO", "Affine", "Index", "NotAffine", "Split", "Var", "flatten", "unflatten"]

_serial = count()


class Var:
    """A loop variable: it runs from 0 to ``extent`` - 1."""

    __slots__ = ("extent", "name", "serial")

    def __init__(self, extent: int, name: str = "i") -> None:
        self.extent = extent
        self.name = name
        self.serial = next(_serial)

    def __repr__(self) -> str:
        return f"{self.name}<{self.extent}>"


class NotAffine(Exception):
    """An index map is not affine, and no splitting of loops makes it so."""


class Split(Exception):
    """An index map becomes affine once ``var`` is split: var = inner * outer_var + inner_var."""

    def __init__(self, var: Var, inner: int) -> None:
        super().__init__(f"split {var} by {inner}")
        self.var = var
        self.inner = inner


class Affine:
    """``const`` plus the sum of ``coefficient * var``; immutable, and equal if the same sum."""

    __slots__ = ("_hash", "const", "terms")

    def __init__(self, const: int, terms: tuple[tuple[Var, int], ...] = ()) -> None:
        self.const = const
        self.terms = terms
        self._hash = hash((const, terms))

    @staticmethod
    def of(var: Var, coefficient: int = 1) -> Affine:
        """Return ``coefficient * var``; a variable that is always 0 vanishes."""
        return Affine(0, ((var, coefficient),) if var.extent > 1 and coefficient else ())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Affine)
            and self._hash == other._hash
            and self.const == other.const
            and self.terms == other.terms
        )

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.const + other, self.terms) if other else self
        if not other.terms:
            return self + other.const
        if not self.terms:
            return other + self.const
        return _collected(self.const + other.const, (*self.terms, *other.terms))

    def __mul__(self, factor: int) -> Affine:
        if factor == 1:
            return self
        if factor == 0:
            return ZERO
        return Affine(self.const * factor, tuple([(v, c * factor) for v, c in self.terms]))

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value."""
        low = high = self.const
        for var, c in self.terms:
            if c > 0:
                high += c * (var.extent - 1)
            else:
                low += c * (var.extent - 1)
        return low, high

    def coefficient(self, var: Var) -> int:
        """Return the factor of a variable; 0 if it does not occur."""
        return next((c for v, c in self.terms if v is var), 0)

    def substitute(self, values: Mapping[Var, Affine]) -> Affine:
        """Return the sum with variables replaced by sums."""
        if not any(v in values for v, _ in self.terms):
            return self
        const, terms = self.const, []
        for var, c in self.terms:
            other = values.get(var)
            if other is None:
                terms.append((var, c))
            else:
                const += other.const * c
                terms += [(v, d * c) for v, d in other.terms]
        return _collected(const, terms)

    def divided(self, n: int) -> tuple[Affine, Affine]:
        """Return quotient and remainder by ``n``, both affine.

        Raises
        ------
        Split
            If splitting one variable makes that possible.
        NotAffine
            If nothing does.
        """
        if n == 1:
            return self, ZERO
        whole = tuple([(v, c // n) for v, c in self.terms if c % n == 0])
        rest = Affine(self.const, tuple([(v, c) for v, c in self.terms if c % n]))
        low, high = rest.bounds
        shift = low // n
        if high // n == shift:
            return Affine(shift, whole), rest + -shift * n
        for var, c in sorted(rest.terms, key=lambda t: -abs(t[1])):
            size = abs(c)
            if n % size == 0 and var.extent > n // size and var.extent % (n // size) == 0:
                raise Split(var, n // size)
        raise NotAffine(f"{self} by {n}")

    def __repr__(self) -> str:
        parts = [f"{v}" if c == 1 else f"{c}*{v}" for v, c in self.terms]
        return " + ".join([*parts, *([str(self.const)] if self.const or not parts else [])])


#: The index of an element: one sum for each axis.
Index: TypeAlias = tuple[Affine, ...]

ZERO = Affine(0)


def _collected(const: int, terms: Iterable[tuple[Var, int]]) -> Affine:
    total: dict[Var, int] = {}
    for var, c in terms:
        total[var] = total.get(var, 0) + c
    kept = sorted([(v, c) for v, c in total.items() if c], key=lambda t: t[0].serial)
    return Affine(const, tuple(kept))


def flatten(index: Sequence[Affine], strides: Sequence[int]) -> Affine:
    """Return the sum of indices times strides: an offset in memory, or in row-major order."""
    const, terms = 0, []
    for at, stride in zip(index, strides, strict=True):
        const += at.const * stride
        terms += [(v, c * stride) for v, c in at.terms]
    return _collected(const, terms)


def unflatten(at: Affine, shape: Shape) -> Index:
    """Return the index in an array of this shape of its element number ``at``.

    Raises
    ------
    Split, NotAffine
        As ``Affine.divided``.
    """
    index: list[Affine] = []
    for n in reversed(shape[1:]):
        at, rest = at.divided(n)
        index.append(rest)
    return (at, *reversed(index)) if shape else ()
