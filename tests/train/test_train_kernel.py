"""In a real notebook kernel: its interrupt button, and curves that grow in one display."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

client_module = pytest.importorskip("jupyter_client", reason="pip install 'minigrad[notebook]'")
pytest.importorskip("ipykernel", reason="pip install 'minigrad[notebook]'")
pytest.importorskip("matplotlib", reason="pip install 'minigrad[notebook]'")

SETUP = """
import time
import minigrad as mg

def step(x):
    time.sleep(0.05)
    return 1.0 / (1 + x)
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[tuple[Any, Any]]:
    manager, client = client_module.manager.start_new_kernel(kernel_name="python3")
    try:
        run((manager, client), SETUP)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(kernel: tuple[Any, Any], code: str, interrupt: bool = False) -> list[dict[str, Any]]:
    """Run a cell, interrupt it when it first shows something, and return its messages."""
    manager, client = kernel
    sent, messages = client.execute(code), []
    while True:
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != sent:
            continue
        kind = message["msg_type"]
        if kind == "status" and message["content"]["execution_state"] == "idle":
            return messages
        messages.append({"kind": kind, **message["content"]})
        if interrupt and kind == "display_data":
            manager.interrupt_kernel()
            interrupt = False


def printed(messages: list[dict[str, Any]]) -> str:
    assert not [m for m in messages if m["kind"] == "error"], messages
    return "".join(m["text"] for m in messages if m["kind"] == "stream" and m["name"] == "stdout")


def test_the_interrupt_button_leaves_a_history_that_goes_on(kernel: tuple[Any, Any]) -> None:
    found = run(kernel, "history = mg.train.fit(step, range(40), 2)", interrupt=True)
    assert not printed(found)  # and no traceback
    text = printed(run(kernel, "print(history.ended, 0 < history.steps.rows < 40)"))
    assert text.split() == ["interrupted", "True"]
    run(kernel, "step = lambda x: 1.0; mg.train.fit(step, range(40), 1, history=history)")
    text = printed(run(kernel, "print(history.ended, history.epochs.rows)"))
    assert text.split() == ["done", "1"]


def test_live_curves_are_one_display_that_is_updated(kernel: tuple[Any, Any]) -> None:
    run(kernel, SETUP)
    found = run(kernel, "h = mg.train.fit(step, range(10), 3, progress=False, live=True)")
    shown = [m for m in found if m["kind"] == "display_data"]
    updates = [m for m in found if m["kind"] == "update_display_data"]
    assert len(shown) == 1
    assert "image/png" in shown[0]["data"]
    assert updates
    last = updates[-1]
    assert last["transient"]["display_id"] == shown[0]["transient"]["display_id"]
    assert "3 epochs, 30 steps, done" in last["data"]["text/plain"]
