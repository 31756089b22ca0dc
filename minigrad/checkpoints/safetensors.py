"""The safetensors format: arrays by name, and words. Nothing in such a file can run.

A file is the length of the header (8 bytes, little-endian), a header in JSON with dtype,
shape and place of each array, and the arrays, little-endian, without gaps. Reading checks
all of it before the first array is made.

Source: the format's own description, huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from minigrad.dtypes import Array, DType, as_dtype, float16, float32, float64, foreign, kind_of
from minigrad.errors import CheckpointError

from .atomic import Bytes, write_whole

__all__ = ["METADATA", "read_file", "write_file"]

METADATA = "__metadata__"

_DTYPES: dict[str, DType] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("<u1"), "I8": np.dtype("<i1"), "U16": np.dtype("<u2"), "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"), "F16": float16.newbyteorder("<"), "F32": float32.newbyteorder("<"),
    "F64": float64.newbyteorder("<"), "BF16": np.dtype("<u2"),
}  # fmt: skip
_BFLOAT16 = "BF16"  # read as bits: its dtype is loaded when a file has one
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != _BFLOAT16}

#: What the format knows and NumPy does not.
_FOREIGN = {
    "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2",
    "F4", "C64",
}  # fmt: skip

_LONGEST = 100_000_000  # bytes of header; the limit of the format's own library
_WORD = 8  # bytes; arrays start at a multiple, as the format's own writer does it
_MOST_AXES = 64  # NumPy's


@dataclass(frozen=True, slots=True)
class Entry:
    """One array in a file: type, and from which byte to which, counted after the header."""

    kind: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    stop: int


def _refuse(path: Path, what: str, expected: object, found: object, fix: str = "") -> NoReturn:
    raise CheckpointError(
        f"{path}: {what}",
        operands=[f"expected  {expected}", f"found     {found}"],
        fix=fix or "the file is damaged or not a safetensors file: take an earlier one",
    )


# Writing -------------------------------------------------------------------------


def write_file(path: Path, arrays: Mapping[str, Array], words: Mapping[str, str]) -> None:
    """Write arrays, of the dtypes of tensors, and words to a file, whole or not at all.

    Raises
    ------
    CheckpointError
        If it cannot be written.
    """
    header: dict[str, Any] = {METADATA: dict(words)} if words else {}
    header |= dict.fromkeys(arrays)  # names in the order of the object
    ordered: list[Array] = []
    place = 0
    # elements in the order of their size: every array is then aligned to its elements
    for name, array in sorted(arrays.items(), key=lambda pair: (-pair[1].itemsize, pair[0])):
        header[name] = {
            "dtype": _BFLOAT16 if array.dtype in foreign else _NAMES[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
        ordered.append(array)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False)
    encoded = text.encode()
    encoded += b" " * (-len(encoded) % _WORD)
    if len(encoded) > _LONGEST:
        _refuse(path, "too many names to save", f"{_LONGEST} bytes of header", len(encoded))
    write_whole(path, _parts(encoded, ordered))


def _parts(header: bytes, arrays: list[Array]) -> Iterator[Bytes]:
    yield len(header).to_bytes(8, "little")
    yield header
    for array in arrays:
        if array.size:
            bits = np.ascontiguousarray(array).reshape(-1)
            bits = bits.view(np.uint16) if array.dtype in foreign else bits
            yield bits.astype(bits.dtype.newbyteorder("<"), copy=False).view(np.uint8).data


# Reading -------------------------------------------------------------------------


def read_file(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the words of a file.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or anything in it is not as it must be.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _header(file, path, size)
            words = _words(header.pop(METADATA, {}), path)
            entries = {name: _entry(path, name, fields) for name, fields in header.items()}
            _check_places(path, entries, size - file.tell())
            return _arrays(file, path, entries), words
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror or error}",
            operands=["expected  a file", f"found     {_kind(path)}"],
            fix="check the path",
        ) from error


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file" if path.exists() else "nothing of this name"


def _header(file: BinaryIO, path: Path, size: int) -> dict[str, Any]:
    first = file.read(8)
    length = int.from_bytes(first, "little")
    limit = min(size - 8, _LONGEST)
    if len(first) < 8 or not 2 <= length <= limit:
        expected = f"a header of 2 to {max(limit, 2)} bytes"
        found = f"a length of {length}" if len(first) == 8 else f"a file of {size} bytes"
        _refuse(path, "the length of the header is wrong", expected, found)
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, "the header is not valid JSON", "JSON in UTF-8", error)
    if not isinstance(header, dict):
        _refuse(path, "the header is not an object", "{...}", type(header).__name__)
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs twice")
    return found


def _words(words: Any, path: Path) -> dict[str, str]:
    if not isinstance(words, dict) or not all(isinstance(w, str) for w in words.values()):
        _refuse(path, f"{METADATA} is not words by name", '{"name": "words", ...}', words)
    return words


def _is_count(x: Any) -> bool:
    return type(x) is int and x >= 0


def _entry(path: Path, name: str, fields: Any) -> Entry:
    what = f"entry {name!r}"
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"{what} is not described", "dtype, shape and data_offsets", fields)
    kind, shape, places = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        known = isinstance(kind, str) and kind in _FOREIGN
        fix = "convert it to F32 where it was made: there is no such dtype here" if known else ""
        _refuse(path, f"{what} has dtype {kind}", f"one of {', '.join(_DTYPES)}", kind, fix)
    counts = isinstance(shape, list) and len(shape) <= _MOST_AXES and all(map(_is_count, shape))
    if not counts:
        _refuse(path, f"{what} has no valid shape", f"up to {_MOST_AXES} sizes", shape)
    if not (isinstance(places, list) and len(places) == 2 and all(map(_is_count, places))):
        _refuse(path, f"{what} has no valid place", "two offsets", places)
    dtype, (start, stop) = _DTYPES[kind], places
    wanted = prod(shape) * dtype.itemsize
    if stop - start != wanted:
        _refuse(path, f"{what} is {kind}{shape}", f"{wanted} bytes", f"{stop - start} bytes")
    return Entry(kind, dtype, tuple(shape), start, stop)


def _check_places(path: Path, entries: Mapping[str, Entry], size: int) -> None:
    """Raise unless the arrays follow one another from the first byte to the last."""
    place = 0
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].stop)):
        if entry.start != place:
            what = "overlaps another" if entry.start < place else "leaves a gap"
            _refuse(path, f"entry {name!r} {what}", f"a start at {place}", entry.start)
        place = entry.stop
    if place != size:
        _refuse(path, "the file has not the length that it says", f"{place} bytes", f"{size} bytes")


def _arrays(file: BinaryIO, path: Path, entries: Mapping[str, Entry]) -> dict[str, Array]:
    found = {}
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].stop)):
        try:
            array = np.empty(entry.shape, entry.dtype)
        except ValueError:  # no elements, but axes beyond any address
            _refuse(path, f"entry {name!r} has no valid shape", "a possible one", entry.shape)
        if array.size:
            view = array.reshape(-1).view(np.uint8)
            if file.readinto(view.data) != view.size:  # type: ignore[attr-defined]
                _refuse(path, f"the file ends within entry {name!r}", f"{view.size} bytes", "fewer")
            if kind_of(entry.dtype) == "b" and view.max() > 1:
                _refuse(path, f"entry {name!r} is BOOL", "bytes 0 and 1", int(view.max()))
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        found[name] = native.view(as_dtype("bfloat16")) if entry.kind == _BFLOAT16 else native
    return {name: found[name] for name in entries}
