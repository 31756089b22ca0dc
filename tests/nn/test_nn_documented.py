"""Every public name of nn says what it does, and by which formula or on which shapes."""

from __future__ import annotations

import inspect
import re

import pytest

from minigrad import nn
from minigrad.nn import functional, init

STRUCTURE = {"Module", "ModuleList", "ModuleDict", "functional", "init"}
PUBLIC = [
    *((nn, name) for name in nn.__all__ if name not in STRUCTURE),
    *((functional, name) for name in functional.__all__),
    *((init, name) for name in init.__all__),
]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda x: getattr(x, "__name__", x))
def test_docstring_has_a_summary_and_a_formula_or_shapes(module, name) -> None:
    doc = inspect.getdoc(getattr(module, name))
    summary = doc.splitlines()[0]
    assert summary.endswith((".", ";"))
    assert len(summary) < 100
    assert re.search(r"^(Formula|Shapes)\n-+$", doc, re.MULTILINE)


def test_public_methods_of_modules_have_docstrings() -> None:
    for name in nn.__all__:
        kind = getattr(nn, name)
        if not isinstance(kind, type):
            continue
        for method, function in vars(kind).items():
            if not method.startswith("_") and callable(function):
                assert inspect.getdoc(function), f"{name}.{method}"
