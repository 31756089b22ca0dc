"""Floor 3: graph to graph, with the same meaning."""

from minigrad.core.late import bind

from .pipeline import finalise, simplify
from .rules import RULES

__all__ = ["RULES", "finalise", "simplify"]

bind("graph.simplify", simplify)
