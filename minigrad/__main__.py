"""The command line: ``python -m minigrad [tour | bench]``; alone, what is here and missing."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from minigrad.errors import MinigradError


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m minigrad", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("doctor", help="print versions, backends and what is missing (default)")
    tour = commands.add_parser("tour", help="run the tour notebook on the bundled digits")
    tour.add_argument("--out", type=Path, default=Path("minigrad-tour"), metavar="FOLDER")
    bench = commands.add_parser("bench", help="measure the workloads, a node, or a GPU")
    import_module("minigrad.bench.command").add_arguments(bench)
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen)
    except MinigradError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(chosen: argparse.Namespace) -> int:
    if chosen.command == "tour":
        return int(import_module("minigrad.tour").run(chosen.out))
    if chosen.command == "bench":
        import_module("minigrad.bench.command").run(chosen)
        return 0
    sys.stdout.write(import_module("minigrad.doctor").report() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
