"""Names of ZenML that Rayform has no counterpart of. They can be imported; using one says what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from rayform_core.errors import UsageError

__all__ = ["INTEGRATIONS", "REFUSED", "is_refused", "refused"]

INTEGRATIONS = frozenset(
    [
        "airflow",
        "argilla",
        "aws",
        "azure",
        "b2",
        "baseten",
        "bentoml",
        "bitbucket",
        "comet",
        "constants",
        "databricks",
        "deepchecks",
        "digitalocean",
        "discord",
        "evidently",
        "facets",
        "feast",
        "gcp",
        "github",
        "gitlab",
        "great_expectations",
        "huggingface",
        "hyperai",
        "integration",
        "jax",
        "kaniko",
        "kubeflow",
        "kubernetes",
        "label_studio",
        "langchain",
        "lightgbm",
        "lightning",
        "llama_index",
        "mlflow",
        "mlx",
        "modal",
        "neptune",
        "neural_prophet",
        "numpy",
        "openai",
        "pandas",
        "pigeon",
        "pillow",
        "plotly",
        "polars",
        "prodigy",
        "pycaret",
        "pytorch",
        "pytorch_lightning",
        "registry",
        "runai",
        "s3",
        "sagemaker",
        "scipy",
        "seldon",
        "sklearn",
        "skypilot",
        "skypilot_aws",
        "skypilot_azure",
        "skypilot_gcp",
        "skypilot_kubernetes",
        "skypilot_lambda",
        "slack",
        "spark",
        "ssh",
        "tekton",
        "tensorboard",
        "tensorflow",
        "trackio",
        "typesafe",
        "utils",
        "vllm",
        "wandb",
        "whylogs",
        "xgboost",
    ]
)
"""The packages and modules below `zenml.integrations`."""

_SCHEDULE = (
    "Rayform has no schedules. Let cron, a systemd timer or CI call `rayform run`; see docs/from-zenml.md."
)
_COMPONENT = "Rayform has its own flavors of stack components. `rayform component flavors` lists them."
_DEPLOYMENT = "Rayform deploys no model servers. Load the model in your server: `load_artifact(NAME)`."
_CONFIG = (
    "Rayform has no global configuration object. `rayform profile` and `rayform stack` show and change it."
)
_REQUEST = "Rayform has no server, and no requests to it. Use the methods of `Client`."

REFUSED: dict[str, str] = {
    "Schedule": _SCHEDULE,
    "CommandStep": "Write a step that calls `subprocess.run(...)`.",
    "run_hook": "Call the function itself.",
    "wait": "Rayform's runs wait for nobody. Split the pipeline, and start the second part when it is decided.",
    "GlobalConfiguration": _CONFIG,
    "get_pipeline": "Use `Client().get_pipeline(NAME)`.",
    "get_pipelines": "Use `Client().list_pipelines()`.",
    "PipelineRunView": "Use `Client().get_pipeline_run(NAME)`.",
    "Repository": "Use `Client()`.",
    "StepRunInfo": "Use `get_step_context()`.",
    "Source": "Give the function or class itself, or its import path.",
    "integration_registry": "Install the packages themselves, or extras of Rayform: `pip install 'rayform[sklearn]'`.",
    **dict.fromkeys(
        [
            "BaseAlerter", "BaseAlerterConfig", "BaseAlerterFlavor", "BaseAlerterStepParameters", "BaseArtifactStore",
            "BaseArtifactStoreConfig", "BaseArtifactStoreFlavor", "BaseContainerRegistry", "BaseOrchestrator",
            "BaseOrchestratorConfig", "BaseOrchestratorFlavor", "BaseStepOperator", "BaseStepOperatorConfig",
            "ContainerizedOrchestrator", "Flavor", "StackComponent", "StackComponentConfig", "StackValidator",
            "BaseModelRegistry", "ModelRegistryModelMetadata", "ModelVersionStage",
        ],
        _COMPONENT,
    ),
    **dict.fromkeys(
        [
            "BaseService", "ServiceConfig", "ServiceState", "ServiceType", "BaseModelDeployer", "MLFlowModelDeployer",
            "MLFlowDeploymentService", "mlflow_model_deployer_step", "mlflow_model_registry_deployer_step",
            "HuggingFaceModelDeployer", "HuggingFaceDeploymentService", "bento_builder_step",
            "bentoml_model_deployer_step", "seldon_model_deployer_step",
        ],
        _DEPLOYMENT,
    ),
    **dict.fromkeys(
        [
            "PipelineDeploymentResponse", "PipelineRunRequest", "PipelineRunUpdate", "ModelRequest",
            "ModelVersionRequest", "ArtifactVersionRequest", "PipelineRunResponseBody", "UserResponse",
            "ComponentResponse", "StackResponse",
        ],
        _REQUEST,
    ),
}  # fmt: skip
"""What to do instead, by name."""


class _Refused(type):
    """The class of a name that Rayform has no counterpart of: it may stand in an annotation, and nothing more."""

    sentence: str
    zenml_name: str

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        cls._refuse()

    def __getattr__(cls, name: str) -> Callable[..., type]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in ("with_options", "configure"):
            cls._refuse()
        return lambda *_args, **_options: (
            cls
        )  # modules do this at their top level; calling the step is refused

    def _refuse(cls) -> NoReturn:
        raise UsageError(f"Rayform has no counterpart of `{cls.zenml_name}`.", hint=cls.sentence)


def is_refused(value: object) -> bool:
    """Whether an object is such a stand-in."""
    return isinstance(value, _Refused)


def refused(zenml_name: str, sentence: str) -> type:
    """Return a stand-in for a name of ZenML that raises when it is called, extended or asked for an attribute.

    Args:
        zenml_name: the name with its module, for the error.
        sentence: what to do instead.
    """

    def refuse_subclass(cls: type, /, **_: object) -> NoReturn:
        raise UsageError(f"Rayform has no counterpart of `{zenml_name}`.", hint=sentence)

    return _Refused(
        zenml_name.rpartition(".")[2],
        (),
        {
            "__init_subclass__": classmethod(refuse_subclass),
            "__module__": "rayform.zenml",
            "sentence": sentence,
            "zenml_name": zenml_name,
        },
    )
