"""Where ZenML's names are in Rayform: one table, from ZenML's module paths to the objects that they stand for."""

from __future__ import annotations

import importlib
import re

from rayform.zenml.refusals import INTEGRATIONS, REFUSED, refused

__all__ = ["EXPORTS", "INTEGRATION_OBJECTS", "is_package", "lookup"]

_FUNCTIONS = "rayform.zenml.forms.functions"
_SETTINGS = "rayform.zenml.forms.settings"
_ENUMS = "rayform.zenml.forms.enums"
_MATERIALIZERS = "rayform_runtime.artifacts.materializers"


def _from(home: str, *names: str) -> dict[str, str]:
    """Return `home:name` for each name; `new=old` gives `old` of the module another name."""
    pairs = (name.split("=") if "=" in name else (name, name) for name in names)
    return {new: f"{home}:{old}" for new, old in pairs}


_STEP = _from("rayform.authoring.steps", "step", "unmapped")
_PIPELINE = _from("rayform.authoring.pipelines", "pipeline")
_CONTEXT = _from("rayform.context", "get_step_context", "get_pipeline_context")
_STEP_CONTEXT = _from("rayform.context", "get_step_context", "StepContext")
_PIPELINE_CONTEXT = _from("rayform.context", "get_pipeline_context", "PipelineContext")
_ARTIFACTS = _from("rayform.artifacts", "save_artifact", "load_artifact", "register_artifact")
_METADATA = _from("rayform.artifacts", "log_metadata", "bulk_log_metadata")
_CONFIG = _from("rayform.authoring.artifact_config", "ArtifactConfig")
_EXTERNAL = _from("rayform.authoring.run_inputs", "ExternalArtifact")
_MODEL = _from("rayform.authoring.models", "Model", "ModelVersion=Model", "ModelConfig=Model")
_TAGS = {
    **_from("rayform.authoring.options.tags", "Tag"),
    **_from("rayform.tagging", "add_tags", "remove_tags"),
}
_OLD_METADATA = _from(_FUNCTIONS, "log_artifact_metadata", "log_model_metadata", "log_step_metadata")
_LINK = _from(_FUNCTIONS, "link_artifact_to_model")
_CLIENT = _from("rayform.reading.client", "Client")
_LOGGER = _from("rayform.logger", "get_logger")
_DOCKER = _from(_SETTINGS, "DockerSettings")
_DOCKER_ENUMS = _from(_ENUMS, "PythonPackageInstaller", "PythonEnvironmentExportMethod", "SourceFileMode")
_RESOURCES = _from(_SETTINGS, "ResourceSettings")
_RETRY = _from(_SETTINGS, "StepRetryConfig")
_CACHE = _from(_SETTINGS, "CachePolicy")
_BASE_SETTINGS = _from(_SETTINGS, "BaseSettings")
_UNMATERIALIZED = _from("rayform.zenml.forms.artifacts", "UnmaterializedArtifact")
_BASE_MATERIALIZER = _from("rayform.zenml.forms.materializers", "BaseMaterializer")
_CLOUDPICKLE = _from(f"{_MATERIALIZERS}.pickled", "CloudpickleMaterializer")
_JSON = _from(
    f"{_MATERIALIZERS}.json_values",
    *(
        f"{name}=JsonMaterializer"
        for name in (
            "BuiltInMaterializer", "BuiltInContainerMaterializer", "PydanticMaterializer", "UUIDMaterializer",
            "DataclassMaterializer",
        )
    ),
)  # fmt: skip
_TEXT = _from(
    f"{_MATERIALIZERS}.text",
    "BytesMaterializer",
    "StructuredStringMaterializer=VisualizationStringMaterializer",
)
_PATHS = _from(f"{_MATERIALIZERS}.paths", "PathMaterializer")
_TYPES = _from("rayform.types", "HTMLString", "MarkdownString", "CSVString", "JSONString")
_METADATA_TYPES = _from(
    "rayform_runtime.catalog.metadata", "DType", "MetadataType=JSON", "Path", "StorageSize", "Uri"
)
_ERRORS = {
    **_from("rayform_core.errors", "EntityExistsError", "ZenMLBaseException=RayformError"),
    **_from("rayform_core.errors", *(f"{name}=NotFoundError" for name in ("DoesNotExistException", "ZenKeyError"))),
    **_from("rayform_core.errors", "StepContextError=NoContextError", "EntityCreationError=EntityExistsError"),
    **_from(
        "rayform_core.errors",
        *(
            f"{name}=UsageError"
            for name in (
                "StepInterfaceError", "MaterializerInterfaceError", "ValidationError", "StackValidationError",
                "HookValidationException", "SettingsResolvingError", "InputResolutionError",
                "PipelineInterfaceError", "MissingStepParameterError",
            )
        ),
    ),
    **_from(
        "rayform_core.errors",
        "RunStoppedException=PipelineFailedError",
        "RunInterruptedException=PipelineFailedError",
        "StepExecutionException=PipelineFailedError",
        "IllegalOperationError=ConflictError",
        "AuthorizationException=RemoteError",
        "InitializationException=PrerequisiteError",
        "IntegrationError=PrerequisiteError",
        "ArtifactStoreInterfaceError=IntegrityError",
    ),
}  # fmt: skip
_STACK = _from("rayform_runtime.components", "Stack")
_IO_UTILS = _from(
    "rayform.zenml.forms.fileio",
    "copy_dir", "create_dir_if_not_exists", "create_dir_recursive_if_not_exists", "create_file_if_not_exists",
    "find_files", "get_global_config_directory", "get_parent", "is_remote", "is_root", "move",
    "read_file_contents_as_string", "resolve_relative_path", "write_file_contents_as_string",
)  # fmt: skip
_FILEIO = _from(
    "rayform.zenml.forms.fileio",
    "copy", "exists", "glob", "isdir", "listdir", "makedirs", "mkdir", "open", "remove", "rename", "rmtree",
    "size", "stat", "walk", "convert_to_str",
)  # fmt: skip
_YAML = _from(
    "rayform.zenml.forms.documents",
    "read_yaml",
    "write_yaml",
    "append_yaml",
    "read_json",
    "write_json",
    "is_yaml",
)
_VIEWS = {
    **_from("rayform.reading.views.artifacts", "ArtifactVersionResponse=ArtifactVersionView"),
    **_from("rayform.reading.views.artifacts", "ArtifactResponse=ArtifactView"),
    **_from("rayform.reading.views.models", "ModelResponse=ModelView", "ModelVersionResponse=ModelVersionView"),
    **_from(
        "rayform.reading.views.runs",
        "PipelineResponse=PipelineView", "PipelineRunResponse=RunView", "StepRunResponse=StepRunView",
    ),
    **_from("rayform.reading.views.base", "Page"),
}  # fmt: skip

