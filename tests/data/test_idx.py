"""IDX files: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.errors import DataError

CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}
DTYPES = st.sampled_from([np.dtype(name) for name in CODES])
IDX = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def encoded(array: np.ndarray) -> bytes:
    """Write the format from its published description, without minigrad."""
    header = struct.pack(">HBB", 0, CODES[array.dtype.name], array.ndim)
    sizes = b"".join(struct.pack(">I", n) for n in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@folder
@given(array=IDX, zipped=st.booleans(), swapped=st.booleans())
def test_what_is_written_is_read(array: Any, zipped: bool, swapped: bool, tmp_path: Path) -> None:
    path = tmp_path / ("a.gz" if zipped else "a")
    given_array = array.astype(array.dtype.newbyteorder()) if swapped else array
    mg.data.write_idx(path, given_array)
    found = mg.data.read_idx(path)
    assert same(found, array)
    assert found.dtype.isnative
    assert found.flags.writeable
    content = gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()
    assert content == encoded(array)


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    (tmp_path / "unnamed").write_bytes(gzip.compress(encoded(array)))
    (tmp_path / "plain.gz").write_bytes(encoded(array))
    assert same(mg.data.read_idx(tmp_path / "unnamed"), array)
    assert same(mg.data.read_idx(str(tmp_path / "plain.gz")), array)


def header_of(content: bytes) -> tuple[Any, ...] | None:
    """Return dtype and shape of a file if it is exactly as long as they say, else None."""
    code = {v: k for k, v in CODES.items()}.get(content[2])
    if content[:2] != b"\0\0" or code is None or len(content) < 4 + 4 * content[3]:
        return None
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    size = np.dtype(code).itemsize * int(np.prod([int(n) for n in shape], dtype=object))
    return (np.dtype(code), shape) if len(content) == 4 + 4 * len(shape) + size else None


@folder
@given(array=IDX, data=st.data(), zipped=st.booleans())
def test_any_changed_byte_of_the_header_is_noticed_or_makes_another_valid_file(
    array: Any, data: Any, zipped: bool, tmp_path: Path
) -> None:
    content = bytearray(encoded(array))
    at = data.draw(st.integers(0, 3 + 4 * array.ndim))
    content[at] = data.draw(st.integers(0, 255).filter(lambda b: b != content[at]))
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(content, 1) if zipped else content)
    valid = header_of(bytes(content))
    if valid is None:
        with pytest.raises(DataError, match=r"(?s)a: .*expected .*found .*fix "):
            mg.data.read_idx(path)
    else:
        found = mg.data.read_idx(path)
        assert (found.dtype, found.shape) == valid


@pytest.mark.parametrize("value", [1, 0x7F, 0xFF])
def test_each_byte_of_an_image_files_header_is_checked(value: int, tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    good = encoded(images)
    for at in range(16):
        bad = bytearray(good)
        bad[at] ^= value
        (tmp_path / "a").write_bytes(bad)
        if header_of(bytes(bad)) is None:
            with pytest.raises(DataError):
                mg.data.read_idx(tmp_path / "a")
        else:
            assert at == 2  # uint8 for int8, which no file can tell


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_cut_anywhere_is_refused(zipped: bool, tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    content = encoded(array)
    for n in range(len(content)):
        part = gzip.compress(content[:n]) if zipped else content[:n]
        (tmp_path / "a").write_bytes(part)
        with pytest.raises(DataError, match=r"(?s)(ends within|too short).*expected.*found"):
            mg.data.read_idx(tmp_path / "a")


def test_gzip_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(encoded(np.arange(40, dtype=np.uint8)))
    for n in range(2, len(content)):
        (tmp_path / "a").write_bytes(content[:n])
        with pytest.raises(DataError, match="gzip"):
            mg.data.read_idx(tmp_path / "a")


def test_gzip_with_any_byte_of_its_data_or_checksum_changed_is_refused(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, 40).astype(np.uint8)
    content = gzip.compress(encoded(array))
    refused = 0
    for at in range(10, len(content)):
        bad = bytearray(content)
        bad[at] ^= 0x55
        (tmp_path / "a").write_bytes(bad)
        try:
            assert same(mg.data.read_idx(tmp_path / "a"), array)  # a bit that deflate ignores
        except DataError:
            refused += 1
    assert refused >= len(content) - 12


@pytest.mark.parametrize("zipped", [False, True])
def test_bytes_after_the_end_are_refused(zipped: bool, tmp_path: Path) -> None:
    content = encoded(np.zeros(3, np.uint8)) + b"x"
    (tmp_path / "a").write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=r"(?s)bytes follow.*the end after 3 bytes"):
        mg.data.read_idx(tmp_path / "a")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "shape", [(2**32 - 1,) * 4, (0, *(2**32 - 1,) * 4), (2**31, 2**31, 2**31), (0,) * 65]
)
def test_impossible_sizes_are_refused_before_memory_is_taken(
    shape: Any, zipped: bool, tmp_path: Path
) -> None:
    content = struct.pack(f">4B{len(shape)}I", 0, 0, 0x0E, len(shape), *shape)
    (tmp_path / "a").write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=r"too short|too large|first four bytes"):
        mg.data.read_idx(tmp_path / "a")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)gone.*nothing of this name"):
        mg.data.read_idx(tmp_path / "gone")
    with pytest.raises(DataError, match=r"(?s)cannot be read.*a folder"):
        mg.data.read_idx(tmp_path)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.float16, np.bool_, np.complex64])
def test_types_that_idx_has_not_are_refused(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="IDX cannot hold"):
        mg.data.write_idx(tmp_path / "a", np.zeros(2, dtype))
    assert not (tmp_path / "a").exists()


def test_a_tensor_can_be_written_and_gzip_is_the_same_every_time(tmp_path: Path) -> None:
    mg.data.write_idx(tmp_path / "a.gz", mg.tensor([1.0, 2.0]))
    mg.data.write_idx(tmp_path / "b.gz", mg.tensor([1.0, 2.0]))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert mg.data.read_idx(tmp_path / "a.gz").tolist() == [1.0, 2.0]
