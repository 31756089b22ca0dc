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
WRITING = ("Primitive", "elementwise", "structural", "Each")
ENTERING = {"register", "elementwise", "structural"}
RECORDS = ("minigrad.core.primitive", "minigrad.core", "minigrad.ops.kinds")


def offences(source: str) -> list[str]:
    """Return what registers a primitive or gives a gradient rule."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "vjp":
            found.append("keyword vjp=")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith((*WRITING, "core.register", "primitive.register")):
                found.append(f"call of {called}")
        elif isinstance(node, ast.ImportFrom) and node.module in RECORDS:
            found += [f"import of {n.name}" for n in node.names if n.name in ENTERING]
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            found += ["write to the registry"] if "registry" in ast.unparse(node.value) else []
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
        "minigrad.core.primitive.register(p)",
        "del core.registry['relu']",
    ],
)
def test_the_scan_finds_what_it_looks_for(source) -> None:
    assert offences(source)


def test_layers_import_floors_zero_to_two_only() -> None:
    allowed = {"changes", "errors", "dtypes", "shapes", "trees", "core", "ops", "nn"}
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


PROGRAM = """
import sys, types
package = types.ModuleType("minigrad")  # without running its __init__, which imports all floors
package.__path__ = [sys.argv[1]]
sys.modules["minigrad"] = package
import minigrad.ops
from minigrad.core import registry
assert not any(name.startswith(("minigrad.nn", "minigrad.optim")) for name in sys.modules)
before = {name: id(primitive) for name, primitive in registry.items()}
import minigrad.api, minigrad.nn, minigrad.optim
nn = minigrad.nn
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm(2), nn.ReLU(), nn.Dropout(0.5))
net(minigrad.ops.ones((2, 1, 6, 6))).sum().backward()
assert before == {name: id(primitive) for name, primitive in registry.items()}
print(len(before))
"""


def test_the_registry_is_the_same_before_and_after_importing_the_upper_floors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(PACKAGE)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
