"""Configuration files: the keys that exist, and how mistakes are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayform.authoring.configuration import PipelineConfiguration, configuration_schema, read_configuration
from rayform_core.errors import NotFoundError, UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_whole_configuration_is_read(tmp_path: Path) -> None:
    """Every key of a pipeline and a step can be set, short forms too."""
    configuration = read_configuration(
        written(
            tmp_path,
            """
parameters: {epochs: 3}
enable_cache: false
run_name: nightly-{date}
tags: [a, b]
retry: 2
timeout: 60
resources: {cpus: 0.5, gpus: 1, memory: 1000000}
image: python:3.11
model: {name: digits, version: production}
environment: {A: "1"}
settings: {orchestrator.kubernetes: {x: 1}, docker: {apt_packages: [git]}}
steps:
  train:
    parameters: {rate: 0.1}
    enable_cache: true
    retry: {max_retries: 1, delay: 2, backoff: 3}
    timeout: 5
    resources: {accelerator_type: T4}
    image: {requirements: [torch], apt_packages: [git]}
    model: {name: other}
    environment: {B: "2"}
    settings: {}
""",
        )
    )
    assert configuration.retry is not None and configuration.retry.max_retries == 2
    assert configuration.image is not None and configuration.image.base_image == "python:3.11"
    train = configuration.steps["train"]
    assert train.retry is not None and train.retry.backoff == 3
    assert train.image is not None and train.image.requirements == ["torch"]
    assert train.parameters == {"rate": 0.1}


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    """An empty file is an empty configuration."""
    assert read_configuration(written(tmp_path, "")).model_dump() == PipelineConfiguration().model_dump()


def test_each_unknown_key_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    """All unknown keys are reported at once, each with file, line and the right key."""
    path = written(
        tmp_path,
        "parametrs:\n  a: 1\n"
        "steps:\n  train:\n    enable_cash: true\n    resources:\n      gpu: 1\n"
        "retry:\n  tries: 2\n",
    )
    with pytest.raises(UsageError) as caught:
        read_configuration(path)
    text = str(caught.value)
    assert f"{path}:1: unknown key 'parametrs'. Did you mean 'parameters'?" in text
    assert f"{path}:5: unknown key 'steps.train.enable_cash'. Did you mean 'enable_cache'?" in text
    assert f"{path}:7: unknown key 'steps.train.resources.gpu'. Did you mean 'gpus'?" in text
    assert f"{path}:9: unknown key 'retry.tries'. Did you mean 'max_retries'?" in text


def test_wrong_values_are_named_with_their_line(tmp_path: Path) -> None:
    """A wrong value names its key and line."""
    path = written(tmp_path, "tags: [a]\ntimeout: soon\nsteps:\n  train: 3\n")
    with pytest.raises(UsageError) as caught:
        read_configuration(path)
    assert f"{path}:2: 'timeout': Input should be a valid number" in str(caught.value)
    assert f"{path}:4: 'steps.train': Input should be keys and values" in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "42"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """YAML that isn't keys and values is a clear error."""
    with pytest.raises(UsageError, match="keys and values"):
        read_configuration(written(tmp_path, text))


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    """An error in the YAML is reported with its line."""
    with pytest.raises(UsageError, match=r"config\.yaml:2: this isn't valid YAML"):
        read_configuration(written(tmp_path, "tags: [a\nretry: 1\n"))


@pytest.mark.parametrize("text", ["[" * 5000, "parameters: {day: !!timestamp 2026-13-45}\n"])
def test_yaml_that_breaks_its_reader_is_refused(tmp_path: Path, text: str) -> None:
    """Endless nesting and dates that don't exist are the user's mistakes, not Rayform's."""
    with pytest.raises(UsageError, match=r"nested too deep|month must be in"):
        read_configuration(written(tmp_path, text))


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    """YAML that would make Python objects is refused."""
    with pytest.raises(UsageError, match="isn't valid YAML"):
        read_configuration(written(tmp_path, "run_name: !!python/object/apply:os.system [ls]\n"))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML itself would let the last one win in silence."""
    with pytest.raises(
        UsageError, match=r"config\.yaml:3: 'retry' stands here twice. Line 1 sets it already"
    ):
        read_configuration(written(tmp_path, "retry: 1\ntags: []\nretry: 2\n"))


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    """For a mistyped path, the error names the nearest file."""
    written(tmp_path, "")
    with pytest.raises(NotFoundError, match=r"config\.yaml"):
        read_configuration(tmp_path / "confg.yaml")


def test_the_schema_describes_every_key() -> None:
    """The JSON schema knows every key, with a description, and no others."""
    schema = configuration_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(PipelineConfiguration.model_fields)
    assert all(p.get("description") for p in schema["properties"].values())
