"""The arguments of ``python -m minigrad bench`` and ``python -m minigrad.bench``."""

from __future__ import annotations

import argparse
from importlib import import_module

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the benchmarks take."""
    parser.add_argument(
        "what", nargs="*", metavar="WHAT",
        help="cpu (default): the workloads on this machine's cores, or those named, as in cpu W1 "
        "W7; graph [N]: what a node costs, in a chain of N; device [kernels | steps | "
        "peers]: what a GPU does, and the same steps by the other libraries that are installed",
    )  # fmt: skip
    parser.add_argument("--backend", choices=("cpu", "cupy"), help="cupy is the same as device")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each workload on the CPU")
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")


def run(chosen: argparse.Namespace) -> None:
    """Run the benchmark that was asked for."""
    kind, *rest = chosen.what or ["cpu"]
    if chosen.backend == "cupy":
        import_module("minigrad.bench.device").main([a for a in chosen.what if a != "device"])
    elif kind == "device":
        import_module("minigrad.bench.device").main(rest)
    elif kind == "graph" or kind.isdigit():
        numbers = chosen.what if kind.isdigit() else rest
        import_module("minigrad.bench.graph").main([*numbers, *["--json"] * chosen.json])
    else:
        import_module("minigrad.bench.cpu").main(
            rest if kind == "cpu" else chosen.what, seconds=chosen.seconds, as_json=chosen.json
        )
