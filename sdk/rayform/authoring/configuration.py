"""The YAML configuration that `config_path` and `rayform run --config` read, and its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from rayform.authoring.models import MODEL_CARD
from rayform.authoring.options.settings import read_settings
from rayform_core.errors import NotFoundError, UsageError, nearest
from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["PipelineConfiguration", "StepConfiguration", "configuration_schema", "read_configuration"]

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 50

_Place: TypeAlias = tuple[str | int, ...]
"""A place in the file: keys and list indexes from the outermost in, such as `("steps", "train", "retry")`."""


def _retry(value: object) -> object:
    return {"max_retries": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _image(value: object) -> object:
    return {"base_image": value} if isinstance(value, str) else value


def _model(value: object) -> object:
    """Move the fields of ZenML's model card to the metadata, and drop those that mean nothing here."""
    if not isinstance(value, dict):
        return value
    fields = {k: v for k, v in value.items() if k not in ("save_models_to_registry", *_WARNINGS)}
    card = {k: fields.pop(k) for k in MODEL_CARD if fields.get(k) is not None}
    if card:
        fields["metadata"] = {**card, **(fields.get("metadata") or {})}
    if isinstance(fields.get("version"), int):
        fields["version"] = str(fields["version"])
    return {k: v for k, v in fields.items() if v is not None or k == "name"}


def _tags(value: object) -> object:
    if not isinstance(value, list):
        return value
    return [tag["name"] if isinstance(tag, dict) and set(tag) == {"name"} else tag for tag in value]


_WARNINGS = ("suppress_class_validation_warnings", "was_created_in_this_run")
_Retry = Annotated[RetryPolicy, BeforeValidator(_retry, json_schema_input_type=int | RetryPolicy)]
_Model = Annotated[ModelSpec, BeforeValidator(_model)]
_Image = Annotated[ImageSpec, BeforeValidator(_image, json_schema_input_type=str | ImageSpec)]


class _Common(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    parameters: dict[str, object] = Field(default_factory=dict)
    """Values by parameter name; they override those in code."""
    enable_cache: bool | None = None
    """`false` always runs; `true` takes results of earlier runs where nothing changed."""
    retry: _Retry | None = None
    """Tries after the first: a number, or `max_retries`, `delay` (seconds) and `backoff`."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds after which one try of a step is ended."""
    resources: Resources | None = None
    """What a step needs: `cpus`, `gpus`, `memory` (bytes), `accelerator_type`, `custom`."""
    image: _Image | None = None
    """The image that steps run in, or the name of its base image."""
    model: _Model | None = None
    """The model that outputs and metadata belong to."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables; never secrets."""
    settings: dict[str, dict[str, object]] = Field(default_factory=dict)
    """ZenML's form: `docker` and `resources` are other forms of `image` and `resources`; the settings of
    orchestrators that Rayform doesn't have are reported and ignored."""
    success_hook_source: str | None = None
    """Import path of the hook that is called when a step succeeded."""
    failure_hook_source: str | None = None
    """Import path of the hook that is called when a step failed."""
    enable_artifact_metadata: bool | None = None
    """`false` keeps no facts that materializers extract from outputs."""
    enable_artifact_visualization: bool | None = None
    """`false` keeps no pictures that materializers draw of outputs."""
    enable_step_logs: bool | None = None
    """`false` keeps no logs of steps."""
    extra: dict[str, object] = Field(default_factory=dict)
    """Any JSON; it is kept with the run."""
    substitutions: dict[str, str] = Field(default_factory=dict)
    """Text by placeholder, for names of artifacts and runs."""
    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _read_settings(self) -> Self:
        """Turn ZenML's settings into an image and resources."""
        try:
            settings = read_settings(self.settings, what="This")
        except UsageError as error:
            raise ValueError(str(error).removesuffix(".")) from None
        if settings.image is not None:
            self.image = self.image or settings.image
        if settings.resources is not None:
            self.resources = self.resources or settings.resources
        self._ignored = settings.ignored
        return self

    def ignored(self) -> Sequence[str]:
        """Return what it asks for and Rayform can't follow."""
        return self._ignored


class StepConfiguration(_Common):
    """The configuration of one step."""

    experiment_tracker: str | bool | None = None
    """`mlflow` makes an MLflow run active while the step runs; other trackers are reported and ignored."""
    step_operator: str | bool | None = None
    """Name of a component that only ZenML's stacks have; reported and ignored."""
    cache_files: list[str] | None = None
    """Files, folders or patterns whose content the step's result depends on; relative to the step's file."""

    def ignored(self) -> Sequence[str]:
        """Return what it asks for and Rayform can't follow."""
        from rayform.authoring.options.steps import unknown_components

        return (*self._ignored, *unknown_components(self.experiment_tracker, self.step_operator))


class PipelineConfiguration(_Common):
    """The configuration of a pipeline. `retry`, `timeout` and `resources` are its steps' defaults."""

    run_name: str | None = None
    """Name of the run; `{pipeline}`, `{date}`, `{time}` and `{id}` are filled in."""
    tags: Annotated[list[str], BeforeValidator(_tags)] = Field(default_factory=list)
    """Tags of the run."""
    enable_pipeline_logs: bool | None = None
    """Accepted and ignored: a run's own log is what it prints."""
    steps: dict[str, StepConfiguration] = Field(default_factory=dict)
    """Settings by a step's name or by its key in the pipeline."""

    _place: str | None = PrivateAttr(default=None)
    _given: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def place(self) -> str | None:
        """The file that it was read from."""
        return self._place

    def with_parameters(self, parameters: Mapping[str, object]) -> PipelineConfiguration:
        """Return a copy in which these parameters override those of the file and of code."""
        copy = self.model_copy(update={"parameters": {**self.parameters, **parameters}})
        copy._given = self._given | parameters.keys()
        return copy

    def yields_to(self, name: str) -> bool:
        """Whether a parameter was not given on the command line, so that another value in code is a conflict."""
        return name not in self._given


def configuration_schema() -> dict[str, object]:
    """Return the JSON schema of the configuration, for editors that check YAML.

    Example:
        >>> configuration_schema()["title"]
        'PipelineConfiguration'
    """
    schema = PipelineConfiguration.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_configuration(path: str | Path) -> PipelineConfiguration:
    """Read the configuration from a YAML file.

    Args:
        path: the file; `~` is the home folder.

    Raises:
        NotFoundError: there is no such file.
        UsageError: the file isn't YAML, or holds an unknown key or a wrong value; names the line of each mistake.

    Example:
        >>> read_configuration("nightly.yaml").parameters  # doctest: +SKIP
        {'epochs': 10}
    """
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(
                f"'{path}' is larger than {_MAX_BYTES:,} bytes.", hint="Check that it is the right file."
            )
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        folder = path.parent
        files = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
        raise NotFoundError("configuration file", str(path), known=files) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"'{path}' isn't text.", why=f"{error}.", hint="Save it as UTF-8, or name another file."
        ) from None
    except OSError as error:
        raise UsageError(f"'{path}' can't be read.", why=f"{error.strerror}.") from None
    data, lines = _load(path, text)
    try:
        configuration = PipelineConfiguration.model_validate(data)
        configuration._place = str(path)
        return configuration
    except ValidationError as error:
        raise _mistakes(path, error, lines) from None


