"""Scene to PNG and PDF through matplotlib, without its state machine and without a display."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from minigrad.errors import BackendUnavailable

from .scene import Path, Scene, Text
from .theme import PAPER, TONES, text_width

__all__ = ["has_matplotlib", "rendered"]

_POINTS = 72.0  # to the inch; one pixel of the scene is one point
_MOST_PIXELS = 6e6
_LONGEST = 6000.0  # pixels of a side


def has_matplotlib() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def rendered(scene: Scene, kind: str, scale: float = 2.0) -> bytes:
    """Return a scene as ``"png"`` (``scale`` pixels to one of the scene's) or ``"pdf"``.

    A large PNG gets a smaller scale, so that a notebook stays small.

    Raises
    ------
    BackendUnavailable
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendUnavailable(
            f"a {kind.upper()} of this picture needs matplotlib or Graphviz",
            fix="pip install 'minigrad[notebook]'; the SVG and the text need neither",
        ) from error
    figure = Figure(figsize=(scene.width / _POINTS, scene.height / _POINTS), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0.0, scene.width)
    axes.set_ylim(scene.height, 0.0)
    axes.axis("off")
    order = 0
    for item in scene.items:
        for part in item.parts:
            order += 1
            if isinstance(part, Path):
                _add_path(axes, part, order)
            else:
                _add_text(axes, part, order)
    area, side = scene.width * scene.height, max(scene.width, scene.height)
    scale = min(scale, (_MOST_PIXELS / area) ** 0.5, _LONGEST / side)
    out = BytesIO()
    with _quiet(), _plain_fonts():
        plain: dict[str, Any] = {"Software": None} if kind == "png" else {"CreationDate": None}
        figure.savefig(out, format=kind, dpi=_POINTS * scale, metadata=plain)
    return out.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep matplotlib from writing about missing glyphs into the notebook."""
    log = logging.getLogger("matplotlib")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _plain_fonts() -> Any:
    """Return the settings under which text is neither maths nor anyone's own style."""
    import matplotlib

    return matplotlib.rc_context(
        {"text.usetex": False, "pdf.fonttype": 42, "path.sketch": None, "path.effects": []}
    )


_CODES = {"M": 1, "L": 2, "C": 4, "Z": 79}  # matplotlib.path.Path's own


def _add_path(axes: Any, path: Path, order: int) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    points: list[tuple[float, float]] = []
    codes: list[int] = []
    for letter, found in path.steps:
        points += found or (points[0],)
        codes += [_CODES[letter]] * max(len(found), 1)
    patch = PathPatch(
        Outline(points, codes),
        facecolor=path.fill or "none",
        edgecolor=path.stroke or "none",
        linewidth=path.width,
        linestyle=(0, path.dash) if path.dash else "solid",
        zorder=order,
        joinstyle="round",
        capstyle="butt",
        clip_on=False,
    )
    axes.add_patch(patch)


def _add_text(axes: Any, text: Text, order: int) -> None:
    widths = [text_width(s.text, s.size, s.bold) for s in text.spans]
    total = sum(widths)
    x = text.x - {"start": 0.0, "middle": total / 2, "end": total}[text.anchor]
    for span, width in zip(text.spans, widths, strict=True):
        axes.text(
            x,
            text.y,
            span.text,
            fontsize=span.size,
            family="DejaVu Sans",
            color=TONES[span.tone],
            weight="bold" if span.bold else "normal",
            va="baseline",
            ha="left",
            parse_math=False,
            zorder=order,
            clip_on=False,
        )
        x += width
