"""The steps of one run: their order, their inputs, and the number of instances of a mapped step.

Plain state without processes, clocks or databases; `frontier` and `loop` drive it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import ArtifactVersion, NewArtifactVersion, StepStatus
from rayform_runtime.execution.interface import StepFacts, StoredVersion, TaskInput
from rayform_runtime.execution.scheduling.cache_keys import KeyInput
from rayform_runtime.spec import (
    ArtifactInput,
    ElementInput,
    ListInput,
    MapInput,
    ParameterInput,
    PipelineSpec,
    StepInput,
    StepSpec,
    ValueInput,
)

__all__ = ["Argument", "Instance", "Node", "RunGraph", "VersionRef", "stored_ids"]


class VersionRef(NamedTuple):
    """The facts about an artifact version that the scheduler needs; `length` is set for lists and tuples."""

    id: UUID
    uri: str
    digest: str
    type: str
    materializer: str
    length: int | None

    @classmethod
    def of(cls, version: ArtifactVersion | NewArtifactVersion) -> VersionRef:
        """Return the reference to a version from the catalog, or to one that is about to be recorded."""
        length = version.metadata.get("length")
        return cls(
            version.id,
            version.uri,
            version.digest,
            version.type,
            version.materializer,
            length if isinstance(length, int) else None,
        )

    def for_worker(self) -> StoredVersion:
        """Return it as a worker loads it."""
        return StoredVersion(str(self.id), self.uri, self.digest, self.type, self.materializer)


class Argument(NamedTuple):
    """An artifact input of an instance."""

    versions: list[VersionRef]
    joined: bool = False
    """Whether the versions are passed as one list."""
    element: int | None = None
    """Which element of the one version, a list, is passed."""


class _FinishedRun(NamedTuple):
    """A step run that an earlier process of this run finished."""

    id: UUID
    status: StepStatus
    outputs: dict[str, VersionRef]


class _UnfinishedRun(NamedTuple):
    """A step run that an earlier process of this run left unfinished."""

    id: UUID
    attempt: int


@dataclass(eq=False, slots=True)
class Instance:
    """One execution of a step: the only one, or one element of a mapped step."""

    node: Node
    """The step; never changes."""
    map_index: int | None
    """Which element of the mapped list; `None` if the step isn't mapped."""
    id: UUID
    """ID of the step run; a resumed one keeps that of the earlier process."""
    arguments: dict[str, Argument]
    """Artifact inputs by argument name; emptied when the step closes."""
    attempt: int = 1
    """Number of the try in the catalog, earlier processes included; grows with each retry."""
    tries: int = 0
    """How often this process has submitted it; grows with each submission."""
    status: StepStatus = StepStatus.PENDING
    """Changes with each end, retries included."""
    cache_key: str | None = None
    """Set when the cache is asked; `None` if the step is never taken from it."""
    outputs: dict[str, VersionRef] = field(default_factory=dict)
    """By output name; set when it ends with success."""
    output_ids: dict[str, UUID] = field(default_factory=dict)
    """IDs of the versions that this try makes; chosen with each submission."""
    is_recorded: bool = False
    """Whether the catalog has, or is about to get, the start of this try."""

    def task_inputs(self) -> dict[str, TaskInput]:
        """Return the inputs as a worker gets them."""
        exact, is_json = self.node.exact, self.node.has_json
        inputs = {
            name: TaskInput(value, exact.get(name), is_json) for name, value in self.node.parameters.items()
        }
        for name, (versions, joined, element) in self.arguments.items():
            inputs[name] = TaskInput(
                versions=[v.for_worker() for v in versions],
                joined=joined,
                element=element,
                is_tuple=self.node.is_tuple(name),
            )
        return inputs

    def key_inputs(self) -> dict[str, KeyInput]:
        """Return the inputs as the cache key sees them."""
        return {
            name: KeyInput([v.digest for v in versions], joined, element, self.node.is_tuple(name))
            for name, (versions, joined, element) in self.arguments.items()
        }

    def input_ids(self) -> dict[str, list[UUID]]:
        """Return the inputs as the catalog records them."""
        return {name: [v.id for v in argument.versions] for name, argument in self.arguments.items()}


