"""Fills a folder with the root module of a stack: `main.tf.json`, the modules, and the machines' wheel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rayform_core.files import private_folder, write_atomically
from rayform_core.wheel import build_wheel
from rayform_provisioner.clouds import Resolution
from rayform_provisioner.definitions.definition import StackDefinition
from rayform_provisioner.targets import Target
from rayform_provisioner.terraform.modules import copy_modules
from rayform_provisioner.terraform.render import render, render_state_target, render_target, to_json

__all__ = ["ADOPT_FILE", "fill", "write_root"]

ADOPT_FILE = "adopt.tf.json"
"""Import blocks for what a crash kept out of the state; the file exists for one apply."""


def fill(
    folder: Path,
    definition: StackDefinition,
    resolution: Resolution,
    target: Target,
    *,
    same_wheel: bool = False,
) -> str:
    """Write the root module of `definition` into `folder`; return a digest that changes when `init` must run again.

    Args:
        folder: the working folder.
        definition: the stack's definition.
        resolution: what the definition leaves open.
        target: the cloud.
        same_wheel: keep the wheel that is there: a newer Rayform on this machine must not look like drift.
    """
    root = render(definition, resolution)
    if not (same_wheel and (folder / "bootstrap" / resolution.wheel).exists()):
        build_wheel(private_folder(folder) / "bootstrap")
    return write_root(folder, root, definition.provider, target)


def write_root(
    folder: Path, root: dict[str, Any], provider: str, target: Target, *, keep: bool = False
) -> str:
    """Write the root module `root` and the modules that it may call into `folder`; return the digest of `fill`.

    Args:
        folder: the working folder.
        root: the root module.
        provider: the cloud's name.
        target: the cloud.
        keep: the root calls no module, so leave out overrides of module calls.
    """
    private_folder(folder)
    modules = copy_modules(provider, folder / "modules" / provider)
    overrides = render_target(target)
    if keep:
        overrides = {
            name: {key: part for key, part in document.items() if key not in ("module", "locals")}
            for name, document in overrides.items()
        }
    backend = root["terraform"]["backend"]
    if target.emulated and "s3" in backend:
        overrides["target_override.tf.json"]["terraform"] = {"backend": render_state_target(backend, target)}
    for path in [*folder.glob("*_override.tf.json"), folder / ADOPT_FILE]:
        path.unlink(missing_ok=True)
    for name, document in overrides.items():
        write_atomically(folder / name, to_json(document))
    write_atomically(folder / "main.tf.json", to_json(root))
    parts = [modules, to_json(root["terraform"]), ",".join(sorted(root.get("module", {})))]
    if root["terraform"]["backend"].get("s3"):
        parts.append(str(sorted(target.endpoints.items())))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
