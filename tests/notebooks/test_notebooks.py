"""Every notebook runs from top to bottom, quietly, and shows its pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="pip install 'minigrad[notebook]'")
nbclient = pytest.importorskip("nbclient", reason="pip install 'minigrad[notebook]'")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def outputs(notebook: Any) -> list[Any]:
    return [o for cell in notebook.cells for o in cell.get("outputs", [])]


def pictures(notebook: Any) -> int:
    kinds = ("image/svg+xml", "image/png")
    return sum(any(k in o.get("data", {}) for k in kinds) for o in outputs(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs_without_warnings_and_shows_pictures(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGRAD_FAST", "1")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads only wait
    shared = ROOT.parent / "shared" / "data" / "mnist"
    monkeypatch.setenv("MINIGRAD_MNIST", str(shared))
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    noise = [o.text for o in outputs(notebook) if o.get("name") == "stderr"]
    assert not noise, f"warnings or errors were printed: {noise}"
    assert pictures(notebook) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_notebook_has_outputs_and_no_traceback(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kinds = {o.output_type for o in outputs(notebook)}
    assert "error" not in kinds
    assert not [o.text for o in outputs(notebook) if o.get("name") == "stderr"]
    assert "After this page you will be able to" in notebook.cells[0].source
    assert pictures(notebook) >= 2, "commit the executed notebook: static pages show its pictures"
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom"


def test_a_notebook_that_warns_is_noticed(tmp_path: Path) -> None:
    """The check above must be able to fail."""
    cell = nbformat.v4.new_code_cell("import warnings; warnings.warn('careless')")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=60).execute()
    assert [o.name for o in outputs(notebook)] == ["stderr"]


def test_tour_command_leaves_notebook_page_and_pictures(tmp_path: Path) -> None:
    out = tmp_path / "tour"
    found = subprocess.run(
        [sys.executable, "-m", "minigrad", "tour", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "test accuracy" in found.stdout
    assert found.stderr == ""
    assert str(out) in found.stdout
    notebook = json.loads((out / "01_tour.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert "<html" in (out / "01_tour.html").read_text(encoding="utf-8")
    assert len(list(out.glob("*.svg"))) >= 3


def test_doctor_names_versions_backends_and_layout() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "minigrad"], capture_output=True, text=True, timeout=60, check=True
    )
    for part in ("minigrad", "Python", "NumPy", "backend numpy", "pictures"):
        assert part in found.stdout
