"""``python -m minigrad.bench graph``: what a node costs; ``... device``: what a GPU does."""

import sys

from . import device, graph

if __name__ == "__main__":
    if "device" in sys.argv[1:]:
        device.main([a for a in sys.argv[1:] if a != "device"])
    else:
        graph.main([a for a in sys.argv[1:] if a != "graph"])
