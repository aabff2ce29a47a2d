"""The public import path of `configuration_schema`; its code is in `rayform.authoring.configuration`."""

from __future__ import annotations

from rayform.authoring.configuration import configuration_schema

__all__ = ["configuration_schema"]
