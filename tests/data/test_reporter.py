"""Progress bars: what they show, where, and how they end."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from minigrad import reporter as module
from minigrad.reporter import Progress, State, html, progress, text


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class OldTerminal(Terminal):
    encoding = "cp1252"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that stands still unless it is moved."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(module, "perf_counter", lambda: Clock.now)
    return Clock


def lines(stream: io.StringIO) -> list[str]:
    return [line.rstrip() for line in stream.getvalue().replace("\r", "\n").split("\n") if line]


def state(**changes: Any) -> State:
    values = {
        "label": "train", "done": 25, "total": 100, "elapsed": 2.0, "rate": 12.5, "values": "",
        "ended": "",
    }  # fmt: skip
    return State(**(values | changes))


def test_a_line_has_label_share_count_rate_times_and_values() -> None:
    line = text(state(values="loss 0.1"))
    assert line == (
        "train   25% |█████               |  25/100  12.5/s  2.0 s  6.0 s left  loss 0.1"
    )
    assert text(state(total=None, rate=0.5)) == "train  25  2 s each  2.0 s"
    assert text(state(ended="stopped")).endswith("2.0 s  stopped")
    assert "1:02:05" in text(state(elapsed=3725.0, rate=None))
    assert "2:05" in text(state(elapsed=125.4))
    assert "12,500/s" in text(state(rate=12_500.0))
    assert "|#####...............|" in text(state(), fine=False)
    assert text(state(done=0, total=0)) == "train  0/0  12.5/s  2.0 s"
    assert "100%" in text(state(done=130))


def test_html_escapes_and_says_how_it_ended() -> None:
    found = html(state(label="<b>", values="x <1", ended="stopped"))
    assert "&lt;b&gt;" in found
    assert "x &lt;1" in found
    assert "stopped" in found
    assert "width:25.0%" in found
    assert "width:100.0%" in html(state(total=None, ended="done"))


def test_a_terminal_gets_one_line_that_overwrites_itself(clock: Any) -> None:
    stream = Terminal()
    bar = Progress(range(4), "train", stream=stream)
    for i in bar:
        clock.now += 1.0
        bar.set(loss=1.0 / (1 + i), note="ok")
    found = stream.getvalue()
    assert found.count("\n") == 1
    assert found.endswith("\n")
    assert lines(stream)[-1].startswith("train  100% |████████████████████|  4/4  1/s  4.0 s")
    assert "loss 0.25, note ok" in found


def test_drawing_is_limited_in_time(clock: Any) -> None:
    stream = Terminal()
    for _ in Progress(range(1000), stream=stream):
        clock.now += 0.001
    assert 5 <= len(lines(stream)) <= 13


def test_the_end_left_is_judged_by_recent_speed(clock: Any) -> None:
    stream = Terminal()
    for i in Progress(range(30), stream=stream):
        clock.now += 20.0 if i == 0 else 1.0  # the first iteration compiles
    assert "left" in lines(stream)[15]
    late = [line for line in lines(stream) if " 25/30" in line]
    assert "5.0 s left" in late[0] or "5.1 s left" in late[0]


def test_a_log_gets_a_few_plain_lines(clock: Any) -> None:
    stream = io.StringIO()
    for _ in Progress(range(3600), "train", stream=stream):
        clock.now += 1.0
    found = lines(stream)
    assert 8 <= len(found) <= 14
    assert "\r" not in stream.getvalue()
    assert "####################" in found[-1]


def test_a_short_loop_in_a_log_is_one_line() -> None:
    stream = io.StringIO()
    assert list(Progress(range(3), stream=stream)) == [0, 1, 2]
    assert len(lines(stream)) == 1


def test_leaving_early_leaves_a_whole_line_that_says_so(clock: Any) -> None:
    for error in (None, KeyboardInterrupt):
        stream = Terminal()
        try:
            for i in Progress(range(10), stream=stream):
                clock.now += 1.0
                if i == 5:
                    if error:
                        raise error
                    break
        except KeyboardInterrupt:
            pass
        assert stream.getvalue().endswith("\n")
        assert "5/10" in lines(stream)[-1]
        assert "stopped" in lines(stream)[-1]


def test_a_bar_inside_another_shares_its_line_and_vanishes(clock: Any) -> None:
    stream = Terminal()
    outer = Progress(range(2), "epochs", stream=stream)
    for _ in outer:
        for _ in progress(range(3), "batches"):
            clock.now += 1.0
    found = lines(stream)
    assert stream.getvalue().count("\n") == 1
    assert any(line.startswith("epochs  1/2  batches   67%") for line in found)
    assert "batches" not in found[-1]
    assert "2/2" in found[-1]


def test_a_bar_inside_another_writes_nothing_to_a_log(clock: Any) -> None:
    stream = io.StringIO()
    for _ in Progress(range(20), "epochs", stream=stream):
        for _ in progress(range(3), "batches"):
            clock.now += 0.01
    assert len(lines(stream)) == 1


def test_a_bar_can_be_advanced_by_hand(clock: Any) -> None:
    stream = Terminal()
    with Progress(label="bytes", total=1000, stream=stream) as bar:
        for _ in range(4):
            clock.now += 1.0
            bar.advance(250)
    assert "1,000/1,000" in lines(stream)[-1]
    bar.advance()  # after the end: counted, not drawn
    with pytest.raises(ValueError, match="by the work"), Progress(total=2, stream=stream):
        raise ValueError("by the work")
    assert "stopped" in lines(stream)[-1]


def test_a_closed_stream_does_not_stop_the_work() -> None:
    stream = Terminal()
    done = 0
    for i in Progress(range(5), stream=stream):
        if i == 1:
            stream.close()
        done += 1
    assert done == 5


def test_an_old_terminal_gets_plain_characters() -> None:
    stream = OldTerminal()
    list(Progress(range(3), stream=stream))
    assert "####" in stream.getvalue()


def test_a_generator_has_no_total_unless_given(clock: Any) -> None:
    bar = progress(i for i in range(3))
    assert bar.total is None
    with pytest.raises(TypeError, match="not known"):
        len(bar)
    assert len(progress((i for i in range(3)), total=3)) == 3
    assert len(progress([1, 2])) == 2
    with pytest.raises(TypeError, match="advance"):
        iter(Progress(total=3)).__next__()


def test_values_are_turned_into_words_only_when_drawn(clock: Any) -> None:
    class Costly:
        asked = 0

        def __float__(self) -> float:
            Costly.asked += 1
            return 0.5

    stream = Terminal()
    bar = Progress(range(1000), stream=stream)
    for _ in bar:
        bar.set(loss=Costly(), flag=True, n=12345, thing=[1])
    assert Costly.asked == 1  # at the end; time stood still
    assert "loss 0.5, flag True, n 12,345, thing [1]" in bar.state().values


def test_an_iteration_costs_next_to_nothing() -> None:
    """Two calls of Python code an iteration: the generator's, and one that counts."""
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event == "call"

    iterations = Progress(range(10_000), stream=io.StringIO())
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for _ in iterations:
            pass
    finally:
        sys.setprofile(before)
    assert calls < 2.2 * 10_000


