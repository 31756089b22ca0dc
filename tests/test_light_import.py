"""``import minigrad`` needs NumPy and the standard library, and loads nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np  # noqa: F401  must be importable for the child process to be meaningful
import pytest

HEAVY = [
    "minigrad.viz", "minigrad.testing", "minigrad.data", "minigrad.bench", "minigrad.nn",
    "minigrad.optim", "minigrad.checkpoints", "minigrad.reporter",
]  # fmt: skip

CODE = """
import sys, json
import numpy
with_numpy = set(sys.modules)
import minigrad
{then}
print(json.dumps([sorted(set(sys.modules) - with_numpy), sorted(sys.modules)]))
"""


def modules_after(then: str = "") -> tuple[set[str], set[str]]:
    """Return what a fresh interpreter has loaded: by minigrad, and in all."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE.format(then=then)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    new, every = json.loads(result.stdout)
    return set(new), set(every)


def foreign(modules: set[str]) -> set[str]:
    roots = {m.partition(".")[0] for m in modules}
    known = set(sys.stdlib_module_names) | {"minigrad", "numpy"}
    return {r for r in roots - known if not r.startswith("__")}


def test_import_loads_numpy_and_the_standard_library_only() -> None:
    new, _ = modules_after()
    assert foreign(new) == set()
    assert not [m for m in new if m.startswith(tuple(HEAVY))], "these are loaded when used"


@pytest.mark.host
def test_work_at_the_prompt_loads_nothing_more() -> None:
    new, _ = modules_after(
        "x = minigrad.tensor([1.0, 2.0], requires_grad=True)\n"
        "minigrad.sum(minigrad.softmax(x) ** 2).backward()\n"
        "with minigrad.use('numpy'):\n"
        "    minigrad.compile(minigrad.grad(lambda x: minigrad.sum(x * x)))(x)\n"
        "minigrad.random.normal((3,)); repr(x); minigrad.backends()\n"
        "try: minigrad.ones(2) + minigrad.ones(3)\n"
        "except minigrad.errors.ShapeError as e: str(e)\n"
    )
    assert foreign(new) == set()
    assert not [m for m in new if m.startswith("minigrad.viz")]


def test_a_heavy_import_would_be_found() -> None:
    new, _ = modules_after("import pytest")
    assert "pytest" in foreign(new)
    new, _ = modules_after("import minigrad.testing")
    assert any(m.startswith("minigrad.testing") for m in new)


def test_what_is_loaded_late_is_there() -> None:
    new, _ = modules_after("minigrad.nn.Linear(2, 1); minigrad.optim.SGD; minigrad.progress")
    assert {"minigrad.nn", "minigrad.optim", "minigrad.reporter"} <= new
    assert foreign(new) == set()
