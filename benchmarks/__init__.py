"""Measurements of Rayform against its bars: `python -m benchmarks`."""
