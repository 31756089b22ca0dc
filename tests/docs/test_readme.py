"""The front page is true: its code runs, in order, and prints what stands below it."""

from __future__ import annotations

import linecache
import re
import xml.etree.ElementTree as ET
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(mg.backends()["cpu"] != "usable", reason="pip install 'minigrad[cpu]'"),
]
pytest.importorskip("sklearn", reason="pip install 'minigrad[data]'")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = ROOT / "docs" / "pictures" / "network.svg"


@dataclass(frozen=True)
class Block:
    kind: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(k, t) for k, t in re.findall(r"^```(\w[\w ]*)\n(.*?)^```$", text, re.S | re.M)]


def masked(text: str) -> list[str]:
    """Return lines with each number and the spaces around it replaced: times differ."""
    number = r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?"
    return [re.sub(rf"\s*{number}\s*", " # ", line).strip() for line in text.strip().splitlines()]


def run(page: list[Block]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Run the blocks of Python; return the names, and what was printed with what is shown."""
    names: dict[str, Any] = {}
    pairs: list[tuple[str, str]] = []
    printed = ""
    for i, block in enumerate(page):
        if block.kind == "python":
            out, file = StringIO(), f"<README, block {i}>"
            lines = block.text.splitlines(keepends=True)
            linecache.cache[file] = (len(block.text), None, lines, file)  # as for a cell
            with redirect_stdout(out), redirect_stderr(StringIO()):
                exec(compile(block.text, file, "exec"), names)
            printed = out.getvalue()
        elif block.kind == "text plan":  # what is fused into what may change
            form = r" *\d+\.\d us   \S.*"
            for lines in (printed.splitlines(), block.text.splitlines()):
                assert lines
                assert all(re.fullmatch(form, line) for line in lines)
        elif block.kind in ("text", "math"):
            pairs.append((printed, block.text))
    return names, pairs


@pytest.fixture(scope="module")
def page() -> tuple[dict[str, Any], list[tuple[str, str]]]:
    mg.random.seed(0)
    return run(blocks(README))


def test_readme_prints_what_it_shows(page: tuple[dict[str, Any], list[tuple[str, str]]]) -> None:
    _, pairs = page
    assert len(pairs) >= 3
    for printed, shown in pairs:
        assert masked(printed) == masked(shown)


def test_readme_trains_as_well_as_it_says(
    page: tuple[dict[str, Any], list[tuple[str, str]]],
) -> None:
    _, pairs = page
    found, said = (float(re.findall(r"0\.\d+", text)[0]) for text in pairs[0])
    assert said > 0.97
    assert abs(found - said) < 0.015


def test_readme_shows_the_picture_of_its_network(
    page: tuple[dict[str, Any], list[tuple[str, str]]],
) -> None:
    names, _ = page
    assert "docs/pictures/network.svg" in README
    assert labels(PICTURE.read_text(encoding="utf-8")) == labels(names["picture"].svg)


def labels(svg: str) -> list[str]:
    """Return all words of a picture, wherever the layout has put them."""
    texts = [e for e in ET.fromstring(svg).iter() if e.tag.endswith("}text")]
    return sorted(" ".join("".join(e.itertext()).split()) for e in texts)


def test_readme_names_every_notebook_and_every_page() -> None:
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("docs/*.md")]:
        assert str(path.relative_to(ROOT)) in README


def test_readme_has_the_line_that_ci_runs() -> None:
    line = next(line for line in README.splitlines() if "python -m pytest" in line)
    assert line.startswith("    python3 -m venv .venv && ")
    assert 'pip install -q -e ".[dev]"' in line


def test_a_wrong_readme_would_be_found() -> None:
    text = "```python\nx = 3\nprint(x, 'apples')\n```\n\n```text\n4 pears\n```\n"
    names, [(printed, shown)] = run(blocks(text))
    assert names["x"] == 3
    assert masked(printed) != masked(shown)
    assert masked(printed) == masked(shown.replace("pears", "apples"))
    with pytest.raises(NameError):
        run(blocks("```python\nprint(nowhere)\n```\n"))
    assert labels('<svg xmlns="http://www.w3.org/2000/svg"><text>a</text></svg>') == ["a"]
