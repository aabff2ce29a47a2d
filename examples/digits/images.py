"""Packages of the steps' images, for stacks that run steps in images; on a laptop they have no effect."""

from __future__ import annotations

from rayform import ImageSpec

_SKLEARN = ["scikit-learn>=1.5,<2", "skops>=0.11,<1", "numpy>=1.26,<3", "matplotlib>=3.9,<4"]

DIGITS = ImageSpec(requirements=_SKLEARN)
NETWORK = ImageSpec(requirements=["torch>=2.4,<3", "numpy>=1.26,<3", "safetensors>=0.5,<1"])
