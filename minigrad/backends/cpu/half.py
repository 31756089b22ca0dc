"""The half types: how they are rounded to, and how they lie in memory.

The bits of a bfloat16 are the upper half of a float32's, so integer instructions of any
processor convert it. Conversions of float16 LLVM calls by name where there are none: x86-64
converts between float16 and float32 since F16C and never from float64; the compiler
then calls these routines, which a Python process need not contain. The names and the
calling convention are those that LLVM uses for the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from minigrad.dtypes import DType, float16, float32, float64, uint32

from .target import Target
from .values import TYPES, Value

if TYPE_CHECKING:
    from .dialect import Writer

__all__ = ["half_routines", "loaded", "rounded", "stored", "stored_type"]


def stored_type(dtype: DType) -> tuple[str, str]:
    """Return the type of a half type in memory, and its name in an intrinsic's name."""
    return ("half", "f16") if dtype == float16 else ("i16", "i16")


def loaded(k: Writer, registers: Sequence[str], dtype: DType, lanes: int, depth: int) -> Value:
    """Return what lay in memory as floats."""
    narrow, tail = _several(stored_type(dtype)[0], lanes), f" to {TYPES[float32, lanes]}"
    if dtype == float16:
        return k.each(f"fpext {narrow} ", registers, tail, dtype, lanes, depth)
    tail = f" to {TYPES[uint32, lanes]}"
    low = k.each(f"zext {narrow} ", registers, tail, uint32, lanes, depth)
    return k.bitcast(k.binary("shl", low, 16), dtype)


def stored(k: Writer, value: Value, depth: int) -> tuple[str, ...]:
    """Return the registers to write to memory: those values are some of the half type's."""
    registers, dtype, lanes, _ = value
    narrow = _several(stored_type(dtype)[0], lanes)
    if dtype == float16:
        head = f"fptrunc {TYPES[dtype, lanes]} "
        return k.each(head, registers, f" to {narrow}", dtype, lanes, depth).regs
    bits = k.bitcast(Value(registers, dtype, lanes, depth), uint32)
    head = f"trunc {TYPES[uint32, lanes]} "
    return k.each(head, k.binary("lshr", bits, 16).regs, f" to {narrow}", dtype, lanes, depth).regs


def rounded(k: Writer, a: Value, dtype: DType) -> Value:
    """Return a float32 or float64 rounded to the nearest value of a half type, ties to even."""
    registers, source, lanes, depth = a
    if dtype == float16:
        half = _several("half", lanes)
        head = f"fptrunc {TYPES[source, lanes]} "
        narrow = k.each(head, registers, f" to {half}", dtype, lanes, depth)
        tail = f" to {TYPES[dtype, lanes]}"
        return k.each(f"fpext {half} ", narrow.regs, tail, dtype, lanes, depth)
    bits = _to_odd(k, a) if source == float64 else k.bitcast(a, uint32)
    odd = k.bit_and(k.binary("lshr", bits, 16), 1)
    near = k.binary("add", k.binary("add", bits, 0x7FFF), odd)
    nan = k.binary("or", bits, 1 << 22)
    found = k.select(k.equal(a, a), near, nan)
    return k.bitcast(k.binary("and", found, 0xFFFF0000), dtype)


def _to_odd(k: Writer, a: Value) -> Value:
    """Return the bits of a float64 cut to float32, the last one set where anything was cut off.

    What was cut off must not look like a tie when the rest is rounded.
    """
    narrow = k.cast(a, float32)
    back, bits = k.cast(narrow, float64), k.bitcast(narrow, uint32)
    beyond = k.less(k.intrinsic("fabs", a), k.intrinsic("fabs", back))
    inside = k.select(beyond, k.binary("sub", bits, 1), bits)
    return k.select(k.equal(a, back), bits, k.binary("or", inside, 1))


def _several(kind: str, lanes: int) -> str:
    return kind if lanes == 1 else f"<{lanes} x {kind}>"


_EXTEND = """
define weak float @__extendhfsf2(half %h) nounwind {
  %i = bitcast half %h to i16
  %x = zext i16 %i to i32
  %sign = and i32 %x, 32768
  %sign32 = shl i32 %sign, 16
  %a = and i32 %x, 32767
  %wide = shl i32 %a, 13
  %f = bitcast i32 %wide to float
  %scaled = fmul float %f, 0x46F0000000000000
  %finite = bitcast float %scaled to i32
  %top = or i32 %wide, 2139095040
  %quiet = or i32 %top, 4194304
  %isnan = icmp ugt i32 %a, 31744
  %isinf = icmp uge i32 %a, 31744
  %r0 = select i1 %isinf, i32 %top, i32 %finite
  %r1 = select i1 %isnan, i32 %quiet, i32 %r0
  %r = or i32 %r1, %sign32
  %out = bitcast i32 %r to float
  ret float %out
}
"""

#: Rounds to nearest, ties to even. Below the smallest normal float16, adding a number whose
#: last place is the last place of a subnormal float16 does the rounding.
_TRUNCATE = """
define weak half @{name}({float} %x) nounwind {{
  %b = bitcast {float} %x to {int}
  %high = lshr {int} %b, {bits_less_16}
  %high16 = trunc {int} %high to i16
  %sign = and i16 %high16, -32768
  %a = and {int} %b, {magnitude}
  %r = sub {int} %a, {rebias}
  %last = lshr {int} %r, {shift}
  %odd = and {int} %last, 1
  %up0 = add {int} %r, {below_half}
  %up = add {int} %up0, %odd
  %normal = lshr {int} %up, {shift}
  %f = bitcast {int} %a to {float}
  %g = fadd {float} %f, {aligner}
  %gb = bitcast {float} %g to {int}
  %tiny = sub {int} %gb, {aligner_bits}
  %payload0 = lshr {int} %a, {shift}
  %payload1 = and {int} %payload0, 1023
  %payload = or {int} %payload1, 32256
  %istiny = icmp ult {int} %a, {smallest}
  %isbig = icmp uge {int} %a, {beyond}
  %isnan = icmp ugt {int} %a, {infinity}
  %r0 = select i1 %istiny, {int} %tiny, {int} %normal
  %r1 = select i1 %isbig, {int} 31744, {int} %r0
  %r2 = select i1 %isnan, {int} %payload, {int} %r1
  %r16 = trunc {int} %r2 to i16
  %signed = or i16 %r16, %sign
  %out = bitcast i16 %signed to half
  ret half %out
}}
"""


def _truncate(name: str, kind: str, bits: int, mantissa: int, bias: int) -> str:
    shift = mantissa - 10
    power = mantissa - 24  # the last place of 2^power is 2^-24
    return _TRUNCATE.format(
        name=name,
        float=kind,
        int=f"i{bits}",
        bits_less_16=bits - 16,
        magnitude=(1 << (bits - 1)) - 1,
        rebias=(bias - 15) << mantissa,
        shift=shift,
        below_half=(1 << (shift - 1)) - 1,
        aligner=f"0x{(1023 + power) << 52:016X}",
        aligner_bits=(bias + power) << mantissa,
        smallest=(bias - 14) << mantissa,
        beyond=(bias + 16) << mantissa,
        infinity=((1 << (bits - 1)) - 1) >> mantissa << mantissa,
    )


def half_routines(target: Target) -> str:
    """Return the routines that code with float16 may call on a target, as LLVM text."""
    if target.arch != "x86_64":
        return ""
    return (
        _EXTEND
        + _truncate("__truncsfhf2", "float", 32, 23, 127)
        + _truncate("__truncdfhf2", "double", 64, 52, 1023)
    )
