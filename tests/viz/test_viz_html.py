"""Rich displays: every object has one, it is safe in an untrusted notebook, it never raises."""

from __future__ import annotations

import re
import struct
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from viz_samples import data, gradient_graph, history

import minigrad as mg
from minigrad import nn
from minigrad.viz import html as displays
from minigrad.viz.heatmap import heat_map
from minigrad.viz.html import mimebundle, register


@pytest.fixture(autouse=True)
def builtin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "builtin")


ALLOWED = {
    "div", "b", "small", "code", "br", "pre", "img", "details", "summary", "table", "thead",
    "tbody", "tr", "th", "td", "p", "ul", "li",
}  # fmt: skip


class Tags(HTMLParser):
    """Collects tags, attributes, and whether tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_html(html: str) -> None:
    """Raise if a page has anything that an untrusted notebook strips or runs."""
    parser = Tags()
    parser.feed(html)
    assert not parser.open
    assert parser.tags <= ALLOWED, parser.tags - ALLOWED
    for name, value in parser.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert (value or "").startswith("data:image/png;base64,")


def objects() -> list[Any]:
    x, y = data()
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4))
    loss = mg.mean(model(mg.tensor(x)) * mg.tensor(y))
    loss.backward()
    compiled = mg.compile(lambda x: model(x))
    compiled(x)
    report = mg.testing.compare_gradients(
        lambda a: mg.sum(mg.tanh(a)),
        (np.ones((2, 2)),),
        hand={"a": 1 - np.tanh(np.ones((2, 2))) ** 2},
    )
    return [
        mg.tensor(x, name="x<y>&"),
        mg.tensor([1.0, float("nan")]),
        mg.tensor(np.zeros((0, 3))),
        mg.tensor(3),
        mg.Parameter(np.eye(12)),
        next(iter(model.parameters())),
        mg.Buffer(np.arange(40)),
        loss,
        model,
        nn.Linear(2, 3),
        compiled,
        mg.compile(lambda x: x),
        report,
        loss.graph(),
        gradient_graph(),
    ]


def test_viz_every_object_has_a_display_that_is_safe_and_has_text() -> None:
    for thing in objects():
        bundle = mimebundle(thing)
        assert bundle["text/plain"].strip()
        assert "no rich display" not in bundle["text/plain"]
        assert "text/html" in bundle or "image/svg+xml" in bundle
        if "text/html" in bundle:
            check_html(bundle["text/html"])
            assert len(bundle["text/html"]) < 60_000


def test_viz_check_html_notices_scripts_svg_and_handlers() -> None:
    for bad in ("<script>1</script>", "<svg></svg>", '<div onclick="x"></div>', "<div>"):
        with pytest.raises(AssertionError):
            check_html(bad)


def test_viz_display_of_a_graph_is_its_picture_with_the_graph_as_text() -> None:
    bundle = gradient_graph()._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"].startswith("<Graph")
    assert "= matmul(" in bundle["text/plain"]
    assert "text/html" not in bundle


def test_viz_display_of_a_tensor_names_its_place_and_statistics() -> None:
    weights = mg.tensor(np.arange(40.0).reshape(5, 8), name="weights")
    html = mimebundle(weights)["text/html"]
    assert "test_viz_html.py, line" in html
    assert "weights = mg.tensor(" in html
    assert "f64[5, 8]" in html
    assert "0 … 39" in html
    assert "data:image/png;base64," in html


def test_viz_display_of_a_traced_tensor_has_no_value() -> None:
    shown = []

    def f(x: mg.Tensor) -> mg.Tensor:
        shown.append(mimebundle(x * 2.0))
        return mg.sum(x)

    mg.trace(f, mg.spec((3,)))
    assert "no value" in shown[0]["text/html"]


def test_viz_display_of_a_module_is_a_table_with_counts_and_gradients() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4))
    before = mimebundle(model)["text/html"]
    assert "gradient norm" not in before
    assert ">36<" in before
    assert "56 parameters" in before
    mg.sum(model(mg.tensor(np.ones((2, 8), np.float32)))).backward()
    assert "gradient norm" in mimebundle(model)["text/html"]


def test_viz_display_of_a_failing_report_names_the_first_wrong() -> None:
    with pytest.raises(mg.errors.GradientMismatch) as caught:
        mg.testing.compare_gradients(
            lambda a: mg.sum(mg.tanh(a)), (np.ones(3),), hand={"a": np.ones(3)}
        )
    html = mimebundle(caught.value.report)["text/html"]
    assert "first wrong, in backward order: a" in html
    assert "✗" in html


def test_viz_display_that_fails_leaves_the_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> dict[str, Any]:
        raise RuntimeError("injected")

    for kind in list(displays._displays):
        monkeypatch.setitem(displays._displays, kind, fail)
    for thing in (mg.tensor([1.0]), history().graph(), nn.Linear(2, 2)):
        bundle = mimebundle(thing)
        assert set(bundle) == {"text/plain"}
        assert "injected" in bundle["text/plain"]


def test_viz_display_survives_an_object_whose_repr_fails() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert "ValueError" in mimebundle(Bad())["text/plain"]


def test_viz_display_can_be_registered_by_class_and_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(displays, "_displays", dict(displays._displays))

    class Schedule:
        pass

    class Step(Schedule):
        pass

    register("Schedule", lambda s: {"text/html": "<b>by name</b>"})
    assert mimebundle(Step())["text/html"] == "<b>by name</b>"
    register(Schedule, lambda s: {"text/html": "<b>by class</b>"})
    assert mimebundle(Step())["text/html"] == "<b>by class</b>"


# Heat maps -------------------------------------------------------------------------


def pixels(png: bytes) -> np.ndarray:
    """Decode a PNG of 8-bit RGB without filters."""
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, chunk = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + chunk
        )
        data += chunk if kind == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    assert (rows[:, 0] == 0).all()
    return rows[:, 1:].reshape(height, width, 3)


def test_viz_heat_map_is_blue_below_white_at_and_red_above_zero() -> None:
    array = np.zeros((6, 6))
    array[0, 0], array[5, 5], array[2, 3] = -2.0, 2.0, np.nan
    found = heat_map(array)
    assert found is not None
    png, meaning = found
    image = pixels(png)
    zoom = image.shape[0] // 6
    cell = image[zoom // 2 :: zoom, zoom // 2 :: zoom].astype(int)
    assert cell[0, 0, 2] > cell[0, 0, 0] + 50
    assert cell[5, 5, 0] > cell[5, 5, 2] + 50
    assert (cell[1, 1] > 240).all()
    assert (cell[2, 3] == 0).all()
    assert "2" in meaning


def test_viz_heat_map_averages_large_matrices_and_leaves_out_others() -> None:
    found = heat_map(np.ones((1000, 300)))
    assert found is not None
    assert len(found[0]) < 5000
    assert "mean of" in found[1]
    assert heat_map(np.ones((2, 3))) is None
    assert heat_map(np.ones((1, 100))) is None
    assert heat_map(np.ones((5, 5, 5))) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 230), st.integers(2, 230), st.sampled_from(["f4", "i8", "?", "f2"]))
def test_viz_heat_map_is_a_png_for_every_matrix(n: int, m: int, dtype: str) -> None:
    found = heat_map((np.arange(n * m).reshape(n, m) % 7 - 3).astype(dtype))
    if n * m > 16:
        assert found is not None
        assert pixels(found[0]).shape[2] == 3


def test_viz_html_image_is_the_heat_map() -> None:
    html = mimebundle(mg.tensor(np.eye(8)))["text/html"]
    found = re.search(r"base64,([^\"]+)", html)
    assert found is not None
    assert pixels(b64decode(found[1])).size > 0
