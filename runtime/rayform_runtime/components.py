"""Kinds of components, their flavors, and how a stack is built from its JSON.

A stack's JSON (`StackSpec`) is the same on a laptop and on a cluster's head; `Stack` builds each component from it on
first use. Implementations are named by import path and loaded only when one is built, so listing flavors loads no
cloud SDK.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from rayform_core.errors import NotFoundError, UsageError
from rayform_core.startup import without_pydantic_plugins

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.interface import Catalog
    from rayform_runtime.execution.interface import Orchestrator
    from rayform_runtime.images.interface import ContainerRegistry

__all__ = ["FLAVORS", "ComponentKind", "ComponentSpec", "Flavor", "Stack", "StackSpec", "flavor"]


class ComponentKind(StrEnum):
    """The kinds of components that a stack is made of."""

    ORCHESTRATOR = "orchestrator"
    ARTIFACT_STORE = "artifact-store"
    CONTAINER_REGISTRY = "container-registry"
    CATALOG = "catalog"


@dataclass(frozen=True, slots=True)
class Flavor:
    """One implementation of a kind.

    Args:
        kind: what it implements.
        name: its name, such as `"s3"`.
        config: import path of the pydantic model of its settings.
        implementation: import path of its class; called as `cls(config, stack_name=...)`.
        extra: the extra of `rayform` that installs its packages, or `None` if it needs none.
        summary: one line for `rayform flavor list`.
    """

    kind: ComponentKind
    name: str
    config: str
    implementation: str
    extra: str | None
    summary: str


_K = ComponentKind
_R = "rayform_runtime."
FLAVORS: tuple[Flavor, ...] = (
    Flavor(
        _K.ORCHESTRATOR,
        "local",
        _R + "execution.config:LocalOrchestratorConfig",
        _R + "execution.local.orchestrator:LocalOrchestrator",
        None,
        "Warm worker processes on this machine.",
    ),
    Flavor(
        _K.ORCHESTRATOR,
        "ray",
        _R + "cluster.config:RayOrchestratorConfig",
        _R + "execution.on_ray.orchestrator:RayOrchestrator",
        "ray",
        "A Ray cluster, or a local Ray if no address is given.",
    ),
    Flavor(
        _K.ARTIFACT_STORE,
        "local",
        _R + "artifacts.stores.config:LocalStoreConfig",
        _R + "artifacts.stores.local:LocalArtifactStore",
        None,
        "A folder on this machine.",
    ),
    Flavor(
        _K.ARTIFACT_STORE,
        "s3",
        _R + "artifacts.stores.config:S3StoreConfig",
        _R + "artifacts.stores.s3:S3ArtifactStore",
        "s3",
        "An S3 bucket.",
    ),
    Flavor(
        _K.ARTIFACT_STORE,
        "gcs",
        _R + "artifacts.stores.config:GCSStoreConfig",
        _R + "artifacts.stores.gcs:GCSArtifactStore",
        "gcs",
        "A Google Cloud Storage bucket.",
    ),
    Flavor(
        _K.CONTAINER_REGISTRY,
        "docker",
        _R + "images.config:DockerRegistryConfig",
        _R + "images.oci:OCIRegistry",
        "docker",
        "Any OCI registry, with the Docker client's own credentials.",
    ),
    Flavor(
        _K.CONTAINER_REGISTRY,
        "ecr",
        _R + "images.config:ECRConfig",
        _R + "images.ecr:ECRRegistry",
        "aws",
        "Amazon Elastic Container Registry.",
    ),
    Flavor(
        _K.CONTAINER_REGISTRY,
        "gar",
        _R + "images.config:GARConfig",
        _R + "images.gar:GARRegistry",
        "gcp",
        "Google Artifact Registry.",
    ),
    Flavor(
        _K.CATALOG,
        "sqlite",
        _R + "catalog.config:SQLiteConfig",
        _R + "catalog.sql.catalog:SQLCatalog",
        None,
        "A SQLite file on this machine.",
    ),
    Flavor(
        _K.CATALOG,
        "postgres",
        _R + "catalog.config:PostgresConfig",
        _R + "catalog.sql.catalog:SQLCatalog",
        "postgres",
        "A PostgreSQL database.",
    ),
)


def flavor(kind: ComponentKind, name: str) -> Flavor:
    """Return the flavor of this kind and name.

    Raises:
        NotFoundError: there is none; lists its neighbours.
    """
    flavors = {flavor.name: flavor for flavor in FLAVORS if flavor.kind == kind}
    if name not in flavors:
        raise NotFoundError(f"{kind} flavor", name, known=list(flavors))
    return flavors[name]


def load_object(path: str) -> Any:
    """Import `module:name` and return what it names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class ComponentSpec(BaseModel):
    """A registered component, as a stack's JSON holds it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: ComponentKind
    flavor: str
    config: dict[str, Any] = Field(default_factory=dict)

    def validated_config(self) -> BaseModel:
        """Parse `config` with the flavor's model.

        Raises:
            NotFoundError: there is no such flavor.
            UsageError: a setting doesn't exist, is missing or is wrong.
        """
        with without_pydantic_plugins():
            model: type[BaseModel] = load_object(flavor(self.kind, self.flavor).config)
        try:
            return model.model_validate(self.config)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors()
            )
            raise UsageError(
                f"The settings of {self.kind} '{self.name}' (flavor '{self.flavor}') are wrong.",
                why=problems + ".",
                hint="Settings: " + ", ".join(sorted(model.model_fields)) + ".",
            ) from error


class StackSpec(BaseModel):
    """A registered stack with all that a cluster's head needs to build the same one.

    Args:
        name: its name.
        components: one of each kind; the container registry may be missing.
        reference: the unique reference of a deployed stack, with which its cloud resources are tagged.
        is_trusted: whether values and runs of the stack may run code on the user's machine, whoever made them.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    components: dict[ComponentKind, ComponentSpec]
    reference: str | None = None
    is_trusted: bool = False

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # A head with an earlier version of Rayform refuses keys that it doesn't know.
        fields: dict[str, object] = handler(self)
        if not self.is_trusted:
            fields.pop("is_trusted", None)
        return fields


