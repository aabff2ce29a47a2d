"""The raylet's way into a worker of a step image, and into any other: real processes and Ray's own context."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ray._private.parameter import RayParams
from ray._private.runtime_env.context import RuntimeEnvContext

from rayform_runtime.cluster.step_workers import setup_worker, start_hook
from rayform_runtime.cluster.step_workers.image_plugin import StepImagePlugin

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


def set_up(context: RuntimeEnvContext, path: Path, language: str = "PYTHON") -> tuple[str, str]:
    """Run the set-up as a raylet does; return what the worker said, and which modules the set-up imported."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        setup_worker.__file__,
        "/ray/default_worker.py",
        "--node-id=a b",
    ]
    command += [f"--language={language}", f"--serialized-runtime-env-context={context.serialize()}"]
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "RAYFORM_STEP_FORKS": str(path / "forks")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.fixture
def docker(tmp_path):
    """A folder with a `docker` that can run no server, and says what it was to run otherwise."""
    program = tmp_path / "docker"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "if '--detach' in sys.argv: sys.exit(1)\n"
        "if sys.argv[1] == 'run': print(json.dumps([sys.argv[1:], os.environ.get('GREETING')]))\n"
    )
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("memory", [None, 1 << 30])
def test_a_step_images_worker_starts_without_ray_in_the_node(docker, memory):
    """A worker of a step image gets its variables as they were written, and the set-up imports no Ray for it."""
    context = RuntimeEnvContext()
    value = {
        "image": "registry/image:1",
        "environment": {"GREETING": "a $HOME ${HOME} 'b'"},
        "memory": memory,
    }
    StepImagePlugin().modify_context([], {"rayform_image": value}, context)
    said, imported = set_up(context, docker)
    words, greeting = json.loads(said)
    image = words.index("registry/image:1")
    assert words[image + 1 :] == ["-mray._private.workers.default_worker", "--node-id=a b"]
    assert ("--memory" in words) == bool(memory)
    assert greeting == "a $HOME ${HOME} 'b'"
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in imported.splitlines()}
    assert "os" in modules and "ray" not in modules


@pytest.mark.parametrize("image", ["registry/image:1", "registry/it's # an image"])
def test_a_command_is_parted_as_a_shell_does(image):
    """Also where the name of an image has signs that a shell reads otherwise."""
    command = [sys.executable, "-I", "-S", "-E", "/a b/stand_in.py", image]
    assert setup_worker.words(shlex.join(command)) == command
    assert setup_worker.words(" ".join(command[:4])) == command[:4]


def test_another_environments_worker_goes_rays_way(docker):
    """A worker whose environment isn't of a step image starts as by Ray's own set-up."""
    context = RuntimeEnvContext(py_executable="echo $GREETING", env_vars={"GREETING": "${NOTHING_SUCH}hello"})
    said, imported = set_up(context, docker)
    assert said == "hello /ray/default_worker.py --node-id=a b\n"
    assert "ray._private.workers.setup_worker" in imported or "ray._private.runtime_env.context" in imported


def test_the_hook_names_our_set_up(monkeypatch):
    """Ray's start hook names a set-up with the file name that Ray knows set-ups by."""
    monkeypatch.setenv("RAY_START_HOOK", start_hook.START_HOOK)
    params = RayParams()
    from ray._common.utils import load_class
    from ray._private.ray_constants import SETUP_WORKER_FILENAME

    load_class(os.environ["RAY_START_HOOK"])(params, True)
    assert Path(params.setup_worker_path).name == SETUP_WORKER_FILENAME
    assert params.setup_worker_path == setup_worker.__file__
    assert "RAY_START_HOOK" not in os.environ
