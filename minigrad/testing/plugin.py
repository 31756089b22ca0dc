"""The pytest plugin: ``compare_gradients`` and ``check_grads`` as fixtures.

Installed with the package. When a comparison fails, the table of all gradients is a
section of its own in the report; with ``--minigrad-pictures=FOLDER`` the graph is saved
there as well, the wrong step in red. Nothing of minigrad is imported before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that saves pictures of failed comparisons."""
    group = parser.getgroup("minigrad")
    group.addoption(
        "--minigrad-pictures",
        metavar="FOLDER",
        help="save a picture of the graph of every failed gradient comparison, as SVG",
    )


@pytest.fixture
def compare_gradients() -> Callable[..., Any]:
    """``minigrad.testing.compare_gradients``: hand, automatic and numerical gradients."""
    from minigrad.testing import compare_gradients as compare

    return compare


@pytest.fixture
def check_grads() -> Callable[..., None]:
    """``minigrad.testing.check_grads``: derivatives of any order against numerical ones."""
    from minigrad.testing import check_grads as check

    return check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the table, and the picture, of a failed comparison to the report."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    gradients = getattr(error, "report", None)
    if type(error).__name__ == "GradientMismatch" and gradients is not None:
        report.sections.append(("gradients, in backward order", str(gradients)))
        folder = item.config.getoption("--minigrad-pictures")
        if folder:
            report.sections.append(("picture of the graph", _save(gradients, folder, item.nodeid)))
    return report


def _save(gradients: Any, folder: str, test: str) -> str:
    """Save the picture of a failed comparison and say where, or why not."""
    path = Path(folder) / f"{re.sub(r'[^.a-zA-Z0-9_-]+', '_', test)}.svg"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        gradients.draw().save(path)
    except Exception as error:  # a picture must not hide the failure that it illustrates
        return f"not saved: {error}"
    return str(path)