@dataclass(eq=False)
class Node:
    """A step of the pipeline in this run."""

    spec: StepSpec
    """The step as it was traced; never changes."""
    parameters: dict[str, object]
    """Arguments by name that are values, as plain JSON."""
    exact: dict[str, str]
    """The exact texts of those that differ from their plain JSON."""
    has_json: bool = False
    """Whether an earlier version made the pipeline, so that annotations turn JSON into values."""
    upstream: list[Node] = field(default_factory=list)
    """The steps that it waits for; complete when the graph is."""
    downstream: list[Node] = field(default_factory=list)
    """The steps that wait for it; complete when the graph is."""
    waiting_for: int = 0
    """How many of `upstream` have not ended; at 0 it is freed."""
    instances: list[Instance] = field(default_factory=list)
    """Empty until `open_node`, or `give`."""
    open: int = 0
    """How many of `instances` have not ended; set by `open_node`, and at 0 it closes."""
    status: StepStatus = StepStatus.PENDING
    """Running from `open_node` on; its end, from `close_node` on."""
    is_given: bool = False
    """Not run here: its outputs come from another run (`only`, `inputs_from`)."""

    @cached_property
    def facts(self) -> StepFacts:
        """What executors and workers need of the step; made once for all its instances."""
        return StepFacts.of(self.spec)

    def is_tuple(self, argument: str) -> bool:
        """Whether the pipeline's body gave several outputs to this argument as a tuple."""
        source = self.spec.inputs.get(argument)
        return isinstance(source, ListInput) and source.is_tuple

    @property
    def has_ended(self) -> bool:
        """Whether the step as a whole has ended in this process."""
        return self.status not in (StepStatus.PENDING, StepStatus.RUNNING)

    @property
    def key(self) -> str:
        """The step's key."""
        return self.spec.key


