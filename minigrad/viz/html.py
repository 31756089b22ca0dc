"""Rich displays: what a notebook shows of each object that a user holds.

The HTML has no scripts and no inline SVG, so that it shows the same in a notebook that is
not trusted and on a static page. A display never raises: the plain text is always there.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from minigrad.backends.report import Plan
from minigrad.core.graph import Graph
from minigrad.core.state import Cell
from minigrad.core.tensor import Tensor

from .draw import draw
from .heatmap import heat_map
from .labels import byte_text, place_text
from .plan import mimebundle as plan_bundle
from .stats import number, statistics, to_numpy
from .table import count_text, html_table

__all__ = ["mimebundle", "register"]

#: A function from an object to its MIME bundle.
Display = Callable[[Any], dict[str, Any]]

_displays: dict[type | str, Display] = {}
_LINES = 60  # of an array's text


def register(kind: type | str, display: Display) -> None:
    """Show objects of a class, given itself or by name, with a function of your own.

    The function returns a MIME bundle; its text may be left out. Subclasses are included.
    """
    _displays[kind] = display


def mimebundle(obj: Any) -> dict[str, Any]:
    """Return the MIME bundle of an object: plain text always, the rest as far as possible."""
    bundle: dict[str, Any] = {"text/plain": _safe_repr(obj)}
    display = next(
        (
            _displays[key]
            for kind in type(obj).__mro__
            for key in (kind, kind.__name__)
            if key in _displays
        ),
        None,
    )
    if display is None:
        return bundle
    try:
        return {**bundle, **display(obj)}
    except Exception as error:  # a display must not raise; the plain text says what happened
        bundle["text/plain"] += f"\n(no rich display: {type(error).__name__}: {error})"
        return bundle


def _safe_repr(obj: Any) -> str:
    try:
        return repr(obj)
    except Exception as error:
        return f"<{type(obj).__name__}: {type(error).__name__}: {error}>"


# Graphs ----------------------------------------------------------------------------


def _graph(graph: Graph) -> dict[str, Any]:
    bundle = draw(graph)._repr_mimebundle_()
    text = bundle["text/plain"].partition("\n")[2]
    return {**bundle, "text/plain": f"{graph!r}\n{text}"}


# Tensors ---------------------------------------------------------------------------


def _tensor(tensor: Tensor) -> dict[str, Any]:
    node = tensor.node
    kind = type(tensor).__name__ if isinstance(tensor, Cell) else "tensor"
    place = place_text(node)
    source = f" <code>{escape(node.origin.text)}</code>" if node.origin.text and place else ""
    title = " ".join(
        [
            f"<b>{escape(tensor.name)}</b>" if tensor.name else "",
            f"{kind} {node.aval!r}",
            f"on {tensor.device}" if tensor.device != "cpu" else "",
        ]
    ).strip()
    where = f"<br><small>{escape(place)}{source}</small>" if place else ""
    head = f"<div>{title}{where}</div>"
    if node.value is None:
        return {"text/html": head + "<div><small>traced: it has no value</small></div>"}
    body = _array_html(node.value)
    gradient = getattr(tensor, "_grad", None)
    if gradient is not None:
        s = statistics(gradient.value)
        said = s.alarm or f"norm {number(s.norm)}, {number(s.low)} … {number(s.high)}"
        body += f"<div><small>gradient: {escape(said)}</small></div>"
    return {"text/html": head + body}


def _array_html(value: Any) -> str:
    array = to_numpy(value)
    text = np.array2string(array, separator=", ", threshold=200, max_line_width=100)
    lines = text.splitlines()
    if len(lines) > _LINES:
        lines = [*lines[: _LINES // 2], "  ...", *lines[-_LINES // 2 :]]
    pre = f"<pre>{escape(chr(10).join(lines))}</pre>"
    if array.size <= 16:
        return pre
    s = statistics(array)
    facts = f"{number(s.low)} … {number(s.high)}, norm {number(s.norm)}, {100 * s.zeros:.3g} % zero"
    if s.alarm:
        facts += f", {s.alarm}"
    found = heat_map(array)
    image = ""
    if found is not None:
        png, meaning = found
        data = b64encode(png).decode()
        image = f'<div><img alt="{escape(meaning)}" title="{escape(meaning)}" ' + (
            f'src="data:image/png;base64,{data}"></div>'
        )
    return f"{image}<details><summary>{escape(facts)}</summary>{pre}</details>"


# Models ----------------------------------------------------------------------------


def _module(model: Any) -> dict[str, Any]:
    """Return the table of a model that has PyTorch's ``named_parameters``, ``named_modules``."""
    parameters: dict[str, list[tuple[str, Any]]] = {}
    trained = any(getattr(p, "_grad", None) is not None for _, p in model.named_parameters())
    for path, parameter in model.named_parameters():
        owner, _, name = path.rpartition(".")
        parameters.setdefault(owner, []).append((name, parameter))
    rows = []
    for path, module in model.named_modules():
        own = parameters.get(path, [])
        if not own and any(True for _ in module.children()):
            continue  # a container: its layers have rows of their own
        shapes = ", ".join(f"{n} {tuple(p.shape)}" for n, p in own)
        count = sum(p.size for _, p in own)
        row = [path or "(model)", type(module).__name__, shapes, f"{count:,}" if own else ""]
        rows.append([*row, _gradient_text(own)] if trained else row)
    head = ["layer", "kind", "parameters", "count", *(["gradient norm"] if trained else [])]
    total = sum(p.size for _, p in model.named_parameters())
    frozen = sum(p.size for _, p in model.named_parameters() if not p.requires_grad)
    nbytes = sum(p.size * p.dtype.itemsize for _, p in model.named_parameters())
    text = f"{count_text(total)} parameters, {byte_text(nbytes)}"
    text += f", {count_text(frozen)} of them frozen" if frozen else ""
    title = f"<div><b>{escape(type(model).__name__)}</b> {escape(text)}</div>"
    return {
        "text/plain": f"{model!r}\n{text}",
        "text/html": title + html_table(head, rows, (3, 4)),
    }