class Shell:
    """What an IPython kernel looks like from here, with one display."""

    kernel = object()
    execution_count = 1

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def display(self, bundle: dict[str, str], raw: bool, display_id: bool) -> Any:
        self.shown.append(bundle)
        return self

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        self.shown[-1] = bundle


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, clock: Any) -> Shell:
    found = Shell()
    ipython = SimpleNamespace(
        get_ipython=lambda: found, display=SimpleNamespace(display=found.display)
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return found


def test_a_notebook_has_one_display_that_is_updated(shell: Shell, clock: Any) -> None:
    outer = progress(range(2), "epochs")
    for _ in outer:
        for _ in progress(range(3), "batches"):
            clock.now += 1.0
            if clock.now == 102.0:
                assert len(shell.shown) == 1
                assert "batches" in shell.shown[0]["text/html"]
                assert shell.shown[0]["text/plain"].count("\n") == 1
    assert len(shell.shown) == 1
    assert shell.shown[0]["text/plain"].startswith("epochs  100% |")


def test_a_bar_that_an_earlier_cell_left_open_is_over(shell: Shell) -> None:
    left_open = iter(progress(range(9), "left open"))
    next(left_open)
    shell.execution_count = 2
    list(progress(range(4), "next"))
    assert [s["text/plain"][:9] for s in shell.shown] == ["left open", "next  100"]
    assert "stopped" not in shell.shown[0]["text/plain"]
    left_open.close()  # type: ignore[attr-defined]
    assert len(shell.shown) == 2


def test_a_stream_that_is_given_is_used_in_a_notebook_too(shell: Shell) -> None:
    stream = io.StringIO()
    list(Progress(range(3), stream=stream))
    assert shell.shown == []
    assert len(lines(stream)) == 1


def test_a_notebook_keeps_the_last_state_as_text_and_html() -> None:
    nbformat = pytest.importorskip("nbformat", reason="pip install 'minigrad[notebook]'")
    nbclient = pytest.importorskip("nbclient", reason="pip install 'minigrad[notebook]'")
    pytest.importorskip("ipykernel", reason="pip install 'minigrad[notebook]'")
    code = [
        "from minigrad.reporter import progress\n"
        "for epoch in progress(range(3), 'epochs'):\n"
        "    for i in progress(range(5), 'batches'): pass",
        "it = iter(progress(range(9), 'left open')); next(it);",
        "for i in progress(range(4), 'next'): pass",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in code])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    first, _, third = notebook.cells
    assert len(first.outputs) == 1
    data = first.outputs[0].data
    assert data["text/plain"].startswith("epochs  100% |")
    assert "3/3" in data["text/html"]
    assert "batches" not in data["text/plain"]
    assert third.outputs[0].data["text/plain"].startswith("next  100% |")
