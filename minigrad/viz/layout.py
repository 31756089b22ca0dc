"""Who lays a sketch out: Graphviz in a child process with a time limit, or the built-in layout.

Graphviz may take minutes on an unlucky graph and does not listen to Ctrl-C, so it never
runs in the user's process. Its messages stay out of the notebook.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec

from minigrad.errors import BackendUnavailable, MinigradError

from .dot import dot_text, parse
from .layered import layered
from .placed import Layout
from .sketch import Sketch

__all__ = [
    "ROUTES", "LayoutFailed", "broken_routes","builtin_layout", "forced_in_vain", "graphviz_bytes",
    "graphviz_layout", "present", "routes",
]  # fmt: skip

ROUTES = ("dot", "pygraphviz", "builtin")
FORCE = "MINIGRAD_LAYOUT"

#: Run by a fresh Python; ``-P`` keeps the user's folder from shadowing modules.
_CHILD = (
    "import sys, pygraphviz\n"
    "graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())\n"
    "sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog='dot'))\n"
)
_KEPT = 64  # answers in the cache

_cache: OrderedDict[str, bytes] = OrderedDict()
_broken: dict[str, str] = {}


class LayoutFailed(MinigradError, RuntimeError):
    """A way of layout did not answer; ``slow`` if it was stopped for taking too long."""

    def __init__(self, message: str, *, slow: bool = False) -> None:
        super().__init__(message)
        self.slow = slow


def present(route: str) -> bool:
    """Whether a way of layout is installed."""
    if route == "builtin":
        return True
    if find_spec("graphviz") is None:
        return False
    return bool(shutil.which("dot")) if route == "dot" else find_spec("pygraphviz") is not None


def routes() -> list[str]:
    """Return the ways of layout to try, in order; ``MINIGRAD_LAYOUT`` picks one."""
    forced = os.environ.get(FORCE, "").strip().lower()
    if forced:
        return [forced] if forced in ROUTES and present(forced) else ["builtin"]
    return [r for r in ROUTES if present(r) and r not in _broken]


def forced_in_vain() -> str | None:
    """Return what ``MINIGRAD_LAYOUT`` asks for, if that is not to be had."""
    forced = os.environ.get(FORCE, "").strip().lower()
    return forced if forced and not (forced in ROUTES and present(forced)) else None


def broken_routes() -> dict[str, str]:
    """Return the ways of layout that failed in this process, and how."""
    return dict(_broken)


def builtin_layout(sketch: Sketch) -> Layout:
    """Return the layout of the built-in engine."""
    return layered(sketch)


def graphviz_layout(sketch: Sketch, route: str, limit: float) -> Layout:
    """Return Graphviz's layout of a sketch.

    Parameters
    ----------
    route
        "dot" or "pygraphviz".
    limit
        Seconds after which the child is killed.

    Raises
    ------
    LayoutFailed
        If it does not answer in time, or not at all.
    """
    answer = graphviz_bytes(dot_text(sketch), "json0", route, limit)
    try:
        return parse(answer.decode(), sketch, route)
    except (ValueError, KeyError) as error:
        raise _break(route, f"answered with something that is no layout: {error}") from error


def graphviz_bytes(dot: str, kind: str, route: str, limit: float) -> bytes:
    """Return what Graphviz makes of a DOT text: ``json0``, ``png``, ``pdf``, ``svg``.

    Raises
    ------
    LayoutFailed
        If it does not answer in time, or not at all.
    """
    key = sha256(f"{route} {kind}\n{dot}".encode()).hexdigest()
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key]
    if route == "dot":
        program = shutil.which("dot")
        if program is None:
            raise LayoutFailed("there is no dot on the PATH")
        command = [program, f"-T{kind}"]
    elif route == "pygraphviz":
        command = [sys.executable, "-P", "-c", _CHILD, kind]
    else:
        raise BackendUnavailable(f"{route} is not a way to run Graphviz", fix="dot or pygraphviz")
    answer = _run(command, dot.encode(), limit, route)
    _cache[key] = answer
    while len(_cache) > _KEPT:
        _cache.popitem(last=False)
    return answer


def _run(command: list[str], data: bytes, limit: float, route: str) -> bytes:
    """Run a command in a process group of its own, which dies with it."""
    posix = os.name == "posix"
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=posix,
            creationflags=0 if posix else subprocess.CREATE_NO_WINDOW,  # type: ignore[attr-defined,unused-ignore]
        )
    except OSError as error:
        raise _break(route, f"did not start: {error}") from error
    try:
        out, messages = child.communicate(data, timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise LayoutFailed(f"{route} took more than {limit:.3g} s", slow=True) from error
    finally:
        _end(child, posix)
    if child.returncode != 0 or not out:
        said = messages.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"ended with code {child.returncode}"
        raise _break(route, f"failed: {reason[:200]}")
    return out


def _end(child: subprocess.Popen[bytes], posix: bool) -> None:
    """Kill a child that still runs, and its own children, and collect it."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            if posix:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    child.wait()


def _break(route: str, reason: str) -> LayoutFailed:
    """Note that a way of layout does not work here, so that it is not tried each time."""
    _broken[route] = reason
    return LayoutFailed(f"{route} {reason}")
