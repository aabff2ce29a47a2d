"""`rayform migrate from-zenml`: what it changes, what it leaves, and what it says."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayform.migration.findings import UnreadableFileError
from rayform.migration.names import NAMES
from rayform.migration.project import migrate
from rayform.migration.python_files import rewrite_python
from rayform.migration.text_files import rewriter_of
from rayform.migration.yaml_files import is_run_configuration, rewrite_yaml


def rewritten(code: str) -> str:
    content = textwrap.dedent(code).encode()
    result = rewrite_python(content).content
    return (content if result is None else result).decode()


def found(code: str) -> list[str]:
    return [finding.what for finding in rewrite_python(textwrap.dedent(code).encode()).findings]


# -- names --------------------------------------------------------------------------------------------------
def test_every_name_of_the_table_can_be_imported() -> None:
    """Each home in the table exists, so that a rewritten import works."""
    for old, home in NAMES.items():
        assert old.startswith("zenml") and hasattr(importlib.import_module(home.module), home.name), old


# -- imports ------------------------------------------------------------------------------------------------
def test_an_import_keeps_its_layout() -> None:
    """Only the module's name changes: comments, brackets and blanks stay."""
    code = """\
    from zenml import (  # the decorators
        pipeline,
        step as a_step,   # ours

        Model,
    )
    """
    assert rewritten(code) == textwrap.dedent(code).replace("zenml", "rayform")


def test_an_import_of_names_with_several_homes_is_split() -> None:
    """Each name is imported from where it is, and one that has no home stays and is reported."""
    code = "from zenml.steps import step, CommandStep  # noqa\n"
    new = rewritten(code)
    assert new == "from rayform import step  # noqa\nfrom zenml.steps import CommandStep  # noqa\n"
    assert found(code) == ["from zenml.steps import CommandStep"]


def test_a_name_that_differs_keeps_the_name_that_the_code_uses() -> None:
    """A class with another name in Rayform is imported under the old one."""
    new = rewritten("from zenml.config.retry_config import StepRetryConfig\n")
    assert new == "from rayform import RetryPolicy as StepRetryConfig\n"


def test_imports_are_found_wherever_they_stand() -> None:
    """Imports in functions, in conditions and on one line with others are rewritten too."""
    code = """\
    import os; from zenml.client import Client; x = 1
    try:
        from zenml import step
    except ImportError:
        step = None
    def f():
        from zenml.logger import get_logger
        return get_logger(__name__)
    """
    expected = (
        textwrap.dedent(code).replace("zenml.client", "rayform").replace("zenml.logger", "rayform.logger")
    )
    assert rewritten(code) == expected.replace("zenml", "rayform")


def test_other_names_that_begin_like_zenml_are_left_alone() -> None:
    """Relative imports, other packages and texts are not ZenML's."""
    code = "from .zenml import step\nfrom zenmlx import y\nimport zenml_helpers\nname = 'zenml is fine'\n"
    assert rewritten(code) == code and found(code) == []


def test_what_a_human_must_do_is_listed_with_line_and_reason() -> None:
    """Stars, modules as texts, trackers and integrations are reported at their lines."""
    code = """\
    from zenml import *
    from zenml.integrations.mlflow.model_deployers import MLFlowModelDeployer

    @step(experiment_tracker="mlflow", settings={"orchestrator.vertex": {}})
    def train(): ...

    SOURCE = "zenml.integrations.sklearn.materializers.SklearnMaterializer"
    """
    findings = rewrite_python(textwrap.dedent(code).encode()).findings
    assert [(f.line, f.what.split()[0]) for f in findings] == [
        (1, "from"), (2, "from"), (4, "experiment_tracker="), (4, "settings['orchestrator.vertex']"), (7, "the"),
    ]  # fmt: skip
    assert all(f.why for f in findings)


def test_a_materializer_of_a_built_in_type_is_reported() -> None:
    """Rayform lets no materializer take over a type for everybody."""
    code = """\
    from zenml.materializers.base_materializer import BaseMaterializer
    class Mine(BaseMaterializer):
        ASSOCIATED_TYPES = (MyType, pd.DataFrame)
    """
    assert any("`pd.DataFrame`" in what for what in found(code))


