"""The file format: beside the safetensors package, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.checkpoints import safetensors
from minigrad.dtypes import ALL
from minigrad.errors import CheckpointError

ARRAYS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=8),
    hnp.arrays(st.sampled_from(ALL), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)),
    max_size=5,
)
folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def built(header: Any, data: bytes = b"") -> bytes:
    """Return a file by the format's description, without minigrad."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@folder
@given(arrays=ARRAYS)
def test_what_is_saved_is_loaded(arrays: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    mg.save(path, data=arrays)
    found = mg.load(path)["data"]
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert same(found[name], array)
        assert found[name].dtype.isnative
        assert found[name].flags.writeable


@folder
@given(arrays=ARRAYS)
def test_the_safetensors_package_reads_our_files_and_we_read_its(
    arrays: Any, tmp_path: Path
) -> None:
    theirs = pytest.importorskip("safetensors.numpy", reason="pip install 'minigrad[dev]'")
    path = tmp_path / "ours.safetensors"
    mg.save(path, data=arrays)
    read = theirs.load(path.read_bytes())  # it checks the header, and that there is no gap
    assert read.keys() == {f"data.{name}" for name in arrays}
    for name, array in arrays.items():
        assert same(read[f"data.{name}"], array)
    named = {f"model.layer{i}": array for i, array in enumerate(arrays.values())}
    other = tmp_path / "theirs.safetensors"
    theirs.save_file(named, other, metadata={"format": "np"})
    found = mg.load(other).get("model", {})
    assert len(found) == len(named)
    for name, array in named.items():
        assert same(found[name.removeprefix("model.")], array)


def test_arrays_are_aligned_to_their_elements(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(3, np.uint8), "b": np.zeros(3), "c": np.zeros(1, np.float16)}
    mg.save(tmp_path / "a", data=arrays)
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert (8 + length) % 8 == 0
    header = json.loads(content[8 : 8 + length])
    for name, array in arrays.items():
        assert header[f"data.{name}"]["data_offsets"][0] % array.itemsize == 0


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(6, dtype=">i8"),
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10, dtype=np.int16)[::-3],
        np.broadcast_to(np.float32(2.0), (3, 2)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3.5),
        np.zeros((0, 5), np.int32),
        np.array(True),
    ],
    ids=["big", "big-int", "permuted", "strided", "repeated", "fortran", "0-d", "empty", "bool"],
)
def test_any_memory_layout_is_saved_by_value(array: Any, tmp_path: Path) -> None:
    mg.save(tmp_path / "a", x=array)
    found = mg.load(tmp_path / "a")["x"]
    assert found.dtype.isnative
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


def test_a_file_of_another_program_is_grouped_by_the_first_dot(tmp_path: Path) -> None:
    one = {"dtype": "U8", "shape": [1]}
    names = ["w", "m.a.b", "m.c", "n", "n.d"]
    header = {name: {**one, "data_offsets": [i, i + 1]} for i, name in enumerate(names)}
    (tmp_path / "a").write_bytes(built(header, bytes(range(5))))
    found = mg.load(tmp_path / "a")
    assert found["w"].tolist() == [0]
    assert {k: v.tolist() for k, v in found["m"].items()} == {"a.b": [1], "c": [2]}
    assert {k: v.tolist() for k, v in found["n"].items()} == {"": [3], "d": [4]}


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


U8 = {"dtype": "U8", "shape": [4]}
EIGHT = bytes(8)
BROKEN = {
    "nothing": (b"", r"length of the header.*a file of 0 bytes"),
    "seven bytes": (bytes(7), "a file of 7 bytes"),
    "no header": (bytes(8), "a length of 0"),
    "header beyond the file": (built(b" " * 9)[:-1] + b"", "a length of 9"),
    "huge header": ((2**63).to_bytes(8, "little") + EIGHT, f"a length of {2**63}"),
    "not JSON": (built(b"{nonsense"), "not valid JSON"),
    "not UTF-8": (built(b'{"\xff": 1}'), "not valid JSON"),
    "deep JSON": (built(b"[" * 100_000), "not valid JSON"),
    "long number": (built(b'{"x": ' + b"1" * 5000 + b"}"), "not valid JSON"),
    "a list": (built([]), r"not an object.*list"),
    "a name twice": (built(b'{"x": 1, "x": 2}'), "'x' occurs twice"),
    "metadata of numbers": (built({"__metadata__": {"a": 1}}), "__metadata__ is not words"),
    "metadata a list": (built({"__metadata__": []}), "__metadata__ is not words"),
    "no fields": (built({"x": 1}), "entry 'x' is not described"),
    "a field too few": (built({"x": {"dtype": "F32", "shape": []}}), "'x' is not described"),
    "a field too many": (built(entry(more=1), EIGHT), "'x' is not described"),
    "eight bits": (built(entry(dtype="F8_E4M3"), EIGHT), r"F8_E4M3.*convert it to F32"),
    "unknown dtype": (built(entry(dtype="F128"), EIGHT), r"dtype F128.*damaged"),
    "dtype a number": (built(entry(dtype=3), EIGHT), "dtype 3"),
    "shape a number": (built(entry(shape=2), EIGHT), "no valid shape"),
    "shape negative": (built(entry(shape=[-2]), EIGHT), "no valid shape"),
    "shape a float": (built(entry(shape=[2.0]), EIGHT), "no valid shape"),
    "shape a boolean": (built(entry(shape=[True, 2]), EIGHT), "no valid shape"),
    "65 axes": (built(entry(shape=[1] * 65, data_offsets=[0, 4]), bytes(4)), "no valid shape"),
    "impossible axes": (
        built(entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0])), "no valid shape",
    ),
    "one offset": (built(entry(data_offsets=[0]), EIGHT), "no valid place"),
    "offsets negative": (built(entry(data_offsets=[-8, 0]), EIGHT), "no valid place"),
    "offsets backwards": (built(entry(data_offsets=[8, 0]), EIGHT), r"8 bytes.*-8 bytes"),
    "other size": (built(entry(shape=[3]), EIGHT), r"F32\[3\].*12 bytes.*8 bytes"),
    "size beyond 64 bits": (built(entry(shape=[2**40, 2**40]), EIGHT), "F32"),
    "a gap at the start": (built(entry(data_offsets=[4, 12]), bytes(12)), "leaves a gap"),
    "a gap": (
        built({"a": {**U8, "data_offsets": [0, 4]}, "b": {**U8, "data_offsets": [5, 9]}}, bytes(9)),
        r"'b' leaves a gap.*a start at 4.*5",
    ),
    "an overlap": (
        built({"a": {**U8, "data_offsets": [0, 4]}, "b": {**U8, "data_offsets": [3, 7]}}, bytes(7)),
        "'b' overlaps",
    ),
    "cut short": (built(entry(), bytes(7)), r"length.*8 bytes.*7 bytes"),
    "too long": (built(entry(), bytes(9)), r"length.*8 bytes.*9 bytes"),
    "a boolean of 2": (
        built({"x": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}, b"\0\2"),
        r"BOOL.*bytes 0 and 1.*2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_what_was_expected_and_found(
    name: str, tmp_path: Path
) -> None:
    content, message = BROKEN[name]
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"(?s)broken: .*expected.*found.*fix") as caught:
        mg.load(tmp_path / "broken")
    caught.match(f"(?s){message}")


