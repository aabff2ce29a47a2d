"""ZenML's constants that users' code reads."""

from __future__ import annotations

__all__ = ["DEFAULT_SERVICE_START_STOP_TIMEOUT", "ENV_ZENML_CONFIG_PATH"]

DEFAULT_SERVICE_START_STOP_TIMEOUT = 60
ENV_ZENML_CONFIG_PATH = "RAYFORM_HOME"
"""Rayform's own variable: the folder of its stacks and runs on this machine."""
