"""Registered stacks and profiles, and which stack is active.

A stack is a file in its profile's folder that names one component of each kind. The `default` stack (local
orchestrator, store and catalog under `$RAYFORM_HOME/local`) always exists and needs no file.

The active stack is the first of these that is set: the `--stack` option or the `name` argument; `$RAYFORM_STACK`; the
pin in the working folder or in the nearest folder above it (`rayform stack set NAME --here`); the active stack of the
profile; `default`. The active profile is the first of these: `$RAYFORM_PROFILE`; the pin; the profile that
`rayform profile set` has set; `default`.
"""

from rayform.stacks.active import (
    ActiveStack,
    active_record,
    active_stack,
    active_stack_name,
    set_active_stack,
)
from rayform.stacks.changing import copy_stack, delete_stack, register_stack, rename_stack, update_stack
from rayform.stacks.deployed import refuse_taken_name, register_deployed, unregister_deployed
from rayform.stacks.portable import export_requirements, export_stack, import_stack
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
