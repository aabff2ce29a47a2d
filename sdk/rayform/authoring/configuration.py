"""Configuration by YAML: what `config_path` and `rayform run --config` read, and what it overrides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rayform_core.errors import NotFoundError, UsageError, nearest
from rayform_runtime.spec import ImageSpec, ModelSpec, Resources, RetryPolicy

__all__ = ["PipelineConfiguration", "StepConfiguration", "configuration_schema", "read_configuration"]

_MAX_BYTES = 1_000_000


def _retry(value: Any) -> Any:
    return {"max_retries": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _image(value: Any) -> Any:
    return {"base_image": value} if isinstance(value, str) else value


_Retry = Annotated[RetryPolicy, BeforeValidator(_retry, json_schema_input_type=int | RetryPolicy)]
_Image = Annotated[ImageSpec, BeforeValidator(_image, json_schema_input_type=str | ImageSpec)]


class _Common(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    parameters: dict[str, Any] = Field(default_factory=dict)
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
    model: ModelSpec | None = None
    """The model that outputs and metadata belong to."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables; never secrets."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of one flavor, by the flavor's name."""


class StepConfiguration(_Common):
    """What the configuration says of one step."""


class PipelineConfiguration(_Common):
    """What the configuration says of a pipeline. `retry`, `timeout` and `resources` are its steps' defaults."""

    run_name: str | None = None
    """Name of the run; `{pipeline}`, `{date}`, `{time}` and `{id}` are filled in."""
    tags: list[str] = Field(default_factory=list)
    """Tags of the run."""
    steps: dict[str, StepConfiguration] = Field(default_factory=dict)
    """Settings by a step's name or by its key in the pipeline."""

    def with_parameters(self, parameters: Mapping[str, Any]) -> PipelineConfiguration:
        """Return a copy in which these parameters go before those of the file."""
        return self.model_copy(update={"parameters": {**self.parameters, **parameters}})


def configuration_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration, for editors that check YAML."""
    schema = PipelineConfiguration.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_configuration(path: str | Path) -> PipelineConfiguration:
    """Read a YAML file.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it isn't YAML, or says something unknown or wrong; each mistake is named with its line.
    """
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"'{path}' is larger than {_MAX_BYTES:,} bytes.", hint="Is it the right file?")
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        folder = path.parent
        known = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
        raise NotFoundError("configuration file", str(path), known=known) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"'{path}' isn't text.", why=f"{error}.") from None
    except OSError as error:
        raise UsageError(f"'{path}' can't be read.", why=f"{error.strerror}.") from None
    data, lines = _load(path, text)
    try:
        return PipelineConfiguration.model_validate(data)
    except ValidationError as error:
        raise _mistakes(path, error, lines) from None


def _load(path: Path, text: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """Parse YAML into plain data and the line of each key."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[str | int, ...], int] = {}
        if node is not None:
            _walk(path, node, (), lines)
        return (yaml.safe_load(text) or {}), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: this isn't valid YAML.", why=f"{error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-13-01
        raise UsageError(f"{path}: this isn't valid YAML.", why=f"{error}.") from None
    except RecursionError:
        raise UsageError(f"{path}: this is nested too deep.") from None


def _walk(path: Path, node: Any, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> None:
    if len(at) > 50:
        raise UsageError(f"{path}:{node.start_mark.line + 1}: this is nested too deep.")
    kind = type(node).__name__
    if kind == "MappingNode":
        for key, value in node.value:
            here = (*at, str(getattr(key, "value", "")))
            if here in lines:
                raise UsageError(
                    f"{path}:{key.start_mark.line + 1}: '{here[-1]}' stands here twice.",
                    why=f"It was set in line {lines[here]} already.",
                    hint="Keep one of them.",
                )
            lines[here] = key.start_mark.line + 1
            _walk(path, value, here, lines)
    elif kind == "SequenceNode":
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _walk(path, value, (*at, index), lines)


def _mistakes(path: Path, error: ValidationError, lines: Mapping[tuple[str | int, ...], int]) -> UsageError:
    found = []
    for problem in error.errors():
        at = tuple(part for part in problem["loc"])
        known_at = max((k for k in lines if k == at[: len(k)]), key=len, default=())
        line = lines.get(known_at, 1)
        name = ".".join(str(p) for p in known_at or at) or "the file"
        if problem["type"] == "extra_forbidden":
            close = nearest(str(at[-1]), _keys_at(at[:-1]))
            hint = (
                f" Did you mean '{close[0]}'?" if close else f" Known keys: {', '.join(_keys_at(at[:-1]))}."
            )
            found.append((line, f"{path}:{line}: unknown key '{name}'.{hint}"))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "model_type":
                message = "Input should be keys and values"
            found.append((line, f"{path}:{line}: '{name}': {message}."))
    texts = [text for _, text in sorted(found)]
    return UsageError("The configuration is wrong.\n" + "\n".join(dict.fromkeys(texts)))


def _keys_at(at: Iterable[str | int]) -> list[str]:
    """Return the keys that may stand at a place in the configuration."""
    model: type[BaseModel] = PipelineConfiguration
    nested: dict[str, type[BaseModel]] = {
        "retry": RetryPolicy,
        "resources": Resources,
        "image": ImageSpec,
        "model": ModelSpec,
    }
    path = [p for p in at if isinstance(p, str)]
    if path[:1] == ["steps"]:
        model, path = StepConfiguration, path[2:]
    if path:
        model = nested.get(path[0], model)
    return list(model.model_fields)
