"""``python -m minigrad tour``: run the tour notebook, and leave all that it shows in a folder."""

from __future__ import annotations

import re
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minigrad.errors import BackendUnavailable

__all__ = ["notebook_path", "run"]

_NEEDED = ("nbformat", "nbclient", "nbconvert", "ipykernel", "matplotlib", "sklearn")


def notebook_path(name: str) -> Path:
    """Return a notebook of this installation: in a checkout, or inside the package."""
    package = Path(__file__).parent
    for folder in (package.parent / "notebooks", package / "notebooks"):
        if (folder / name).exists():
            return folder / name
    raise BackendUnavailable(
        f"the notebook {name} is not part of this installation",
        fix="run it from a clone of the project, or install the wheel again",
    )


def run(out: Path) -> int:
    """Execute the tour in ``out`` and write notebook, page and pictures; return the exit status."""
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise BackendUnavailable(
            f"the tour needs {', '.join(missing)}",
            fix=f'{sys.executable} -m pip install "minigrad[notebook,data]"',
        )
    nbformat = import_module("nbformat")
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(notebook_path("01_tour.ipynb"), as_version=4)
    failed = _execute(notebook, out)
    nbformat.write(notebook, out / "01_tour.ipynb")
    pictures = _save_pictures(notebook, out)
    _save_page(notebook, out / "01_tour.html")
    _say(f"\n{time.perf_counter() - started:.0f} s; look at {out / '01_tour.html'}")
    _say(f"the executed notebook and {len(pictures)} pictures are in {out}")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _execute(notebook: Any, out: Path) -> bool:
    """Run the cells one by one, saying what each is about; return whether one failed."""
    nbclient = import_module("nbclient")
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(out)}}
    )
    client.km = client.create_kernel_manager()
    client.km.kernel_spec.argv = [  # this interpreter, whatever kernels the user has
        sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}",
        "--log-level=ERROR",  # a warning about local sockets is none of the reader's business
    ]  # fmt: skip
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with client.setup_kernel():
        for step, i in enumerate(code, 1):
            _say(f"[{step:2d}/{len(code)}] {_heading(notebook.cells, i)}")
            try:
                client.execute_cell(notebook.cells[i], i)
            except nbclient.exceptions.CellExecutionError as error:
                _say(str(error))
                return True
            for line in _printed(notebook.cells[i]):
                _say(f"         {line}")
    return False


def _heading(cells: list[Any], at: int) -> str:
    """Return the nearest heading above a cell, and the cell's first comment if it has one."""
    title = ""
    for cell in reversed(cells[:at]):
        found = re.search(r"^#+ (.+)$", cell.source, re.M) if cell.cell_type == "markdown" else None
        if found:
            title = found[1]
            break
    comment = re.match(r"# (.+)", cells[at].source)
    return f"{title}: {comment[1]}" if comment else title


def _printed(cell: Any) -> list[str]:
    """Return what a cell printed, and the text of the small results that it showed."""
    lines: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            lines += output.text.splitlines()
        elif output.output_type == "execute_result" and "image/svg+xml" not in output.data:
            lines += output.data.get("text/plain", "").splitlines()
    return lines[:24]


def _save_pictures(notebook: Any, out: Path) -> list[Path]:
    """Save every SVG that the notebook shows."""
    saved: list[Path] = []
    for i, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            svg = output.get("data", {}).get("image/svg+xml")
            if svg:
                path = out / f"picture-{len(saved) + 1:02d}-cell-{i}.svg"
                path.write_text("".join(svg), encoding="utf-8")
                saved.append(path)
    return saved


def _save_page(notebook: Any, path: Path) -> None:
    exporter = import_module("nbconvert").HTMLExporter()
    body, _ = exporter.from_notebook_node(notebook)
    path.write_text(body, encoding="utf-8")
