"""The architecture page names what is there: packages and imports, files, variables, functions."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from tests.test_floors import FLOOR, FLOORS, PACKAGE, SOURCES, imports, owner

ROOT = PACKAGE.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
GROUND = FLOORS[0].split()


def imported() -> dict[str, list[str]]:
    """Return for each package what it imports, from the lowest floor up, the ground left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        package = owner(path)
        for _, module, dots in imports(ast.parse(path.read_text(encoding="utf-8"))):
            root, _, rest = module.partition(".")
            target = rest.split(".")[0]
            outside = root == "minigrad" and target != package
            if outside and target in FLOOR and (not dots or path.parent == PACKAGE):
                found[package].add(target)
    return {
        package: sorted(targets - set(GROUND), key=lambda t: (FLOOR[t], t))
        for package, targets in found.items()
    }


def table(text: str, head: str) -> dict[str, list[str]]:
    """Return the names in backticks in the rows of the table with this head."""
    rows = text.partition(head)[2].strip().splitlines()
    found = {}
    for row in rows[1:] if rows[0].startswith("| ---") else rows:
        if not row.startswith("|"):
            break
        first, rest = row.strip("| ").split(" | ", 1)
        found[first.strip("`")] = re.findall(r"`([^`]+)`", rest)
    return found


IMPORTS = "| package | imports, besides floor 0 |\n"


def test_the_table_of_imports_is_what_the_files_import() -> None:
    packages = {p for p in imported() if (PACKAGE / p).is_dir() and FLOOR[p] < len(FLOORS) - 1}
    written = table(PAGE, IMPORTS)
    assert written == {
        p: imported()[p] for p in sorted(packages, key=lambda p: list(FLOOR).index(p))
    }


def test_the_picture_of_the_floors_has_every_package_on_its_floor() -> None:
    picture = PAGE.partition("```\n")[2].partition("```")[0]
    for line in picture.splitlines():
        number, names = line[0], set(re.findall(r"\w+", line.split("    ")[0][1:]))
        here = {n for n in FLOORS[int(number)].split() if (PACKAGE / n).exists() or _file(n)}
        assert here - {"__init__"} <= names, f"floor {number}"


def _file(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists()


def unknown_files(text: str) -> list[str]:
    """Return the files and folders that a page names and that are nowhere."""
    names = re.findall(r"`([\w./]+(?:\.py|\.ll|\.md|/))`", text)
    folders = [ROOT / name for name in ("minigrad", "tests", "docs", "notebooks")]
    paths = [p for folder in folders for p in (folder, *folder.rglob("*"))]
    everywhere = [p.relative_to(ROOT).as_posix() for p in paths]
    return [n for n in names if not any(f"/{p}/".endswith(f"/{n.strip('/')}/") for p in everywhere)]


def test_every_file_that_is_named_is_there() -> None:
    assert unknown_files(PAGE) == []


def variables() -> set[str]:
    """Return the environment variables that package and notebooks read."""
    files = [*SOURCES, *(ROOT / "notebooks").glob("*.ipynb")]
    text = "".join(p.read_text(encoding="utf-8") for p in files)
    return set(re.findall(r"MINIGRAD_[A-Z0-9_]*[A-Z0-9]", text))


def test_every_environment_variable_is_in_the_table() -> None:
    assert set(table(PAGE, "| name | effect |\n")) == variables()


def test_what_is_not_there_would_be_found() -> None:
    assert unknown_files("see `passes/nowhere.py`, `attic/` and `passes/rules.py`") == [
        "passes/nowhere.py",
        "attic/",
    ]
    assert table(f"{IMPORTS}| --- | --- |\n| `a` | `b`, `c` |\n\n", IMPORTS) == {"a": ["b", "c"]}
    assert "passes" in imported()["api"]
    assert "api" not in imported()["passes"]
