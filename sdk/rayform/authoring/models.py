"""`Model`: which model a pipeline's or a step's artifacts and metadata belong to.

User modules import it, so it loads nothing heavy until it has to ask the catalog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayform_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from rayform.reading.views import ArtifactVersionView, ModelVersionView
    from rayform_runtime.catalog.entities import ModelStage
    from rayform_runtime.spec import ModelSpec

__all__ = ["MODEL_CARD", "Model"]

MODEL_CARD = ("audience", "use_cases", "limitations", "trade_offs", "ethics")


class Model:
    """A model, and one version of it.

    On a pipeline or a step, the run makes a new version, or uses the existing one that `version` names, and links
    its artifacts to it. Anywhere else, it is a handle to the version in the catalog.

    Args:
        name: name of the model.
        version: a version's name or number, or a stage (`"production"`, `"staging"`, `"latest"`). By default, a
            run makes a new version, and a handle means the latest one.
        description: what the model is for; none by default.
        tags: tags of the version; none by default.
        license: license of the model, such as `"Apache-2.0"`; none by default.
        metadata: metadata of the version: numbers, strings, bools, lists, dicts, datetimes; none by default.
        audience, use_cases, limitations, trade_offs, ethics: parts of a model card, stored as metadata of these
            names. They exist so that code written for ZenML runs.
        save_models_to_registry, suppress_class_validation_warnings: accepted for code written for ZenML; they change
            nothing, since models are in the catalog.

    Raises:
        UsageError: the name is empty, or `tags` is one string.

    Example:
        >>> @pipeline(model=Model("digits", tags=["sklearn"], license="Apache-2.0"))  # doctest: +SKIP
        ... def train() -> None: ...
        >>> Model("digits", version="production").load_artifact("classifier")  # doctest: +SKIP
    """

    __slots__ = ("_version_view", "description", "license", "metadata", "name", "tags", "version")

    def __init__(
        self,
        name: str,
        version: str | int | ModelStage | None = None,
        *,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        license: str | None = None,
        metadata: Mapping[str, object] | None = None,
        audience: str | None = None,
        use_cases: str | None = None,
        limitations: str | None = None,
        trade_offs: str | None = None,
        ethics: str | None = None,
        save_models_to_registry: bool = True,
        suppress_class_validation_warnings: bool = False,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise UsageError(
                f"A model needs a name, and {name!r} is not one.", hint="Give a text that isn't empty."
            )
        if isinstance(tags, str):
            raise UsageError(
                f"The tags of model '{name}' are one string.", hint=f"Give a list: tags=['{tags}']."
            )
        self.name = name
        self.version = None if version is None else str(getattr(version, "value", version))
        self.description = description
        self.tags = list(tags or ())
        self.license = license
        card = zip(MODEL_CARD, (audience, use_cases, limitations, trade_offs, ethics), strict=True)
        self.metadata = {**dict(metadata or {}), **{key: text for key, text in card if text is not None}}
        self._version_view: ModelVersionView | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}" + (f", version={self.version!r}" if self.version else "") + ")"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        return self._declared() == other._declared()

    def __hash__(self) -> int:
        return hash((self.name, self.version))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self._declared(),))

    def _declared(self) -> dict[str, object]:
        """Return the arguments that make this model again."""
        return {k: getattr(self, k) for k in self.__slots__ if k != "_version_view"}

    def to_spec(self) -> ModelSpec:
        """Return the declaration as it travels in a `PipelineSpec`."""
        from rayform_runtime.spec import ModelSpec

        return ModelSpec.model_validate(self._declared())

    @classmethod
    def of_version(cls, version_id: UUID) -> Model:
        """Return the handle of a version in the catalog.

        Raises:
            NotFoundError: there is no such version.
        """
        from rayform.reading.client import Client

        view = Client().get_model_version_by_id(version_id)
        model = cls(
            view.model_name,
            view.version,
            description=view.description,
            tags=view.tags,
            metadata=view.run_metadata,
        )
        model._version_view = view
        return model

    # -- in the catalog -----------------------------------------------------------------------------------
    @property
    def model_version(self) -> ModelVersionView:
        """The version in the catalog. It is looked up once.

        Inside a step whose run works on this model, it is the run's own version.

        Raises:
            NotFoundError: there is no such model or version.
        """
        if self._version_view is None:
            self._version_view = self._look_up()
        return self._version_view

    def _look_up(self) -> ModelVersionView:
        from rayform.reading.client import Client
        from rayform.running_step import running_model_version

        running_id = running_model_version()
        if self.version is None and running_id is not None:
            running = Client().get_model_version_by_id(running_id)
            if running.model_name == self.name:
                return running
        return Client().get_model_version(self.name, self.version)

    @property
    def id(self) -> UUID:
        """UUID of the version."""
        return self.model_version.id

    @property
    def model_id(self) -> UUID:
        """UUID of the model."""
        return self.model_version.model.id

    @property
    def artifact_versions(self) -> list[ArtifactVersionView]:
        """The artifact versions that are linked to the version, newest first."""
        return self.model_version.artifact_versions

    def get_deployment_artifact(
        self, name: str, version: str | int | None = None
    ) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts of type `service`."""
        artifact = self.model_version.get_artifact(name, version)
        return artifact if artifact is not None and artifact.type == "service" else None

    @property
    def number(self) -> int | None:
        """Number of the version; `None` if it has a name of its own."""
        return self.model_version.number

    @property
    def stage(self) -> ModelStage:
        """Stage of the version."""
        return self.model_version.stage

    @property
    def run_metadata(self) -> dict[str, Any]:
        """Metadata of the version."""
        return self.model_version.run_metadata

    def get_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Return an artifact version that is linked to this model version.

        Args:
            name: the artifact.
            version: its version; by default the newest that is linked.

        Returns:
            The version, or `None` if none is linked.
        """
        return self.model_version.get_artifact(name, version)

    def get_model_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts of type `model`."""
        return self.model_version.get_model_artifact(name, version)

    def get_data_artifact(self, name: str, version: str | int | None = None) -> ArtifactVersionView | None:
        """Like `get_artifact`, for artifacts that aren't of type `model` or `service`."""
        return self.model_version.get_data_artifact(name, version)

    def load_artifact(self, name: str, version: str | int | None = None) -> Any:
        """Load the value of an artifact that is linked to this model version.

        Args:
            name: the artifact.
            version: its version; by default the newest that is linked.

        Raises:
            NotFoundError: no artifact of this name is linked; names the nearest ones.
        """
        return self.model_version.load_artifact(name, version)

    def set_stage(self, stage: str | ModelStage, force: bool = False) -> None:
        """Move the version to a stage.

        Args:
            stage: `none`, `staging`, `production` or `archived`.
            force: archive the version that holds `staging` or `production` now; by default it is left alone.

        Raises:
            ConflictError: another version holds the stage, and `force` isn't set.
        """
        self._version_view = self.model_version.set_stage(stage, force=force)

    def log_metadata(self, metadata: Mapping[str, object]) -> None:
        """Add to the version's metadata; a name that exists gets the new value."""
        self.model_version.log_metadata(metadata)
        self._version_view = None


def _rebuild(declared: dict[str, Any]) -> Model:
    return Model(**declared)
