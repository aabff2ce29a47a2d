"""Real LocalStack for `--engine localstack`: in an environment of its own, with the packages of its release date.

The API process runs inside that environment, so LocalStack and its fork of moto share one state. LocalStack answers
the services of its open edition; the fork answers ECR, RDS, auto-scaling and the rest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import rayform_core
import rayform_localstack
from rayform_core.errors import PrerequisiteError
from rayform_core.files import file_lock, private_folder

__all__ = ["RELEASED", "VERSION", "ensure_localstack", "localstack_environment"]

VERSION = "4.9.2"
RELEASED = "2025-10-12"
"""LocalStack pins few of its packages. It was tested with those of its release date."""


def _home() -> Path:
    cache = os.environ.get("RAYFORM_CACHE")
    return (Path(cache) if cache else Path.home() / ".cache" / "rayform") / f"localstack-{VERSION}"


def ensure_localstack(report: object = None) -> Path:
    """Return the Python that has LocalStack, installed on first use (about a minute).

    Raises:
        PrerequisiteError: `uv` is missing, or the packages can't be installed.
    """
    home = _home()
    python, complete, served = home / "bin" / "python", home / ".complete", home / ".with-server"
    if complete.exists() and served.exists() and python.exists():
        return python
    uv = _uv()
    if callable(report):
        report(f"Installing LocalStack {VERSION} into an environment of its own (once)")
    private_folder(home.parent)
    with file_lock(home.parent / f"localstack-{VERSION}.lock", timeout=600, what="The set-up of LocalStack"):
        if not complete.exists():
            shutil.rmtree(home, ignore_errors=True)
            base = getattr(sys, "_base_executable", sys.executable)
            _run([uv, "venv", "--quiet", "--python", base, str(home)])
            _install(uv, python, f"localstack-core[runtime]=={VERSION}")
            complete.touch()
        if not served.exists():
            # The packages of moto's server, which the fork lacks. They are a step of their own, since tests that use
            # LocalStack alone share the first step.
            _install(uv, python, "flask", "flask-cors")
            served.touch()
    return python


def _uv() -> str:
    own = Path(sys.executable).parent / "uv"
    bootstrap = Path(__file__).resolve().parents[2] / ".bootstrap" / "bin" / "uv"
    for candidate in (shutil.which("uv"), own, bootstrap):
        if candidate and Path(candidate).exists():
            return str(candidate)
    raise PrerequisiteError(
        "Installing LocalStack needs uv, which can install the packages of a past date.",
        hint="Install it (pip install uv), or use the default engine: rayform localstack up --engine moto.",
    )


def _install(uv: str, python: Path, *packages: str) -> None:
    _run([uv, "pip", "install", "--quiet", "--python", str(python), "--exclude-newer", RELEASED, *packages])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PrerequisiteError(
            "LocalStack can't be installed.",
            why=done.stderr.strip()[-500:],
            hint="Check that the package index can be reached, or use --engine moto.",
        )


def localstack_environment(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the environment for LocalStack's Python, which makes only two of Rayform's packages importable."""
    packages = private_folder(folder / "packages")
    for module in (rayform_core, rayform_localstack):
        source = Path(str(module.__file__)).resolve().parent
        link = packages / source.name
        if link.is_symlink() and link.readlink() != source:
            link.unlink()
        if not link.is_symlink():
            link.symlink_to(source)
    return {**environment, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
