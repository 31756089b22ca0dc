"""Layers (floor 6): compositions of primitives. Nothing here knows a gradient."""
