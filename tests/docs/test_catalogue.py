"""Every row of the catalogue names a function, a test and a notebook heading that are there.

A row that is not held yet stands in ``OPEN``, and nowhere else: whoever holds it writes its
line in ``docs/catalogue.md`` and takes it out of the set.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import minigrad as mg

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "catalogue.md"
SPEC = ROOT.parent / "shared" / "SPEC.md"

#: Rows of the whole catalogue. D to F and H are numbered in the order of their sentences.
ROWS = {
    "B": 9,  # inverted, standard, folded, same mask, input, DropConnect, 2^n, Monte-Carlo, bagging
    "C": 9,  # forward ... length and direction
    "D": 8,  # layer, weight, instance, adaptive, group, synchronised, weight standardisation, SPADE
    "E": 4,  # min-max, standardisation, statistics of the training set, constant features
    "F": 6,  # constant, normal, 2 / fan_in, 2 / fan_out, their average, uniform and gains
    "G": 8,  # L2 ... overfitting example
    "H": 14,  # 4 kinds of layers, activations, losses, optimisers, schedules, clipping, digits,
    #           IDX files, batches, saving, seeds
}
ALL = [f"{letter}{i}" for letter, count in ROWS.items() for i in range(1, count + 1)]

#: Rows that nobody holds yet.
OPEN: set[str] = set()


@dataclass(frozen=True)
class Line:
    row: str
    what: str
    functions: tuple[str, ...]
    tests: tuple[str, ...]
    headings: tuple[tuple[str, str], ...]


def lines(text: str) -> list[Line]:
    """Return the rows of the page's tables."""
    found = []
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split(" | ")]
        if not re.fullmatch(r"[B-H]\d+", cells[0]):
            continue
        assert len(cells) == 5, f"{cells[0]}: five columns, got {len(cells)}"
        row, what, functions, tests, headings = cells
        found.append(
            Line(
                row,
                what,
                tuple(re.findall(r"`([^`]+)`", functions)),
                tuple(re.findall(r"`([^`]+)`", tests)),
                tuple(re.findall(r"\[([^]]+)\]\(([^)]+)\)", headings)),
            )
        )
    return found


LINES = lines(PAGE.read_text(encoding="utf-8"))


def missing_function(name: str) -> str | None:
    """Return what is wrong with a dotted name of the public API, or None."""
    parts = name.split(".")
    found: object = mg
    if parts[0] != "mg":
        return f"{name} does not begin with mg."
    for part in parts[1:]:
        if part.startswith("_") or not hasattr(found, part):
            return f"{name}: there is no {part}"
        found = getattr(found, part)
    return None


def missing_test(test: str) -> str | None:
    """Return what is wrong with a test's id, or None."""
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return f"{file} is not a file"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    return None if name in names else f"{file} has no test {name!r}"


def missing_heading(heading: str, target: str) -> str | None:
    """Return what is wrong with a link to a notebook, or None."""
    path = (PAGE.parent / target).resolve()
    if not path.is_file() or path.suffix != ".ipynb":
        return f"{target} is not a notebook"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    titles = [m.strip() for m in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return None if heading in titles else f"{target} has no heading {heading!r}"


def test_every_row_is_held_or_open() -> None:
    held = [line.row for line in LINES]
    assert len(held) == len(set(held)), "a row is listed twice"
    assert set(ALL) >= OPEN
    assert sorted(held) == sorted(set(ALL) - OPEN)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.row)
def test_what_a_row_names_is_there(line: Line) -> None:
    assert line.what
    assert line.functions, "name a function"
    assert line.tests, "name a test"
    assert line.headings, "link a notebook"
    wrong = [
        *map(missing_function, line.functions),
        *map(missing_test, line.tests),
        *(missing_heading(*h) for h in line.headings),
    ]
    assert not [w for w in wrong if w]


@pytest.mark.skipif(not SPEC.is_file(), reason="the catalogue's source is not beside the checkout")
def test_the_rows_are_those_of_the_source() -> None:
    source = re.findall(r"^\| ([B-H]\d+) ", SPEC.read_text(encoding="utf-8"), re.MULTILINE)
    assert source
    assert set(source) <= set(ALL)


def test_a_broken_link_is_noticed() -> None:
    """The checks above must be able to fail."""
    assert missing_function("mg.nn.NoSuchLayer")
    assert missing_function("nn.Dropout")
    assert missing_function("mg.nn.Dropout._info")
    assert missing_test("tests/docs/test_catalogue.py::test_that_is_not_there")
    assert missing_test("tests/docs/no_such_file.py::test_every_row_is_held_or_open")
    assert missing_heading("No such heading", "../notebooks/01_tour.ipynb")
    assert missing_heading("The tour", "../notebooks/00_tour.ipynb")
    assert missing_function("mg.nn.Dropout") is None
    assert missing_test("tests/docs/test_catalogue.py::test_a_broken_link_is_noticed") is None
    assert missing_heading("The tour", "../notebooks/01_tour.ipynb") is None
    short = "| B1 | inverted | `mg.nn.Dropout` | `tests/x.py::test_y` |"
    with pytest.raises(AssertionError, match="five columns"):
        lines(short)
