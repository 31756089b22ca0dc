"""The cache on the disk: hits, bad files of every kind, several processes, a bounded size."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import signal
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from minigrad.backends.cpu import jit, objects

from .texts import adder, call, finish, process, run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in memory and on the disk."""
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "_loaded", {})
    return tmp_path / "cache"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is compiled from here on, and not read from a cache."""
    texts: list[str] = []
    original = jit._compile

    def counted(text: str, *rest: object) -> list[bytes]:
        texts.append(text)
        return original(text, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(jit, "_compile", counted)
    return texts


def forget() -> None:
    """Be a new process, as far as the cache in memory is concerned."""
    jit._loaded.clear()


def value(text: str, x: int = 1) -> int:
    return int(call("f", text, ctypes.c_int64)(x))


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_memory_then_disk_then_compiler(folder: Path, compiled: list[str]) -> None:
    text = adder("f", 1)
    assert value(text) == 2
    assert compiled == [text]
    assert value(text) == 2
    forget()
    assert value(text) == 2
    assert compiled == [text], "read from the disk"
    only_file(folder).unlink()
    forget()
    assert value(text) == 2
    assert compiled == [text, text]


def test_the_key_holds_target_level_and_text(folder: Path, compiled: list[str]) -> None:
    text = adder("f", 1)
    jit.load(text, ["f"])
    jit.load(text, ["f"], level=1)
    jit.load(text, ["f"], target=jit.named_target("baseline"))
    jit.load(adder("f", 2), ["f"])
    assert len(compiled) == 4
    assert len(list(folder.iterdir())) == 4
    header = only_header(folder)
    for part in (f"level {2}", "llvmlite ", "LLVM ", jit.host_target().key):
        assert part in header
    assert hashlib.sha256(text.encode()).hexdigest() in header


def only_header(folder: Path) -> str:
    return " ".join(path.read_bytes().decode("latin1") for path in folder.iterdir())


def sealed(header: bytes, payload: bytes) -> bytes:
    """A file whose checksum is right, whatever it holds."""
    rest = struct.pack("<I", len(header)) + header + payload
    return objects.MAGIC + hashlib.sha256(rest).digest() + rest


def flip(at: float) -> Callable[[bytes], bytes]:
    def damaged(good: bytes) -> bytes:
        i = int(at * (len(good) - 1))
        return good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :]

    return damaged


def with_garbage(good: bytes) -> bytes:
    header, payload = parts(good)
    return sealed(header, b"\0" * len(payload))


def parts(good: bytes) -> tuple[bytes, bytes]:
    start = len(objects.MAGIC) + 32
    (length,) = struct.unpack("<I", good[start : start + 4])
    return good[start + 4 : start + 4 + length], good[start + 4 + length :]


def with_header(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def damaged(good: bytes) -> bytes:
        header, payload = parts(good)
        return sealed(json.dumps(change(json.loads(header))).encode(), payload)

    return damaged


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "cut in the magic": lambda good: good[:5],
    "cut in the checksum": lambda good: good[:30],
    "cut in the header": lambda good: good[:80],
    "cut in the object": lambda good: good[:-100],
    "one byte more": lambda good: good + b"\0",
    "altered magic": flip(0.0),
    "altered checksum": flip(0.02),
    "altered header": flip(0.1),
    "altered object": flip(0.7),
    "altered last byte": flip(1.0),
    "another program's": lambda good: b"PK\3\4" + good,
    "zeros": lambda good: b"\0" * len(good),
    "another key": with_header(lambda h: h | {"key": "another"}),
    "no key": with_header(lambda h: {k: v for k, v in h.items() if k != "key"}),
    "not a table": with_header(lambda h: [1, 2]),
    "sizes of something else": with_header(lambda h: h | {"sizes": [10]}),
    "a header that is not text": lambda good: sealed(b"\xff\xfe", parts(good)[1]),
    "no object inside": with_garbage,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_file_is_ignored_and_replaced(kind: str, folder: Path, compiled: list[str]) -> None:
    text = adder("f", 100)
    assert value(text) == 101
    path = only_file(folder)
    good = path.read_bytes()
    bad = DAMAGE[kind](good)
    assert bad != good
    path.write_bytes(bad)
    forget()
    assert value(text) == 101
    assert len(compiled) == 2, "the bad file was not used"
    assert path.read_bytes() == good, "and is a good one now"
    assert only_file(folder) == path
    forget()
    assert value(text) == 101
    assert len(compiled) == 2


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX access rights")
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not_run(
    mode: int, folder: Path, compiled: list[str]
) -> None:
    text = adder("f", 100)
    value(text)
    path = only_file(folder)
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    path.chmod(mode)
    forget()
    value(text)
    assert len(compiled) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_another_user_is_not_run(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value(adder("f", 100))
    forget()
    owner = only_file(folder).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    value(adder("f", 100))
    assert len(compiled) == (1 if owner == 0 else 2)  # root may serve everybody


def test_without_a_usable_folder_everything_works(
    tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(jit, "_loaded", {})
    for _ in range(2):
        assert value(adder("f", 5)) == 6
        forget()
    assert len(compiled) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing_behind(
    folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert value(adder("f", 5)) == 6
    assert list(folder.iterdir()) == []
    forget()
    assert value(adder("f", 5)) == 6
    assert only_file(folder).suffix == objects.SUFFIX


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", "/a/b")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("HOME", "/home/u")
    assert objects.folder() == Path("/a/b")
    monkeypatch.delenv("MINIGRAD_CACHE_DIR")
    assert objects.folder() == Path("/x/minigrad")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, by that standard
    assert objects.folder() == Path("/home/u/.cache/minigrad")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert objects.folder() == Path("/home/u/.cache/minigrad")


def test_the_files_used_longest_ago_are_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "BETWEEN", 0)
    for i in range(6):
        objects.write(f"key {i}", ["f"], [bytes(1000)])
        os.utime(objects._path(folder, f"key {i}"), (i, i))
    size = only_size(folder)
    (folder / "notes.txt").write_text("not ours")
    old, young = folder / ".a-0.tmp", folder / ".b-1.tmp"
    for path, age in ((old, objects.ABANDONED + 60), (young, 10)):
        path.write_bytes(b"unfinished")
        os.utime(path, (time.time() - age,) * 2)
    assert objects.read("key 0") is not None  # the oldest, but used now
    monkeypatch.setattr(objects, "LIMIT", 4 * size)
    objects.write("key 6", ["f"], [bytes(1000)])
    left = {i for i in range(7) if objects.read(f"key {i}") is not None}
    assert left == {0, 4, 5, 6}
    assert (folder / "notes.txt").exists()
    assert young.exists()
    assert not old.exists()


def only_size(folder: Path) -> int:
    (size,) = {path.stat().st_size for path in folder.iterdir()}
    return size


def test_the_folder_is_looked_through_now_and_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: looks.append(place) or scan(place))
    monkeypatch.setattr(objects, "_written", [0])
    for i in range(70):
        objects.write(f"key {i}", ["f"], [bytes(1 << 20)])
    assert len(looks) == 2


WORKER = """
import ctypes, random, sys, time
from pathlib import Path
from minigrad.backends.cpu import jit, objects
from tests.backends.cpu.texts import adder, call
choose = random.Random(sys.argv[1])
for _ in range(120):
    n = choose.randrange(6)
    jit._loaded.clear()
    assert call("f", adder("f", n), ctypes.c_int64)(1) == 1 + n
    files = sorted(objects.folder().glob("*.objects"))
    if files and choose.random() < 0.3:  # as another process does that makes room
        files[choose.randrange(len(files))].unlink(missing_ok=True)
