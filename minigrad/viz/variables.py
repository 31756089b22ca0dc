"""What the user calls a result: the variable to which its statement assigns it.

``Origin`` knows one line; here the whole statement is found, by line and column, so that
several statements on a line and a statement over several lines are told apart.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import TypeAlias

from minigrad.core.node import Node

__all__ = ["statement"]

#: First line, first column, last line, last column, as ``ast`` counts them.
Span: TypeAlias = tuple[int, int, int, int]
Statement: TypeAlias = tuple[CodeType | None, Span]

_WORD = 2  # bytes of an instruction


def statement(node: Node) -> tuple[Statement, str | None]:
    """Return the statement that made a node, and the one variable it assigns, if so."""
    code, offset, _ = node.where
    if code is None:
        return (None, (0, 0, 0, 0)), None
    span, name = _located(code, offset)
    inner = code.co_name.startswith("<") and code.co_name != "<module>"
    return (code, span), None if inner else name  # a lambda's name is not its result's


@lru_cache(maxsize=8192)
def _located(code: CodeType, offset: int) -> tuple[Span, str | None]:
    line, column = _position(code, offset)
    if line is None:
        return (0, 0, 0, 0), None
    best: tuple[Span, str | None] = ((line, 0, line, 0), None)
    for span, name in _statements(code.co_filename, _source(code.co_filename)):
        first, left, last, right = span
        if (first, left) <= (line, column) <= (last, right):
            best = span, name  # statements come outermost first
    return best


def _position(code: CodeType, offset: int) -> tuple[int | None, int]:
    for i, (line, _, column, _) in enumerate(code.co_positions()):
        if i == offset // _WORD:
            return line, column or 0
    return None, 0


def _source(file: str) -> str:
    return "".join(linecache.getlines(file))


@lru_cache(maxsize=64)
def _statements(file: str, source: str) -> tuple[tuple[Span, str | None], ...]:
    """Return simple statements with the name that they assign; none if it is not Python."""
    del file
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    return tuple(_simple(tree))


def _simple(tree: ast.AST) -> Iterator[tuple[Span, str | None]]:
    todo: list[ast.AST] = [tree]
    while todo:
        at = todo.pop(0)
        for child in ast.iter_child_nodes(at):
            if isinstance(child, ast.stmt):
                span = (
                    child.lineno, child.col_offset, child.end_lineno or child.lineno,
                    child.end_col_offset or 0,
                )  # fmt: skip
                yield span, _target(child)
            todo.append(child)


def _target(found: ast.stmt) -> str | None:
    target: ast.expr | None = None
    if isinstance(found, ast.Assign) and len(found.targets) == 1:
        target = found.targets[0]
    elif isinstance(found, ast.AugAssign | ast.AnnAssign):
        target = found.target
    if isinstance(target, ast.Name):
        return target.id
    return target.attr if isinstance(target, ast.Attribute) else None
