"""The scalar dialect written for CUDA C: a primitive's scalar code, one statement an operation.

What a kernel computes is what the reference computes: integers wrap (they are computed
unsigned, where C says so), an integer divided by 0 is 0, NaN and the sign of zero follow
IEEE 754. Kernels are compiled without contraction of a product and a sum, so +, -, *, /
and sqrt give the same bits as NumPy; only the mathematical library differs, by ulps.

A half type is a ``float`` in registers whose value is always that of some of its own: each
operation is computed in float32 and rounded, as NumPy does it, so a value that one kernel
stores and another computes again is the same value. (float32 carries more than twice the
digits: rounding twice is rounding once for +, -, *, / and sqrt.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from minigrad.backends.scalar import FUNCTIONS
from minigrad.dtypes import DType, float32, float64, halves, kind_of, scalar, uint32
from minigrad.dtypes import bool as bool_
from minigrad.errors import DtypeError

__all__ = ["Value", "Writer", "c_type", "literal", "storage_type", "unsigned"]

_TYPES: Final = {
    "bool": "bool", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8",
    "uint16": "u16", "uint32": "u32", "uint64": "u64", "float16": "f32", "bfloat16": "f32",
    "float32": "f32", "float64": "f64",
}  # fmt: skip

#: What C without headers has no literal for.
_SPECIAL: Final = {
    (False, "inf"): "__int_as_float(0x7f800000)",
    (False, "-inf"): "__int_as_float(0xff800000)",
    (False, "nan"): "__int_as_float(0x7fc00000)",
    (True, "inf"): "__longlong_as_double(0x7ff0000000000000ll)",
    (True, "-inf"): "__longlong_as_double(0xfff0000000000000ll)",
    (True, "nan"): "__longlong_as_double(0x7ff8000000000000ll)",
}
#: The helpers of a half type: from memory, to memory, to round a float32, and a float64.
_HALF: Final = {
    "float16": ("mg_half_to_float", "mg_float_to_half", "mg_round_half", "mg_round_half_d"),
    "bfloat16": (
        "mg_bfloat_to_float", "mg_float_to_bfloat", "mg_round_bfloat", "mg_round_bfloat_d"
    ),
}  # fmt: skip
#: What is computed by a helper in float32, and not by CUDA's library.
_OWN: Final = {"erf": "mg_erf"}
#: Of a half type these are exact, so that nothing is rounded again.
_EXACT: Final = {"ceil", "copysign", "fabs", "floor", "fmod", "rint", "trunc"}


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar in a kernel: a variable or a literal, and its dtype."""

    text: str
    dtype: DType


def c_type(dtype: DType) -> str:
    """Return the type of a value in registers."""
    return _TYPES[dtype.name]


def storage_type(dtype: DType) -> str:
    """Return the type of an element in memory: a half type is its 16 bits."""
    return "u16" if dtype in halves else _TYPES[dtype.name]


def unsigned(dtype: DType) -> str:
    """Return the type in which integers are computed: unsigned, so that they wrap."""
    return "u64" if dtype.itemsize == 8 else "u32"


def literal(value: Any, dtype: DType) -> str:
    """Return a literal of this dtype; floats are hexadecimal, exact to the last bit."""
    if kind_of(dtype) == "b":
        return "true" if value else "false"
    if kind_of(dtype) == "f":
        with np.errstate(all="ignore"):
            number = float(scalar(value, dtype))
        if not np.isfinite(number):
            return _SPECIAL[dtype == float64, str(number)]
        text = number.hex() + ("" if dtype == float64 else "f")
        return f"({text})" if text.startswith("-") else text
    number_ = int(np.asarray(value).astype(dtype))
    if kind_of(dtype) == "u":
        suffix = "ull" if dtype.itemsize == 8 else "u"
        return f"{number_}{suffix}"
    suffix = "ll" if dtype.itemsize == 8 else ""
    if number_ == np.iinfo(dtype).min:
        return f"({number_ + 1}{suffix} - 1)"
    return f"({number_}{suffix})" if number_ < 0 else f"{number_}{suffix}"


