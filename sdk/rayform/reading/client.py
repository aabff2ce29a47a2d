"""`Client`: reads and writes the active stack's catalog and artifact store.

Names, signatures and meanings are ZenML's where the idea is the same. Lists are pages, newest first unless told;
what they answer with is in `rayform.reading.views`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rayform.reading import listing
from rayform.reading.views import (
    ArtifactVersionView,
    ArtifactView,
    ModelVersionView,
    ModelView,
    Page,
    PipelineView,
    RunView,
    StepRunView,
)
from rayform.stacks import (
    StackRecord,
    active_record,
    active_stack,
    get_stack,
    list_stacks,
    set_active_stack,
    stack_names,
)
from rayform_core.errors import ConflictError, NotFoundError, RayformError, UsageError

if TYPE_CHECKING:
    from rayform.reading.lineage import Lineage
    from rayform.reading.pruning import PruneReport
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.entities import ArtifactVersion, ModelStage, StepRun
    from rayform_runtime.catalog.interface import Catalog
    from rayform_runtime.components import Stack, StackSpec

__all__ = ["Client"]

Ref = str | UUID


class Client:
    """Reads and writes one stack.

    Args:
        stack: the stack's name, or what `rayform.stacks.get_stack` gives, or a `Stack` that is open already
            and stays its owner's; the active one unless told. Inside a step: the stack that the run is on.

    Example:
        >>> client = Client()
        >>> model = client.get_artifact_version("classifier").load()  # doctest: +SKIP
    """

    def __init__(self, stack: str | StackSpec | Stack | None = None) -> None:
        from rayform.running_step import running_stack
        from rayform.stacks.open import open_catalog, open_stack

        self._record: StackRecord | None = None
        self._catalog: Catalog | None = None
        given = running_stack() if stack is None else stack
        if given is None or isinstance(given, str):
            # The whole stack is opened only where more than its catalog is asked for.
            self._record = active_record(given)
            self._catalog = open_catalog(self._record)
            return
        from rayform_runtime.components import Stack

        self._stack = given if isinstance(given, Stack) else open_stack(given)

    @cached_property
    def _stack(self) -> Stack:
        from rayform.stacks.open import open_stack

        assert self._record is not None
        return open_stack(get_stack(self._record.name, profile=self._record.profile))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: all clients of a process share a stack's connections, which end with the process.

        It is here so that `with Client() as client:` reads well and goes on to work should that change.
        """

    def __repr__(self) -> str:
        return f"Client(stack={(self._record or self._stack).name!r})"

    # -- the stack ----------------------------------------------------------------------------------------
    @property
    def active_stack(self) -> Stack:
        """The stack that this client reads and writes, with its components."""
        return self._stack

    @property
    def active_stack_model(self) -> StackSpec:
        """The same as plain data (ZenML's name)."""
        return self._stack.spec

    @property
    def catalog(self) -> Catalog:
        """The stack's catalog."""
        from rayform.running_step import await_record

        await_record()
        return self._stack.catalog if self._catalog is None else self._catalog

    @property
    def artifact_store(self) -> ArtifactStore:
        """The stack's artifact store."""
        return self._stack.artifact_store

    def activate_stack(self, name: str) -> None:
        """Make a registered stack the active one of the profile, and use it from now on.

        Raises:
            NotFoundError: there is none.
        """
        from rayform.stacks.open import open_stack

        spec = get_stack(name)
        set_active_stack(name)
        self._record = self._catalog = None
        self._stack = open_stack(spec)

    def list_stacks(self) -> list[StackRecord]:
        """Return the registered stacks of the active profile."""
        return list_stacks()

    def get_stack(self, name: str | None = None) -> StackSpec:
        """Return a registered stack, the active one unless told."""
        return active_stack(name)

    # -- runs and steps -----------------------------------------------------------------------------------
    def get_pipeline_run(self, name_id_or_prefix: Ref) -> RunView:
        """Return a run.

        Args:
            name_id_or_prefix: its name, its UUID, or a unique prefix of either.

        Raises:
            NotFoundError, ConflictError: none, or several, are called so.
        """
        try:
            found = self.catalog.get_run(name_id_or_prefix)
        except NotFoundError as error:
            self._name_other_stacks(error)
            raise
        if not found.status.is_finished and self._mark_dead_runs():
            found = self.catalog.get_run(found.id)
        return RunView(found, self)

    def _name_other_stacks(self, error: NotFoundError) -> None:
        """Add to an error that this stack's catalog alone was searched, where there are other stacks."""
        with contextlib.suppress(RayformError):  # the error itself is what counts
            name = (self._record or self._stack).name
            if others := [f"'{other}'" for other in stack_names() if other != name]:
                shown = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
                elsewhere = (
                    f"For a run of another stack ({shown}) add `--stack NAME`, in Python `Client(NAME)`."
                )
                error.why = f"The catalog of stack '{name}' was searched, and no other."
                error.hint = f"{error.hint} {elsewhere}" if error.hint else elsewhere

    def list_pipeline_runs(
        self, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: Any
    ) -> Page[RunView]:
        """List runs.

        Args:
            sort_by: a field, `-` before it for descending (or ZenML's `"desc:created"`); newest first unless told.
            page, size: which page, and how many items on it.
            filters: wanted values by field (`pipeline`, `status`, `name`, `stack_name`, `tag`, `created_at`, …): a
                value, a list of them, or text such as `"contains:x"`, `"gte:2026-01-01"`.

        Raises:
            UsageError: a field is unknown; names the nearest one.
        """
        source = self.catalog.list_runs
        found = listing.page_of(source, RunView, self, sort_by, page, size, filters)
        if any(not run.status.is_finished for run in found) and self._mark_dead_runs():
            found = listing.page_of(source, RunView, self, sort_by, page, size, filters)
        return found

    def _mark_dead_runs(self) -> bool:
        """Mark runs whose process died without saying so; asked only where a run claims to be at work."""
        from rayform_runtime.execution.scheduling.liveness import mark_dead_runs

        return bool(mark_dead_runs(self.catalog))

    def update_pipeline_run(
        self, name_id_or_prefix: Ref, add_tags: Sequence[str] = (), remove_tags: Sequence[str] = ()
    ) -> RunView:
        """Change a run's tags."""
        run = self.get_pipeline_run(name_id_or_prefix)
        self._tag("run", run.id, add_tags, remove_tags)
        return run.refresh()

    def delete_pipeline_run(self, name_id_or_prefix: Ref) -> None:
        """Delete a finished run and its step runs; artifact versions stay, without a producer.

        Raises:
            ConflictError: it is at work.
        """
        self.catalog.delete_run(self.get_pipeline_run(name_id_or_prefix).id)

    def get_run_step(self, step_run_id: Ref) -> StepRunView:
        """Return a step run by its UUID."""
        return StepRunView(self.catalog.get_step_run(listing.as_uuid(step_run_id, "step run")), self)

    def list_run_steps(self, run: Ref) -> list[StepRunView]:
        """Return the step runs of a run, in order of start."""
        return self.get_pipeline_run(run).step_runs

    def step_log(self, step: StepRun) -> str:
        """Return what a step run printed and logged; empty where it printed nothing.

        Raises:
            NotFoundError: the log is on another machine.
        """
        from rayform_runtime.execution.worker.logs import read_log

        return read_log(step.log_uri, self.artifact_store).decode(errors="replace")

    # -- pipelines ----------------------------------------------------------------------------------------
    def get_pipeline(self, name: str) -> PipelineView:
        """Return a pipeline that has runs.

        Raises:
            NotFoundError: there is none; names its neighbours.
        """
        found = self.list_pipelines(name=name, size=1)
        if not found:
            raise NotFoundError("pipeline", name, known=[p.name for p in self.list_pipelines(size=1000)])
        return found[0]

    def list_pipelines(
        self, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: Any
    ) -> Page[PipelineView]:
        """List the pipelines that have runs; see `list_pipeline_runs`."""
        return listing.page_of(self.catalog.list_pipelines, PipelineView, self, sort_by, page, size, filters)

    def delete_pipeline(self, name: str) -> int:
        """Delete all runs of a pipeline, and return how many there were.

        Raises:
            ConflictError: one is at work; nothing was deleted.
        """
        self.get_pipeline(name)
        runs: list[RunView] = []
        page = 1
        while found := self.list_pipeline_runs(pipeline=name, page=page, size=10_000):
            runs += found
            page += 1
        busy = [run.name for run in runs if not run.status.is_finished]
        if busy:
            raise ConflictError(
                f"Pipeline '{name}' has a run at work.",
                why=f"Run '{busy[0]}' hasn't ended.",
                hint=f"Stop it first: rayform runs stop {busy[0]}",
            )
        for run in runs:
            self.catalog.delete_run(run.id)
        return len(runs)

    # -- artifacts ----------------------------------------------------------------------------------------
    def get_artifact(self, name_id_or_prefix: Ref) -> ArtifactView:
        """Return an artifact by name, UUID or unique prefix of that."""
        return ArtifactView(self.catalog.get_artifact(name_id_or_prefix), self)

    def list_artifacts(
        self, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: Any
    ) -> Page[ArtifactView]:
        """List artifacts; see `list_pipeline_runs`."""
        return listing.page_of(self.catalog.list_artifacts, ArtifactView, self, sort_by, page, size, filters)

    def update_artifact(
        self,
        name_id_or_prefix: Ref,
        new_name: str | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> ArtifactView:
        """Change an artifact's name or tags.

        Raises:
            ConflictError: the new name is taken.
        """
        artifact = self.get_artifact(name_id_or_prefix)
        if new_name is not None:
            self.catalog.rename_artifact(artifact.id, new_name)
        self._tag("artifact", artifact.id, add_tags, remove_tags)
        return self.get_artifact(artifact.id)

    def delete_artifact(self, name_id_or_prefix: Ref) -> None:
        """Delete an artifact without versions.

        Raises:
            ConflictError: it has versions.
        """
        self.catalog.delete_artifact(self.get_artifact(name_id_or_prefix).id)

    def get_artifact_version(
        self, name_id_or_prefix: Ref, version: str | int | None = None
    ) -> ArtifactVersionView:
        """Return an artifact version.

        Args:
            name_id_or_prefix: the version's UUID or a unique prefix of it, or the artifact's name.
            version: with a name, its version; the latest unless told.

        Raises:
            NotFoundError: there is none; names its neighbours.

        Example:
            >>> Client().get_artifact_version("digits", 3).run_metadata  # doctest: +SKIP
        """
        return ArtifactVersionView(self.catalog.get_artifact_version(name_id_or_prefix, version), self)

    def list_artifact_versions(
        self,
        sort_by: str | None = None,
        page: int = 1,
        size: int = 20,
        *,
        hydrate: bool = False,
        **filters: Any,
    ) -> Page[ArtifactVersionView]:
        """List artifact versions; see `list_pipeline_runs`.

        Args:
            hydrate: load their metadata in the same breath; else each is looked up where it is asked for.
        """
        source = self.catalog.list_artifact_versions
        return listing.page_of(
            source, ArtifactVersionView, self, sort_by, page, size, filters, hydrate=hydrate
        )

    def update_artifact_version(
        self,
        name_id_or_prefix: Ref,
        version: str | int | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> ArtifactVersionView:
        """Change a version's tags; its value never changes."""
        found = self.get_artifact_version(name_id_or_prefix, version)
        self._tag("artifact_version", found.id, add_tags, remove_tags)
        return self.get_artifact_version(found.id)

    def delete_artifact_version(
        self,
        name_id_or_prefix: Ref,
        version: str | int | None = None,
        *,
        delete_metadata: bool = True,
        delete_from_artifact_store: bool = True,
        force: bool = False,
    ) -> None:
        """Delete a version: first what the catalog knows of it, then its data.

        Args:
            name_id_or_prefix, version: which one; see `get_artifact_version`.
            delete_metadata: `False` deletes the data alone.
            delete_from_artifact_store: `False` leaves the data. Data that was registered rather than saved always
                stays.
            force: also where a model version or a step run refers to it.

        Raises:
            ConflictError: something refers to it, and `force` isn't set. Nothing was deleted.
        """
        found = self.catalog.get_artifact_version(name_id_or_prefix, version)
        if delete_metadata:
            self.catalog.delete_artifact_versions([found.id], force=force)
        if delete_from_artifact_store and not found.external:
            self.artifact_store.delete(found.uri)

    def prune_artifacts(
        self,
        *,
        older_than: datetime | None = None,
        keep_runs: bool = True,
        dry_run: bool = False,
        leftover_age: float | None = None,
        orphans: bool = False,
    ) -> PruneReport:
        """Remove artifact versions that nothing needs, and what crashed writes left in the store.

        What a kept run, a model version, or the tag `keep` needs is never touched, nor is registered data.

        Args:
            older_than: only versions made before.
            keep_runs: a version that a run made or used is needed; `False` lets only models and tags keep one.
            dry_run: only say what would go.
            leftover_age: seconds that uncommitted data must have lain there, so that a run at work is safe; a
                day unless told.
            orphans: also committed data that this catalog doesn't know; never where another catalog shares the
                store.

        Returns:
            What went, or would go.
        """
        from rayform.reading.pruning import apply_prune, find_prunable

        report = find_prunable(
            self, older_than=older_than, keep_runs=keep_runs, leftover_age=leftover_age, orphans=orphans
        )
        return report if dry_run else apply_prune(self, report)

    def get_lineage(
        self,
        name_id_or_prefix: Ref,
        version: str | int | None = None,
        *,
        upstream: bool = True,
        downstream: bool = True,
        depth: int | None = None,
    ) -> Lineage:
        """Return what made a version, and what was made of it.

        Args:
            name_id_or_prefix, version: which one; see `get_artifact_version`.
            upstream, downstream: which way to look.
            depth: how many step runs far; all unless told.
        """
        from rayform.reading.lineage import Lineage

        found = self.catalog.get_artifact_version(name_id_or_prefix, version)
        graph = self.catalog.lineage(found.id, upstream=upstream, downstream=downstream, depth=depth)
        return Lineage(graph)

    def load_version(self, record: ArtifactVersion) -> Any:
        """Load the value of a version; `ArtifactVersionView.load` calls this."""
        from rayform_runtime.artifacts.values import load_value

        return load_value(
            self.artifact_store,
            record.uri,
            digest=record.digest,
            type=record.type,
            materializer=record.materializer,
        )

    def download_version(self, record: ArtifactVersion, path: Path, *, overwrite: bool = False) -> Path:
        """Copy a version's files; `ArtifactVersionView.download` calls this."""
        from rayform.reading.downloads import download

        return download(record, self.artifact_store, path, overwrite=overwrite)

    # -- models -------------------------------------------------------------------------------------------
    def create_model(
        self,
        name: str,
        *,
        description: str | None = None,
        license: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> ModelView:
        """Create a model without versions.

        Raises:
            ConflictError: there is one of this name.
        """
        made = self.catalog.create_model(
            name, description=description, license=license, tags=tags, metadata=metadata
        )
        return ModelView(made, self)

    def get_model(self, model_name_or_id: Ref) -> ModelView:
        """Return a model by name, UUID or unique prefix of that."""
        return ModelView(self.catalog.get_model(model_name_or_id), self)

    def list_models(
        self, sort_by: str | None = None, page: int = 1, size: int = 20, **filters: Any
    ) -> Page[ModelView]:
        """List models; see `list_pipeline_runs`."""
        return listing.page_of(self.catalog.list_models, ModelView, self, sort_by, page, size, filters)

    def update_model(
        self,
        model_name_or_id: Ref,
        *,
        name: str | None = None,
        description: str | None = None,
        license: str | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> ModelView:
        """Change what is given.

        Raises:
            ConflictError: the new name is taken.
        """
        model = self.get_model(model_name_or_id)
        if (name, description, license) != (None, None, None):
            self.catalog.update_model(model.id, name=name, description=description, license=license)
        self._tag("model", model.id, add_tags, remove_tags)
        return self.get_model(model.id)

    def delete_model(self, model_name_or_id: Ref, *, force: bool = False) -> None:
        """Delete a model with its versions and links; artifacts and runs stay.

        Args:
            model_name_or_id: which one.
            force: also where a version is in `staging` or `production`.

        Raises:
            ConflictError: one is, and `force` isn't set.
        """
        model = self.get_model(model_name_or_id)
        staged = [v for v in model.versions if v.stage.value in ("staging", "production")]
        if staged and not force:
            raise ConflictError(
                f"Model '{model.name}' is in use.",
                why=f"Version '{staged[0].version}' is in {staged[0].stage.value}.",
                hint="Archive it first, or delete it all the same: `--force`, or `force=True` in Python.",
            )
        self.catalog.delete_model(model.id)

    def create_model_version(
        self,
        model_name_or_id: Ref,
        version: str | None = None,
        *,
        description: str | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> ModelVersionView:
        """Create a version of an existing model; the next number unless told.

        Raises:
            ConflictError: there is one of this name.
        """
        model = self.catalog.get_model(model_name_or_id)
        made = self.catalog.create_model_version(
            model.name, version=version, description=description, tags=tags, metadata=metadata
        )
        return ModelVersionView(made, self)

    def get_model_version(
        self,
        model_name_or_id: Ref | None = None,
        model_version_name_or_number_or_id: str | int | ModelStage | UUID | None = None,
    ) -> ModelVersionView:
        """Return a version of a model.

        Args:
            model_name_or_id: the model.
            model_version_name_or_number_or_id: the version's name, number, UUID or stage; the latest unless told.

        Raises:
            NotFoundError: there is none; names its neighbours.
        """
        wanted = model_version_name_or_number_or_id
        wanted = getattr(wanted, "value", wanted)
        if model_name_or_id is None:
            if wanted is None:
                raise UsageError("Name a model, or a model version by its UUID.")
            return self.get_model_version_by_id(listing.as_uuid(str(wanted), "model version"))
        if isinstance(wanted, UUID):
            wanted = str(wanted)
        return ModelVersionView(self.catalog.get_model_version(model_name_or_id, wanted), self)

    def get_model_version_by_id(self, model_version_id: UUID) -> ModelVersionView:
        """Return a model version by its UUID."""
        from rayform_runtime.catalog.entities import Query

        found = self.catalog.list_model_versions(
            Query(filters={"id": str(model_version_id)}, size=1, hydrate=True)
        )
        if not found.items:
            raise NotFoundError("model version", str(model_version_id))
        return ModelVersionView(found.items[0], self)

    def list_model_versions(
        self,
        model_name_or_id: Ref | None = None,
        sort_by: str | None = None,
        page: int = 1,
        size: int = 20,
        **filters: Any,
    ) -> Page[ModelVersionView]:
        """List model versions, of one model where told; see `list_pipeline_runs`."""
        if model_name_or_id is not None:
            filters["model"] = self.catalog.get_model(model_name_or_id).name
        source = self.catalog.list_model_versions
        return listing.page_of(source, ModelVersionView, self, sort_by, page, size, filters, hydrate=True)

    def update_model_version(
        self,
        model_name_or_id: Ref,
        version_name_or_id: str | int | ModelStage | UUID,
        *,
        stage: str | ModelStage | None = None,
        force: bool = False,
        name: str | None = None,
        description: str | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> ModelVersionView:
        """Change what is given; see `Model.set_stage` for `stage` and `force`."""
        found = self.get_model_version(model_name_or_id, version_name_or_id)
        if stage is not None:
            self.set_model_stage(found, stage, force=force)
        if (name, description) != (None, None):
            self.catalog.update_model_version(found.id, name=name, description=description)
        self._tag("model_version", found.id, add_tags, remove_tags)
        return self.get_model_version_by_id(found.id)

    def set_model_stage(
        self, version: ModelVersionView, stage: str | ModelStage, *, force: bool = False
    ) -> ModelVersionView:
        """Move a model version to a stage; see `Model.set_stage`."""
        from rayform.identity import current_user
        from rayform_runtime.catalog.entities import ModelStage

        try:
            chosen = ModelStage(str(getattr(stage, "value", stage)).lower())
        except ValueError:
            known = [s.value for s in ModelStage]
            raise NotFoundError("stage", str(stage), known=known) from None
        changed = self.catalog.set_model_stage(version.id, chosen, force=force, user=current_user())
        return ModelVersionView(changed, self)

    def delete_model_version(
        self,
        model_name_or_id: Ref,
        version_name_or_id: str | int | ModelStage | UUID,
        *,
        force: bool = False,
    ) -> None:
        """Delete a version and its links; one in `staging` or `production` only with `force`."""
        found = self.get_model_version(model_name_or_id, version_name_or_id)
        self.catalog.delete_model_version(found.id, force=force)

    # -- metadata and tags --------------------------------------------------------------------------------
    def log_to(self, subject: str, id: UUID, metadata: Mapping[str, Any]) -> None:
        """Merge metadata into a subject's (`run`, `step_run`, `artifact`, `artifact_version`, `model`,
        `model_version`)."""
        from rayform_runtime.catalog.entities import Subject

        self.catalog.log_metadata(Subject(subject), id, metadata)

    def _tag(self, subject: str, id: UUID, add: Sequence[str], remove: Sequence[str]) -> None:
        if isinstance(add, str) or isinstance(remove, str):
            raise UsageError("Tags are given as a list of strings, not as one string.")
        if add or remove:
            from rayform_runtime.catalog.entities import Subject

            self.catalog.update_tags(Subject(subject), id, add=add, remove=remove)
