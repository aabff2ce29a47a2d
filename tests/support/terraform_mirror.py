"""Finds a folder of Terraform providers on this machine, so that tests need no registry."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

SKIPPED = ("/proc", "/sys", "/dev", "/run", "/tmp")


@functools.cache
def provider_mirror() -> str | None:
    """Return the root of a provider mirror, or `None` if there is none.

    The mirror is found by the file name of the AWS provider. Without one, Terraform fetches the provider itself.
    """
    mirror = os.environ.get("RAYFORM_TERRAFORM_MIRROR")
    if mirror:
        return mirror
    prune = " -o ".join(f"-path {path}" for path in SKIPPED).split()
    command = ["find", "/", "-maxdepth", "8", "(", *prune, ")", "-prune", "-o"]
    command += [
        "-name",
        "terraform-provider-aws_v5*",
        "-not",
        "-path",
        "*/.terraform/*",
        "-type",
        "f",
        "-print",
        "-quit",
    ]
    files = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        return None
    # HOST/NAMESPACE/TYPE/VERSION/PLATFORM/file
    root = Path(files[0]).parents[5]
    return str(root) if (root / "registry.terraform.io").is_dir() else None
