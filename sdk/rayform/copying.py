"""The public import path of `copy_model_version`; its code is in `rayform.reading.copying`."""

from __future__ import annotations

from rayform.reading.copying import copy_model_version

__all__ = ["copy_model_version"]
