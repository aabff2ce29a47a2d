"""What a machine runs at its first boot, run for real against folders of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayform_provisioner.terraform.modules import modules_folder

TEMPLATES = modules_folder() / "aws" / "compute" / "templates"


def rendered(role, **values):
    """Render a template as Terraform would."""
    text = (TEMPLATES / f"{role}.sh.tftpl").read_text()
    for name, value in {**values, "boot": (TEMPLATES / "boot.sh").read_text()}.items():
        text = text.replace("${" + name + "}", value)
    return text


@pytest.mark.parametrize("role", ["head", "worker"])
def test_user_data_is_sound_and_small(role):
    """User data is a script that bash can read, well under EC2's 16 KB, with nothing left to fill in."""
    text = rendered(
        role,
        reference="demo-1a2b3c4d",
        region="eu-central-1",
        bucket="b",
        endpoints="{}",
        group="gpu",
        head="10.0.0.4",
    )
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert len(text) < 12_000
    inner = text.split("<<'BOOT'\n")[1].split("\nBOOT\n")[0]
    assert subprocess.run(["bash", "-n"], input=inner, text=True).returncode == 0
    assert "${group}" not in text.replace("${role}", "")


def test_fetching_is_tried_again_until_it_works(tmp_path):
    """A role that is too fresh fails the first fetch; the next try fetches for real."""
    script = (TEMPLATES / "boot.sh").read_text()
    fetch = script.split("<<'PYTHON'\n")[1].split("\nPYTHON\n")[0]
    fetch = fetch.replace("/etc/rayform", str(tmp_path / "etc")).replace(
        "/opt/rayform", str(tmp_path / "opt")
    )
    (tmp_path / "etc").mkdir()
    (tmp_path / "opt" / "bootstrap").mkdir(parents=True)
    node = {"role": "worker", "group": "gpu", "region": "eu-central-1", "bucket": "b", "endpoints": {}}
    (tmp_path / "etc" / "node.json").write_text(json.dumps(node))
    # boto3 as the boundary: the first call is refused, as a fresh role's is.
    (tmp_path / "boto3.py").write_text(
        f"""
import pathlib
class Client:
    def get_paginator(self, name):
        flag = pathlib.Path({str(tmp_path / "tried")!r})
        if not flag.exists():
            flag.touch()
            raise RuntimeError("AccessDenied")
        return self
    def paginate(self, **kwargs):
        yield {{"Contents": [{{"Key": "system/bootstrap/stack.json"}}]}}
    def download_file(self, bucket, key, path):
        pathlib.Path(path).write_text('{{"name": "demo"}}')
def client(*args, **kwargs):
    return Client()
"""
    )
    (tmp_path / "fetch.py").write_text(fetch)
    retry = script[script.index("retry()") : script.index("\n}\n", script.index("retry()")) + 3]
    command = f"set -euo pipefail\n{retry}\nretry {sys.executable} {tmp_path / 'fetch.py'}"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "AccessDenied" in done.stderr
    stack = json.loads(Path(tmp_path / "etc" / "stack.json").read_text())
    assert (stack["name"], stack["node"]["group"]) == ("demo", "gpu")
    assert 'retry "$fetcher" /opt/rayform/fetch.py' in script