def test_every_changed_or_missing_byte_of_the_header_is_noticed_or_harmless(
    tmp_path: Path,
) -> None:
    """Whatever is not refused still gives arrays of the sizes that the header says."""
    path = tmp_path / "a"
    mg.save(path, a=np.arange(3, dtype=np.float32), b=np.ones((2, 2), np.int8), n=3)
    good = path.read_bytes()
    length = int.from_bytes(good[:8], "little")
    refused = 0
    for at in range(8 + length):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 0x11]) + good[at + 1 :]):
            path.write_bytes(bad)
            try:
                found = mg.load(path)
            except CheckpointError:
                refused += 1
            else:
                assert len(bad) == len(good)
                sizes = [v.nbytes for v in found.values() if isinstance(v, np.ndarray)]
                assert sum(sizes) <= len(good)
    assert refused > 8 + length  # all that are cut short, and most that are changed


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    mg.save(path, a=np.arange(5.0), words="x")
    good = path.read_bytes()
    for n in range(len(good)):
        path.write_bytes(good[:n])
        with pytest.raises(CheckpointError):
            mg.load(path)


@pytest.mark.parametrize(
    "words",
    ["{", "[]", '{"x": {"array": "gone"}}', '{"x": {"dict": 1}}', '{"x": {"float": "y"}}',
     '{"x": {"other": 1}}', '{"x": {}}', '{"x": {"array": {}}}'],
)  # fmt: skip
def test_damaged_numbers_and_words_are_refused(words: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(built({"__metadata__": {"minigrad.objects": words}}))
    with pytest.raises(CheckpointError, match="numbers and words of the file are damaged"):
        mg.load(tmp_path / "a")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)gone: cannot be read.*nothing of this name"):
        mg.load(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"(?s)cannot be read.*a folder"):
        mg.load(str(tmp_path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: {"x": np.zeros(2, np.complex64)}, "complex64 is not supported"),
        (lambda: {"x": np.array(["a"])}, "not supported"),
        (lambda: {"x": np.array([None])}, "not supported"),
        (lambda: {"x": object()}, "a object cannot be saved"),
        (lambda: {"x": np.complex128(1)}, "a complex cannot be saved"),
        (lambda: {"x": {1: 2}}, "the key 1 is a int"),
        (lambda: {"x.y": 1}, "cannot be the name"),
        (lambda: {"__metadata__": 1}, "cannot be the name"),
        (lambda: {"x": {"a": {"b": np.ones(1)}, "a.b": np.ones(1)}}, "called 'x.a.b'"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_a_file_is_made(
    make: Callable[[], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        mg.save(tmp_path / "a", **make())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = built(entry(), bytes(7))
    (tmp_path / "a").write_bytes(content)
    before = SimpleNamespace(st_size=len(content) + 1)
    monkeypatch.setattr(safetensors.os, "fstat", lambda _: before)
    with pytest.raises(CheckpointError, match=r"(?s)ends within entry 'x'.*8 bytes.*fewer"):
        mg.load(tmp_path / "a")


def test_more_names_than_the_format_allows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors, "_LONGEST", 100)
    with pytest.raises(CheckpointError, match="too many names"):
        mg.save(tmp_path / "a", x={f"name{i}": np.ones(1) for i in range(5)})
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_a_file_is_code(tmp_path: Path) -> None:
    source = Path(mg.__file__).parent / "checkpoints"
    text = "".join(p.read_text() for p in source.glob("*.py"))
    assert not any(word in text for word in ("import pickle", "eval(", "exec(", "marshal"))