class RunGraph:
    """All steps of a run.

    Args:
        spec: the pipeline.
        stored: artifact versions that `ArtifactInput`s name, by ID.
        only: the steps to run; all by default.
        only_index: the one instance to run of each mapped step; all by default.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        stored: Mapping[UUID, ArtifactVersion],
        only: Sequence[str] | None = None,
        only_index: int | None = None,
    ) -> None:
        self.spec = spec
        self._only_index = only_index
        self._stored = {v.id: VersionRef.of(v) for v in stored.values()}
        self.nodes: dict[str, Node] = {}
        keys = [step.key for step in spec.steps]
        for key in only or ():
            if key not in keys:
                raise NotFoundError("step", key, known=keys)
        # What an earlier process of this run left, by step key and map index; filled before the first step opens.
        self._unfinished: dict[tuple[str, int | None], _UnfinishedRun] = {}
        self._finished: dict[tuple[str, int | None], _FinishedRun] = {}
        self._only = only
        for step in spec.steps:
            self.add(step)

    def add(self, step: StepSpec, stored: Mapping[UUID, ArtifactVersion] | None = None) -> Node:
        """Add a step, and return its node. It waits for those of its upstream steps that have not ended.

        Args:
            step: the step; its upstream steps are in the graph.
            stored: artifact versions that its `ArtifactInput`s name, in addition to those that the graph has.

        Raises:
            UsageError: an upstream step isn't in the graph.
        """
        self._stored.update({v.id: VersionRef.of(v) for v in (stored or {}).values()})
        node = Node(
            step,
            _parameters(self.spec, step),
            _exact_texts(step),
            has_json=not self.spec.has_exact_values,
            is_given=self._only is not None and step.key not in self._only,
        )
        for key in sorted(step.upstream):
            upstream = self.nodes.get(key)
            if upstream is None:
                raise UsageError(
                    f"Step '{step.key}' of pipeline '{self.spec.name}' waits for '{key}'.",
                    why="No step with that key comes before it.",
                )
            node.upstream.append(upstream)
            if not upstream.is_given and not node.is_given and not upstream.has_ended:
                upstream.downstream.append(node)
                node.waiting_for += 1
        self.nodes[step.key] = node
        return node

    # -- earlier results ------------------------------------------------------------------------------------
    def keep_unfinished(self, key: str, map_index: int | None, id: UUID, attempt: int) -> None:
        """Keep the ID of an unfinished step run of this run; it is run again under that ID."""
        self._unfinished[key, map_index] = _UnfinishedRun(id, attempt)

    def earlier_id(self, key: str, map_index: int | None) -> UUID | None:
        """Return the ID of a step run that an earlier process of this run left unfinished."""
        step_run = self._unfinished.get((key, map_index))
        return step_run.id if step_run else None

    def keep_finished(
        self, key: str, map_index: int | None, id: UUID, status: StepStatus, outputs: Mapping[str, VersionRef]
    ) -> None:
        """Keep a finished step run of this run; it isn't run again."""
        self._finished[key, map_index] = _FinishedRun(id, status, dict(outputs))

    @property
    def finished_before(self) -> frozenset[str]:
        """Keys of the steps with an instance that an earlier process of this run finished."""
        return frozenset(key for key, _ in self._finished)

    def needed_from_elsewhere(self) -> set[str]:
        """Return the keys of the steps that aren't run and whose outputs others need; `give` provides them."""
        nodes = [node for node in self.nodes.values() if not node.is_given]
        return {upstream.key for node in nodes for upstream in node.upstream if upstream.is_given}

    def give(self, key: str, instances: Mapping[int | None, Mapping[str, VersionRef]]) -> None:
        """Take a step's outputs from another run."""
        node = self.nodes[key]
        node.status = StepStatus.COMPLETED
        for index in sorted(instances, key=lambda i: -1 if i is None else i):
            instance = Instance(node, index, new_id(), {}, status=StepStatus.COMPLETED)
            instance.outputs = dict(instances[index])
            node.instances.append(instance)

    # -- making instances -----------------------------------------------------------------------------------
    def open_node(self, node: Node) -> list[Instance]:
        """Make the instances of a step whose upstream steps all succeeded.

        The instances that an earlier process of this run finished come with their outputs.

        Raises:
            UsageError: the lists of a mapped step have different lengths, or one isn't a list.
            NotFoundError: `only_index` is past the end of the list.
        """
        width = self._width(node)
        indices: Iterable[int | None] = [None] if width is None else range(width)
        if width is not None and self._only_index is not None:
            if self._only_index >= width:
                names = [f"{node.key}[{index}]" for index in range(width)]
                raise NotFoundError("step", f"{node.key}[{self._only_index}]", known=names)
            indices = [self._only_index]
        for index in indices:
            unfinished = self._unfinished.get((node.key, index))
            instance = Instance(node, index, new_id(), self._arguments(node, index))
            if unfinished is not None:
                instance.id, instance.attempt = unfinished.id, unfinished.attempt + 1
            finished = self._finished.get((node.key, index))
            if finished is not None and set(finished.outputs) >= {o.name for o in node.spec.outputs}:
                instance.id, instance.status, instance.outputs = finished
                instance.is_recorded = True
            node.instances.append(instance)
        node.open = sum(not i.status.is_successful for i in node.instances)
        node.status = StepStatus.RUNNING
        return node.instances

    def _width(self, node: Node) -> int | None:
        """Return how many instances a mapped step has; `None` if it isn't mapped."""
        widths: dict[str, int] = {}
        for name, source in node.spec.inputs.items():
            if isinstance(source, MapInput):
                upstream = self.nodes[source.step]
                if upstream.spec.is_mapped:
                    widths[name] = len(upstream.instances)
                    continue
                length = self._output(upstream, 0, source.output).length
                if length is None:
                    raise UsageError(
                        f"Step '{node.key}' can't be mapped over output '{source.output}' of step "
                        f"'{source.step}'.",
                        why="What that step returned is neither a list nor a tuple.",
                        hint="Return a list from it, and annotate it as one.",
                    )
                widths[name] = length
        if not widths:
            return None
        if len(set(widths.values())) > 1:
            shown = ", ".join(f"'{name}' has {width}" for name, width in widths.items())
            raise UsageError(
                f"Step '{node.key}' is mapped over lists of different lengths: {shown} elements.",
                hint="They are walked side by side. Pass a list that goes whole to each as `unmapped(...)`.",
            )
        return next(iter(widths.values()))

    def _arguments(self, node: Node, index: int | None) -> dict[str, Argument]:
        arguments: dict[str, Argument] = {}
        for name, source in node.spec.inputs.items():
            if isinstance(source, MapInput):
                upstream = self.nodes[source.step]
                assert index is not None
                if upstream.spec.is_mapped:
                    arguments[name] = Argument([self._output(upstream, index, source.output)])
                else:
                    arguments[name] = Argument([self._output(upstream, 0, source.output)], element=index)
            elif isinstance(source, ElementInput):
                version = self._output(self.nodes[source.step], 0, source.output)
                arguments[name] = Argument([version], element=source.index)
            elif isinstance(source, StepInput):
                upstream = self.nodes[source.step]
                if upstream.spec.is_mapped:
                    outputs = [instance.outputs[source.output] for instance in upstream.instances]
                    arguments[name] = Argument(outputs, joined=True)
                else:
                    arguments[name] = Argument([self._output(upstream, 0, source.output)])
            elif isinstance(source, ArtifactInput):
                arguments[name] = Argument([self._stored_version(source)])
            elif isinstance(source, ListInput):
                items: list[VersionRef] = []
                for item in source.items:
                    if isinstance(item, ArtifactInput):
                        items.append(self._stored_version(item))
                    else:
                        items += [i.outputs[item.output] for i in self.nodes[item.step].instances]
                arguments[name] = Argument(items, joined=True)
        return arguments

    def output(self, key: str, name: str) -> VersionRef:
        """Return an output of a step that has succeeded and isn't mapped.

        Raises:
            NotFoundError: the step has no output of that name.
        """
        return self._output(self.nodes[key], 0, name)

    def _output(self, node: Node, index: int, name: str) -> VersionRef:
        outputs = node.instances[index].outputs
        if name not in outputs:
            raise NotFoundError(f"output of step '{node.key}'", name, known=outputs)
        return outputs[name]

    def _stored_version(self, source: ArtifactInput) -> VersionRef:
        version = UUID(source.artifact_version_id)
        if version not in self._stored:
            raise NotFoundError(
                "artifact version",
                source.artifact_version_id,
                hint="It was deleted after the pipeline was traced.",
            )
        return self._stored[version]

    # -- ends -----------------------------------------------------------------------------------------------
    def close_node(self, node: Node, status: StepStatus) -> list[Node]:
        """Record how a step as a whole ended; return the steps that can start now."""
        node.status = status
        freed = []
        for downstream in node.downstream:
            downstream.waiting_for -= 1
            if downstream.waiting_for == 0:
                freed.append(downstream)
        return freed

    def may_start(self, node: Node) -> bool:
        """Whether all upstream steps succeeded, now that all have ended."""
        return all(u.is_given or u.status.is_successful for u in node.upstream)

    def roots(self) -> list[Node]:
        """Return the steps that wait for nothing."""
        return [n for n in self.nodes.values() if not n.is_given and n.waiting_for == 0]


def _parameters(spec: PipelineSpec, step: StepSpec) -> dict[str, object]:
    """Return the step's arguments that are values, as plain JSON."""
    values: dict[str, object] = {}
    for name, source in step.inputs.items():
        if isinstance(source, ValueInput):
            values[name] = source.value
        elif isinstance(source, ParameterInput):
            if source.parameter not in spec.parameters:
                raise NotFoundError(
                    f"parameter of pipeline '{spec.name}'", source.parameter, known=spec.parameters
                )
            values[name] = spec.parameters[source.parameter]
    return values


def _exact_texts(step: StepSpec) -> dict[str, str]:
    return {
        name: source.exact
        for name, source in step.inputs.items()
        if isinstance(source, ValueInput) and source.exact is not None
    }


def stored_ids(spec: PipelineSpec) -> list[UUID]:
    """Return the artifact versions that a pipeline takes as inputs."""
    sources = [source for step in spec.steps for source in step.inputs.values()]
    single = [one for s in sources for one in (s.items if isinstance(s, ListInput) else [s])]
    ids = [UUID(one.artifact_version_id) for one in single if isinstance(one, ArtifactInput)]
    return list(dict.fromkeys(ids))
