"""Conversions of float16 that LLVM calls by name where the processor has none.

x86-64 converts between float16 and float32 since F16C and never from float64; the compiler
then calls these routines, which a Python process need not contain. The names and the
calling convention are those that LLVM uses for the call.
"""

from __future__ import annotations

from .target import Target

__all__ = ["half_routines"]

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