# -- settings -----------------------------------------------------------------------------------------------
def test_settings_become_image_and_resources() -> None:
    """Settings with a form of Rayform's are written in it, and their imports follow."""
    code = """\
    from zenml import step
    from zenml.config import DockerSettings, ResourceSettings

    @step(
        enable_cache=False,
        settings={
            "docker": DockerSettings(requirements=["polars", "zenml==0.5"], parent_image="python:3.11"),
            "resources": ResourceSettings(cpu_count=2, gpu_count=1, memory="4GB"),
        },
    )
    def train() -> int:
        return 1
    """
    new = rewritten(code)
    assert 'image=ImageSpec(requirements=["polars"], base_image="python:3.11")' in new
    assert "resources=Resources(cpus=2, gpus=1, memory=4 * 10**9)" in new
    assert "settings" not in new.partition("@step")[2]
    assert "ImageSpec" in new.partition("@step")[0] and "Resources" in new.partition("@step")[0]
    names: dict[str, object] = {}
    exec(new.replace("from zenml.config import DockerSettings, ResourceSettings\n", ""), names)
    options = names["train"].options  # type: ignore[attr-defined]
    assert options["resources"].memory == 4 * 10**9 and options["image"].requirements == ["polars"]


def test_settings_without_a_form_of_their_own_stay() -> None:
    """A field that has no counterpart keeps the whole setting as it was."""
    code = """\
    from zenml import step
    @step(settings={"docker": DockerSettings(replicate_local_python_environment=True), "orchestrator.x": {}})
    def train(): ...
    """
    assert "settings={" in rewritten(code)


# -- files that stay as they are ----------------------------------------------------------------------------
@pytest.mark.parametrize("code", [b"def broken(:\n  from zenml import step", b"x = '\xff'\nimport zenml\n"])
def test_code_that_cannot_be_parsed_is_refused(code: bytes) -> None:
    """A file that isn't Python is not rewritten."""
    with pytest.raises(UnreadableFileError):
        rewrite_python(code)


