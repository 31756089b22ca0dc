"""Optimisers (floor 7)."""
