"""`DockerSettings`, `ResourceSettings`, `StepRetryConfig` and `CachePolicy`: ZenML's forms of Rayform's options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rayform_core.errors import UsageError, nearest
from rayform_runtime.spec import ImageSpec, Resources, RetryPolicy

__all__ = ["BaseSettings", "CachePolicy", "DockerSettings", "ResourceSettings", "StepRetryConfig"]

_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_MEMORY = re.compile(r"(\d+)\s*([KMGTP])(i?)B")


class BaseSettings(BaseModel):
    """Settings of a step or pipeline; an unknown field is an error.

    Attributes:
        NEEDLESS: fields that change nothing on Rayform, since it always does, or never needs, what they say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    NEEDLESS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _wrong(type(self), error, type(self).__name__) from None

    @classmethod
    def of(cls, value: object, *, what: str) -> Self:
        """Return settings from an instance, from another library's settings of the same fields, or from a mapping.

        Args:
            value: the settings.
            what: how an error names the step or pipeline.

        Raises:
            UsageError: a field doesn't exist or has a wrong value; names the nearest field.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise UsageError(
                f"{what} has settings of type {type(value).__name__}.",
                hint=f"Give a {cls.__name__}, or a mapping with its fields.",
            )
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            raise _wrong(cls, error, f"{cls.__name__} of {what[0].lower()}{what[1:]}") from None

    @property
    def ignored(self) -> list[str]:
        """The fields that are set and that Rayform can't follow, as texts for users."""
        return [
            f"{type(self).__name__}.{name}"
            for name in sorted(self.model_fields_set - self._followed() - self.NEEDLESS)
            if getattr(self, name)
        ]

    @classmethod
    def _followed(cls) -> set[str]:
        """Return the names of the fields that have an effect."""
        return set(cls.model_fields)


def _wrong(kind: type[BaseModel], error: ValidationError, what: str) -> UsageError:
    texts = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            close = nearest(name, kind.model_fields)
            texts.append(f"there is no '{name}'" + (f" (did you mean '{close[0]}'?)" if close else ""))
        else:
            texts.append(f"'{name}': {problem['msg']}")
    return UsageError(f"{what} has wrong fields.", why="; ".join(texts) + ".")


class DockerSettings(BaseSettings):
    """ZenML's form of `ImageSpec`: what a step's container image holds.

    Example:
        >>> DockerSettings(requirements=["polars"], apt_packages=["git"]).to_image_spec().requirements
        ['polars']
    """

    NEEDLESS = frozenset(
        {
            "allow_download_from_artifact_store", "allow_download_from_code_repository",
            "allow_including_files_in_images", "copy_files", "copy_global_config",
            "disable_automatic_requirements_detection", "install_stack_requirements",
            "install_deployment_requirements", "prevent_build_reuse", "python_package_installer",
            "source_files", "required_hub_plugins", "image_tag",
        }
    )  # fmt: skip

    parent_image: str | None = None
    dockerfile: str | None = None
    requirements: str | list[str] | None = None
    pyproject_path: str | None = None
    apt_packages: list[str] = Field(default_factory=list)
    environment: dict[str, Any] = Field(default_factory=dict)
    runtime_environment: dict[str, Any] = Field(default_factory=dict)
    build_config: Any = None
    build_options: dict[str, Any] = Field(default_factory=dict)
    # What follows has no effect.
    required_integrations: list[Any] = Field(default_factory=list)
    replicate_local_python_environment: Any = None
    pyproject_export_command: Any = None
    local_project_install_command: str | None = None
    build_context_root: str | None = None
    parent_image_build_config: Any = None
    skip_build: bool = False
    target_repository: str | None = None
    user: str | None = None
    dockerignore: str | None = None
    python_package_installer_args: dict[str, Any] = Field(default_factory=dict)
    python_package_installer_cache_mount: str | None = None
    image_tag: str | None = None
    prevent_build_reuse: bool = False
    python_package_installer: Any = None
    disable_automatic_requirements_detection: bool = True
    install_stack_requirements: bool = True
    install_deployment_requirements: bool = True
    allow_including_files_in_images: bool = True
    allow_download_from_code_repository: bool = True
    allow_download_from_artifact_store: bool = True
    copy_files: bool = True
    copy_global_config: bool = True
    source_files: str | None = None
    required_hub_plugins: list[str] = Field(default_factory=list)

    @classmethod
    def _followed(cls) -> set[str]:
        return {
            "parent_image", "dockerfile", "requirements", "pyproject_path", "apt_packages", "environment",
            "runtime_environment", "build_config", "build_options",
        }  # fmt: skip

    def to_image_spec(self) -> ImageSpec:
        """Return the image that these settings mean.

        Raises:
            UsageError: both `requirements` and `pyproject_path` are set.
        """
        requirements = self.requirements
        if self.pyproject_path is not None:
            if requirements is not None:
                raise UsageError(
                    "DockerSettings has both 'requirements' and 'pyproject_path'.",
                    hint="Keep one of them; an image installs from one place.",
                )
            requirements = "pyproject"
        options = self.build_config or {}
        if isinstance(options, Mapping):
            options = options.get("build_options") or {}
        build_args = {**self.build_options, **options}.get("build_args") or self.build_options.get(
            "buildargs"
        )
        variables = {**self.environment, **self.runtime_environment}
        return ImageSpec(
            base_image=self.parent_image,
            requirements=requirements,
            apt_packages=self.apt_packages,
            environment={name: str(value) for name, value in variables.items()},
            dockerfile=self.dockerfile,
            build_args={name: str(value) for name, value in (build_args or {}).items()},
        )


