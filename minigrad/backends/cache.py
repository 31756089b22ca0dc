"""A folder of compiled code that several processes may use at once, and that may vanish.

An entry is a file: a header with the digest of what follows, then the bytes. It is written
beside its place and moved there, so a reader sees all of it or nothing. A file that is
truncated, changed or of another kind is as good as none: it is removed and written again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["DiskCache", "cache_folder", "digest"]

_MAGIC = b"minigrad 1\n"
_HEADER = len(_MAGIC) + 32


def cache_folder() -> Path:
    """Return ``$MINIGRAD_CACHE_DIR``, or minigrad's folder in the user's cache."""
    chosen = os.environ.get("MINIGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "minigrad"


def digest(*parts: str | bytes) -> str:
    """Return a key for what an entry depends on; no two lists of parts share one."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


class DiskCache:
    """Entries by key in one folder, of at most ``limit`` bytes together."""

    def __init__(self, suffix: str, limit: int = 256 << 20) -> None:
        self.suffix = suffix
        self.limit = limit
        self._written = 0

    def _path(self, key: str) -> Path:
        return cache_folder() / f"{key}{self.suffix}"

    def get(self, key: str) -> bytes | None:
        """Return an entry, or None if there is none that is whole."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        body = data[_HEADER:]
        if data[:_HEADER] == _MAGIC + hashlib.sha256(body).digest():
            with suppress(OSError):
                os.utime(path)  # the oldest are removed first
            return body
        with suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, body: bytes) -> None:
        """Write an entry; a folder that cannot be written to is no error."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_MAGIC + hashlib.sha256(body).digest() + body)
                Path(beside).replace(path)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise
        except OSError:
            return
        self._written += len(body)
        if self._written > self.limit // 16:
            self._written = 0
            self.prune()

    def prune(self) -> None:
        """Remove the entries used longest ago, until the rest fits the limit."""
        found = []
        for path in cache_folder().glob(f"*{self.suffix}"):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            with suppress(OSError):
                path.unlink()
            total -= size
