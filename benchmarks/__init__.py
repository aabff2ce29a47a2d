"""Measures Rayform and compares the numbers with its bars: `python -m benchmarks`."""
