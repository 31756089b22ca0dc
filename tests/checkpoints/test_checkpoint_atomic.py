"""A crash at any moment leaves the old file or the new one, whole."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.checkpoints import atomic
from minigrad.errors import CheckpointError

SAVER = """
import sys, numpy as np, minigrad as mg
n = 0
while True:
    mg.save(sys.argv[1], x=np.full(1_000_000, n, np.int32), n=n)
    if n == 0:
        print("ready", flush=True)
    n += 1
"""


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path: Path) -> None:
    path, moments = tmp_path / "a.safetensors", random.Random(0)
    seen = set()
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child.stdout as out:
            assert out.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 0.06))
            child.send_signal(signal.SIGKILL)
            child.wait()
        found = mg.load(path)
        assert (found["x"] == found["n"]).all()
        seen.add(found["n"])
    left = [name for name in files(tmp_path) if name != path.name]
    assert all(name.startswith(".minigrad-") and name.endswith(".tmp") for name in left)
    mg.save(path, n=-1)  # what a killed process left does not disturb
    assert mg.load(path)["n"] == -1
    assert len(seen) > 1


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    mg.save(path, n=1)
    return path


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk:
    """A file on which only the first bytes find room."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, part: Any) -> None:
        self.room -= len(part)
        if self.room < 0:
            full()
        self.file.write(part)

    def flush(self) -> None:
        self.file.flush()

    def fileno(self) -> int:
        return int(self.file.fileno())


@pytest.mark.parametrize("room", [0, 7, 8, 100, 200, 2000])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    room: int, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.fdopen
    monkeypatch.setattr(atomic.os, "fdopen", lambda *a: FullDisk(opened(*a), room))
    with pytest.raises(CheckpointError, match=r"(?s)cannot be written: No space.*as it was"):
        mg.save(saved, x=np.ones(1000), y=np.ones(1000))
    monkeypatch.undo()
    assert mg.load(saved) == {"n": 1}
    assert files(saved.parent) == [saved.name]


@pytest.mark.parametrize("function", ["open", "fsync", "replace"])
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(
    function: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic.os, function, full)
    with pytest.raises(CheckpointError, match="cannot be written"):
        mg.save(saved, n=2)
    monkeypatch.undo()
    assert mg.load(saved) == {"n": 1}
    assert files(saved.parent) == [saved.name]


def test_an_interruption_leaves_the_old_file_and_nothing_else(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mg.save(saved, n=2)
    monkeypatch.undo()
    assert mg.load(saved) == {"n": 1}
    assert files(saved.parent) == [saved.name]


def test_data_are_on_the_disk_before_the_name_changes(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(handle: int) -> None:
        folder = Path(f"/proc/self/fd/{handle}").is_dir()
        events.append("sync folder" if folder else "sync file")
        sync(handle)

    def noted_replace(*names: Any) -> None:
        events.append("replace")
        replace(*names)

    monkeypatch.setattr(atomic.os, "fsync", noted_sync)
    monkeypatch.setattr(atomic.os, "replace", noted_replace)
    mg.save(saved, n=2)
    if Path("/proc/self/fd").is_dir():
        assert events == ["sync file", "replace", "sync folder"]
    assert events[:2] == ["sync file", "replace"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"(?s)gone.*there is no such folder"):
        mg.save(tmp_path / "gone" / "a", n=1)
    with pytest.raises(CheckpointError, match="cannot be written"):
        mg.save(tmp_path, n=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs links and access rights of POSIX")
def test_links_and_access_rights_stay(saved: Path) -> None:
    saved.chmod(0o640)
    link = saved.with_name("latest")
    link.symlink_to(saved.name)
    mg.save(link, n=2)
    assert link.is_symlink()
    assert mg.load(saved) == {"n": 2}
    assert saved.stat().st_mode & 0o777 == 0o640


def test_two_processes_saving_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    code = (
        "import sys, numpy as np, minigrad as mg\n"
        "for i in range(20): mg.save(sys.argv[1], x=np.full(99_999, int(sys.argv[2])))"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in (1, 2)]
    assert [child.wait() for child in children] == [0, 0]
    x = mg.load(path)["x"]
    assert (x == x[0]).all()
    assert files(tmp_path) == [path.name]
