"""``python -m minigrad.bench graph``: what a node costs."""

import sys

from . import graph

if __name__ == "__main__":
    graph.main([a for a in sys.argv[1:] if a != "graph"])
