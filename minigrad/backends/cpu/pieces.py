"""One text of many functions as several texts of a few, each of which compiles alone.

LLVM cannot be stopped in the middle of a module. Compiled in pieces, a large program can
be, and its pieces can be compiled side by side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Function", "functions", "split"]

#: Lines of text in a piece, about: 0.1 s of code generation at level 2, after which it can
#: be stopped. With several threads, pieces are smaller, so that all have something to do.
LINES = 2400
LINES_AT_LEAST = 300

_HEADER = re.compile(r"^define\b[^\n]*", re.MULTILINE)
_NAME = re.compile(r'@("[^"\n]*"|[-\w.$]+)\s*\(')
_SYMBOL = re.compile(r'@("[^"\n]*"|[-\w.$]+)')
_LINKAGE = re.compile(
    r"^define\s+(?P<linkage>(?:(?:private|internal|external|weak|weak_odr|linkonce|linkonce_odr"
    r"|hidden|protected|default|dso_local|local_unnamed_addr)\s+)*)"
)
#: What may stand outside functions and be repeated in every piece.
_SHARED = re.compile(
    r"""declare\s | attributes\s | source_filename\b | target\s | ! | \s*; | $
    | @[^=]+=\s*(private|internal)\s+([\w()]+\s+)*constant\s | %[^=]+=\s*type\s""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Function:
    """One definition: its name, whether other texts can see it, and its lines."""

    name: str
    exported: bool
    text: str

    def declaration(self) -> str:
        """Return the line by which another piece can call it."""
        header = self.text.partition("\n")[0].rstrip().removesuffix("{")
        return "declare " + _LINKAGE.sub("", header)

    def opened(self) -> str:
        """Return the definition, to be seen from other pieces."""
        return _LINKAGE.sub("define ", self.text, count=1)


def functions(text: str) -> tuple[list[Function], str]:
    """Return the definitions in a text, and what remains.

    A definition begins with ``define`` at the start of a line and ends with the first line
    that begins with ``}``.
    """
    found: list[Function] = []
    rest: list[str] = []
    at = 0
    while header := _HEADER.search(text, at):
        rest.append(text[at : header.start()])
        end = text.find("\n}", header.end())
        at = len(text) if end < 0 else end + 2
        name = _NAME.search(header.group())
        linkage = _LINKAGE.match(header.group())
        assert linkage
        words = linkage.group("linkage").split()
        found.append(
            Function(
                name.group(1).strip('"') if name else "",
                not {"private", "internal"} & set(words),
                text[header.start() : at],
            )
        )
    rest.append(text[at:])
    return found, "".join(rest)


def split(text: str, threads: int = 1) -> list[str]:
    """Return texts that together define what ``text`` does, for so many threads to compile.

    Whatever is not of the plain form that the code generator writes stays in one piece.
    """
    total = text.count("\n")
    limit = LINES
    if threads > 1:
        limit = min(LINES, max(LINES_AT_LEAST, total // (3 * threads)))
    if total <= limit:
        return [text]
    found, shared = functions(text)
    names = {f.name for f in found}
    shared = "\n".join(line for line in shared.split("\n") if line.strip())
    plain = all(_SHARED.match(line) for line in shared.split("\n"))
    well_formed = all(f.name and f.text.partition("\n")[0].rstrip().endswith("{") for f in found)
    if not plain or not well_formed or len(names) < len(found):
        return [text]
    groups: list[list[Function]] = []
    room = 0
    for function in found:
        size = function.text.count("\n") + 1
        if room < size:
            groups.append([])
            room = limit
        groups[-1].append(function)
        room -= size
    if len(groups) == 1:
        return [text]
    mentions = [{s.strip('"') for f in g for s in _SYMBOL.findall(f.text)} for g in groups]
    owned = [{f.name for f in g} for g in groups]
    across = set().union(*((m & names) - o for m, o in zip(mentions, owned, strict=True)))
    declarations = {f.name: f.declaration() for f in found if f.name in across}
    return [
        "\n".join(
            [
                *(f.opened() if f.name in across else f.text for f in group),
                *(declarations[name] for name in sorted((mentioned & across) - own)),
                shared,
                "",
            ]
        )
        for group, mentioned, own in zip(groups, mentions, owned, strict=True)
    ]
