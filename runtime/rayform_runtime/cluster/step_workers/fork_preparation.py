"""What a process that step workers fork from does once for all of them, beyond imports.

A variable tells it, since nothing else of a run reaches that process before its first worker does.
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
    """Return the variable that lets workers' parents prepare for this stack; it holds no secret.

    Args:
        stack: whose artifact store the workers will use.
    """
    kind = ComponentKind.ARTIFACT_STORE
    alone = StackSpec(name=stack.name, components={kind: stack.components[kind]})
    return {_VARIABLE: alone.model_dump_json(exclude_none=True)}


def prepare_for_forks(environment: Mapping[str, str] | None = None) -> bool:
    """Do what the variable asks for; return whether there was one.

    Args:
        environment: instead of this process's own variables.

    Raises:
        ValueError: the variable isn't what `preparation_of` wrote.
    """
    text = (os.environ if environment is None else environment).get(_VARIABLE)
    if not text:
        return False
    Stack(StackSpec.model_validate(json.loads(text))).artifact_store.prepare_for_forks()
    return True
