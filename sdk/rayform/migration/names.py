"""What ZenML's names are called in Rayform: one table, for `rayform migrate` and for the documentation.

`NAMES` has what Rayform itself offers. Every other name of ZenML that Rayform has in ZenML's form is found in
`rayform.zenml`, under the path that it has in ZenML: `zenml.io:fileio` is `rayform.zenml.io:fileio`.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import NamedTuple

from rayform.zenml.refusals import REFUSED, is_refused

__all__ = ["COMMANDS", "INSTEAD", "NAMES", "Home", "home_of", "module_of", "why_missing"]

_COMPATIBILITY = "rayform.zenml"


class Home(NamedTuple):
    """Where a name is imported from."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_TOP = "rayform"

NAMES: dict[str, Home] = {
    **{
        f"zenml:{name}": Home(_TOP, name)
        for name in (
            "ArtifactConfig", "ExternalArtifact", "Model", "get_pipeline_context", "get_step_context",
            "load_artifact", "log_metadata", "pipeline", "register_artifact", "save_artifact", "step", "unmapped",
        )
    },
    "zenml.artifacts.artifact_config:ArtifactConfig": Home(_TOP, "ArtifactConfig"),
    "zenml.artifacts.external_artifact:ExternalArtifact": Home(_TOP, "ExternalArtifact"),
    "zenml.artifacts.utils:load_artifact": Home(_TOP, "load_artifact"),
    "zenml.artifacts.utils:save_artifact": Home(_TOP, "save_artifact"),
    "zenml.client:Client": Home(_TOP, "Client"),
    "zenml.config.retry_config:StepRetryConfig": Home(_TOP, "RetryPolicy"),
    "zenml.enums:ArtifactType": Home(_TOP, "ArtifactType"),
    "zenml.logger:get_logger": Home("rayform.logger", "get_logger"),
    "zenml.model.model:Model": Home(_TOP, "Model"),
    "zenml.models.v2.misc.external_artifact:ExternalArtifact": Home(_TOP, "ExternalArtifact"),
    "zenml.pipelines:pipeline": Home(_TOP, "pipeline"),
    "zenml.pipelines.pipeline_decorator:pipeline": Home(_TOP, "pipeline"),
    "zenml.new.pipelines.pipeline_decorator:pipeline": Home(_TOP, "pipeline"),
    "zenml.pipelines.pipeline_definition:Pipeline": Home(_TOP, "Pipeline"),
    "zenml.steps:step": Home(_TOP, "step"),
    "zenml.steps.step_decorator:step": Home(_TOP, "step"),
    "zenml.steps:get_step_context": Home(_TOP, "get_step_context"),
    "zenml.steps.step_context:get_step_context": Home(_TOP, "get_step_context"),
    "zenml.types:CSVString": Home("rayform.types", "CSVString"),
    "zenml.types:HTMLString": Home("rayform.types", "HTMLString"),
    "zenml.types:JSONString": Home("rayform.types", "JSONString"),
    "zenml.types:MarkdownString": Home("rayform.types", "MarkdownString"),
    "zenml.utils.metadata_utils:log_metadata": Home(_TOP, "log_metadata"),
}  # fmt: skip
"""`module:name` of ZenML to its home in Rayform."""