class ResourceSettings(BaseSettings):
    """ZenML's form of `Resources`.

    Example:
        >>> ResourceSettings(cpu_count=2, memory="4GB").to_resources().memory
        4000000000
    """

    cpu_count: float | None = Field(default=None, gt=0)
    gpu_count: int | None = Field(default=None, ge=0)
    memory: str | None = None
    gpu_class: str | None = None
    # What follows has no effect: it is for deployments and for ZenML's resource pools.
    resources: Any = None
    reclaim_tolerance: Any = None
    allocation_wait_timeout_seconds: int | None = None
    initialization_lease_seconds: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    autoscaling_metric: str | None = None
    autoscaling_target: float | None = None
    max_concurrency: int | None = None

    @classmethod
    def _followed(cls) -> set[str]:
        return {"cpu_count", "gpu_count", "memory", "gpu_class"}

    def to_resources(self) -> Resources:
        """Return the resources that these settings mean.

        Raises:
            UsageError: `memory` has no number and unit.
        """
        memory = None
        if self.memory is not None:
            match = _MEMORY.fullmatch(self.memory)
            if match is None:
                raise UsageError(
                    f"ResourceSettings has a wrong 'memory': {self.memory!r}.",
                    hint="Write a number and a unit, such as '4GB' or '512MiB'.",
                )
            number, unit, binary = match.groups()
            memory = int(number) * (1024 if binary else 1000) ** _UNITS[unit]
        return Resources(
            cpus=1.0 if self.cpu_count is None else self.cpu_count,
            gpus=float(self.gpu_count or 0),
            memory=memory,
            accelerator_type=self.gpu_class,
        )


class StepRetryConfig(BaseSettings):
    """ZenML's form of `RetryPolicy`; `backoff=0`, ZenML's default, keeps the delay the same.

    Example:
        >>> StepRetryConfig(max_retries=3, delay=10, backoff=2).to_retry_policy().backoff
        2.0
    """

    max_retries: int = Field(default=1, ge=0)
    delay: float = Field(default=0, ge=0)
    backoff: float = Field(default=0, ge=0)

    def to_retry_policy(self) -> RetryPolicy:
        """Return the policy that these settings mean."""
        return RetryPolicy(max_retries=self.max_retries, delay=self.delay, backoff=max(1.0, self.backoff))


class CachePolicy(BaseSettings):
    """ZenML's form of `cache_files` and `cache_on`: what a step's result depends on.

    Rayform always includes a step's code, with all project code that it reaches, its parameters and the content of
    its inputs. Settings that leave one of these out are refused.
    """

    include_step_code: bool = True
    include_step_parameters: bool = True
    include_artifact_values: bool = True
    include_artifact_ids: bool = True
    ignored_inputs: list[str] | None = None
    file_dependencies: list[str] | None = None
    source_dependencies: list[Any] | None = None
    cache_func: Callable[[], object] | str | None = None
    expires_after: int | None = None

    @classmethod
    def default(cls) -> CachePolicy:
        """Return the policy that steps have by default."""
        return cls()

    @classmethod
    def read(cls, value: object, *, what: str) -> CachePolicy:
        """Return a policy from an instance, a mapping, or the name `default`.

        Raises:
            UsageError: it asks for what Rayform's cache can't do.
        """
        policy = cls() if value == "default" else cls.of(value, what=what)
        for name in ("include_step_code", "include_step_parameters", "include_artifact_values"):
            if not getattr(policy, name):
                raise UsageError(
                    f"{what} has a cache policy with '{name}=False'.",
                    why="A result that doesn't depend on its code and inputs could be wrong without a sign.",
                    hint="Leave it out.",
                )
        for name, instead in (
            ("ignored_inputs", "Read what must not count in the step itself, instead of passing it."),
            ("expires_after", "Use `cache_on=` with a function that returns the day or the hour."),
        ):
            if getattr(policy, name):
                raise UsageError(f"{what} has a cache policy with '{name}'.", hint=instead)
        return policy

    def files(self) -> list[str | Path]:
        """Return the files that the result depends on."""
        return list(self.file_dependencies or ())
