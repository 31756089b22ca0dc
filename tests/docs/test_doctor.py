"""``python -m minigrad``: what is here, what is missing, one cure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg
from minigrad import doctor
from minigrad.backends.base import default_backend
from minigrad.backends.cpu import threads

pytestmark = pytest.mark.host
needs_cpu = pytest.mark.skipif(
    mg.backends()["cpu"] != "usable", reason="pip install 'minigrad[cpu]'"
)


def state(part: str) -> str:
    return next(f.state for f in doctor.examine() if f.part == part)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let some packages seem not to be installed."""
    real: Callable[[str], Any] = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in names else real(name))


def test_doctor_says_where_compiled_code_runs() -> None:
    assert f'"{default_backend()}"' in state("compiled code")


@needs_cpu
def test_doctor_says_target_threads_and_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("MINIGRAD_CPU_TARGET", "baseline")
    monkeypatch.setattr(threads, "_chosen", [])
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", "3")
    (tmp_path / "one.objects").write_bytes(bytes(2_000_000))
    assert "vectors of 128 bits" in state("backend cpu")
    assert state("threads").startswith("3 ")
    assert f"{tmp_path}: 1 file, 2.0 MB" in state("cache")


@needs_cpu
def test_doctor_reports_a_wrong_setting_instead_of_failing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIGRAD_CPU_TARGET", "pentium")
    monkeypatch.setattr(threads, "_chosen", [])
    monkeypatch.setenv("MINIGRAD_NUM_THREADS", "many")
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "not there yet"))
    assert "no CPU target 'pentium'" in state("backend cpu")
    assert "'many' is not a number of threads" in state("threads")
    assert "0 files" in state("cache")


def test_doctor_has_one_cure_for_all_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "sklearn", "networkx")
    text = doctor.report()
    assert "missing networkx: needed for pictures" in text
    assert "missing scikit-learn: needed for the bundled digits" in text
    assert text.endswith('-m pip install "minigrad[notebook,data]"')


def test_doctor_says_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"cpu": ((("numpy", "numpy"),), "numbers")})
    assert "to cure it" not in doctor.report()
    assert "nothing is missing" in doctor.report()


def test_an_error_of_the_command_line_names_no_line_of_the_interpreter(tmp_path: Path) -> None:
    code = (
        "import runpy, sys, minigrad.tour as t; t._NEEDED = ('nothing_of_this_name',); "
        f"sys.argv = ['minigrad', 'tour', '--out', {str(tmp_path)!r}]; "
        "runpy.run_module('minigrad', run_name='__main__')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 1
    assert "the tour needs nothing_of_this_name" in found.stderr
    assert "frozen" not in found.stderr
