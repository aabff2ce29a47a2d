"""The seam for a cloud: what is behind it, and what stays out of the way until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rayform_core.errors import NotFoundError
from rayform_provisioner.clouds import Cloud, cloud_of


def test_aws_implements_the_whole_seam():
    """The module of AWS has every function that a cloud must have, and no other public one."""
    needed = {name for name in vars(Cloud) if not name.startswith("_")}
    aws = cloud_of("aws")
    assert set(aws.__all__) == needed
    assert all(callable(getattr(aws, name)) for name in needed)


def test_an_unknown_cloud_names_those_that_exist():
    """A provider that Rayform doesn't know is an error with the known ones."""
    with pytest.raises(NotFoundError, match="aws"):
        cloud_of("azure")


def test_the_seam_imports_a_cloud_only_when_it_is_used():
    """Importing the life of a stack imports neither AWS's modules nor its SDK."""
    code = (
        "import sys, rayform_provisioner.lifecycle; "
        "print([name for name in sys.modules if name.startswith(('rayform_provisioner.aws', 'boto'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
