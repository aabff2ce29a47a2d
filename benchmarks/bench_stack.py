# ruff: noqa: E501
"""Stacks: deploy and destroy compared with bare Terraform on the same root module, the offline plan, and kills.

The cloud is a moto server, so the time is Terraform's and Rayform's own. The whole stack is deployed, with database
and lifecycle rules; the provider itself waits for these.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import command_seconds, row

if TYPE_CHECKING:
    from rayform_provisioner.definitions.definition import LoadedDefinition

ROOT = Path(__file__).resolve().parents[1]
KILL_POINTS = 20
PAIRS = 2


def run() -> list[dict[str, Any]]:
    """Return the results."""
    return [offline_plan(), *against_bare_terraform(), kills()]


def offline_plan() -> dict[str, Any]:
    """Measure the whole process of `rayform stack plan --offline`."""
    with _home() as home:
        command = [sys.executable, "-m", "rayform.cli"]
        definition = home / "stack.yaml"
        subprocess.run(
            [*command, "stack", "init", str(definition), "--preset", "gpu"], check=True, capture_output=True
        )
        seconds = command_seconds([*command, "stack", "plan", str(definition), "--offline"], repeat=5, warm=1)
    return row("stack plan --offline", seconds, "s", bar=3.0)


def against_bare_terraform() -> list[dict[str, Any]]:
    """Measure deploy and destroy by Terraform alone, on an exported root module, and by Rayform, in turns."""
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_provisioner.targets import resolve_target
    from rayform_provisioner.terraform.settings import TerraformSettings

    bare: list[tuple[float, float]] = []
    ours: list[tuple[float, float]] = []
    with _home() as home, _moto(home) as endpoints:
        target = resolve_target(str(endpoints))
        settings = TerraformSettings()
        environment = settings.environment({**os.environ, **target.environment()})

        def terraform(folder: Path, *arguments: str) -> float:
            started = time.perf_counter()
            subprocess.run(
                [str(settings.binary()), *arguments],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
            )
            return time.perf_counter() - started

        for number in range(PAIRS):
            folder = home / f"bare{number}"
            Lifecycle(f"bare{number}", target).export(_definition(f"bare{number}"), folder)
            apply_seconds = terraform(folder, "init", "-input=false")
            apply_seconds += terraform(folder, "apply", "-auto-approve", "-input=false")
            bare.append((apply_seconds, terraform(folder, "destroy", "-auto-approve", "-input=false")))

            # Two objects, each with its own settings, as two commands have them.
            started = time.perf_counter()
            stack = Lifecycle(f"ours{number}", target, settings=TerraformSettings())
            stack.deploy(_definition(f"ours{number}"), lambda summary: True)
            deployed = time.perf_counter()
            stack = Lifecycle(f"ours{number}", target, settings=TerraformSettings())
            stack.destroy(lambda summary: True, delete_data=True)
            ours.append((deployed - started, time.perf_counter() - deployed))
    results = []
    for index, (what, baseline_name) in enumerate(
        (("stack deploy", "terraform init and apply"), ("stack destroy", "terraform destroy"))
    ):
        alone, with_us = [pair[index] for pair in bare], [pair[index] for pair in ours]
        ratios = ", ".join(f"{mine / theirs:.3f}" for mine, theirs in zip(with_us, alone, strict=True))
        usual = statistics.median(alone)
        results.append(
            row(what, with_us, "s", bar=1.05 * usual + 1, baseline=usual, baseline_name=baseline_name,
                note=f"pair by pair: {ratios}")
        )  # fmt: skip
    return results


def _definition(name: str) -> LoadedDefinition:
    from rayform_provisioner.definitions.definition import parse_located
    from rayform_provisioner.definitions.presets import preset

    return parse_located(preset("gpu", stack=name, allow=("203.0.113.7/32",)), f"{name}.yaml")


def kills() -> dict[str, Any]:
    """Kill deploys and destroys at twenty random moments; the value is how many resources were left, or -1."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", "killed_at_random", "tests/integration/provisioner/test_stack_kills.py"]  # fmt: skip
    environment = {**os.environ, "RAYFORM_KILL_POINTS": str(KILL_POINTS)}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    note = f"{KILL_POINTS} kills in {time.perf_counter() - started:.0f} s: {done.stdout.strip().splitlines()[-1]}"
    return row("resources left after kills", [0 if done.returncode == 0 else -1], "", bar=0, note=note)


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    before = {key: os.environ.get(key) for key in ("RAYFORM_HOME", "RAYFORM_TERRAFORM_MIRROR")}
    folder = Path(tempfile.mkdtemp(prefix="rayform-bench-"))
    os.environ["RAYFORM_HOME"] = str(folder / "home")
    sys.path.insert(0, str(ROOT / "tests"))
    from support.terraform_mirror import provider_mirror

    mirror = provider_mirror()
    if mirror:
        os.environ["RAYFORM_TERRAFORM_MIRROR"] = mirror
    try:
        yield folder
    finally:
        sys.path.remove(str(ROOT / "tests"))
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _moto(home: Path) -> Iterator[Path]:
    from support.servers.moto import moto_server

    from rayform_provisioner.targets import SERVICES

    with moto_server(home / "moto.log") as url:
        path = home / "endpoints.json"
        path.write_text(json.dumps({"services": dict.fromkeys(SERVICES, url)}))
        yield path