_PIECES = st.sampled_from(
    [
        "from zenml import step, pipeline",
        "from zenml.client import Client",
        "from zenml import (step,\n    Model)",
        "x = 1 # zenml",
        "\tif_ = 'tab'".strip(),
        "def f():\n    from zenml.logger import get_logger",
        "@step(settings={'resources': ResourceSettings(cpu_count=1)})\ndef g(): pass",
        "",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pieces=st.lists(_PIECES, max_size=6),
    newline=st.sampled_from(["\n", "\r\n"]),
    end=st.booleans(),
    mark=st.booleans(),
)
def test_rewriting_is_idempotent_and_keeps_newlines(
    pieces: list[str], newline: str, end: bool, mark: bool
) -> None:
    """A second run changes nothing, and newlines and the byte order mark stay as they were."""
    text = "\n".join(pieces) + ("\n" if end else "")
    content = (b"\xef\xbb\xbf" if mark else b"") + text.replace("\n", newline).encode()
    first = rewrite_python(content).content or content
    assert rewrite_python(first).content in (None, first)
    assert first.startswith(b"\xef\xbb\xbf") == mark
    if newline == "\r\n":
        assert first.count(b"\n") == first.count(b"\r\n")
    assert b"from zenml import" not in first


def test_an_encoding_declaration_is_kept() -> None:
    """A Latin-1 file stays one."""
    content = "# -*- coding: latin-1 -*-\nfrom zenml import step  # größer\n".encode("latin-1")
    new = rewrite_python(content).content
    assert new == content.replace(b"zenml", b"rayform")


# -- YAML ---------------------------------------------------------------------------------------------------
CONFIG = """\
# Nightly training
enable_cache: false  # always
settings:
  docker:
    parent_image: "python:3.11"  # slim is too small
    requirements:
      - polars
      - zenml[server]==0.55
  resources:
    cpu_count: 2
    memory: 4GB
steps:
  train:
    parameters: {epochs: 3}
    settings:
      resources:
        gpu_count: 1
    experiment_tracker: mlflow
schedule: "0 3 * * *"
"""


def test_a_run_configuration_is_rewritten_with_its_comments() -> None:
    """Settings become `image` and `resources`; comments, quotes and order stay; the rest is reported."""
    result = rewrite_yaml(CONFIG.encode())
    assert result.content is not None
    assert result.content.decode() == (
        "# Nightly training\nenable_cache: false  # always\nimage:\n"
        '  base_image: "python:3.11"      # slim is too small\n'
        "  requirements:\n    - polars\nresources:\n  cpus: 2\n  memory: 4000000000\nsteps:\n  train:\n"
        "    parameters: {epochs: 3}\n    resources:\n      gpus: 1\n    experiment_tracker: mlflow\n"
        'schedule: "0 3 * * *"\n'
    )
    assert [(f.line, f.what) for f in result.findings] == [
        (18, "steps.train.experiment_tracker"), (19, "schedule"),
    ]  # fmt: skip
    assert rewrite_yaml(result.content).content is None


def test_other_yaml_is_no_run_configuration() -> None:
    """Files of other tools are not taken for ZenML's."""
    assert is_run_configuration(CONFIG.encode())
    for text in (
        "services:\n  db: {}\n",
        "name: CI\non: push\njobs: {}\n",
        "- a\n",
        "parameters: 3\n",
        "a: [\n",
    ):
        assert not is_run_configuration(text.encode())


@pytest.mark.parametrize("content", [b"settings: [\n", b"a: 1\r\nb: 2\n", b"\xff\xfe", b"- only\n- a list\n"])
def test_yaml_that_cannot_be_read_is_refused(content: bytes) -> None:
    """Broken files and files with mixed newlines are not rewritten."""
    with pytest.raises(UnreadableFileError):
        rewrite_yaml(content)


# -- requirements -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("requirements.txt", "zenml[server]==0.55.1 # pinned\nnumpy\n", "rayform # pinned\nnumpy\n"),
        ("requirements-dev.txt", "zenml>=0.40,<1 ; python_version<'3.12'\n", "rayform ; python_version<'3.12'\n"),
        ("requirements.txt", "zenml-helpers==1\nxzenml\n# zenml\n", "zenml-helpers==1\nxzenml\n# zenml\n"),
        ("requirements.txt", "ZenML\r\npandas\r\n", "rayform\r\npandas\r\n"),
        ("environment.yml", "dependencies:\n  - pip:\n    - zenml==0.5\n", "dependencies:\n  - pip:\n    - rayform\n"),
        (
            "pyproject.toml",
            '[project]\ndependencies = ["zenml[server]>=0.5,<1", "a"]\n',
            '[project]\ndependencies = ["rayform", "a"]\n',
        ),
        (
            "pyproject.toml",
            '[tool.poetry.dependencies]\nzenml = {version = "^0.5", extras = ["server"]}\na = "1"\n',
            '[tool.poetry.dependencies]\nrayform = "*"\na = "1"\n',
        ),
        ("pyproject.toml", '[tool.x]\nzenml = "y"\n', '[tool.x]\nzenml = "y"\n'),
        ("Pipfile", "[packages]\nzenml = '*'\n", '[packages]\nrayform = "*"\n'),
    ],
)  # fmt: skip
def test_requirements_name_rayform(name: str, before: str, after: str) -> None:
    """Each form of a requirement loses ZenML's pin and extras, and keeps marker, comment and newline."""
    rewriter = rewriter_of(name)
    assert rewriter is not None
    content = rewriter(before.encode()).content
    assert (before if content is None else content.decode()) == after
    assert rewriter(after.encode()).content is None


def test_broken_toml_is_refused() -> None:
    """A pyproject.toml that can't be parsed stays as it is."""
    rewriter = rewriter_of("pyproject.toml")
    assert rewriter is not None
    with pytest.raises(UnreadableFileError):
        rewriter(b'[project]\ndependencies = ["zenml"\n')


def test_commands_in_scripts_are_listed_with_their_counterparts() -> None:
    """Scripts aren't changed; each command of ZenML is named with what stands for it."""
    rewriter = rewriter_of("setup.sh")
    assert rewriter is not None
    result = rewriter(b"#!/bin/sh\nset -e\nzenml init\npip install zenml\nzenml stack set x\n# zenml up\n")
    assert result.content is None
    assert [(f.line, f.why) for f in result.findings] == [
        (3, "In Rayform: not needed."),
        (4, "Install `rayform` in place of `zenml`."),
        (5, "In Rayform: rayform stack set."),
    ]


