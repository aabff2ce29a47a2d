"""`settings=` in ZenML's form: what Rayform follows, what it ignores, and what is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform.authoring.options.settings import read_settings
from rayform.zenml.config import CachePolicy, DockerSettings, ResourceSettings, StepRetryConfig
from rayform.zenml.integrations.kubernetes.flavors import KubernetesOrchestratorSettings
from rayform_core.errors import UsageError
from rayform_runtime.spec import ImageSpec, Resources

UNITS = {f"{unit}{i}B": (1024 if i else 1000) ** n for n, unit in enumerate("KMGTP", 1) for i in ("", "i")}


def test_docker_settings_are_an_image() -> None:
    """Each field that an image has arrives in it, from an instance and from a mapping."""
    fields = {
        "parent_image": "python:3.11",
        "requirements": ["polars"],
        "apt_packages": ["git"],
        "environment": {"A": 1},
        "runtime_environment": {"B": "2"},
        "build_config": {"build_options": {"build_args": {"X": "y"}}},
    }
    image = ImageSpec(
        base_image="python:3.11",
        requirements=["polars"],
        apt_packages=["git"],
        environment={"A": "1", "B": "2"},
        build_args={"X": "y"},
    )
    for docker in (DockerSettings(**fields), fields):
        assert read_settings({"docker": docker}, what="Step 'a'").image == image


@given(number=st.integers(1, 10**6), unit=st.sampled_from(sorted(UNITS)), cpus=st.floats(0.1, 1000))
def test_resource_settings_are_resources(number: int, unit: str, cpus: float) -> None:
    """Every number with every unit of ZenML is the right number of bytes."""
    settings = ResourceSettings(cpu_count=cpus, gpu_count=1, memory=f"{number}{unit}")
    assert settings.to_resources() == Resources(cpus=cpus, gpus=1, memory=number * UNITS[unit])


def test_what_cannot_be_followed_is_named() -> None:
    """Settings of other orchestrators, and fields without a counterpart, are collected; needless ones are not."""
    settings = {
        "orchestrator.kubernetes": KubernetesOrchestratorSettings(pod_settings={}),
        "step_operator": {"x": 1},
        "docker": DockerSettings(required_integrations=["sklearn"], python_package_installer="uv"),
    }
    ignored = read_settings(settings, what="Step 'a'").ignored
    assert ignored == (
        "settings['orchestrator.kubernetes']",
        "settings['step_operator']",
        "DockerSettings.required_integrations",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dokcer": {}}, "'dokcer', which don't exist. Did you mean 'docker'"),
        ({"ray": {"x": 1}}, "'ray', which don't exist"),
        ({"docker": {"requirement": []}}, "no 'requirement' .did you mean 'requirements'"),
        ({"resources": {"cpu": 1}}, "no 'cpu'"),
        ({"resources": {"memory": "lots"}}, "wrong 'memory': 'lots'"),
        ({"docker": 3}, "settings of type int"),
        ({"docker": {"requirements": ["a"], "pyproject_path": "pyproject.toml"}}, "both 'requirements'"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, object], message: str) -> None:
    """An unknown key, an unknown field and a wrong value are refused, with the nearest name."""
    with pytest.raises(UsageError, match=message):
        read_settings(settings, what="Step 'a'")


def test_a_retry_config_is_a_policy() -> None:
    """ZenML's default of `backoff`, 0, keeps the delay the same."""
    assert StepRetryConfig(max_retries=3, delay=10).to_retry_policy().backoff == 1
    assert StepRetryConfig(max_retries=3, delay=10, backoff=2).to_retry_policy().backoff == 2
    with pytest.raises(UsageError, match="did you mean 'max_retries'"):
        StepRetryConfig(max_retry=1)


def test_cache_policies_that_would_be_unsafe_are_refused() -> None:
    """A result always depends on its code and inputs."""
    assert CachePolicy.read("default", what="Step 'a'") == CachePolicy()
    with pytest.raises(UsageError, match="include_step_code=False"):
        CachePolicy.read({"include_step_code": False}, what="Step 'a'")
    with pytest.raises(UsageError, match="'expires_after'"):
        CachePolicy.read(CachePolicy(expires_after=60), what="Step 'a'")
