"""The steps of one run while it goes on: what waits for what, what a step's inputs are, how wide a map is.

Plain state without processes, clocks or databases; `scheduler` drives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from rayform_core.errors import NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import ArtifactVersion, NewArtifactVersion, StepStatus
from rayform_runtime.execution.interface import StepFacts, StoredVersion, TaskInput
from rayform_runtime.execution.scheduling.cache_keys import KeyInput
from rayform_runtime.spec import (
    ArtifactInput,
    ListInput,
    MapInput,
    ParameterInput,
    PipelineSpec,
    StepInput,
    StepSpec,
    ValueInput,
)

__all__ = ["Instance", "Node", "RunGraph", "VersionRef", "stored_ids"]


class VersionRef(NamedTuple):
    """What the scheduler keeps of an artifact version; `length` is set for lists and tuples."""

    id: UUID
    uri: str
    digest: str
    type: str
    materializer: str
    length: int | None

    @classmethod
    def of(cls, version: ArtifactVersion | NewArtifactVersion) -> VersionRef:
        """Take what is needed from a catalog record."""
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


@dataclass(eq=False, slots=True)
class Instance:
    """One execution of a step: the only one, or one element of a mapped step."""

    node: Node
    map_index: int | None
    id: UUID
    arguments: dict[str, tuple[list[VersionRef], bool, int | None]]
    """Artifact inputs: the versions, whether they are joined to a list, and which element is taken."""
    attempt: int = 1
    tries: int = 0
    status: StepStatus = StepStatus.PENDING
    cache_key: str | None = None
    outputs: dict[str, VersionRef] = field(default_factory=dict)
    output_ids: dict[str, UUID] = field(default_factory=dict)
    is_recorded: bool = False
    """Whether the catalog has its start (of this attempt)."""

    def task_inputs(self) -> dict[str, TaskInput]:
        """Return the inputs as a worker gets them."""
        given = {name: TaskInput(value=value) for name, value in self.node.parameters.items()}
        for name, (versions, joined, index) in self.arguments.items():
            given[name] = TaskInput(versions=[v.for_worker() for v in versions], joined=joined, index=index)
        return given

    def key_inputs(self) -> dict[str, KeyInput]:
        """Return the inputs as the cache key sees them."""
        return {
            name: KeyInput([v.digest for v in versions], joined, index)
            for name, (versions, joined, index) in self.arguments.items()
        }

    def input_ids(self) -> dict[str, list[UUID]]:
        """Return the inputs as the catalog records them."""
        return {name: [v.id for v in versions] for name, (versions, _, _) in self.arguments.items()}


@dataclass(eq=False)
class Node:
    """A step of the pipeline in this run."""

    spec: StepSpec
    parameters: dict[str, Any]
    upstream: list[Node] = field(default_factory=list)
    downstream: list[Node] = field(default_factory=list)
    waiting_for: int = 0
    instances: list[Instance] = field(default_factory=list)
    open: int = 0
    status: StepStatus = StepStatus.PENDING
    is_given: bool = False
    """Not run here: its outputs come from another run (`only`, `inputs_from`)."""

    @cached_property
    def facts(self) -> StepFacts:
        """What executors and workers need of the step; made once for all its instances."""
        return StepFacts.of(self.spec)

    @property
    def key(self) -> str:
        """The step's key."""
        return self.spec.key


