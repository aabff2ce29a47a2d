# ruff: noqa: E501
"""Stacks: deploy and destroy against bare Terraform of the same root module, the offline plan, kills.

The cloud is a moto server, so what is left is Terraform's work and waiting, and ours. The whole stack is deployed,
database and lifecycle rules included, whose waiting is the provider's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import command_seconds, row

ROOT = Path(__file__).resolve().parents[1]
KILL_POINTS = 20


def run() -> list[dict[str, Any]]:
    """Return the results."""
    return [offline_plan(), *against_bare_terraform(), kills()]


def offline_plan() -> dict[str, Any]:
    """How long `rayform stack plan --offline` takes, whole process."""
    with _home() as home:
        command = [sys.executable, "-m", "rayform.cli"]
        definition = home / "stack.yaml"
        subprocess.run(
            [*command, "stack", "init", str(definition), "--preset", "gpu"], check=True, capture_output=True
        )
        seconds = command_seconds([*command, "stack", "plan", str(definition), "--offline"], repeat=5, warm=1)
    return row("stack plan --offline", seconds, "s", bar=3.0)


def against_bare_terraform() -> list[dict[str, Any]]:
    """Deploy and destroy, and the same root module by Terraform alone."""
    from rayform_provisioner.definition import parse_located
    from rayform_provisioner.lifecycle import Lifecycle
    from rayform_provisioner.presets import preset
    from rayform_provisioner.targets import resolve_target
    from rayform_provisioner.terraform_settings import TerraformSettings

    with _home() as home, _moto(home) as endpoints:
        target = resolve_target(str(endpoints))
        loaded = parse_located(preset("gpu", stack="bench", allow=("203.0.113.7/32",)), "bench.yaml")
        stack = Lifecycle("bench", target)
        bare = home / "bare"
        exporter = Lifecycle("bare", target)
        exporter.export(
            parse_located(preset("gpu", stack="bare", allow=("203.0.113.7/32",)), "bare.yaml"), bare
        )
        settings = TerraformSettings()
        environment = settings.environment({**os.environ, **target.environment()})

        def terraform(*arguments: str) -> float:
            started = time.perf_counter()
            subprocess.run(
                [str(settings.binary()), *arguments],
                cwd=bare,
                env=environment,
                check=True,
                capture_output=True,
            )
            return time.perf_counter() - started

        terraform("init", "-input=false")
        bare_apply = terraform("apply", "-auto-approve", "-input=false")
        bare_destroy = terraform("destroy", "-auto-approve", "-input=false")

        started = time.perf_counter()
        stack.deploy(loaded, lambda summary: True)
        deploy = time.perf_counter() - started
        started = time.perf_counter()
        stack.destroy(lambda summary: True, delete_data=True)
        destroy = time.perf_counter() - started
    return [
        row("stack deploy", [deploy], "s", bar=1.05 * bare_apply + 1, baseline=bare_apply, baseline_name="terraform apply",
            note="with `terraform init`, which the baseline has done before"),
        row("stack destroy", [destroy], "s", bar=1.05 * bare_destroy + 1, baseline=bare_destroy, baseline_name="terraform destroy"),
    ]  # fmt: skip


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
    from support.moto_server import moto_server

    from rayform_provisioner.targets import SERVICES

    with moto_server(home / "moto.log") as url:
        path = home / "endpoints.json"
        path.write_text(json.dumps({"services": dict.fromkeys(SERVICES, url)}))
        yield path
