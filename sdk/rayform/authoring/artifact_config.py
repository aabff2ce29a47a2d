"""`ArtifactConfig`: how an output is named, versioned, tagged and stored, written in its annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rayform.authoring.options.tags import Tag
    from rayform_runtime.artifacts.materializers.base import Materializer
    from rayform_runtime.spec import ArtifactType

__all__ = ["ArtifactConfig"]


class ArtifactConfig:
    """Configures one output of a step; it stands in the output's `Annotated` type.

    Args:
        name: name of the output and of the artifact; by default `pipeline::step::output`.
        version: name of the version; by default the next number. A version that exists is refused.
        tags: tags of the version; none by default.
        run_metadata: metadata of the version: numbers, strings, bools, lists, dicts, datetimes; none by default.
        artifact_type: kind of artifact, such as `"model"`; by default the materializer's.
        is_model_artifact, is_deployment_artifact: the kinds `"model"` and `"service"` (ZenML's older names).
        materializer: class that saves and loads this output; by default looked up by type.

    Raises:
        UsageError: `tags` is one string, or two kinds of artifact are named.

    Example:
        >>> from typing import Annotated
        >>> @step
        ... def load() -> Annotated[list[int], ArtifactConfig(name="ids", tags=["raw"])]:
        ...     return [1, 2, 3]
    """

    # A plain class rather than a dataclass or pydantic model: user modules create these at import time, and
    # importing either machinery would cost more than all of Rayform's own import.
    __slots__ = ("artifact_type", "materializer", "name", "run_metadata", "tags", "version")

    def __init__(
        self,
        name: str | None = None,
        version: str | int | None = None,
        tags: Sequence[str | Tag] | None = None,
        run_metadata: Mapping[str, object] | None = None,
        artifact_type: ArtifactType | str | None = None,
        materializer: type[Materializer] | None = None,
        is_model_artifact: bool = False,
        is_deployment_artifact: bool = False,
    ) -> None:
        if isinstance(tags, str):
            from rayform_core.errors import UsageError

            raise UsageError(
                f"The tags of an ArtifactConfig are one string, {tags!r}.",
                hint=f"Give a list: tags=[{tags!r}].",
            )
        kinds = [
            kind
            for kind, is_meant in (("model", is_model_artifact), ("service", is_deployment_artifact))
            if is_meant
        ]
        if len({*kinds, *([] if artifact_type is None else [str(artifact_type)])}) > 1:
            from rayform_core.errors import UsageError

            raise UsageError(
                f"An ArtifactConfig names several kinds of artifact: {', '.join([*kinds, str(artifact_type)])}.",
                hint="Keep one of artifact_type, is_model_artifact and is_deployment_artifact.",
            )
        self.name = name
        self.version = version
        self.tags = list(tags or ())
        self.run_metadata = dict(run_metadata or {})
        self.artifact_type = kinds[0] if kinds else artifact_type
        self.materializer = materializer

    def __repr__(self) -> str:
        fields = ((n, getattr(self, n)) for n in ("name", "version", "tags", "artifact_type"))
        return f"ArtifactConfig({', '.join(f'{n}={v!r}' for n, v in fields if v)})"
