"""Catalogue row A2: nothing above ops registers a primitive or a gradient rule."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg

PACKAGE = Path(mg.__file__).parent
FLOORS = ["nn", "optim", "data", "train", "testing", "viz", "api", "onnx"]
WRITING = {"Primitive", "elementwise", "structural", "Each", "Zero"}


def offences(source: str) -> list[str]:
    """Return what registers a primitive or gives a gradient rule."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg in ("vjp", "reference", "scalar", "batch"):
            found.append(f"keyword {node.arg}=")
        if isinstance(node, ast.Call):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if name in WRITING:
                found.append(f"call of {name}")
        if isinstance(node, ast.ImportFrom) and node.module in (
            "minigrad.core.primitive",
            "minigrad.core",
            "minigrad.ops.kinds",
        ):
            names = {alias.name for alias in node.names}
            found += [f"import of {n}" for n in names & {"register", *WRITING}]
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete) and "registry[" in ast.unparse(
            node
        ):
            found.append("write to the registry")
    return found


def files() -> list[Path]:
    return [f for floor in FLOORS for f in sorted((PACKAGE / floor).rglob("*.py"))]


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_file_registers_no_primitive_and_no_rule(file) -> None:
    assert offences(file.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from minigrad.core.primitive import register",
        "register_p = Primitive(name='relu')",
        "p = elementwise('relu', vjp=(f,))",
        "registry['relu'] = 1",
    ],
)
def test_the_scan_finds_what_it_looks_for(source) -> None:
    assert offences(source)


def test_layers_import_floors_zero_to_two_only() -> None:
    allowed = {"errors", "dtypes", "shapes", "trees", "core", "ops", "nn"}
    for file in sorted((PACKAGE / "nn").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                if module.startswith("minigrad"):
                    assert module.split(".")[1] in allowed, (file.name, module)


def test_the_registry_is_the_same_before_and_after_importing_the_upper_floors() -> None:
    program = (
        "import minigrad.ops\n"
        "from minigrad.core import registry\n"
        "before = {name: id(p) for name, p in registry.items()}\n"
        "import minigrad.nn, minigrad.optim, minigrad\n"
        "net = minigrad.nn.Sequential(minigrad.nn.Conv2d(1, 2, 3), minigrad.nn.BatchNorm(2))\n"
        "net(minigrad.ones((2, 1, 5, 5))).sum().backward()\n"
        "assert before == {name: id(p) for name, p in registry.items()}\n"
        "print(len(before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
