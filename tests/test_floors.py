"""The house has floors: imports point down. Read from the syntax, so nothing is executed.

The table is section 2 of the design; a package that is not in it fails.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minigrad"

FLOORS = [
    "changes errors dtypes shapes trees reporter",
    "core",
    "ops",
    "transform passes",
    "backends",
    "api",
    "nn testing viz onnx",
    "optim data train checkpoints",
    "__init__ __main__ doctor tour bench cli",
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names.split()}

#: Who may not import all that lies below: a layer cannot hide a gradient rule.
HIGHEST = {"nn": 2, "optim": 2}

#: Neighbours on one floor are strangers, except on the ground and for these.
GROUND = 0
NEIGHBOURS = {("viz", "testing"): "a cell magic shows a gradient comparison"}

#: Files that import minigrad inside functions, and why.
LAZY = {
    "testing/plugin.py": "pytest loads it in every project: it imports minigrad when it is used"
}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def owner(path: Path) -> str:
    """Return the package, or top-level module, that a file belongs to."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str, int]]:
    """Return each import: the statement, the full module name, how many dots it began with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            if node.module in (None, "minigrad"):
                for alias in node.names:
                    yield node, f"minigrad.{alias.name}", node.level
            else:
                prefix = "minigrad." if node.level else ""
                yield node, f"{prefix}{node.module}", node.level
    for node in ast.walk(tree):  # modules named by a string: late binding and lazy loading
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("bind", "import_module"):
            for argument in node.args:
                value = getattr(argument, "value", None)
                if isinstance(value, str) and value.startswith("minigrad."):
                    yield node, value.partition(":")[0], 0  # type: ignore[misc]


def violations(package: str, source: str, *, top: bool = False) -> list[str]:
    """Return what a file of ``package`` imports and must not."""
    tree = ast.parse(source)
    inside = {
        child
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(function)
    }
    found = []
    for node, module, dots in imports(tree):
        line = f"line {node.lineno}: {module}"
        if dots > 1:
            found.append(f"{line}: a relative import of a parent")
        if module.split(".")[0] != "minigrad":
            standard = module.split(".")[0] in sys.stdlib_module_names
            if node in inside and standard and isinstance(node, ast.Import | ast.ImportFrom):
                found.append(f"{line}: a standard module is imported at the top")
            continue
        if node in inside and isinstance(node, ast.Import | ast.ImportFrom):
            found.append(f"{line}: only third-party extras are imported inside a function")
        if dots and not top:
            continue  # within one package
        target = module.split(".")[1]
        if target == package:
            continue
        if target not in FLOOR:
            found.append(f"{line}: {target} has no floor")
        elif FLOOR[target] > HIGHEST.get(package, FLOOR[package]):
            found.append(f"{line}: {package} must not see floor {FLOOR[target]}")
        elif FLOOR[target] == FLOOR[package] != GROUND and (package, target) not in NEIGHBOURS:
            found.append(f"{line}: {package} and {target} are strangers")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    package = owner(path)
    assert package in FLOOR, f"{package} has no floor: enter it in the table"
    if FLOOR[package] == len(FLOORS) - 1:
        return  # the roof joins everything
    if str(path.relative_to(PACKAGE)) in LAZY:
        return
    top = path.parent == PACKAGE
    assert violations(package, path.read_text(encoding="utf-8"), top=top) == []


PLANTED = [
    ("core", "from minigrad.ops import sum", "must not see floor 2"),
    ("core", "import minigrad.api.tracing", "must not see floor 5"),
    ("ops", "from minigrad import nn", "must not see floor 6"),
    ("transform", "from minigrad.passes import simplify", "are strangers"),
    ("passes", "from minigrad.transform.vjp import pullback", "are strangers"),
    ("nn", "from minigrad.transform import pullback", "must not see floor 3"),
    ("nn", "from minigrad.api import grad", "must not see floor 5"),
    ("testing", "from minigrad.viz import draw", "are strangers"),
    ("ops", "from ..core import Node", "relative import of a parent"),
    ("api", "def f():\n    from minigrad.ops import exp", "only third-party extras"),
    ("api", "def f():\n    import json", "imported at the top"),
    ("core", "bind('display', 'minigrad.viz.html:show')", "must not see floor 6"),
    ("backends", "x = import_module('minigrad.api')", "must not see floor 5"),
    ("ops", "from minigrad.attic import x", "attic has no floor"),
]


@pytest.mark.parametrize(("package", "source", "message"), PLANTED)
def test_a_planted_import_is_found(package: str, source: str, message: str) -> None:
    (found,) = violations(package, source)
    assert message in found


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("ops", "from minigrad.core.node import Node\nfrom .kinds import elementwise"),
        ("api", "from minigrad.transform import batch\nfrom minigrad.passes import simplify"),
        ("dtypes", "from minigrad.errors import DtypeError\nimport numpy"),
        ("viz", "def f():\n    import networkx\n    from graphviz import Source"),
        ("optim", "from minigrad.ops import sqrt"),
    ],
)
def test_an_allowed_import_passes(package: str, source: str) -> None:
    assert violations(package, source) == []


def test_files_stay_short() -> None:
    """About 450 lines: a longer file holds more than one idea."""
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    longest = {str(p.relative_to(PACKAGE)): n for p, n in lines.items() if n > 450}
    assert not longest