class Stack:
    """A stack whose components are built on first use.

    Args:
        spec: what to build.

    Example:
        >>> Stack(spec).artifact_store.check()  # doctest: +SKIP
    """

    def __init__(self, spec: StackSpec) -> None:
        self.spec = spec
        self.name = spec.name

    def component(self, kind: ComponentKind) -> ComponentSpec:
        """Return the registered component of this kind.

        Raises:
            NotFoundError: the stack has none.
        """
        component = self.spec.components.get(kind)
        if component is None:
            raise NotFoundError(
                f"{kind} in stack", self.name, hint=f"Add one with `rayform stack update {self.name}`."
            )
        return component

    def _build(self, kind: ComponentKind) -> Any:
        spec = self.component(kind)
        chosen = flavor(kind, spec.flavor)
        config = spec.validated_config()
        try:
            implementation = load_object(chosen.implementation)
            return implementation(config, stack_name=self.name)
        except ModuleNotFoundError as error:
            from rayform_core.errors import PrerequisiteError

            if chosen.extra is None or (error.name or "").startswith("rayform"):
                raise
            raise PrerequisiteError(
                f"The {kind} flavor '{spec.flavor}' needs the Python package '{error.name}'.",
                hint=f"Install it: pip install 'rayform[{chosen.extra}]'.",
            ) from error

    @cached_property
    def artifact_store(self) -> ArtifactStore:
        """The artifact store."""
        store: ArtifactStore = self._build(ComponentKind.ARTIFACT_STORE)
        return store

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog."""
        catalog: Catalog = self._build(ComponentKind.CATALOG)
        return catalog

    @cached_property
    def orchestrator(self) -> Orchestrator:
        """The orchestrator."""
        orchestrator: Orchestrator = self._build(ComponentKind.ORCHESTRATOR)
        return orchestrator

    @cached_property
    def container_registry(self) -> ContainerRegistry | None:
        """The container registry, or `None` if the stack has none."""
        if ComponentKind.CONTAINER_REGISTRY not in self.spec.components:
            return None
        registry: ContainerRegistry = self._build(ComponentKind.CONTAINER_REGISTRY)
        return registry

    @property
    def experiment_tracker(self) -> Any:
        """MLflow, as steps name it: `@step(experiment_tracker=stack.experiment_tracker.name)`."""
        return load_object("rayform.zenml.forms.trackers:MlflowTracker")()

    @property
    def alerter(self) -> None:
        """`None`: Rayform has no components of this kind (a name of ZenML's)."""
        return None

    @property
    def model_registry(self) -> None:
        """`None`: models are in the catalog (a name of ZenML's)."""
        return None

    @property
    def step_operator(self) -> None:
        """`None`: the orchestrator places steps by their resources (a name of ZenML's)."""
        return None

    def close(self) -> None:
        """Release the connections and processes of the components that were built."""
        for name in ("orchestrator", "catalog"):
            built = self.__dict__.pop(name, None)
            if built is not None:
                built.close()
