"""`Client`: reads and changes a stack's catalog and artifact store.

Names, signatures and meanings are ZenML's where the idea is the same. Lists are pages, newest first by default; their
items are the views of `rayform.reading.views`. What a method does is in the module of its subject: `runs`,
`artifacts`, `models`, `metadata`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayform.reading import artifacts, metadata, models, runs
from rayform.stacks import (
    StackRecord,
    active_record,
    active_stack,
    get_stack,
    list_stacks,
    set_active_stack,
)

if TYPE_CHECKING:
    from rayform_runtime.artifacts.stores.interface import ArtifactStore
    from rayform_runtime.catalog.interface import Catalog
    from rayform_runtime.components import Stack, StackSpec

__all__ = ["Client"]


class Client:
    """Reads and changes one stack.

    Args:
        stack: the stack's name, or a `StackSpec` as `rayform.stacks.get_stack` returns it, or an open `Stack`, which
            its owner closes. By default the active stack; inside a step, the stack of the run.

    Example:
        >>> client = Client()
        >>> model = client.get_artifact_version("classifier").load()  # doctest: +SKIP
    """

    def __init__(self, stack: str | StackSpec | Stack | None = None) -> None:
        from rayform.running_step import running_stack
        from rayform.stacks.open import open_catalog, open_stack

        # Either the stack's registration, and its catalog if that could be opened alone, or the open stack. `_stack`
        # opens the stack of a registration on first use.
        self._record: StackRecord | None = None
        self._catalog: Catalog | None = None
        self._opened: Stack | None = None
        if stack is None:
            stack = running_stack()
        if stack is None or isinstance(stack, str):
            self._record = active_record(stack)
            self._catalog = open_catalog(self._record)
            return
        from rayform_runtime.components import Stack

        self._opened = stack if isinstance(stack, Stack) else open_stack(stack)

    @property
    def _stack(self) -> Stack:
        if self._opened is None:
            from rayform.stacks.open import open_stack

            assert self._record is not None
            self._opened = open_stack(get_stack(self._record.name, profile=self._record.profile))
        return self._opened

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: all clients of a process share a stack's connections, which end with the process.

        Code that closes its clients, or writes `with Client() as client:`, stays correct if that changes.
        """

    def __repr__(self) -> str:
        return f"Client(stack={self.stack_name!r})"

    # -- the stack ----------------------------------------------------------------------------------------
    @property
    def stack_name(self) -> str:
        """The name of the stack; reading it opens nothing."""
        return (self._record or self._stack).name

    @property
    def active_stack(self) -> Stack:
        """The stack that this client reads and changes, with its components."""
        return self._stack

    @property
    def active_stack_model(self) -> StackSpec:
        """The same stack as plain data (ZenML's name)."""
        return self._stack.spec

    @property
    def is_trusted(self) -> bool:
        """Whether values and runs of the stack may run code on this machine, whoever made them (`--trusted`)."""
        return self._record.is_trusted if self._record is not None else self._stack.spec.is_trusted

    @property
    def catalog(self) -> Catalog:
        """The stack's catalog."""
        return self._stack.catalog if self._catalog is None else self._catalog

    @property
    def artifact_store(self) -> ArtifactStore:
        """The stack's artifact store."""
        return self._stack.artifact_store

    def activate_stack(self, name: str) -> None:
        """Make a registered stack the active one of the profile; this client uses it from now on.

        Raises:
            NotFoundError: there is no such stack.
        """
        from rayform.stacks.open import open_stack

        spec = get_stack(name)
        set_active_stack(name)
        self._record = self._catalog = None
        self._opened = open_stack(spec)

    def list_stacks(self) -> list[StackRecord]:
        """Return the registered stacks of the active profile."""
        return list_stacks()

    def get_stack(self, name: str | None = None) -> StackSpec:
        """Return a registered stack; the active one by default."""
        return active_stack(name)

    # Each name below is a method: the function of its subject, which gets this client as its first argument.

    # -- runs, steps and pipelines ------------------------------------------------------------------------
    get_pipeline_run = runs.get_pipeline_run
    list_pipeline_runs = runs.list_pipeline_runs
    update_pipeline_run = runs.update_pipeline_run
    delete_pipeline_run = runs.delete_pipeline_run
    get_run_step = runs.get_run_step
    list_run_steps = runs.list_run_steps
    step_log = runs.step_log
    get_pipeline = runs.get_pipeline
    list_pipelines = runs.list_pipelines
    delete_pipeline = runs.delete_pipeline

    # -- artifacts ----------------------------------------------------------------------------------------
    get_artifact = artifacts.get_artifact
    list_artifacts = artifacts.list_artifacts
    update_artifact = artifacts.update_artifact
    delete_artifact = artifacts.delete_artifact
    get_artifact_version = artifacts.get_artifact_version
    list_artifact_versions = artifacts.list_artifact_versions
    update_artifact_version = artifacts.update_artifact_version
    delete_artifact_version = artifacts.delete_artifact_version
    prune_artifacts = artifacts.prune_artifacts
    get_lineage = artifacts.get_lineage
    load_version = artifacts.load_version
    download_version = artifacts.download_version

    # -- models -------------------------------------------------------------------------------------------
    create_model = models.create_model
    get_model = models.get_model
    list_models = models.list_models
    update_model = models.update_model
    delete_model = models.delete_model
    create_model_version = models.create_model_version
    get_model_version = models.get_model_version
    get_model_version_by_id = models.get_model_version_by_id
    list_model_versions = models.list_model_versions
    update_model_version = models.update_model_version
    set_model_stage = models.set_model_stage
    delete_model_version = models.delete_model_version

    # -- metadata -----------------------------------------------------------------------------------------
    log_to = metadata.log_to