EXPORTS: dict[str, dict[str, str]] = {
    "": {
        **_STEP, **_PIPELINE, **_CONTEXT, **_ARTIFACTS, **_METADATA, **_CONFIG, **_EXTERNAL, **_MODEL, **_TAGS,
        **_OLD_METADATA, **_LINK, **_CLIENT, **_from("rayform_core.version", "__version__"),
        **_from(_FUNCTIONS, "show"),
    },
    "alerter": {},
    "artifacts": _UNMATERIALIZED,
    "artifacts.artifact_config": _CONFIG,
    "artifacts.external_artifact": _EXTERNAL,
    "artifacts.unmaterialized_artifact": _UNMATERIALIZED,
    "artifacts.utils": {
        **_ARTIFACTS, **_from(_FUNCTIONS, "log_artifact_metadata", "get_producer_step_of_artifact"),
        **_from(_FUNCTIONS, "load_artifact_from_response", "load_artifact_visualization"),
    },
    "client": _CLIENT,
    "config": {**_DOCKER, **_RESOURCES, **_RETRY, **_CACHE, **_DOCKER_ENUMS},
    "config.base_settings": _BASE_SETTINGS,
    "config.cache_policy": _CACHE,
    "config.docker_settings": {**_DOCKER, **_DOCKER_ENUMS},
    "config.global_config": {},
    "config.resource_settings": _RESOURCES,
    "config.retry_config": _RETRY,
    "config.schedule": {},
    "config.source": {},
    "config.step_run_info": {},
    "constants": _from("rayform.zenml.forms.constants", "*"),
    "enums": _from(_ENUMS, "*"),
    "environment": _from(_FUNCTIONS, "Environment"),
    "exceptions": _ERRORS,
    "hooks": _from("rayform.zenml.forms.hooks", "alerter_success_hook", "alerter_failure_hook"),
    "io": {},
    "io.fileio": _FILEIO,
    "logger": _LOGGER,
    "materializers": {**_JSON, **_TEXT, **_PATHS, **_CLOUDPICKLE, **_BASE_MATERIALIZER},
    "materializers.base_materializer": _BASE_MATERIALIZER,
    "materializers.built_in_materializer": {**_JSON, **_TEXT},
    "materializers.cloudpickle_materializer": _CLOUDPICKLE,
    "materializers.materializer_registry": _from("rayform.zenml.forms.materializers", "materializer_registry"),
    "materializers.path_materializer": _PATHS,
    "materializers.pydantic_materializer": _JSON,
    "materializers.structured_string_materializer": _TEXT,
    "metadata": {},
    "metadata.metadata_types": _METADATA_TYPES,
    "model": _MODEL,
    "model.model": _MODEL,
    "model.model_version": _MODEL,
    "model.utils": {
        **_LINK, **_from(_FUNCTIONS, "log_model_metadata", "log_model_version_metadata=log_model_metadata"),
    },
    "models": {**_VIEWS, **_MODEL},
    "models.v2.core.artifact_version": _VIEWS,
    "models.v2.core.model_version": _VIEWS,
    "models.v2.core.pipeline_run": _VIEWS,
    "models.v2.core.step_run": _VIEWS,
    "model_registries": {},
    "model_registries.base_model_registry": {},
    "orchestrators": {},
    "pipelines": {**_PIPELINE, **_PIPELINE_CONTEXT},
    "pipelines.pipeline_context": _PIPELINE_CONTEXT,
    "pipelines.pipeline_decorator": _PIPELINE,
    "pipelines.pipeline_definition": _from("rayform.authoring.pipelines", "Pipeline"),
    "new.pipelines.pipeline": _from("rayform.authoring.pipelines", "Pipeline"),
    "services": {},
    "stack": _STACK,
    "step_operators": {},
    "steps": {
        **_STEP, **_STEP_CONTEXT, **_RESOURCES,
        **_from("rayform.authoring.steps", "BaseStep=Step"),
        **_from("rayform.zenml.forms.old_steps", "BaseParameters", "Output"),
    },
    "steps.base_step": _from("rayform.authoring.steps", "BaseStep=Step"),
    "steps.step_context": _STEP_CONTEXT,
    "steps.step_decorator": _STEP,
    "steps.utils": _from(_FUNCTIONS, "log_step_metadata"),
    "types": _TYPES,
    "utils": {},
    "utils.cuda_utils": _from(_FUNCTIONS, "cleanup_gpu_memory"),
    "utils.dashboard_utils": _from(_FUNCTIONS, "get_run_url", "get_model_version_url"),
    "utils.io_utils": _IO_UTILS,
    "utils.metadata_utils": _METADATA,
    "utils.tag_utils": _TAGS,
    "utils.yaml_utils": _YAML,
}  # fmt: skip
"""By module, `""` for ZenML itself: the objects by name, as `module:name`; `*` stands for all names of a module."""

