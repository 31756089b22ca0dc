"""Benchmarks of minigrad by itself: ``python -m minigrad bench``."""
