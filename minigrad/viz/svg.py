"""Scene to SVG: no scripts, text as text, stable ids, tooltips."""

from __future__ import annotations

from html import escape

from .dot import clean
from .placed import Point
from .scene import Item, Path, Scene, Text
from .theme import FAMILY, PAPER, TONES

__all__ = ["svg_text"]


def _n(x: float) -> str:
    text = f"{x:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _points(points: tuple[Point, ...]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _path(path: Path) -> str:
    d = "".join(letter + _points(points) for letter, points in path.steps)
    paint = f'fill="{path.fill or "none"}"'
    if path.stroke:
        paint += f' stroke="{path.stroke}" stroke-width="{_n(path.width)}"'
    if path.dash:
        paint += f' stroke-dasharray="{_n(path.dash[0])} {_n(path.dash[1])}"'
    return f'<path d="{d}" {paint}/>'


def _text(text: Text) -> str:
    spans = []
    for span in text.spans:
        weight = ' font-weight="bold"' if span.bold else ""
        spans.append(
            f'<tspan font-size="{_n(span.size)}" fill="{TONES[span.tone]}"{weight}>'
            f"{escape(clean(span.text))}</tspan>"
        )
    at = f'x="{_n(text.x)}" y="{_n(text.y)}" text-anchor="{text.anchor}"'
    return f"<text {at}>{''.join(spans)}</text>"


def _item(item: Item) -> str:
    parts = "".join(_path(p) if isinstance(p, Path) else _text(p) for p in item.parts)
    title = "\n".join(clean(line) for line in item.tooltip.split("\n"))
    tooltip = f"<title>{escape(title)}</title>" if item.tooltip else ""
    return f'<g id="{escape(item.id)}" class="{item.kind}">{tooltip}{parts}</g>'


def svg_text(scene: Scene) -> str:
    """Return a scene as a complete SVG document."""
    w, h = _n(scene.width), _n(scene.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" role="img" xml:space="preserve" '
        f'font-family="{escape(FAMILY)}" stroke-linejoin="round">',
        f"<title>{escape(clean(scene.title))}</title>",
    ]
    lines.append(f'<rect width="{w}" height="{h}" rx="6" fill="{PAPER}"/>')
    lines += [_item(item) for item in scene.items]
    lines.append("</svg>")
    return "\n".join(lines)
