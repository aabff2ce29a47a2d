"""Prepares the process that step workers fork from, once for all of them and beyond its imports.

An environment variable says what to prepare. Nothing else of a run reaches that process before its first worker.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from rayform_runtime.components import ComponentKind, Stack, StackSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["preparation_of", "prepare_for_forks"]

_VARIABLE = "RAYFORM_STEP_ARTIFACT_STORE"


def preparation_of(stack: StackSpec) -> dict[str, str]:
    """Return the variable that lets the workers' parent prepare for a stack; it holds no secret.

    Args:
        stack: its artifact store is the one that the workers use.
    """
    kind = ComponentKind.ARTIFACT_STORE
    alone = StackSpec(name=stack.name, components={kind: stack.components[kind]})
    return {_VARIABLE: alone.model_dump_json(exclude_none=True)}


def prepare_for_forks(environment: Mapping[str, str] | None = None) -> bool:
    """Prepare what the variable asks for; return whether the variable is set.

    Args:
        environment: variables to read; this process's own by default.

    Raises:
        ValueError: `preparation_of` didn't write the variable.
    """
    text = (os.environ if environment is None else environment).get(_VARIABLE)
    if not text:
        return False
    Stack(StackSpec.model_validate(json.loads(text))).artifact_store.prepare_for_forks()
    return True