class Writer:
    """Writes statements, and notes which helpers they need.

    Equal operations on equal operands are written once within a block. ``block`` opens a
    C block, or a loop's body: what is written in it is not known after it.
    """

    def __init__(self, indent: str = "  ", name: str = "v") -> None:
        self.lines: list[str] = []
        self.helpers: set[str] = set()
        self._known: list[dict[str, str]] = [{}]
        self._count = 0
        self._indent = indent
        self._name = name

    # Statements ------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Write one line as it is, at the depth of the block."""
        self.lines.append(self._indent * len(self._known) + text)

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """Write a block: ``head {``, what is written inside, ``}``."""
        self.line(f"{head} {{".lstrip())
        self._known.append({})
        try:
            yield
        finally:
            self._known.pop()
            self.line("}")

    def fresh(self) -> str:
        """Return a name that nothing else has."""
        self._count += 1
        return f"{self._name}{self._count - 1}"

    def value(self, expression: str, dtype: DType) -> Value:
        """Return a variable with the value of an expression without side effects."""
        kind = c_type(dtype)
        key = f"{kind} {expression}"
        for known in reversed(self._known):
            if key in known:
                return Value(known[key], dtype)
        name = self.fresh()
        self.line(f"const {kind} {name} = {expression};")
        self._known[-1][key] = name
        return Value(name, dtype)

    def use(self, helper: str) -> str:
        """Return the name of a helper, and note that the module needs it."""
        self.helpers.add(helper)
        return helper

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self.lines) + "\n"

    # Memory ----------------------------------------------------------------------

    def load(self, place: str, dtype: DType) -> Value:
        """Return the element at an lvalue; loads are repeated, since memory may change."""
        name = self.fresh()
        self.line(f"const {c_type(dtype)} {name} = {self.loaded(place, dtype)};")
        return Value(name, dtype)

    def loaded(self, place: str, dtype: DType) -> str:
        """Return an element in memory as an expression in registers."""
        return f"{self.use(_HALF[dtype.name][0])}({place})" if dtype in halves else place

    def store(self, place: str, value: Value) -> None:
        """Write a value to an lvalue."""
        self.line(f"{place} = {self.stored(value)};")

    def stored(self, value: Value) -> str:
        """Return a value as an expression of the type in memory."""
        if value.dtype in halves:
            return f"{self.use(_HALF[value.dtype.name][1])}({value.text})"
        return value.text

    # The dialect -----------------------------------------------------------------

    def const(self, value: float, like: Value) -> Value:
        """Return a literal with the dtype of ``like``."""
        return Value(literal(value, like.dtype), like.dtype)

    def dtype(self, x: Value) -> DType:
        """Return the dtype of a value."""
        return x.dtype

    def _float(self, expression: str, dtype: DType) -> Value:
        if dtype in halves:
            expression = f"{self.use(_HALF[dtype.name][2])}({expression})"
        return self.value(expression, dtype)

    def _arithmetic(self, a: Value, sign: str, b: Value) -> Value:
        if kind_of(a.dtype) == "f":
            return self._float(f"{a.text} {sign} {b.text}", a.dtype)
        wide, kind = unsigned(a.dtype), c_type(a.dtype)
        return self.value(f"({kind})(({wide}){a.text} {sign} ({wide}){b.text})", a.dtype)

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""
        return self._arithmetic(a, "+", b)

    def sub(self, a: Value, b: Value) -> Value:
        """Return a - b."""
        return self._arithmetic(a, "-", b)

    def mul(self, a: Value, b: Value) -> Value:
        """Return a * b."""
        return self._arithmetic(a, "*", b)

    def div(self, a: Value, b: Value) -> Value:
        """Return a / b; for integers rounded to zero, 0 for b = 0, and wrapping for b = -1."""
        if kind_of(a.dtype) == "f":
            return self._float(f"{a.text} / {b.text}", a.dtype)
        kind = c_type(a.dtype)
        if kind_of(a.dtype) == "u":
            quotient = f"({kind})({b.text} == 0 ? 0 : {a.text} / {b.text})"
            return self.value(quotient, a.dtype)
        divide = self.use("mg_divide_signed")
        return self.value(f"{divide}<{kind}, {unsigned(a.dtype)}>({a.text}, {b.text})", a.dtype)

    def neg(self, a: Value) -> Value:
        """Return -a."""
        if kind_of(a.dtype) == "f":
            return self.value(f"-{a.text}", a.dtype)
        return self.value(f"({c_type(a.dtype)})(0 - ({unsigned(a.dtype)}){a.text})", a.dtype)

    def equal(self, a: Value, b: Value) -> Value:
        """Return a == b."""
        return self.value(f"{a.text} == {b.text}", bool_)

    def less(self, a: Value, b: Value) -> Value:
        """Return a < b."""
        return self.value(f"{a.text} < {b.text}", bool_)

    def less_equal(self, a: Value, b: Value) -> Value:
        """Return a <= b."""
        return self.value(f"{a.text} <= {b.text}", bool_)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """Return a where the condition holds, else b."""
        return self.value(f"{condition.text} ? {a.text} : {b.text}", a.dtype)

    def _bits(self, expression: str, dtype: DType) -> Value:
        return self.value(f"({c_type(dtype)})({expression})", dtype)

    def bit_and(self, a: Value, b: Value) -> Value:
        """Return a & b."""
        return self._bits(f"{a.text} & {b.text}", a.dtype)

    def bit_or(self, a: Value, b: Value) -> Value:
        """Return a | b."""
        return self._bits(f"{a.text} | {b.text}", a.dtype)

    def bit_xor(self, a: Value, b: Value) -> Value:
        """Return a ^ b."""
        return self._bits(f"{a.text} ^ {b.text}", a.dtype)

    def bit_not(self, a: Value) -> Value:
        """Return ~a, for booleans !a."""
        return self._bits(f"{'!' if kind_of(a.dtype) == 'b' else '~'}{a.text}", a.dtype)

    def shift_left(self, a: Value, b: Value) -> Value:
        """Return a << b."""
        return self._bits(f"({unsigned(a.dtype)}){a.text} << {b.text}", a.dtype)

    def shift_right(self, a: Value, b: Value) -> Value:
        """Return a >> b."""
        return self._bits(f"{a.text} >> {b.text}", a.dtype)

    def mulhi(self, a: Value, b: Value) -> Value:
        """Return the high 32 bits of the product of two uint32."""
        if a.dtype != uint32 or b.dtype != uint32:
            raise DtypeError(f"mulhi: takes uint32, got {a.dtype} and {b.dtype}")
        return self.value(f"__umulhi({a.text}, {b.text})", uint32)

    def cast(self, a: Value, dtype: DType) -> Value:
        """Return a converted; floats to integers truncate."""
        if a.dtype == dtype:
            return a
        if kind_of(dtype) == "b":
            return self.value(f"{a.text} != 0", bool_)
        if dtype in halves:
            if kind_of(a.dtype) == "b" or (kind_of(a.dtype) in "iu" and a.dtype.itemsize == 1):
                return self.value(f"(f32){a.text}", dtype)
            helper = _HALF[dtype.name][3 if a.dtype == float64 else 2]
            source = a.text if kind_of(a.dtype) == "f" else f"(f32){a.text}"
            return self.value(f"{self.use(helper)}({source})", dtype)
        if a.dtype in halves and dtype == float32:
            return Value(a.text, float32)
        return self.value(f"({c_type(dtype)}){a.text}", dtype)

    def call(self, name: str, *args: Value) -> Value:
        """Return a function of the mathematical library."""
        dtype = args[0].dtype
        if name not in FUNCTIONS:
            raise DtypeError(f"call: there is no function {name!r}")
        given = ", ".join(a.text for a in args)
        if kind_of(dtype) != "f":
            if name != "pow":
                raise DtypeError(f"call: {name} takes floats, got {dtype}")
            power = self.use("mg_power")
            return self.value(f"{power}<{c_type(dtype)}, {unsigned(dtype)}>({given})", dtype)
        own = _OWN.get(name) if dtype != float64 else None
        function = self.use(own) if own else name if dtype == float64 else f"{name}f"
        expression = f"{function}({given})"
        return self.value(expression, dtype) if name in _EXACT else self._float(expression, dtype)

    # Beyond the dialect ------------------------------------------------------------

    def word(self, seed: Value, stream: Value, index: str) -> Value:
        """Return random word ``index`` of a draw: word i % 4 of Philox block i // 4."""
        word = self.use("mg_word")
        return self.value(f"{word}({seed.text}, {stream.text}, {index})", uint32)
