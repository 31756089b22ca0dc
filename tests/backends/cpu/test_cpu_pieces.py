"""A text in pieces defines what the whole defines."""

from __future__ import annotations

import ctypes
import threading

import pytest

from minigrad.backends.cpu import jit, pieces
from minigrad.backends.cpu.pieces import functions, split

from .texts import adder, long_function

PROGRAM = """
@table = private unnamed_addr constant [4 x i64] [i64 3, i64 5, i64 7, i64 11]
declare i64 @llabs(i64)

define internal i64 @entry_of(i64 %i) nounwind {
  %p = getelementptr i64, ptr @table, i64 %i
  %v = load i64, ptr %p
  ret i64 %v
}

define internal { i64, i1 } @twice(i64 %x) #0 {
  %y = call { i64, i1 } @llvm.sadd.with.overflow.i64(i64 %x, i64 %x)
  ret { i64, i1 } %y
}
declare { i64, i1 } @llvm.sadd.with.overflow.i64(i64, i64)

define i64 @"first one"(i64 %i) #0 {
  %v = call i64 @entry_of(i64 %i)
  %t = call { i64, i1 } @twice(i64 %v)
  %r = extractvalue { i64, i1 } %t, 0
  ret i64 %r
}

define dso_local i64 @second(i64 %i) {
  %v = call i64 @"first one"(i64 %i)
  %n = sub i64 0, %v
  %w = call i64 @entry_of(i64 %i)
  %s = sub i64 %n, %w
  %a = call i64 @llabs(i64 %s)
  ret i64 %a
}

attributes #0 = { nounwind noinline }
!0 = !{}
"""


def test_functions_and_what_remains() -> None:
    found, rest = functions(PROGRAM)
    assert [(f.name, f.exported) for f in found] == [
        ("entry_of", False),
        ("twice", False),
        ("first one", True),
        ("second", True),
    ]
    assert found[1].declaration() == "declare { i64, i1 } @twice(i64 %x) #0 "
    assert "@table" in rest
    assert "attributes #0" in rest
    assert "define" not in rest


@pytest.mark.parametrize("lines", [1, 11, 15, 1000])
def test_pieces_compute_what_the_whole_computes(
    lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LINES", lines)
    monkeypatch.setattr(jit, "_loaded", {})
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", "")
    monkeypatch.setattr(jit.objects, "folder", lambda: None)
    assert len(split(PROGRAM)) == {1: 4, 11: 3, 15: 2, 1000: 1}[lines]
    found = jit.load(PROGRAM, ["first one", "second"])
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    assert [call(found["first one"])(i) for i in range(4)] == [6, 10, 14, 22]
    assert [call(found["second"])(i) for i in range(4)] == [9, 15, 21, 33]


def test_every_function_is_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(adder(f"f{i}", i) for i in range(100))
    monkeypatch.setattr(pieces, "LINES", 20)
    parts = split(text)
    names = [f.name for part in parts for f in functions(part)[0]]
    assert names == [f"f{i}" for i in range(100)]
    assert len(parts) == 20  # five to a piece


@pytest.mark.parametrize(
    "strange",
    [
        "@counter = global i64 0\n",  # a second copy of a variable would be another variable
        "@shared = constant i64 0\n",  # and of a visible constant, a second definition
        "define i64 @f0(i64 %x) {\n  ret i64 %x\n}\n",  # defined twice: LLVM will say so
        "define void @g()\n{\n  ret void\n}\n",
        'module asm "nop"\n',
    ],
)
def test_what_is_not_plain_stays_whole(strange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(adder(f"f{i}", i) for i in range(100)) + strange
    monkeypatch.setattr(pieces, "LINES", 20)
    assert split(text) == [text]


def test_several_threads_have_something_to_do() -> None:
    text = "".join(adder(f"f{i}", i) for i in range(1000))  # 4000 lines
    assert len(split(text)) == 2
    assert 6 <= len(split(text, 2)) <= 7
    assert 12 <= len(split(text, 100)) <= 14, "but not too small"


@pytest.mark.parametrize("locked", [False, True])
def test_side_by_side_gives_the_same_objects(locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with an llvmlite that does not let go of its lock."""
    if locked:
        monkeypatch.setattr(jit, "_emission", lambda: None)
    target = jit.host_target()
    text = "".join(long_function(f"f{i}", 100) for i in range(30))
    whole = []
    for part in split(text, 4):
        with jit._machine(target, 2) as machine, jit._module(part, target) as module:
            whole.append(machine.emit_object(module))
    assert len(whole) == 15
    for threads in (4, 1):
        monkeypatch.setattr(jit, "get_num_threads", lambda n=threads: n)
        monkeypatch.setattr(jit, "split", lambda text, _: split(text, 4))
        assert jit._compile(text, target, 2, threading.Event()) == whole