INTEGRATION_OBJECTS = {
    "MLFlowExperimentTracker": "rayform.zenml.forms.trackers:MlflowTracker",
    "get_tracking_uri": "rayform.zenml.forms.trackers:get_tracking_uri",
    "PandasMaterializer": f"{_MATERIALIZERS}.pandas_frames:PandasMaterializer",
    "NumpyMaterializer": f"{_MATERIALIZERS}.numpy_arrays:NumpyMaterializer",
    "PolarsMaterializer": f"{_MATERIALIZERS}.polars_frames:PolarsMaterializer",
    "SparseMaterializer": f"{_MATERIALIZERS}.scipy_sparse:SparseMaterializer",
    "SklearnMaterializer": f"{_MATERIALIZERS}.sklearn_estimators:SklearnMaterializer",
    "PyTorchModuleMaterializer": f"{_MATERIALIZERS}.torch_modules:TorchModuleMaterializer",
    "PillowImageMaterializer": f"{_MATERIALIZERS}.pil_images:PILMaterializer",
}
"""Names of integrations that Rayform has, wherever in the integration they stand."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def is_package(module: str) -> bool:
    """Whether a module of ZenML holds other modules; `module` is its path below `zenml`."""
    if module.startswith("integrations"):
        parts = module.split(".")
        is_name = all(_NAME.fullmatch(part) for part in parts)
        return is_name and (len(parts) == 1 or parts[1] in INTEGRATIONS)
    return any(other.startswith(f"{module}.") for other in EXPORTS)


def lookup(module: str, name: str) -> object:
    """Return the object that a name of ZenML stands for.

    Args:
        module: ZenML's module, as its path below `zenml`; `""` for ZenML itself.
        name: the name in it.

    Raises:
        AttributeError: ZenML has no such name, or Rayform doesn't know it.
    """
    exports = EXPORTS.get(module, {})
    if path := exports.get(name):
        home, _, attribute = path.partition(":")
        return getattr(importlib.import_module(home), attribute)
    if star := exports.get("*"):
        value = getattr(importlib.import_module(star.partition(":")[0]), name, None)
        if value is not None and not name.startswith("_"):
            return value
    if module.startswith("integrations") and _NAME.fullmatch(name):
        return _of_integration(module, name)
    if sentence := REFUSED.get(name):
        return refused(f"zenml.{module}.{name}".replace("..", "."), sentence)
    submodule = f"{module}.{name}".removeprefix(".")
    if submodule in EXPORTS or is_package(submodule):
        return importlib.import_module(f"rayform.zenml.{submodule}")
    place = f"rayform.zenml.{module}" if module else "rayform.zenml"
    raise AttributeError(f"module '{place}' has no attribute '{name}'")


def _of_integration(module: str, name: str) -> object:
    """Return a name of one of ZenML's integrations: Rayform's own, settings that are ignored, or a refusal."""
    if name.isupper() and module.endswith("constants"):
        return name.lower()
    if path := INTEGRATION_OBJECTS.get(name):
        home, _, attribute = path.partition(":")
        return getattr(importlib.import_module(home), attribute)
    if name.endswith(("Settings", "PodSettings")):
        from rayform.zenml.forms.foreign_settings import foreign_settings

        return foreign_settings(name)
    parts = module.split(".")
    integration = parts[1] if len(parts) > 1 else name
    if len(parts) == 1 and name in INTEGRATIONS:
        return importlib.import_module(f"rayform.zenml.integrations.{name}")
    return refused(
        f"zenml.{module}.{name}",
        REFUSED.get(name)
        or f"Rayform has no integration '{integration}'. Use the package itself in your step: a step is plain Python.",
    )