class RunGraph:
    """All steps of a run.

    Args:
        spec: the pipeline.
        stored: artifact versions that `ArtifactInput`s name, by ID.
        only: the steps to run; all unless told.
        only_index: of mapped steps, the one instance to run; all unless told.
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
        self._earlier: dict[tuple[str, int | None], tuple[UUID, int]] = {}
        self._finished: dict[tuple[str, int | None], tuple[UUID, StepStatus, dict[str, VersionRef]]] = {}
        for step in spec.steps:
            node = Node(step, _parameters(spec, step), is_given=only is not None and step.key not in only)
            for key in sorted(step.upstream):
                upstream = self.nodes.get(key)
                if upstream is None:
                    raise UsageError(
                        f"Step '{step.key}' of pipeline '{spec.name}' waits for '{key}'.",
                        why="No step of that key stands before it.",
                    )
                node.upstream.append(upstream)
                if not upstream.is_given and not node.is_given:
                    upstream.downstream.append(node)
                    node.waiting_for += 1
            self.nodes[step.key] = node

    # -- earlier results ------------------------------------------------------------------------------------
    def remember(self, key: str, map_index: int | None, id: UUID, attempt: int) -> None:
        """An unfinished step run of this run, to be taken up under its own ID."""
        self._earlier[key, map_index] = (id, attempt)

    def earlier_id(self, key: str, map_index: int | None) -> UUID | None:
        """Return the ID of a step run that an earlier process of this run left unfinished."""
        known = self._earlier.get((key, map_index))
        return known[0] if known else None

    def finished_before(
        self, key: str, map_index: int | None, id: UUID, status: StepStatus, outputs: Mapping[str, VersionRef]
    ) -> None:
        """A step run that needs no running again; `open_node` takes it over."""
        self._finished[key, map_index] = (id, status, dict(outputs))

    def give(self, key: str, instances: Mapping[int | None, Mapping[str, VersionRef]]) -> None:
        """Take a step's outputs from another run."""
        node = self.nodes[key]
        node.status = StepStatus.COMPLETED
        for index in sorted(instances, key=lambda i: -1 if i is None else i):
            one = Instance(node, index, new_id(), {}, status=StepStatus.COMPLETED)
            one.outputs = dict(instances[index])
            node.instances.append(one)

    # -- making instances -----------------------------------------------------------------------------------
    def open_node(self, node: Node) -> list[Instance]:
        """Make the instances of a step whose upstream steps all succeeded.

        Instances that an earlier process of this run finished are done already.

        Raises:
            UsageError: the lists of a mapped step have different lengths, or one isn't a list.
            NotFoundError: the only instance that shall run is past the end of its list.
        """
        width = self._width(node)
        indices: Iterable[int | None] = [None] if width is None else range(width)
        if width is not None and self._only_index is not None:
            if self._only_index >= width:
                known = [f"{node.key}[{index}]" for index in range(width)]
                raise NotFoundError("step", f"{node.key}[{self._only_index}]", known=known)
            indices = [self._only_index]
        for index in indices:
            earlier = self._earlier.get((node.key, index))
            chosen, attempt = (earlier[0], earlier[1] + 1) if earlier else (new_id(), 1)
            one = Instance(node, index, chosen, self._arguments(node, index), attempt=attempt)
            done = self._finished.get((node.key, index))
            if done is not None and set(done[2]) >= {o.name for o in node.spec.outputs}:
                one.id, one.status, one.outputs = done
                one.is_recorded = True
            node.instances.append(one)
        node.open = sum(not i.status.is_successful for i in node.instances)
        node.status = StepStatus.RUNNING
        return node.instances

    def _width(self, node: Node) -> int | None:
        widths: dict[str, int] = {}
        for name, given in node.spec.inputs.items():
            if isinstance(given, MapInput):
                upstream = self.nodes[given.step]
                if upstream.spec.is_mapped:
                    widths[name] = len(upstream.instances)
                    continue
                length = self._output(upstream, 0, given.output).length
                if length is None:
                    raise UsageError(
                        f"Step '{node.key}' can't be mapped over output '{given.output}' of step "
                        f"'{given.step}'.",
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
                hint="They are walked side by side; give a list that goes whole to each as `unmapped(...)`.",
            )
        return next(iter(widths.values()))

    def _arguments(
        self, node: Node, index: int | None
    ) -> dict[str, tuple[list[VersionRef], bool, int | None]]:
        arguments: dict[str, tuple[list[VersionRef], bool, int | None]] = {}
        for name, given in node.spec.inputs.items():
            if isinstance(given, MapInput):
                upstream = self.nodes[given.step]
                assert index is not None
                if upstream.spec.is_mapped:
                    arguments[name] = ([self._output(upstream, index, given.output)], False, None)
                else:
                    arguments[name] = ([self._output(upstream, 0, given.output)], False, index)
            elif isinstance(given, StepInput):
                upstream = self.nodes[given.step]
                if upstream.spec.is_mapped:
                    joined = [i.outputs[given.output] for i in upstream.instances]
                    arguments[name] = (joined, True, None)
                else:
                    arguments[name] = ([self._output(upstream, 0, given.output)], False, None)
            elif isinstance(given, ArtifactInput):
                arguments[name] = ([self._stored_version(given)], False, None)
            elif isinstance(given, ListInput):
                items: list[VersionRef] = []
                for item in given.items:
                    if isinstance(item, ArtifactInput):
                        items.append(self._stored_version(item))
                    else:
                        items += [i.outputs[item.output] for i in self.nodes[item.step].instances]
                arguments[name] = (items, True, None)
        return arguments

    def _output(self, node: Node, index: int, name: str) -> VersionRef:
        outputs = node.instances[index].outputs
        if name not in outputs:
            raise NotFoundError(f"output of step '{node.key}'", name, known=outputs)
        return outputs[name]

    def _stored_version(self, given: ArtifactInput) -> VersionRef:
        version = UUID(given.artifact_version_id)
        if version not in self._stored:
            raise NotFoundError(
                "artifact version",
                given.artifact_version_id,
                hint="It was deleted since the pipeline was traced.",
            )
        return self._stored[version]

    # -- ends -----------------------------------------------------------------------------------------------
    def close_node(self, node: Node, status: StepStatus) -> list[Node]:
        """Say how a step as a whole ended; return the steps that wait for nothing any more."""
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

    @property
    def unfinished(self) -> Iterable[Node]:
        """Steps that haven't ended."""
        running = (StepStatus.PENDING, StepStatus.RUNNING)
        return (n for n in self.nodes.values() if not n.is_given and n.status in running)


def _parameters(spec: PipelineSpec, step: StepSpec) -> dict[str, Any]:
    """Return the step's JSON arguments."""
    values: dict[str, Any] = {}
    for name, given in step.inputs.items():
        if isinstance(given, ValueInput):
            values[name] = given.value
        elif isinstance(given, ParameterInput):
            if given.parameter not in spec.parameters:
                raise NotFoundError(
                    f"parameter of pipeline '{spec.name}'", given.parameter, known=spec.parameters
                )
            values[name] = spec.parameters[given.parameter]
    return values


def stored_ids(spec: PipelineSpec) -> list[UUID]:
    """Return the artifact versions that a pipeline takes as inputs."""
    inputs = [given for step in spec.steps for given in step.inputs.values()]
    single = [one for given in inputs for one in (given.items if isinstance(given, ListInput) else [given])]
    ids = [UUID(one.artifact_version_id) for one in single if isinstance(one, ArtifactInput)]
    return list(dict.fromkeys(ids))
