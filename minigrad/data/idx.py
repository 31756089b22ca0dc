"""IDX files, the format of MNIST: read and written whole, or not at all.

A file is four bytes (0, 0, type, number of axes), the size of each axis as a big-endian
32-bit integer, and the elements, big-endian, in row-major order. Gzip is recognised by its
content, not by the name.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol, TypeAlias

import numpy as np

from minigrad.dtypes import Array, DType
from minigrad.errors import DataError

__all__ = ["PathLike", "magic_of", "read_idx", "write_idx"]

PathLike: TypeAlias = str | os.PathLike[str]

#: The type byte of each dtype, as the files hold it.
_CODES: dict[int, DType] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP = b"\x1f\x8b"
_DEFLATE = 1040  # deflate shrinks at most 1032-fold; a little more for short files
_MOST_AXES = 64  # NumPy's
_AGAIN = "get the file again; it is damaged or not an IDX file"


class Readable(Protocol):
    """An open file, plain or through gzip."""

    def read(self, n: int, /) -> bytes:
        """Return at most n bytes; none at the end."""
        ...


def _refuse(path: Path, what: str, expected: object, found: object, fix: str = _AGAIN) -> NoReturn:
    raise DataError(
        f"{path}: {what}",
        operands=[f"expected  {expected}", f"found     {found}"],
        fix=fix,
    )


def magic_of(array: Array) -> str:
    """Return the four bytes that a file with such an array begins with."""
    kind = array.dtype.newbyteorder(">")
    code = next((code for code, dtype in _CODES.items() if dtype == kind), None)
    return "no IDX type" if code is None else f"0x0000{code:02X}{array.ndim:02X}"


def _exactly(file: Readable, into: memoryview, path: Path, what: str) -> None:
    """Fill a buffer from a file, or raise DataError."""
    done = 0
    while done < len(into):
        part = file.read(min(len(into) - done, 1 << 24))
        if not part:
            _refuse(path, f"the file ends within the {what}", f"{len(into)} bytes", f"{done} bytes")
        into[done : done + len(part)] = part
        done += len(part)


def _header(file: Readable, path: Path) -> tuple[DType, tuple[int, ...]]:
    magic = bytearray(4)
    _exactly(file, memoryview(magic), path, "first four bytes")
    dtype = _CODES.get(magic[2])
    if magic[:2] != b"\0\0" or dtype is None or magic[3] > _MOST_AXES:
        known = ", ".join(f"{code:02X}" for code in _CODES)
        _refuse(
            path,
            "the first four bytes are not those of an IDX file",
            f"00 00, a type ({known}), a number of axes up to {_MOST_AXES}",
            magic.hex(" ").upper(),
        )
    sizes = bytearray(4 * magic[3])
    _exactly(file, memoryview(sizes), path, f"sizes of {magic[3]} axes")
    return dtype, struct.unpack(f">{magic[3]}I", sizes)


def _elements(file: Readable, path: Path, most: int, content: str) -> Array:
    """Return the array of an open file that can hold at most ``most`` bytes of elements."""
    dtype, shape = _header(file, path)
    total = prod(shape) * dtype.itemsize
    what = f"the elements of {dtype.name}{list(shape)}"
    if total > most:
        _refuse(path, f"the file is too short for {what}", f"{total} bytes", content)
    try:
        array = np.empty(shape, dtype)
    except ValueError:  # no elements, but axes beyond any address
        _refuse(path, "the sizes of the axes are too large", "sizes of a possible array", shape)
    if total:
        _exactly(file, array.reshape(-1).view(np.uint8).data, path, what)
    extra = file.read(1)  # at the end of gzip this also checks its checksum
    if extra:
        _refuse(path, f"bytes follow {what}", f"the end after {total} bytes", "more bytes")
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_idx(path: PathLike) -> Array:
    """Return the array in an IDX file, of any of its types and any number of axes.

    Raises
    ------
    DataError
        If the file is missing, cut short, too long, or is not what its first bytes say.
        The message has the path, what was expected and what was found.
    """
    where = Path(path)
    try:
        with where.open("rb") as raw:
            size = where.stat().st_size
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            if not zipped:
                most = max(size - 4 - 4 * _axes(raw), 0)
                return _elements(raw, where, most, f"{most} bytes")
            with gzip.GzipFile(fileobj=raw) as file:
                return _elements(file, where, size * _DEFLATE, f"gzip data of {size} bytes")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{where}: the gzip data are damaged: {error}",
            operands=["expected  a whole gzip file", f"found     {size} bytes that end or break"],
            fix="get the file again",
        ) from error
    except OSError as error:
        raise DataError(
            f"{where}: cannot be read: {error.strerror or error}",
            operands=["expected  a file", f"found     {_entry(where)}"],
            fix="check the path; mg.data.mnist takes the folder that holds the files",
        ) from error


def _axes(raw: BinaryIO) -> int:
    """Return the number of axes that the header names, and go back to the start."""
    magic = raw.read(4)
    raw.seek(0)
    return magic[3] if len(magic) == 4 else 0


def _entry(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file" if path.exists() else "nothing of this name"


def write_idx(path: PathLike, array: Array) -> None:
    """Write an array as an IDX file, through gzip if the name ends in ``.gz``.

    Raises
    ------
    DataError
        If IDX has no such type. It has uint8, int8, int16, int32, float32 and float64.
    """
    where, data = Path(path), np.asarray(array)
    stored = data.dtype.newbyteorder(">")
    code = next((code for code, dtype in _CODES.items() if dtype == stored), None)
    if code is None or any(n >= 2**32 for n in data.shape):
        raise DataError(
            f"{where}: IDX cannot hold {data.dtype}{list(data.shape)}",
            operands=["expected  uint8, int8, int16, int32, float32 or float64"],
            fix="convert it first, e.g. array.astype(numpy.int32)",
        )
    header = struct.pack(f">4B{data.ndim}I", 0, 0, code, data.ndim, *data.shape)
    content = header + data.astype(_CODES[code]).tobytes()
    with where.open("wb") as raw:
        if where.suffix == ".gz":  # without name and time: the same array gives the same file
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
                file.write(content)
        else:
            raw.write(content)
