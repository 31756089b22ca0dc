"""Every public array function is tested somewhere here, documented, and has its standard name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.ops import __all__ as names

FUNCTIONS = [n for n in names if callable(getattr(mg, n))]
SOURCES = "\n".join(
    p.read_text(encoding="utf-8")
    for folder in ("ops", "transform", "api")
    for p in (Path(__file__).parent.parent / folder).glob("test_*.py")
    if p.name != Path(__file__).name
)

#: Python Array API 2024.12, without linear algebra, complex numbers, sets and searches.
STANDARD = """
    abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan
    atan2 atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift
    bitwise_xor broadcast_arrays broadcast_to can_cast ceil clip concat copysign cos cosh
    count_nonzero cumulative_prod cumulative_sum diff divide finfo iinfo isdtype positive
    result_type empty empty_like equal exp expand_dims expm1 eye flip floor
    floor_divide from_dlpack full full_like greater greater_equal hypot isfinite isinf isnan
    less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not
    logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid min minimum
    moveaxis multiply negative not_equal ones ones_like permute_dims pow prod reciprocal
    remainder repeat reshape roll round sign signbit sin sinh sort sqrt square squeeze stack
    std subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc unstack
    var vecdot where zeros zeros_like
"""


def test_names_of_the_standard_are_all_here() -> None:
    assert set(STANDARD.split()) <= set(names)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_tested_by_name(name: str) -> None:
    assert re.search(rf'"{name}"|\bmg\.{name}\b|\bnp\.{name}\b.*getattr', SOURCES), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_a_summary_line_and_named_parameters(name: str) -> None:
    function = getattr(mg, name)
    assert function.__doc__
    first = function.__doc__.strip().splitlines()[0]
    assert first.endswith("."), first
    assert function.__name__ == name
    assert inspect.signature(function).parameters


def test_names_of_other_libraries_lead_to_those_here() -> None:
    for other, here in mg._CALLED.items():
        with pytest.raises(AttributeError, match=re.escape(f"{other!r}: it is {here}")):
            getattr(mg, other)
        found: object = mg
        for part in here.split(".")[1:]:
            found = getattr(found, part)
        assert callable(found)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        mg.nothing  # noqa: B018
