"""The Terraform modules: format, validity, their own tests, their READMEs, checkov, valid definitions by the batch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from support.definitions import definitions
from support.terraform_mirror import provider_mirror

from rayform_provisioner.clouds import Resolution
from rayform_provisioner.definitions.definition import parse_definition
from rayform_provisioner.definitions.presets import PRESETS, preset
from rayform_provisioner.terraform.modules import MODULES, copy_modules, modules_folder
from rayform_provisioner.terraform.render import render, to_json
from rayform_provisioner.terraform.runner import Terraform
from rayform_provisioner.terraform.settings import TerraformSettings

pytestmark = [pytest.mark.terraform, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[3]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvXQ9nS3sRrPZ2W4qvC3YVtKx4bXk9Xn4V1yXjJ0aZP demo"
BATCH = int(os.environ.get("RAYFORM_VALIDATED_DEFINITIONS", "60"))
"""Definitions that Terraform itself validates: 60 in the suite, 500 by hand where the bar is measured."""
A_ROOT = 60
"""Definitions to a root module: Terraform's time grows faster than their number."""


@pytest.fixture
def terraform_settings(stack_home):
    """Terraform with the machine's mirror."""
    return TerraformSettings(mirror=provider_mirror())


def run(settings, folder, *arguments):
    """Run Terraform in a folder."""
    return subprocess.run(
        [str(settings.binary()), *arguments],
        cwd=folder,
        env=settings.environment(dict(os.environ)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_modules_are_formatted(terraform_settings):
    """`terraform fmt` would change nothing."""
    done = run(terraform_settings, modules_folder(), "fmt", "-check", "-recursive")
    assert done.returncode == 0, done.stdout


def test_readmes_are_up_to_date():
    """Each README's tables are generated from the module as it is."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "module_docs.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_module_passes_its_own_tests(terraform_settings, tmp_path, module):
    """`terraform test` passes with a mocked provider, and the example validates."""
    folder = tmp_path / module
    shutil.copytree(modules_folder() / "aws" / module, folder)
    done = run(terraform_settings, folder, "init", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(terraform_settings, folder, "test", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    example = folder / "examples" / "basic"
    shutil.copytree(folder / ".terraform" / "providers", example / ".terraform" / "providers", symlinks=True)
    shutil.copy(folder / ".terraform.lock.hcl", example)
    assert run(terraform_settings, example, "init", "-no-color").returncode == 0
    assert json.loads(run(terraform_settings, example, "validate", "-json").stdout)["valid"]


def resolution(definition):
    """What the cloud would have decided."""
    images = dict.fromkeys(("head", *definition.compute.workers), "ami-0123456789abcdef0")
    return Resolution("demo-1a2b3c4d", KEY, ("eu-central-1a", "eu-central-1b"), images, wheel="rayform.whl")


@pytest.mark.timeout(600 + 6 * BATCH)
def test_valid_definitions_validate_in_terraform(terraform_settings, tmp_path):
    """Definitions of every shape, many module calls to a root, pass `terraform validate`."""
    collected = []

    @settings(
        max_examples=BATCH, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(definitions())
    def collect(data):
        definition = parse_definition(yaml.safe_dump(data, allow_unicode=True))
        collected.append(render(definition, resolution(definition)))

    collect()
    assert len(collected) >= BATCH * 0.9
    for start in range(0, len(collected), A_ROOT):
        folder = tmp_path / f"from_{start}"
        folder.mkdir()
        write_batch(folder, collected[start : start + A_ROOT])
        terraform = Terraform(folder, terraform_settings)
        terraform.prepare("batch")
        assert [d for d in terraform.validate_folder() if d.severity == "error"] == []


def write_batch(folder, rendered):
    """Write one root module that holds many rendered definitions: names get a number, references follow."""
    copy_modules("aws", folder / "modules" / "aws")
    (folder / "bootstrap").mkdir()
    (folder / "bootstrap" / "rayform.whl").write_bytes(b"")
    root: dict = {"locals": {"endpoints": {}}, "module": {}, "output": {}}
    for number, one in enumerate(rendered):
        text = to_json({key: one[key] for key in ("locals", "module", "output")})
        for module in MODULES:
            text = text.replace(f"module.{module}.", f"module.{module}_{number}.")
        text = text.replace("local.stack", f"local.stack_{number}")
        part = json.loads(text)
        root["locals"][f"stack_{number}"] = part["locals"]["stack"]
        root["module"] |= {f"{name}_{number}": call for name, call in part["module"].items()}
        root["output"] |= {f"{name}_{number}": value for name, value in part["output"].items()}
    root |= {key: rendered[0][key] for key in ("terraform", "provider", "ephemeral")}
    root["terraform"]["backend"] = {"local": {}}
    (folder / "main.tf.json").write_text(to_json(root))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_checkov_finds_nothing_in_a_preset(tmp_path, name):
    """checkov passes on what each preset renders to, modules and all."""
    done = subprocess.run(
        [ROOT / "scripts" / "setup_checkov.sh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    definition = parse_definition(preset(name, allow=("203.0.113.7/32",)))
    copy_modules("aws", tmp_path / "modules" / "aws")
    (tmp_path / "main.tf.json").write_text(to_json(render(definition, resolution(definition))))
    command = [
        done.stdout.strip().splitlines()[-1],
        "-d",
        str(tmp_path),
        "--framework",
        "terraform",
        "--skip-download",
        "-o",
        "json",
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(found.stdout)
    summary = report["summary"]
    assert summary["failed"] == 0, [check["check_id"] for check in report["results"]["failed_checks"]]
    assert summary["passed"] > 100
    assert summary["parsing_errors"] == 0
    for check in report["results"]["skipped_checks"]:
        assert check["check_result"]["suppress_comment"], check["check_id"]
