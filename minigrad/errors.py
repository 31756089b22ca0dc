"""Every error that minigrad raises, each with the manual page of its kind as a docstring.

A message has four parts: the rule that was broken; the operands with the user's own
file or notebook cell and line; where it happened; one repair. This module holds the
form. It knows nothing of graphs: whoever raises an error describes the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = [
    "BackendUnavailable",
    "CheckpointError",
    "CompileError",
    "DataError",
    "DeviceMemoryError",
    "DtypeError",
    "GradientMismatch",
    "GraphInvalid",
    "MinigradError",
    "NotDifferentiable",
    "ShapeError",
    "TraceError",
]

#: Names the user's current line, or nothing; ``core.origin`` fills it in on import.
_locators: list[Callable[[], str | None]] = []


def set_locator(locate: Callable[[], str | None]) -> None:
    """Install the function that names the user's current line in every message."""
    _locators[:] = [locate]


class MinigradError(Exception):
    """Base of all errors here: ``except mg.errors.MinigradError`` catches every one.

    Parameters
    ----------
    message
        The operation and the rule that was broken, in one line.
    operands
        One line per operand: name, type, place, source text.
    rule
        The rule itself, when a formula says it better.
    fix
        One repair.

    Attributes
    ----------
    layer
        The layer of the model in which it happened, by its path: ``model.2 (Linear)``.
    """

    layer: str | None = None

    def __init__(
        self,
        message: str,
        *,
        operands: Sequence[str] = (),
        rule: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.message = message
        self.operands = tuple(operands)
        self.rule = rule
        self.fix = fix
        self.at = _locators[0]() if _locators else None
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message]
        if self.layer and self.layer not in self.message:
            lines.append(f"  in     {self.layer}")
        if self.at:
            lines.append(f"  at     {self.at}")
        lines += [f"  with   {operand}" for operand in self.operands]
        if self.rule:
            lines.append(f"  rule   {self.rule}")
        if self.fix:
            lines.append(f"  fix    {self.fix}")
        return "\n".join(lines)


class ShapeError(MinigradError, ValueError):
    """Shapes do not fit the rule of the operation.

    ``mg.ones((2, 3)) + mg.ones((2, 4))`` has last axes 3 and 4, and neither is 1.
    Reshape one operand, or insert an axis of size 1 with ``mg.expand_dims``.
    """


class DtypeError(MinigradError, TypeError):
    """An operation does not accept this dtype.

    ``mg.exp(mg.arange(3))`` asks for the exponential of integers. Cast first:
    ``mg.arange(3).astype(mg.float32)``.
    """


class TraceError(MinigradError, TypeError):
    """The value of a traced tensor was asked for, but a traced tensor has none.

    Inside ``mg.trace`` and ``mg.compile``, ``if t > 0:`` or ``float(t)`` would bake
    one call's answer into the graph. Use ``mg.where(t > 0, a, b)``, or keep the
    decision outside the traced function.
    """


class NotDifferentiable(MinigradError, TypeError):
    """A gradient was asked for where none exists.

    ``mg.grad(f)(mg.arange(3))`` asks for the derivative with respect to integers.
    Pass floating-point values: ``mg.arange(3, dtype=mg.float32)``.
    """


class BackendUnavailable(MinigradError, RuntimeError):
    """A backend or an optional extra is not usable here.

    The message names the extra to install; everything else keeps working.
    ``mg.backends()`` lists what is usable and, for the rest, why not.
    """


class DeviceMemoryError(MinigradError, MemoryError):
    """A device has no memory left for a result, or for the buffers of a compiled function.

    The message says how much was asked for, how much is free, and what holds the rest. No
    tensor or state cell was changed: a smaller batch can go on at once.
    """


class GradientMismatch(MinigradError, AssertionError):
    """A hand-written, an automatic and a numerical gradient do not agree.

    Raised by ``mg.testing``; ``error.report`` has every compared quantity and names
    the first one, in backward order, that differs.
    """

    report: object = None


class DataError(MinigradError, ValueError):
    """Input data is not what it claims to be, or lies outside the allowed range.

    A label of 10 for 10 classes, a probability of 1.0 for dropout, an IDX file that
    ends early. Nothing is loaded in part.
    """


class CheckpointError(MinigradError, ValueError):
    """A checkpoint cannot be read, or does not fit the object it is loaded into.

    The objects passed to ``mg.load`` are left exactly as they were.
    """


class CompileError(MinigradError, RuntimeError):
    """Native code for a kernel could not be made: a bug in minigrad's code generator.

    The message has LLVM's complaint and the line of the kernel's text that it is about.
    ``mg.compile(f, backend="numpy")`` computes the same without native code.
    """


class GraphInvalid(MinigradError, RuntimeError):
    """A graph breaks an invariant: a bug in minigrad, or a graph edited by hand.

    ``mg.Graph.from_networkx`` raises it for a graph with a cycle, say.
    """
