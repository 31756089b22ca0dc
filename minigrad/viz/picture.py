"""Picture: what ``draw`` and ``gradient_flow`` return. It shows itself, and saves itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigrad.errors import BackendUnavailable, MinigradError

from .raster import has_matplotlib, rendered
from .scene import Scene
from .svg import svg_text

__all__ = ["Picture", "write_atomically"]

_LARGE = 6_000_000  # bytes of SVG or PNG that are not put into a notebook
_FORMATS = ("svg", "png", "pdf", "dot", "txt")


class Picture:
    """A drawing with a text that says the same.

    Attributes
    ----------
    route
        What laid it out: "dot", "pygraphviz", "builtin", or "text" if nothing could.
    note
        What was folded or left out, why, and how to open it.
    text
        The graph as text.
    rows
        The numbers in the picture, where it shows numbers.

    In a notebook it gives SVG, PNG and text, so that it also shows where the notebook is
    not trusted, on static pages, and in a terminal.
    """

    def __init__(
        self,
        scene: Scene | None,
        *,
        name: str,
        text: str,
        route: str,
        note: str = "",
        dot: Callable[[], str] | None = None,
        graphviz: Callable[[str], bytes] | None = None,
        formats: tuple[str, ...] = ("svg", "png"),
        rows: tuple[Any, ...] = (),
    ) -> None:
        self.name = name
        self.text = text
        self.route = route
        self.note = note
        self.rows = rows
        self.formats = formats
        self._scene = scene
        self._dot = dot
        self._graphviz = graphviz
        self._made: dict[str, str | bytes] = {}

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels; zero if there is only text."""
        return (self._scene.width, self._scene.height) if self._scene else (0.0, 0.0)

    @property
    def svg(self) -> str:
        """The picture as an SVG document."""
        if "svg" not in self._made:
            self._made["svg"] = svg_text(self._drawn("svg"))
        return str(self._made["svg"])

    @property
    def png(self) -> bytes:
        """The picture as a PNG of twice the size, less if that were very large."""
        return self._rendered("png")

    @property
    def pdf(self) -> bytes:
        """The picture as a PDF."""
        return self._rendered("pdf")

    @property
    def dot(self) -> str:
        """The drawing in DOT, the language of Graphviz."""
        if self._dot is None:
            raise MinigradError(f"{self.name}: a chart has no DOT text", fix="use .svg or .rows")
        return self._dot()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a file: ``.svg``, ``.png``, ``.pdf``, ``.dot`` or ``.txt``; return its path.

        The file is complete or not there at all.

        Raises
        ------
        MinigradError
            If the suffix is another one.
        BackendUnavailable
            If a PNG or PDF is asked for and neither matplotlib nor Graphviz is there.
        """
        target = Path(path)
        kind = target.suffix.lower().removeprefix(".")
        if kind not in _FORMATS:
            raise MinigradError(
                f"save: {target.name} does not end in a known format",
                fix="use " + ", ".join("." + f for f in _FORMATS),
            )
        content: str | bytes = self.text + "\n" if kind == "txt" else getattr(self, kind)
        write_atomically(target, content.encode() if isinstance(content, str) else content)
        return target

    def _drawn(self, kind: str) -> Scene:
        if self._scene is None:
            raise BackendUnavailable(
                f"{self.name}: there is no {kind}, only text. {self.note}",
                fix="str(picture) is the text",
            )
        return self._scene

    def _rendered(self, kind: str) -> bytes:
        if kind not in self._made:
            scene = self._drawn(kind)
            if self._graphviz is not None and not has_matplotlib():
                self._made[kind] = self._graphviz(kind)
            else:
                self._made[kind] = rendered(scene, kind)
        found = self._made[kind]
        assert isinstance(found, bytes)
        return found

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": f"{self!r}\n{self.text}".rstrip()}
        for kind, mime in (
            ("svg", "image/svg+xml"),
            ("png", "image/png"),
            ("pdf", "application/pdf"),
        ):
            if kind not in self.formats or self._scene is None:
                continue
            try:
                data = self.svg if kind == "svg" else self._rendered(kind)
            except Exception as error:  # a display must not raise: the text says what happened
                bundle["text/plain"] += f"\n({kind}: {type(error).__name__}: {error})"
                continue
            if len(data) <= _LARGE:
                bundle[mime] = data
            else:
                bundle["text/plain"] += f"\n({kind}: {len(data)} bytes; use .save to see it)"
        return bundle

    def __repr__(self) -> str:
        note = f"; {self.note}" if self.note else ""
        return f"<Picture of {self.name}: {self.route}{note}>"


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    folder = target.parent
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # noqa: PTH101  (a temporary file is private)
        os.replace(temporary, target)  # noqa: PTH105
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
