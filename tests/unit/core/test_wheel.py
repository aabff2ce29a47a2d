"""Rayform's own wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile

from rayform_core.wheel import build_wheel, wheel_name


def test_same_sources_give_the_same_wheel(tmp_path):
    """Two builds of the same sources have the same bytes, so a deploy with no change uploads nothing."""
    first = build_wheel(tmp_path / "a").read_bytes()
    assert build_wheel(tmp_path / "b").read_bytes() == first
    before = (tmp_path / "a" / wheel_name()).stat().st_mtime_ns
    build_wheel(tmp_path / "a")
    assert (tmp_path / "a" / wheel_name()).stat().st_mtime_ns == before


def test_builds_into_one_folder_at_once_leave_one_wheel(tmp_path):
    """Runs that start together each get the whole wheel, and no part is left."""
    program = (
        "import sys; from pathlib import Path; from rayform_core.wheel import build_wheel; "
        "build_wheel(Path(sys.argv[1]))"
    )
    for _ in range(2):
        builds = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for build in builds:
            assert build.communicate(timeout=60)[1] == ""
            assert build.returncode == 0
        assert [path.name for path in tmp_path.iterdir()] == [wheel_name()]
        with zipfile.ZipFile(tmp_path / wheel_name()) as archive:
            assert archive.testzip() is None


def test_wheel_holds_all_rooms_and_the_modules(tmp_path):
    """The wheel holds every room and the Terraform modules, and none of their tests."""
    with zipfile.ZipFile(build_wheel(tmp_path)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    for wanted in ("rayform/__init__.py", "rayform_runtime/spec.py", "rayform_core/errors.py"):
        assert wanted in names
    assert "rayform_provisioner/_terraform/modules/aws/network/main.tf" in names
    assert not [name for name in names if "/tests/" in name or "__pycache__" in name]


def test_pip_installs_the_wheel(tmp_path):
    """pip installs the wheel, and its command line runs from there."""
    wheel = build_wheel(tmp_path / "dist")
    target = tmp_path / "target"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import rayform, rayform_provisioner.terraform.modules as m; "
        "assert rayform.__file__.startswith(sys.argv[1]); print(m.modules_folder())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], check=True, capture_output=True, text=True
    )
    assert "_terraform" in done.stdout