def test_notebooks_are_rewritten_cell_by_cell() -> None:
    """A notebook's code cells change, a cell with a magic is reported, and the layout stays."""
    import json

    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["from zenml import step"]},
        {
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "source": ["from zenml import step\n", "x = 'ü'"],
        },
        {"cell_type": "code", "metadata": {}, "outputs": [], "source": ["!pip install zenml"]},
    ]
    text = json.dumps({"cells": cells, "nbformat": 4}, indent=1, ensure_ascii=False) + "\n"
    rewriter = rewriter_of("quickstart.ipynb")
    assert rewriter is not None
    result = rewriter(text.encode())
    expected = text.replace('"from zenml import step\\n"', '"from rayform import step\\n"')
    assert result.content is not None and result.content.decode() == expected
    assert [f.what for f in result.findings] == ["code cell 2"]


# -- projects -----------------------------------------------------------------------------------------------
@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    files = {
        "run.py": "from zenml import pipeline, step\n\n\n@step\ndef one() -> int:\n    return 1\n\n\n"
        "@step\ndef double(x: int) -> int:\n    return 2 * x\n\n\n@pipeline\ndef p() -> None:\n    double(one())\n\n\n"
        'if __name__ == "__main__":\n    p.with_options(config_path="conf/dev.yaml")()\n',
        "conf/dev.yaml": "# dev\nsettings:\n  docker:\n    requirements: [polars]\nenable_cache: false\n",
        "requirements.txt": "zenml==0.55\n",
        "broken.py": "from zenml import (\n",
        ".venv/lib.py": "from zenml import step\n",
        "plain.py": "x=1\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "run.py").chmod(0o755)
    (tmp_path / "outside.py").write_text("from zenml import step\n")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    (folder / "linked").symlink_to(tmp_path)
    return folder


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rayform.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environment},
    )


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, float]]:
    return {
        p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mode, p.stat().st_mtime)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink()
    }


def test_check_shows_everything_and_writes_nothing(project: Path) -> None:
    """`--check` prints the diff and the list, and no file changes."""
    before = snapshot(project.parent)
    done = command("migrate", "from-zenml", str(project), "--check")
    assert done.returncode == 0, done.stderr
    assert "-from zenml import pipeline, step\n+from rayform import pipeline, step\n" in done.stdout
    assert "3 files would change; nothing was written." in done.stdout
    assert "broken.py:" in done.stdout and "was left as it is" in done.stdout
    assert snapshot(project.parent) == before


def test_a_migrated_project_runs(project: Path, tmp_path: Path) -> None:
    """Only the project's own files change, with their modes; then its script runs, and a second run changes nothing."""
    outside = (tmp_path / "outside.py").read_bytes()
    before = snapshot(project)
    assert command("migrate", "from-zenml", str(project)).returncode == 0
    after = snapshot(project)
    assert {name for name in after if after[name] != before[name]} == {
        "run.py",
        "conf/dev.yaml",
        "requirements.txt",
    }
    assert after["run.py"][1] == before["run.py"][1]
    assert (tmp_path / "outside.py").read_bytes() == outside and (project / "link.py").is_symlink()
    again = command("migrate", "from-zenml", str(project))
    assert "0 files changed." in again.stdout and snapshot(project) == after
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "RAYFORM_HOME": str(tmp_path / "home"), "RAYFORM_PROGRESS": "plain"},
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_changes_meanwhile_is_not_overwritten(project: Path) -> None:
    """An edit between reading and writing is kept."""
    from rayform_core.errors import PrerequisiteError

    migration = migrate(project)
    (project / "conf" / "dev.yaml").write_text("# edited\n")
    with pytest.raises(PrerequisiteError, match="changed while"):
        migration.write()
    assert (project / "conf" / "dev.yaml").read_text() == "# edited\n"


def test_missing_packages_are_named(project: Path, tmp_path: Path) -> None:
    """Without the extra, the command says how to install it; a missing folder is an error too."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "libcst.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'libcst'\", name='libcst')\n"
    )
    done = command("migrate", "from-zenml", str(project), PYTHONPATH=str(hidden))
    assert done.returncode != 0 and "rayform[migrate]" in done.stderr and "Traceback" not in done.stderr
    done = command("migrate", "from-zenml", str(tmp_path / "nowhere"))
    assert done.returncode != 0 and "Traceback" not in done.stderr
