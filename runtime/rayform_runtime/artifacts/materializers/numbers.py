"""Facts about many numbers: a few statistics and a histogram, in bounded time."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SAMPLE", "histogram_html", "statistics"]

SAMPLE = 100_000
"""Pictures of larger data are drawn from this many values, evenly spaced."""


def _finite(value: np.generic) -> float | int | None:
    number = value.item()
    if isinstance(number, bool | int):
        return int(number)
    return number if isinstance(number, float) and math.isfinite(number) else None


def statistics(array: np.ndarray) -> dict[str, object]:
    """Return `min`, `max` and `mean` of a NumPy array of real numbers, those of them that are finite.

    NaN is left out and counted as `nan`. An array of booleans has the number of `true` ones instead.
    """
    import numpy as np

    if array.size == 0 or array.dtype.kind not in "biuf":
        return {}
    with np.errstate(all="ignore"):
        return _statistics(array)


def _statistics(array: np.ndarray) -> dict[str, object]:
    import numpy as np

    if array.dtype.kind == "b":
        return {"true": int(np.count_nonzero(array))}
    facts: dict[str, object] = {}
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and np.isnan(low):
        missing = np.isnan(array)
        facts["nan"] = int(missing.sum())
        if facts["nan"] == array.size:
            return facts
        array = array[~missing]
        low, high = array.min(), array.max()
    mean = array.mean(dtype=np.float64)
    for name, value in (("min", low), ("max", high), ("mean", mean)):
        number = _finite(value)
        if number is not None:
            facts[name] = number
    return facts


def histogram_html(array: np.ndarray, title: str, *, bins: int = 40) -> str | None:
    """Return an HTML page with a histogram of a numeric array, or `None` if there is nothing to show."""
    import numpy as np

    if array.dtype.kind not in "iuf" or array.size < 2:
        return None
    flat = array.reshape(-1)
    sampled = flat.size > SAMPLE
    if sampled:
        flat = flat[:: -(-flat.size // SAMPLE)]
    with np.errstate(all="ignore"):
        flat = flat.astype(np.float64)
    flat = flat[np.isfinite(flat)]
    if flat.size < 2 or not math.isfinite(float(flat.max()) - float(flat.min())):
        return None
    counts, edges = np.histogram(flat, bins=bins)
    width, height = 640, 240
    step = width / bins
    bars = "".join(
        f'<rect x="{i * step:.1f}" y="{height - height * c / counts.max():.1f}" width="{step - 1:.1f}" '
        f'height="{height * c / counts.max():.1f}"><title>{edges[i]:.6g} to {edges[i + 1]:.6g}: {c}</title></rect>'
        for i, c in enumerate(counts.tolist())
    )
    note = f"{flat.size:,} of {array.size:,} values, evenly spaced" if sampled else f"{array.size:,} values"
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<h3>{html.escape(title)}</h3><p>{note}</p>"
        f'<svg viewBox="0 0 {width} {height + 20}" width="{width}" fill="#4c78a8" font-family="sans-serif" '
        f'font-size="12">{bars}<text x="0" y="{height + 16}" fill="#333">{edges[0]:.6g}</text>'
        f'<text x="{width}" y="{height + 16}" fill="#333" text-anchor="end">{edges[-1]:.6g}</text></svg>'
    )
