"""Who lays a picture out: each route, the time limit, what happens when a route is broken."""

from __future__ import annotations

import os
import stat
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from viz_samples import gradient_graph, history, needs_graphviz

import minigrad as mg
from minigrad.errors import BackendUnavailable
from minigrad.viz import layout
from minigrad.viz.doctor import doctor, layout_route
from minigrad.viz.dot import parse
from minigrad.viz.layout import LayoutFailed, graphviz_bytes

posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for dot is a shell script")

_FAKE = f"""#!{sys.executable} -P
import sys, pygraphviz
text = sys.stdin.buffer.read().decode()
kind = sys.argv[1].removeprefix("-T")
sys.stdout.buffer.write(pygraphviz.AGraph(string=text).draw(format=kind, prog="dot"))
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIGRAD_LAYOUT", raising=False)
    monkeypatch.setattr(layout, "_cache", type(layout._cache)())
    monkeypatch.setattr(layout, "_broken", {})


def stand_in(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called dot first on the PATH."""
    program = folder / "dot"
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@needs_graphviz
def test_viz_route_pygraphviz_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "pygraphviz")
    picture = gradient_graph().draw()
    assert picture.route == "pygraphviz"
    assert "took" not in picture.note


@posix
@needs_graphviz
def test_viz_route_dot_on_the_path_is_tried_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, _FAKE, monkeypatch)
    picture = gradient_graph().draw()
    assert picture.route == "dot"
    assert "laid out by dot" in layout_route()


def test_viz_route_builtin_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    picture = gradient_graph().draw()
    assert picture.route == "builtin"
    assert picture.svg.startswith("<svg")
    assert "pip install 'minigrad[notebook]'" in layout_route()


def test_viz_route_without_the_graphviz_package_dot_text_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "builtin")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    picture = history().graph().draw()
    assert picture.route == "builtin"
    with pytest.raises(BackendUnavailable, match="graphviz") as caught:
        _ = picture.dot
    assert "minigrad[notebook]" in str(caught.value)


@needs_graphviz
def test_viz_routes_agree_on_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    graph = gradient_graph()
    ids = []
    for route in ("pygraphviz", "builtin"):
        monkeypatch.setenv("MINIGRAD_LAYOUT", route)
        picture = graph.draw()
        assert picture.route == route
        ids.append(re.findall(r'<g id="(\w+)" class="box', picture.svg))
    assert ids[0] == ids[1]


@posix
@needs_graphviz
def test_viz_route_that_hangs_is_stopped_and_the_picture_still_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a grandchild keeps the pipes open: the whole process group has to go
    stand_in(tmp_path, "#!/bin/sh\nsleep 30 &\nwait\n", monkeypatch)
    monkeypatch.setenv("MINIGRAD_LAYOUT", "dot")
    start = time.monotonic()
    picture = gradient_graph().draw(timeout=0.5)
    assert time.monotonic() - start < 25.0  # it was not waited for
    assert picture.route == "builtin"
    assert "took more than" in picture.note


@posix
@needs_graphviz
def test_viz_route_that_is_slow_once_gets_a_coarser_folding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    slow = _FAKE.replace(
        "text =",
        f"import os, time\nif not os.path.exists({str(once)!r}):\n"
        f"    open({str(once)!r}, 'w').close()\n    time.sleep(30)\ntext =",
    )
    stand_in(tmp_path, slow, monkeypatch)
    monkeypatch.setenv("MINIGRAD_LAYOUT", "dot")
    picture = gradient_graph().draw(fold=False, timeout=4.0)
    assert picture.route == "dot"
    assert "folded by layer" in picture.note
    assert "took more than" in picture.note


@posix
@needs_graphviz
@pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "true"])
def test_viz_route_that_is_broken_is_left_and_remembered(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, f"#!/bin/sh\ncat > /dev/null\n{script}\n", monkeypatch)
    monkeypatch.setenv("MINIGRAD_LAYOUT", "dot")
    picture = gradient_graph().draw()
    assert picture.route == "builtin"
    assert "dot" in picture.note
    monkeypatch.delenv("MINIGRAD_LAYOUT")
    assert "dot" not in layout.routes()
    report = doctor()
    (finding,) = [f for f in report.findings if f.what == "layout by dot"]
    assert not finding.ok


def test_viz_route_that_is_forced_but_missing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MINIGRAD_LAYOUT", "dot")
    picture = history().graph().draw()
    assert picture.route == "builtin"
    assert "MINIGRAD_LAYOUT=dot is not available here" in picture.note
    monkeypatch.setenv("MINIGRAD_LAYOUT", "crayon")
    assert "crayon" in history().graph().draw().note


@needs_graphviz
def test_viz_route_keeps_answers_by_the_text_of_the_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "pygraphviz")
    graph = history().graph()
    first = graph.draw()

    def refuse(*_: object) -> bytes:
        raise AssertionError("laid out twice")

    monkeypatch.setattr(layout, "_run", refuse)
    assert graph.draw().svg == first.svg


def test_viz_route_refuses_what_is_no_route() -> None:
    with pytest.raises(BackendUnavailable, match="crayon"):
        graphviz_bytes("digraph {}", "plain", "crayon", 1.0)


@posix
def test_viz_route_kills_the_child_on_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal
    import threading

    started = tmp_path / "started"
    stand_in(tmp_path, f"#!/bin/sh\necho $$ > {started}\nexec sleep 60\n", monkeypatch)

    def interrupt() -> None:
        while not (started.exists() and started.read_text().strip()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        graphviz_bytes("digraph {}", "plain", "dot", 50.0)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.killpg(int(started.read_text()), 0)


@needs_graphviz
def test_viz_dot_text_has_roles_rows_and_no_edge_between_columns() -> None:
    graph = gradient_graph()
    dot = graph.draw().dot
    assert dot.count("rank=same") == 5
    assert "dir=back" in dot
    assert "constraint" not in dot
    assert "<b>norm</b>" in dot
    edges = [line.split("[")[0].split("->") for line in dot.splitlines() if "->" in line]
    for tail, head in edges:
        assert tail.strip().startswith("b1") == head.strip().startswith("b1")


@needs_graphviz
def test_viz_graphviz_draws_png_and_pdf_where_matplotlib_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIGRAD_LAYOUT", "pygraphviz")
    monkeypatch.setattr("minigrad.viz.picture.has_matplotlib", lambda: False)
    picture = gradient_graph().draw()
    assert picture.png.startswith(b"\x89PNG")
    assert picture.pdf.startswith(b"%PDF")


def test_viz_parse_refuses_an_answer_without_positions() -> None:
    with pytest.raises((KeyError, ValueError)):
        parse("{}", None, "dot")  # type: ignore[arg-type]


def test_viz_doctor_lists_what_is_there_and_one_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    report = doctor()
    text = str(report)
    assert "layout by builtin" in text
    assert "pictures are laid out by" in text
    html = report._repr_mimebundle_()["text/html"]
    assert "<script" not in html
    module = import_module("minigrad.viz.doctor")
    monkeypatch.setattr(module, "_PACKAGES", (("no-such-package-here", "nothing"),))
    missing = doctor()
    assert missing.cure == "pip install 'minigrad[notebook]'"
    assert not missing.ok


def test_viz_layout_failed_is_an_error_of_ours() -> None:
    assert issubclass(LayoutFailed, mg.errors.MinigradError)
