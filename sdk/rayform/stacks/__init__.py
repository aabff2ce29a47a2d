"""Registered stacks and profiles, and which stack is active.

A stack is a file in its profile's folder that names one component of each kind. The `default` stack (local
orchestrator, store and catalog under `$RAYFORM_HOME/local`) always exists and needs no file.

The active stack is the first of these that is set: the `--stack` option or the `name` argument; `$RAYFORM_STACK`; the
pin in the working folder or in the nearest folder above it (`rayform stack set NAME --here`); the active stack of the
profile; `default`. The active profile is the first of these: `$RAYFORM_PROFILE`; the pin; the profile that
`rayform profile set` has set; `default`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rayform.stacks.active import (
    ActiveStack,
    active_record,
    active_stack,
    active_stack_name,
    set_active_stack,
)
from rayform.stacks.profiles import (
    active_profile,
    create_profile,
    delete_profile,
    list_profiles,
    profile_target,
    set_active_profile,
    set_profile_target,
)
from rayform.stacks.registered import StackRecord, get_stack, list_stacks, read_stack, stack_names

if TYPE_CHECKING:
    from rayform.stacks.changing import copy_stack, delete_stack, register_stack, rename_stack, update_stack
    from rayform.stacks.deployed import refuse_taken_name, register_deployed, unregister_deployed
    from rayform.stacks.portable import export_requirements, export_stack, import_stack

__all__ = [
    "ActiveStack",
    "StackRecord",
    "active_profile",
    "active_record",
    "active_stack",
    "active_stack_name",
    "copy_stack",
    "create_profile",
    "delete_profile",
    "delete_stack",
    "export_requirements",
    "export_stack",
    "get_stack",
    "import_stack",
    "list_profiles",
    "list_stacks",
    "profile_target",
    "read_stack",
    "refuse_taken_name",
    "register_deployed",
    "register_stack",
    "rename_stack",
    "set_active_profile",
    "set_active_stack",
    "set_profile_target",
    "stack_names",
    "unregister_deployed",
    "update_stack",
]

# What changes stacks is imported when it is first used, since no run needs it.
_HOMES = {
    "copy_stack": "changing",
    "delete_stack": "changing",
    "export_requirements": "portable",
    "export_stack": "portable",
    "import_stack": "portable",
    "refuse_taken_name": "deployed",
    "register_deployed": "deployed",
    "register_stack": "changing",
    "rename_stack": "changing",
    "unregister_deployed": "deployed",
    "update_stack": "changing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"rayform.stacks.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
