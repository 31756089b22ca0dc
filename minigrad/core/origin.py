"""Where in the user's own code a node was made: file or notebook cell, line, layer.

Recording must be cheap, so only the frame's code object and instruction offset are
kept (a ``Where``). Line number, source text and cell number are worked out when
somebody asks.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import TypeAlias

from minigrad.errors import set_locator

__all__ = ["Origin", "Where", "here", "where"]

#: Code object, instruction offset, layer scope, from the outermost layer inwards.
Where: TypeAlias = tuple[CodeType | None, int, tuple[str, ...]]

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120  (loads fast)
_SHELL = f"{os.sep}IPython{os.sep}core{os.sep}"  # runs cell magics: the cell is further out
_internal: dict[str, bool] = {}  # by file name: the hash of a code object is slow


def where(scope: tuple[str, ...], depth: int = 2) -> Where:
    """Return the innermost frame outside this package."""
    frame = sys._getframe(depth)
    while True:
        code = frame.f_code
        inside = _internal.get(code.co_filename)
        if inside is None:
            inside = code.co_filename.startswith(_PACKAGE) or _SHELL in code.co_filename
            _internal[code.co_filename] = inside
        if not inside:
            return code, frame.f_lasti, scope
        outer = frame.f_back
        if outer is None:
            return None, 0, scope
        frame = outer


@dataclass(frozen=True, slots=True)
class Origin:
    """The place in the user's code that a node comes from."""

    code: CodeType | None
    offset: int
    scope: tuple[str, ...]

    @property
    def file(self) -> str:
        """The file name as Python knows it; a notebook cell has one too."""
        return self.code.co_filename if self.code else "<unknown>"

    @property
    def line(self) -> int:
        """The line number, from 1; 0 when unknown."""
        if self.code is None:
            return 0
        for start, end, line in self.code.co_lines():
            if start <= self.offset < end and line is not None:
                return line
        return self.code.co_firstlineno

    @property
    def text(self) -> str:
        """The source line, without indentation; empty when it is not to be had."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def label(self) -> str:
        """The place in a reader's words: ``cell 3, line 2`` or ``train.py, line 12``."""
        if self.code is None:
            return "unknown place"
        cell = _cell_number(self.file)
        place = f"cell {cell}" if cell is not None else os.path.basename(self.file)  # noqa: PTH119
        return f"{place}, line {self.line}"

    @property
    def layer(self) -> str | None:
        """The layer, by its path in the model: ``model.fc1 (Linear)``; None outside of one."""
        named = [part.partition(":") for part in self.scope if ":" in part]
        if not named:
            return None
        return f"model.{'.'.join(name for name, _, _ in named)} ({named[-1][2]})"

    @property
    def target(self) -> str | None:
        """The variable that the source line assigns, ``h`` in ``h = relu(x @ w)``."""
        return _target(self.text)

    def __str__(self) -> str:
        text = self.text
        return f"{self.label}    {text}" if text else self.label


def _cell_number(file: str) -> int | None:
    """Return the notebook cell (its execution count) that was compiled as ``file``."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return None
    label = shell.compile.format_code_name(file)  # ("Cell", "In[3]") for a cell
    if not label or not label[1].startswith("In["):
        return None
    digits = label[1][3:-1]
    return int(digits) if digits.isdigit() else None


@lru_cache(maxsize=4096)
def _target(text: str) -> str | None:
    try:
        statement = ast.parse(text).body[0]
    except (SyntaxError, IndexError):
        return None
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


def here() -> str | None:
    """Return the user's current place, for an error message; None if no code of theirs runs."""
    found = Origin(*where((), 3))
    own = found.code is not None and not found.file.startswith("<frozen ")  # python -m minigrad
    return str(found) if own else None


set_locator(here)
