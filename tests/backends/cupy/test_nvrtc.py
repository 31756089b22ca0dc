"""NVRTC without a driver, and the cache of machine code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigrad.backends import cache
from minigrad.backends.cache import DiskCache, digest
from minigrad.backends.cupy import nvrtc
from minigrad.errors import BackendUnavailable, GraphInvalid

pytestmark = pytest.mark.host
needs_nvrtc = pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))

SOURCE = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@needs_nvrtc
def test_nvrtc_compiles_for_every_generation_without_a_driver(folder: Path) -> None:
    assert {"sm_75", "sm_80", "sm_90", "sm_120"} <= set(nvrtc.architectures())
    codes = {arch: nvrtc.cubin(SOURCE, arch) for arch in ("sm_75", "sm_80", "sm_90", "sm_120")}
    assert len(set(codes.values())) == 4
    assert all(c.startswith(b"\x7fELF") for c in codes.values())
    assert len(list(folder.glob("*.cubin"))) == 4
    assert b"twice" in nvrtc.compile(SOURCE, "compute_75")  # PTX


@needs_nvrtc
def test_nvrtc_reads_the_cache_and_not_the_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nvrtc.cubin(SOURCE, "sm_80")

    def never(*_: object) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(nvrtc, "compile", never)
    assert nvrtc.cubin(SOURCE, "sm_80") == first
    with pytest.raises(AssertionError, match="compiled again"):
        nvrtc.cubin(SOURCE, "sm_80", ("-std=c++17",))  # other options, another key


@needs_nvrtc
def test_nvrtc_error_has_the_line_and_the_log() -> None:
    with pytest.raises(GraphInvalid, match=r"minigrad.cu\(2\): error") as caught:
        nvrtc.compile("int a;\nint b = nothing;", "sm_80")
    assert "nothing" in str(caught.value)


def test_nvrtc_missing_names_the_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(["/nowhere/libnvrtc.so.13"]))
    nvrtc._loaded.cache_clear()
    try:
        assert "pip install nvidia-cuda-nvrtc" in str(nvrtc.missing())
        with pytest.raises(BackendUnavailable, match="/nowhere"):
            nvrtc.library()
        monkeypatch.setattr(nvrtc, "_candidates", lambda: iter([]))
        nvrtc._loaded.cache_clear()
        assert "no NVRTC library was found" in str(nvrtc.missing())
    finally:
        nvrtc._loaded.cache_clear()


def test_cache_gives_back_what_was_put(folder: Path) -> None:
    store = DiskCache(".bin")
    assert store.get("a") is None
    store.put("a", b"code")
    assert store.get("a") == b"code"
    assert sorted(p.name for p in folder.iterdir()) == ["a.bin"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "foreign"])
def test_cache_ignores_and_replaces_damaged_files(folder: Path, damage: str) -> None:
    store = DiskCache(".bin")
    store.put("a", b"code" * 100)
    path = folder / "a.bin"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[:-7], "changed": whole[:-1] + b"?", "empty": b"",
            "foreign": b"\x7fELF" + whole[4:],
        }[damage]
    )  # fmt: skip
    assert store.get("a") is None
    store.put("a", b"new")
    assert store.get("a") == b"new"


def test_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(blocked / "inside"))
    store = DiskCache(".bin")
    store.put("a", b"code")
    assert store.get("a") is None


def test_cache_removes_the_oldest_beyond_its_limit(folder: Path) -> None:
    store = DiskCache(".bin", limit=1000)
    for i in range(5):
        store.put(str(i), bytes(300))
        if (folder / f"{i}.bin").exists():
            os.utime(folder / f"{i}.bin", (i, i))
    store.prune()
    assert sum(p.stat().st_size for p in folder.glob("*.bin")) <= 1000
    assert store.get("4") == bytes(300)
    assert store.get("0") is None


def test_cache_survives_writers_that_are_killed(folder: Path) -> None:
    """A process that dies while it writes leaves no entry, or a whole one."""
    script = (
        "import os, threading, time\nfrom minigrad.backends.cache import DiskCache\n"
        "threading.Thread(target=lambda: (time.sleep(0.15), os._exit(9)), daemon=True).start()\n"
        "store = DiskCache('.bin', 1 << 40)\n"
        "while True: store.put('a', os.urandom(1 << 20))\n"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], check=False)
        assert done.returncode == 9
        assert len(DiskCache(".bin").get("a") or bytes(1 << 20)) == 1 << 20


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIGRAD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert cache.cache_folder() == Path("/some/where/minigrad")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "minigrad"


def test_keys_differ_where_parts_differ() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") != digest("a", "")