INSTEAD: dict[str, str] = {
    "zenml.config.schedule": "Let cron, a systemd timer or CI call `rayform run`.",
    "zenml:Schedule": "Let cron, a systemd timer or CI call `rayform run`.",
    "zenml.steps:Output": 'Annotate the return: `-> tuple[Annotated[A, "a"], Annotated[B, "b"]]`.',
    "zenml.steps:BaseParameters": "Make each field an argument of the step, or pass a pydantic model.",
    "zenml.steps:BaseStep": "Write the step as a function with `@step`.",
    "zenml.steps:BaseStepConfig": "Make each field an argument of the step, or pass a pydantic model.",
    "zenml.steps:StepContext": "Call `rayform.get_step_context()` in the step.",
    "zenml.pipelines:BasePipeline": "Write the pipeline as a function with `@pipeline`.",
    "zenml.post_execution": "Read runs with `rayform.Client().list_pipeline_runs()`.",
    "zenml.repository": "Use `rayform.Client`.",
    "zenml.integrations.constants": "Install the packages with pip, or in `ImageSpec(requirements=[...])`.",
    "zenml.integrations.mlflow.mlflow_utils": "Give MLflow its address yourself, in the environment of the step.",
    "zenml.integrations.mlflow": "Call MLflow in a step; Rayform has no experiment tracker and no model deployer.",
    "zenml.integrations.evidently": "Call Evidently in a step and return its report as `rayform.types.HTMLString`.",
    "zenml.integrations.deepchecks": "Call Deepchecks in a step and return its report as `rayform.types.HTMLString`.",
    "zenml.integrations.whylogs": "Call whylogs in a step.",
    "zenml.integrations.bentoml": "Call BentoML in a step; Rayform deploys no models.",
    "zenml.integrations.seldon": "Call Seldon in a step; Rayform deploys no models.",
    "zenml.integrations.huggingface": "Call the library in a step; Rayform deploys no models.",
    "zenml.integrations.slack": "Call Slack's API in a hook or a step.",
    "zenml.integrations": "Call the library in a step.",
    "zenml.services": "Rayform deploys no models: call the server's own API in a step.",
    "zenml.model_registries": "Use `rayform.Model` and `rayform.Client` for versions and stages of models.",
    "zenml.config.global_config": "Rayform has no global configuration; see `rayform stack` and `rayform profile`.",
    "zenml.constants": "Write the value itself.",
    "zenml.utils": "Write the helper yourself; Rayform has no public copy of ZenML's.",
}
"""What to do about names without a counterpart, by `module:name`, module, or package."""

COMMANDS: dict[str, str] = {
    "zenml init": "not needed",
    "zenml login": "not needed: there is no server",
    "zenml up": "not needed: there is no server",
    "zenml down": "not needed: there is no server",
    "zenml connect": "not needed: there is no server",
    "zenml logout": "not needed: there is no server",
    "zenml integration install": "pip install the packages themselves, or the extras of rayform",
    "zenml stack register": "rayform stack register",
    "zenml stack set": "rayform stack set",
    "zenml stack list": "rayform stack list",
    "zenml stack describe": "rayform stack describe",
    "zenml stack deploy": "rayform stack deploy, from a definition in YAML",
    "zenml pipeline runs": "rayform runs",
    "zenml pipeline": "rayform pipeline",
    "zenml artifact": "rayform artifact",
    "zenml artifact-store": "rayform artifact-store",
    "zenml container-registry": "rayform container-registry",
    "zenml orchestrator": "rayform orchestrator",
    "zenml model": "rayform model",
    "zenml secret": "rayform has no such command in ZenML's form; see docs/from-zenml.md",
}
"""ZenML's commands and what stands for them."""


def home_of(module: str, name: str) -> Home | None:
    """Return where Rayform has a name of ZenML; `None` if it doesn't have it.

    Args:
        module: the module that the name is imported from, such as `"zenml.client"`.
        name: the name; it may be a module itself.
    """
    home = NAMES.get(f"{module}:{name}")
    if home is not None:
        return home
    counterpart = module_of(module)
    if counterpart is None:
        return None
    value = getattr(importlib.import_module(counterpart), name, None)
    if is_refused(value):
        return None  # it can be imported, and does nothing but say what to use instead
    if value is not None or _exists(f"{counterpart}.{name}"):
        return Home(counterpart, name)
    return None


def module_of(module: str) -> str | None:
    """Return the module of Rayform that stands for a module of ZenML as a whole; `None` if there is none."""
    counterpart = _COMPATIBILITY + module.removeprefix("zenml")
    return counterpart if _exists(counterpart) else None


@cache
def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def why_missing(module: str, name: str | None = None) -> str:
    """Return what to do about a name, or a module, that Rayform doesn't have."""
    if name is not None and (text := INSTEAD.get(f"{module}:{name}") or REFUSED.get(name)):
        return text
    package = f"{module}.{name}" if name is not None else module
    while package:
        if text := INSTEAD.get(package):
            return text
        package = package.rpartition(".")[0]
    return "Rayform has nothing under this name. Remove it, or write what it did yourself."
