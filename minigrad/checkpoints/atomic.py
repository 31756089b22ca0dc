"""Writing a file so that at every moment the old one or the new one is there, whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from minigrad.errors import CheckpointError

__all__ = ["Bytes", "write_whole"]

Bytes: TypeAlias = bytes | memoryview


def write_whole(path: Path, parts: Iterable[Bytes]) -> None:
    """Write a file under another name beside ``path``, then put it in its place.

    The data are on the disk before the name changes. After any failure the file that was
    there is as it was, and the unfinished one is removed; one that a killed process left
    behind (``.minigrad-*.tmp``) is never read.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    unfinished = target.with_name(f".minigrad-{secrets.token_hex(8)}.tmp")
    try:
        _write(unfinished, parts)
        with suppress(OSError):  # the access rights of the old file, where there are any
            unfinished.chmod(target.stat().st_mode & 0o7777)
        os.replace(unfinished, target)  # noqa: PTH105  (its failure is simulated in tests)
    except BaseException as error:
        with suppress(OSError):
            unfinished.unlink()
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"save: {path} cannot be written: {error.strerror or error}",
            operands=[f"folder {target.parent}: {_condition(target.parent)}"],
            rule="the file that was there, if any, is as it was",
            fix="make room, or save to a folder that exists and may be written to",
        ) from error
    _sync_folder(target.parent)


def _write(path: Path, parts: Iterable[Bytes]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(handle, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where a folder can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _condition(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    return "exists" if os.access(folder, os.W_OK) else "may not be written to"
