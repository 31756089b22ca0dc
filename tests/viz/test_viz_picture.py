"""Pictures as files and as displays: formats, atomic saving, failures that do not escape."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viz_samples import gradient_graph, history, needs_graphviz, needs_matplotlib

import minigrad as mg
from minigrad.core.tape import scope
from minigrad.errors import BackendUnavailable, MinigradError
from minigrad.viz.picture import write_atomically


@pytest.fixture(autouse=True)
def builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "builtin")


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_viz_svg_has_a_view_box_text_as_text_and_no_script() -> None:
    picture = gradient_graph().draw()
    root = ET.fromstring(picture.svg)
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert "Arial" in root.get("font-family", "")
    assert "<script" not in picture.svg
    assert "onload" not in picture.svg
    assert "href" not in picture.svg
    assert ">norm<" in picture.svg.replace("</tspan>", "<")


@needs_matplotlib
def test_viz_png_is_twice_the_size() -> None:
    picture = history().graph().draw()
    width, height = picture.size
    found = png_size(picture.png)
    assert abs(found[0] - 2 * width) <= 1
    assert abs(found[1] - 2 * height) <= 1


@needs_matplotlib
def test_viz_png_of_a_large_picture_is_smaller_than_twice() -> None:
    def f(x: mg.Tensor) -> mg.Tensor:
        for _ in range(140):
            x = mg.tanh(x)
        return mg.sum(x)

    picture = mg.trace(f, mg.spec((3,))).draw()
    assert max(png_size(picture.png)) <= 6000
    assert picture.size[1] * 2 > 6000


@needs_matplotlib
@needs_graphviz
def test_viz_save_writes_each_format_whole(tmp_path: Path) -> None:
    picture = gradient_graph().draw()
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "dot": b"digraph", "txt": b"graph"}
    for kind, start in starts.items():
        path = picture.save(tmp_path / f"a.{kind}")
        assert path.read_bytes().startswith(start)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{k}" for k in sorted(starts)]
    assert picture.save(str(tmp_path / "B.SVG")).exists()


def test_viz_save_refuses_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(MinigradError, match="gif"):
        history().graph().draw().save(tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_viz_save_leaves_the_old_file_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.svg"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, b"new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


@needs_matplotlib
def test_viz_bundle_has_text_svg_and_png() -> None:
    bundle = gradient_graph().draw()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "image/png"}
    assert bundle["text/plain"].startswith("<Picture of")
    assert "= matmul(" in bundle["text/plain"]
    only = history().graph().draw(format="svg")._repr_mimebundle_()
    assert set(only) == {"text/plain", "image/svg+xml"}


def test_viz_bundle_without_matplotlib_says_why_there_is_no_png(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    picture = history().graph().draw()
    bundle = picture._repr_mimebundle_()
    assert "image/svg+xml" in bundle
    assert "image/png" not in bundle
    assert "BackendUnavailable" in bundle["text/plain"]
    with pytest.raises(BackendUnavailable) as caught:
        _ = picture.png
    assert "minigrad[notebook]" in str(caught.value)


@pytest.mark.parametrize("broken", ["anatomy", "_arranged", "paint", "build", "builtin_layout"])
def test_viz_draw_that_fails_anywhere_gives_the_text_and_the_reason(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("injected")

    monkeypatch.setattr(import_module("minigrad.viz.draw"), broken, fail)
    picture = gradient_graph().draw()
    assert picture.route == "text"
    assert "injected" in picture.note
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    assert "matmul" in bundle["text/plain"]
    with pytest.raises(BackendUnavailable, match="only text"):
        _ = picture.svg


def test_viz_picture_repr_is_short() -> None:
    assert len(repr(history().graph().draw())) < 120


NASTY = [
    "a<b", 'say "x"', "A&B", "new\nline", "tab\tand\x00null\x07", "μ∂𝔸漢字", "</svg>", "\\N", "{|}",
]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("route", ["builtin", pytest.param("pygraphviz", marks=needs_graphviz)])
def test_viz_malformed_names_are_escaped(
    name: str, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", route)
    x = mg.Parameter(np.ones(2, np.float32), name=name)

    def f(y: mg.Tensor) -> mg.Tensor:
        with scope(name):
            z = mg.tag(x * y, name)
            w = z * z
        return mg.sum(mg.tag(w + 1.0, name + "2"))

    graph = mg.trace(f, mg.spec((2,))).grad()
    for fold in (None, True, False):
        picture = graph.draw(fold=fold, title=name)
        assert picture.route == route, picture.note
        said = "".join(ET.fromstring(picture.svg).itertext())
        clean = "".join(c if c >= " " else " " for c in name)
        assert " ".join(clean.split()) in " ".join(said.split())


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_viz_any_name_gives_well_formed_svg(name: str) -> None:
    x = mg.tensor([1.0, 2.0], name=name)
    picture = mg.viz.draw(mg.sum(x * x))
    assert picture.route == "builtin"
    ET.fromstring(picture.svg)


def test_viz_draws_with_numpy_alone() -> None:
    code = """
import sys
for name in ("graphviz", "pygraphviz", "matplotlib", "networkx", "IPython"):
    sys.modules[name] = None
import minigrad as mg
x = mg.tensor([1.0, 2.0], name="x", requires_grad=True)
loss = mg.sum(x * x)
loss.backward()
bundle = loss.graph()._repr_mimebundle_()
assert "image/svg+xml" in bundle and "image/png" not in bundle, bundle.keys()
assert "BackendUnavailable" in bundle["text/plain"]
assert loss._repr_mimebundle_()["text/html"]
assert mg.viz.gradient_flow(loss).svg and loss.graph().latex() and str(loss.graph().table())
assert mg.viz.doctor().cure == "pip install 'minigrad[notebook]'"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_matplotlib
def test_viz_png_of_nasty_text_is_neither_maths_nor_a_warning() -> None:
    x = mg.tensor([1.0], name="$\\frac{$ 漢字 _^")
    assert png_size(mg.viz.draw(mg.sum(x * x)).png)
