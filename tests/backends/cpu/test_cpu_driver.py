"""The driver's text for machines that are not here: it compiles, with their instructions."""

from __future__ import annotations

import pytest

from minigrad.backends.cpu.driver import driver_text, has_futex
from minigrad.backends.cpu.target import llvm

MACHINES = [
    ("x86_64-unknown-linux-gnu", "linux", "pause", "syscall"),
    ("aarch64-unknown-linux-gnu", "linux", "yield", "syscall"),
    ("riscv64-unknown-linux-gnu", "linux", "", "syscall"),
    ("powerpc64le-unknown-linux-gnu", "linux", "", "nanosleep"),
    ("x86_64-apple-darwin23", "darwin", "pause", "nanosleep"),
    ("arm64-apple-darwin23", "darwin", "yield", "nanosleep"),
]


@pytest.mark.parametrize(("triple", "system", "pause", "sleep"), MACHINES)
def test_the_driver_compiles_for_every_machine(
    triple: str, system: str, pause: str, sleep: str
) -> None:
    binding = llvm()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    arch = triple.partition("-")[0]
    text = driver_text(arch, system, futex=has_futex(arch, system), python=True)
    module = binding.parse_assembly(text)
    try:
        machine = binding.Target.from_triple(triple).create_target_machine(
            reloc="pic", codemodel="default"
        )
    except RuntimeError:
        pytest.skip(f"this LLVM does not write code for {arch}")
    module.triple = triple
    module.verify()
    listing = machine.emit_assembly(module)
    assert pause in listing
    assert sleep in listing
    assert ("sched_setaffinity" in listing) == (sleep == "syscall")
