"""How a raylet starts a worker of a step image, and any other worker: real processes and Ray's own context."""

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
    """Run the set-up as a raylet does; return the worker's output, and the modules that the set-up imported."""
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
    """A folder with a `docker` that fails to run a server, and prints every other command."""
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
    """A worker of a step image gets its variables unchanged, and its set-up doesn't import Ray."""
    context = RuntimeEnvContext()
    value = {
        "image": "registry/image:1",
        "environment": {"GREETING": "a $HOME ${HOME} 'b'"},
        "memory": memory,
    }
    StepImagePlugin().modify_context([], {"rayform_image": value}, context)
    output, imported = set_up(context, docker)
    words, greeting = json.loads(output)
    image = words.index("registry/image:1")
    assert words[image + 1 :] == ["-mray._private.workers.default_worker", "--node-id=a b"]
    assert ("--memory" in words) == bool(memory)
    assert greeting == "a $HOME ${HOME} 'b'"
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in imported.splitlines()}
    assert "os" in modules and "ray" not in modules


@pytest.mark.parametrize("image", ["registry/image:1", "registry/it's # an image"])
def test_a_command_is_split_as_a_shell_does(image):
    """The command is split right even if the image's name has characters that a shell treats specially."""
    command = [sys.executable, "-I", "-S", "-E", "/a b/stand_in.py", image]
    assert setup_worker.words(shlex.join(command)) == command
    assert setup_worker.words(" ".join(command[:4])) == command[:4]


def test_another_environments_worker_goes_rays_way(docker):
    """A worker with another runtime environment gets Ray's own set-up."""
    context = RuntimeEnvContext(py_executable="echo $GREETING", env_vars={"GREETING": "${NOTHING_SUCH}hello"})
    output, imported = set_up(context, docker)
    assert output == "hello /ray/default_worker.py --node-id=a b\n"
    assert "ray._private.workers.setup_worker" in imported or "ray._private.runtime_env.context" in imported


def test_the_hook_names_our_set_up(monkeypatch):
    """Ray's start hook names a set-up whose file has the name that Ray looks for."""
    monkeypatch.setenv("RAY_START_HOOK", start_hook.START_HOOK)
    params = RayParams()
    from ray._common.utils import load_class
    from ray._private.ray_constants import SETUP_WORKER_FILENAME

    load_class(os.environ["RAY_START_HOOK"])(params, True)
    assert Path(params.setup_worker_path).name == SETUP_WORKER_FILENAME
    assert params.setup_worker_path == setup_worker.__file__
    assert "RAY_START_HOOK" not in os.environ