def _load(path: Path, text: str) -> tuple[object, dict[_Place, int]]:
    """Parse YAML into plain data and the line of each key."""
    import yaml

    from rayform.authoring.yaml_values import ValueLoader, read_value

    try:
        node = yaml.compose(text, Loader=ValueLoader)
        lines: dict[_Place, int] = {}
        if node is not None:
            _walk(path, node, (), lines)
        return (read_value(text) or {}), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: this isn't valid YAML.", why=f"{error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a tagged date such as 2026-13-01
        raise UsageError(f"{path}: this isn't valid YAML.", why=f"{error}.") from None
    except RecursionError:
        raise _too_deep(str(path)) from None


def _too_deep(place: str) -> UsageError:
    return UsageError(
        f"{place}: this is nested too deep.", why=f"At most {_MAX_DEPTH} levels are read.", hint="Flatten it."
    )


def _walk(path: Path, node: Node, place: _Place, lines: dict[_Place, int]) -> None:
    """Add the line of each key and list element under `node` to `lines`; refuse keys that stand twice."""
    from yaml import MappingNode, SequenceNode

    if len(place) > _MAX_DEPTH:
        raise _too_deep(f"{path}:{node.start_mark.line + 1}")
    if isinstance(node, MappingNode):
        for key, value in node.value:
            inner = (*place, str(getattr(key, "value", "")))
            line = key.start_mark.line + 1
            if inner in lines:
                raise UsageError(
                    f"{path}:{line}: '{inner[-1]}' stands here twice.",
                    why=f"Line {lines[inner]} sets it already.",
                    hint="Keep one of them.",
                )
            lines[inner] = line
            _walk(path, value, inner, lines)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            _walk(path, value, (*place, index), lines)


def _mistakes(path: Path, error: ValidationError, lines: Mapping[_Place, int]) -> UsageError:
    mistakes: list[tuple[int, str]] = []
    for problem in error.errors():
        place = problem["loc"]
        # A missing key, for instance, has no line: name the innermost place around it that has one.
        nearest_place = max((p for p in lines if p == place[: len(p)]), key=len, default=())
        line = lines.get(nearest_place, 1)
        name = ".".join(str(p) for p in nearest_place or place) or "the file"
        if problem["type"] == "extra_forbidden":
            keys = _keys_at(place[:-1])
            close = nearest(str(place[-1]), keys)
            hint = f"Did you mean '{close[0]}'?" if close else f"Keys that exist: {', '.join(keys)}."
            mistakes.append((line, f"{path}:{line}: unknown key '{name}'. {hint}"))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "model_type":
                message = "Input should be keys and values"
            mistakes.append((line, f"{path}:{line}: '{name}': {message}."))
    texts = [text for _, text in sorted(mistakes)]
    return UsageError("The configuration is wrong.\n" + "\n".join(dict.fromkeys(texts)))


def _keys_at(place: _Place) -> list[str]:
    """Return the keys that exist at a place in the configuration."""
    model: type[BaseModel] = PipelineConfiguration
    nested: dict[str, type[BaseModel]] = {
        "retry": RetryPolicy,
        "resources": Resources,
        "image": ImageSpec,
        "model": ModelSpec,
    }
    keys = [part for part in place if isinstance(part, str)]
    if keys[:1] == ["steps"]:
        model, keys = StepConfiguration, keys[2:]
    if keys:
        model = nested.get(keys[0], model)
    return list(model.model_fields)
