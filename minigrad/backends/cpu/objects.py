"""Object code on the disk, so that a kernel is compiled once and not once in each process.

A file is ``magic, SHA-256 of the rest, length of the header, header, objects``. The header
repeats the whole key, of which the file's name is only a hash. A file that is not exactly
what it should be (cut off, altered, of another key, owned by somebody else) does not exist
for the reader, and the next writer replaces it. Nothing here raises: without a usable
folder there is no cache, and everything is compiled.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["folder", "read", "write"]

MAGIC = b"minigrad objects\n"
SUFFIX = ".objects"
#: Bytes that the folder may hold; the files that were not used for longest go first.
LIMIT = 512 << 20
#: Bytes that this process may write between two looks at the folder's size.
BETWEEN = 32 << 20
#: Seconds after which an unfinished file belongs to a process that was killed.
ABANDONED = 3600.0

#: Bytes written since the last look; the first write looks.
_written = [BETWEEN]


def folder() -> Path | None:
    """Return where object code is kept; it need not exist yet.

    ``$MINIGRAD_CACHE_DIR``, else ``$XDG_CACHE_HOME/minigrad``, else ``~/.cache/minigrad``.
    """
    if own := os.environ.get("MINIGRAD_CACHE_DIR"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):  # nobody's home
        base = Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache"
        return base / "minigrad"
    return None


def _path(place: Path, key: str) -> Path:
    return place / (hashlib.sha256(key.encode()).hexdigest()[:40] + SUFFIX)


def read(key: str) -> tuple[list[str], list[bytes]] | None:
    """Return the names and the objects that were written for a key, or None."""
    place = folder()
    if place is None:
        return None
    path = _path(place, key)
    try:
        with path.open("rb") as file:
            if not _trusted(os.fstat(file.fileno())):
                return None
            data = memoryview(file.read())
    except OSError:
        return None
    found = _parse(key, data)
    if found is not None:
        with suppress(OSError):
            os.utime(path)  # used just now: the last to be removed
    return found


def _trusted(status: os.stat_result) -> bool:
    """Only a file that nobody else can write may hold code that this process runs."""
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not writable and status.st_uid in (0, os.geteuid())


def _parse(key: str, data: memoryview) -> tuple[list[str], list[bytes]] | None:
    start = len(MAGIC)
    body = start + 32 + 4
    if len(data) < body or data[:start] != MAGIC:
        return None
    if hashlib.sha256(data[start + 32 :]).digest() != data[start : start + 32]:
        return None
    (length,) = struct.unpack("<I", data[body - 4 : body])
    try:
        header = json.loads(bytes(data[body : body + length]))
        names, sizes = [str(n) for n in header["names"]], [int(n) for n in header["sizes"]]
    except (ValueError, LookupError, TypeError):
        return None
    if header.get("key") != key or sum(sizes) != len(data) - body - length:
        return None
    objects, at = [], body + length
    for size in sizes:
        objects.append(bytes(data[at : at + size]))
        at += size
    return names, objects


def write(key: str, names: Sequence[str], objects: Sequence[bytes]) -> None:
    """Keep the objects of a key. A reader sees the whole file, or none."""
    place = folder()
    if place is None:
        return
    fields = {"key": key, "names": list(names), "sizes": [len(o) for o in objects]}
    header = json.dumps(fields).encode()
    rest = b"".join((struct.pack("<I", len(header)), header, *objects))
    path = _path(place, key)
    unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(8)}.tmp")
    with suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.sha256(rest).digest())
                file.write(rest)
            os.replace(unfinished, path)  # noqa: PTH105  (a kill here is rehearsed in the tests)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        _make_room(place, len(rest))


def _make_room(place: Path, size: int) -> None:
    """Remove the files used longest ago when the folder is too big; looks now and then."""
    _written[0] += size
    if _written[0] < BETWEEN:
        return
    _written[0] = 0
    kept: list[tuple[float, int, str]] = []
    with os.scandir(place) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(SUFFIX):
                    kept.append((status.st_mtime, status.st_size, entry.path))
                elif entry.name.endswith(".tmp") and status.st_mtime < time.time() - ABANDONED:
                    Path(entry.path).unlink()
    total = sum(bytes for _, bytes, _ in kept)
    for _, bytes, name in sorted(kept):
        if total <= LIMIT:
            break
        with suppress(OSError):
            Path(name).unlink()
            total -= bytes