def _summary(summary: Any) -> dict[str, Any]:
    """Return the table of ``model.summary()``."""
    cells = [row.cells for row in summary.rows]
    title = f"<div><b>{escape(summary.title)}</b></div>"
    body = html_table(summary.head, cells, summary.numbers)
    return {"text/html": f"{title}{body}<div>{escape(summary.totals)}</div>"}


def _gradient_text(own: list[tuple[str, Any]]) -> str:
    norms = []
    for name, parameter in own:
        gradient = getattr(parameter, "_grad", None)
        if gradient is not None:
            s = statistics(gradient.value)
            norms.append(f"{name} {s.alarm or number(s.norm)}")
    return ", ".join(norms)


# Reports and compiled functions ------------------------------------------------------


def _report(report: Any) -> dict[str, Any]:
    """Return the table of a comparison of gradients, wrong rows marked."""
    rows = [
        [
            "✓" if row.ok else "✗",
            row.name,
            str(row.shape),
            _error(row.hand_error),
            _error(row.numeric_error),
            row.method,
            row.verdict,
        ]
        for row in report.rows
    ]
    head = ["", "gradient of", "shape", "hand", "numeric", "method", "verdict"]
    wrong = report.first_wrong
    said = "all agree" if wrong is None else f"first wrong, in backward order: {wrong.name}"
    title = f"<div><b>{escape(said)}</b></div>"
    note = f"<small>cotangent {escape(str(report.cotangent))}, seed {report.seed}</small>"
    return {"text/plain": str(report), "text/html": title + html_table(head, rows, (3, 4)) + note}


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _compiled(function: Any) -> dict[str, Any]:
    """Return what a compiled function was traced for."""
    name = getattr(function.function, "__name__", type(function.function).__name__)
    backend = function.backend or "the default backend"
    count = function.signatures
    said = f"compiled {name} on {backend}: " + (
        "not called yet" if count == 0 else f"{count} signature{'s' * (count > 1)}"
    )
    graphs = [e.graph for found in list(function._entries.values()) for e in found]
    items = [f"<li><code>{escape(repr(g))}</code></li>" for g in graphs[:8]]
    listed = f"<ul>{''.join(items)}</ul>" if items else ""
    text = "\n".join([f"<{said}>", *(f"  {g!r}" for g in graphs[:8])])
    return {"text/plain": text, "text/html": f"<div>{escape(said)}</div>{listed}"}


register(Graph, _graph)
register(Tensor, _tensor)
register("Module", _module)
register("Summary", _summary)
register("GradientReport", _report)
register("Compiled", _compiled)
register(Plan, plan_bundle)
