"""`Model`: says which model a pipeline's or a step's artifacts and metadata belong to.

Stands in code that users import, so it loads nothing until it is asked for what the catalog knows.
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

__all__ = ["Model"]

_MODEL_CARD = ("audience", "use_cases", "limitations", "trade_offs", "ethics")


class Model:
    """A model, and one version of it.

    On a pipeline or a step: the run makes a new version, or takes the existing one that `version` names, and
    what the run makes is linked to it. Anywhere else: a handle to what the catalog knows of it.

    Args:
        name: the model.
        version: a version's name or number, or a stage (`"production"`, `"staging"`, `"latest"`). Unless told, a
            run makes a new one, and elsewhere the latest is meant.
        description: what it is for.
        tags: tags of the version.
        license: of the model, such as `"Apache-2.0"`.
        metadata: of the version: numbers, strings, bools, lists, dicts, datetimes.
        audience, use_cases, limitations, trade_offs, ethics: parts of a model card, kept as metadata of those
            names; here so that code written for ZenML runs.

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
        metadata: Mapping[str, Any] | None = None,
        audience: str | None = None,
        use_cases: str | None = None,
        limitations: str | None = None,
        trade_offs: str | None = None,
        ethics: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"A model needs a name, and {name!r} is none.")
        if isinstance(tags, str):
            raise UsageError(f"The tags of model '{name}' are one string.", hint=f"Write tags=['{tags}'].")
        self.name = name
        self.version = None if version is None else str(getattr(version, "value", version))
        self.description = description
        self.tags = list(tags or ())
        self.license = license
        card = zip(_MODEL_CARD, (audience, use_cases, limitations, trade_offs, ethics), strict=True)
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

    def _declared(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in self.__slots__ if k != "_version_view"}

    def to_spec(self) -> ModelSpec:
        """Return the declaration as it travels in a `PipelineSpec`."""
        from rayform_runtime.spec import ModelSpec

        return ModelSpec(**self._declared())

    # -- what the catalog knows ---------------------------------------------------------------------------
    @property
    def model_version(self) -> ModelVersionView:
        """The version that is meant, as the catalog knows it.

        Inside a step whose run works on this model it is the run's own version. It is looked up once.

        Raises:
            NotFoundError: there is no such model or version.
        """
        if self._version_view is None:
            self._version_view = self._look_up()
        return self._version_view

    def _look_up(self) -> ModelVersionView:
        from rayform.reading.client import Client
        from rayform.running_step import running_model_version

        running = running_model_version()
        if self.version is None and running is not None:
            mine = Client().get_model_version_by_id(running)
            if mine.name == self.name:
                return mine
        return Client().get_model_version(self.name, self.version)

    @property
    def id(self) -> UUID:
        """UUID of the version."""
        return self.model_version.id

    @property
    def number(self) -> int | None:
        """Number of the version, where it was numbered automatically."""
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
        """Return an artifact version that is linked to this model version, the newest of its name unless told.

        Args:
            name: the artifact.
            version: its version.

        Returns:
            The version, or `None` where none is linked.
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

        Raises:
            NotFoundError: none of this name is linked; names its neighbours.
        """
        return self.model_version.load_artifact(name, version)

    def set_stage(self, stage: str | ModelStage, force: bool = False) -> None:
        """Move the version to a stage.

        Args:
            stage: `none`, `staging`, `production` or `archived`.
            force: archive the version that holds `staging` or `production` now.

        Raises:
            ConflictError: another version holds the stage, and `force` isn't set.
        """
        self._version_view = self.model_version.set_stage(stage, force=force)

    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the version's metadata."""
        self.model_version.log_metadata(metadata)
        self._version_view = None


def _rebuild(declared: dict[str, Any]) -> Model:
    return Model(**declared)