"""


def test_several_processes_share_one_folder(folder: Path) -> None:
    with ExitStack() as stack:
        place = {"MINIGRAD_CACHE_DIR": str(folder)}
        children = [stack.enter_context(process(WORKER, str(i), **place)) for i in range(3)]
        for child in children:
            assert finish(child) == ""
    assert all(path.suffix == objects.SUFFIX for path in folder.iterdir())


KILLED = """
import os, signal, sys
from minigrad.backends.cpu import objects, jit
from tests.backends.cpu.texts import adder
def killed(*paths):
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
jit.load(adder("f", 5), ["f"])
"""

WRITER = """
import os
from minigrad.backends.cpu import objects
print("ready", flush=True)
while True:
    for i in range(3):
        objects.write(f"key {i}", ["f"], [bytes([i]) * 300_000])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_process_killed_while_writing(folder: Path, compiled: list[str]) -> None:
    with process(KILLED, MINIGRAD_CACHE_DIR=str(folder)) as child:
        assert child.wait(60) == -signal.SIGKILL
    assert [p.suffix for p in folder.iterdir()] == [".tmp"], "unfinished, under another name"
    assert value(adder("f", 5)) == 6
    assert len(compiled) == 1
    moments = random.Random(0)
    for _ in range(6):
        with process(WRITER, MINIGRAD_CACHE_DIR=str(folder)) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 0.05))
        for i in range(3):  # the process was killed
            assert objects.read(f"key {i}") in (None, (["f"], [bytes([i]) * 300_000]))


def test_another_process_reads_what_this_one_wrote(folder: Path) -> None:
    value(adder("f", 5))
    code = """
import ctypes
from minigrad.backends.cpu import jit
from tests.backends.cpu.texts import adder, call
jit._compile = None
print(call("f", adder("f", 5), ctypes.c_int64)(1))
"""
    assert run(code, MINIGRAD_CACHE_DIR=str(folder)) == "6\n"
