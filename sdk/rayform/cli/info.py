"""`rayform info` and `rayform version`: facts for bug reports, without secrets."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import click

from rayform.cli.output import echo, json_option, print_json, print_pairs
from rayform_core.version import __version__

__all__ = ["info", "version"]

_PACKAGES = (
    "pydantic", "sqlalchemy", "click", "ray", "boto3", "google-cloud-storage", "docker", "psycopg",
    "python-terraform", "numpy", "pandas", "torch",
)  # fmt: skip
# A list of names, not the prefix RAYFORM_: another variable may hold a secret one day.
_VARIABLES = (
    "RAYFORM_HOME", "RAYFORM_STACK", "RAYFORM_PROFILE", "RAYFORM_LOGGING_VERBOSITY", "RAYFORM_DEBUG", "NO_COLOR",
)  # fmt: skip


@click.command()
@json_option
def version(json_wanted: bool) -> None:
    """Print Rayform's version."""
    if json_wanted:
        print_json({"version": __version__})
    else:
        echo(__version__)


@click.command()
@json_option
def info(json_wanted: bool) -> None:
    """Show versions, paths and the active stack, for bug reports; no secrets."""
    facts = _facts()
    if json_wanted:
        print_json(facts)
        return
    pairs = []
    for key, value in facts.items():
        if isinstance(value, dict):
            pairs.append((key.replace("_", " "), "\n".join(f"{k}: {v}" for k, v in value.items())))
        else:
            pairs.append((key.replace("_", " "), str(value)))
    print_pairs(pairs)


def _facts() -> dict[str, object]:
    from rayform import stacks
    from rayform_core.errors import RayformError
    from rayform_core.files import home

    facts: dict[str, object] = {
        "rayform": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "home": str(home()),
        "installed_at": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),  # noqa: PTH100, PTH120
    }
    try:
        active = stacks.active_stack_name()
        facts |= {"profile": active.profile, "stack": active.name, "stack_set_by": active.source}
        facts["components"] = dict(stacks.read_stack(active.name).components)
    except RayformError as error:
        facts["stack_problem"] = str(error)
    facts["packages"] = {name: _installed(name) for name in _PACKAGES}
    facts["variables"] = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    return facts


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
