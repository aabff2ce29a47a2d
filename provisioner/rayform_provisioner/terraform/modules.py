"""Finds the Terraform modules and copies them into a stack's working folder."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from rayform_core.errors import IntegrityError
from rayform_core.files import make_private

__all__ = ["copy_modules", "modules_folder"]

MODULES = ("network", "bucket", "registry", "catalog", "compute")


def modules_folder() -> Path:
    """Return the folder with the modules: `_terraform` in an installed package, `terraform/` in a checkout.

    Raises:
        IntegrityError: neither exists.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "_terraform" / "modules", here.parent.parent / "terraform" / "modules"):
        if (folder / "aws" / "network" / "main.tf").is_file():
            return folder
    raise IntegrityError(
        "Rayform's Terraform modules are missing.",
        why=f"They are neither in {here} nor next to it.",
        hint="Install rayform again.",
    )


def copy_modules(provider: str, target: Path) -> str:
    """Copy the modules of `provider` to `target`, without their tests and examples, and return a digest of them.

    A file that has the same content already is left alone, so that Terraform sees no change.
    """
    source = modules_folder() / provider
    digest = hashlib.sha256()
    files: dict[Path, bytes] = {}
    for module in MODULES:
        for path in sorted((source / module).rglob("*")):
            inside = path.relative_to(source)
            if path.is_file() and not {"tests", "examples", ".terraform"} & set(inside.parts):
                files[inside] = path.read_bytes()
                digest.update(f"{inside}\0{len(files[inside])}\0".encode())
                digest.update(files[inside])
    for path in target.rglob("*") if target.exists() else ():
        if path.is_file() and path.relative_to(target) not in files:
            path.unlink()
    for inside, content in files.items():
        copy = target / inside
        if not copy.exists() or copy.read_bytes() != content:
            make_private(copy.parent)
            part = copy.with_suffix(copy.suffix + ".part")
            part.write_bytes(content)
            shutil.move(part, copy)
    return digest.hexdigest()
