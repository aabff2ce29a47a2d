"""Lineage of an artifact version: what it was made from and what was made from it, as tree, JSON or drawing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from rayform_runtime.catalog.entities import ArtifactVersion, LineageEdge, LineageGraph, StepRun

__all__ = ["Lineage"]


class _Branch(NamedTuple):
    """An edge of the tree, and the node that it leads to: `up` towards what the root was made from, or down."""

    edge: LineageEdge
    node: UUID
    up: bool


class Lineage:
    """The versions upstream and downstream of one version, and the step runs between them.

    Args:
        graph: the catalog's answer.

    Example:
        >>> print(Client().get_lineage("classifier"))  # doctest: +SKIP
    """

    def __init__(self, graph: LineageGraph) -> None:
        self.graph = graph
        self._into: dict[UUID, list[LineageEdge]] = defaultdict(list)
        self._out_of: dict[UUID, list[LineageEdge]] = defaultdict(list)
        for edge in graph.edges:
            self._into[edge.target].append(edge)
            self._out_of[edge.source].append(edge)

    @property
    def root(self) -> ArtifactVersion:
        """The version whose lineage this is."""
        return self.graph.versions[self.graph.root]

    def upstream(self) -> list[ArtifactVersion]:
        """Return all versions that it was made from, directly or not."""
        return self._reach(self._into, "source")

    def downstream(self) -> list[ArtifactVersion]:
        """Return all versions that were made from it, directly or not."""
        return self._reach(self._out_of, "target")

    def _reach(self, edges: dict[UUID, list[LineageEdge]], end: str) -> list[ArtifactVersion]:
        seen, waiting = {self.graph.root}, [self.graph.root]
        versions: list[ArtifactVersion] = []
        while waiting:
            for edge in edges.get(waiting.pop(), ()):
                node = getattr(edge, end)
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
                    if node in self.graph.versions:
                        versions.append(self.graph.versions[node])
        return versions

    # -- forms --------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, object]:
        """Return `{root, versions, step_runs, runs, edges}` as plain JSON; versions and runs by UUID."""
        graph = self.graph
        return {
            "root": str(graph.root),
            "versions": {
                str(v.id): {
                    "artifact": v.name,
                    "version": v.version,
                    "type": v.type,
                    "artifact_type": v.artifact_type,
                    "uri": v.uri,
                    "digest": v.digest,
                    "size": v.size,
                    "created_at": v.created_at.isoformat(),
                    "producer_step_run_id": str(v.producer_step_run_id) if v.producer_step_run_id else None,
                    "tags": list(v.tags),
                }
                for v in graph.versions.values()
            },
            "step_runs": {
                str(s.id): {
                    "step": s.key,
                    "run_id": str(s.run_id),
                    "status": s.status.value,
                    "source": s.source,
                    "code_digest": s.code_digest,
                    "parameters": dict(s.parameters),
                    "cached_from": str(s.cached_from) if s.cached_from else None,
                }
                for s in graph.step_runs.values()
            },
            "runs": {
                str(r.id): {
                    "name": r.name,
                    "pipeline": r.pipeline,
                    "status": r.status.value,
                    "stack": r.stack_name,
                    "parameters": dict(r.parameters),
                    "code": dict(r.code),
                }
                for r in graph.runs.values()
            },
            "edges": [
                {"source": str(e.source), "target": str(e.target), "name": e.name} for e in graph.edges
            ],
        }

    def to_tree(self) -> str:
        """Return it as an indented tree: first what the version was made from, then what was made from it."""
        root = self.graph.root
        first = [*self._branches(root, up=True), *self._branches(root, up=False)]
        return "\n".join([self._version_line(self.root), *self._lines(first)])

    def _branches(self, node: UUID, *, up: bool) -> list[_Branch]:
        edges = self._into if up else self._out_of
        return [_Branch(edge, edge.source if up else edge.target, up) for edge in edges.get(node, ())]

    def _lines(self, first: list[_Branch]) -> Iterator[str]:
        """Yield the lines of the tree below its root; a node that appears again isn't followed again."""
        seen = {(self.graph.root, True), (self.graph.root, False)}
        # An explicit stack: a chain of ten thousand versions must not exhaust Python's.
        waiting = _indented(first, "")
        while waiting:
            branch, indent, is_last = waiting.pop()
            again = (branch.node, branch.up) in seen
            line = self._node_line(branch) + ("  (see above)" if again else "")
            yield indent + ("└─ " if is_last else "├─ ") + line
            if not again:
                seen.add((branch.node, branch.up))
                below = indent + ("   " if is_last else "│  ")
                waiting += _indented(self._branches(branch.node, up=branch.up), below)

    def _node_line(self, branch: _Branch) -> str:
        version = self.graph.versions.get(branch.node)
        if version is not None:
            return f"{branch.edge.name}: {self._version_line(version)}"
        step = self.graph.step_runs[branch.node]
        verb = "made by" if branch.up else "went into"
        return f"{verb} {self._step_line(step)}"

    def _version_line(self, version: ArtifactVersion) -> str:
        from rayform.sizes import human_size

        return f"{version.name} {version.version}  [{version.artifact_type}, {human_size(version.size)}, {version.id}]"

    def _step_line(self, step: StepRun) -> str:
        run = self.graph.runs.get(step.run_id)
        where = f" in run {run.name} on stack {run.stack_name}" if run else ""
        parameters = ", ".join(f"{key}={value!r}" for key, value in step.parameters.items())
        code = f" code {step.code_digest[:12]}" if step.code_digest else ""
        return f"step {step.key}({parameters}){where}{code}"

    def to_graphviz(self) -> str:
        """Return it in Graphviz's language: `rayform artifact lineage NAME --graphviz | dot -Tsvg`.

        Source: graphviz.org, "DOT Language".
        """
        lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
        for version in self.graph.versions.values():
            bold = ", penwidth=3" if version.id == self.graph.root else ""
            label = _quoted(f"{version.name}\n{version.version}")
            lines.append(f'  "{version.id}" [shape=box, label={label}{bold}];')
        lines.extend(
            f'  "{step.id}" [shape=ellipse, label={_quoted(self._step_label(step))}];'
            for step in self.graph.step_runs.values()
        )
        lines.extend(
            f'  "{edge.source}" -> "{edge.target}" [label={_quoted(edge.name)}];' for edge in self.graph.edges
        )
        return "\n".join([*lines, "}"])

    def to_mermaid(self) -> str:
        """Return it as a Mermaid flow chart.

        Source: mermaid.js.org, "Flowcharts Syntax".
        """
        names = {node: f"n{i}" for i, node in enumerate([*self.graph.versions, *self.graph.step_runs])}
        lines = ["flowchart LR"]
        lines.extend(
            f'  {names[version.id]}["{_mermaid(f"{version.name} {version.version}")}"]'
            for version in self.graph.versions.values()
        )
        lines.extend(
            f'  {names[step.id]}(["{_mermaid(self._step_label(step))}"])'
            for step in self.graph.step_runs.values()
        )
        lines.extend(
            f'  {names[edge.source]} -->|"{_mermaid(edge.name)}"| {names[edge.target]}'
            for edge in self.graph.edges
            if edge.source in names and edge.target in names
        )
        lines.append(f"  style {names[self.graph.root]} stroke-width:3px")
        return "\n".join(lines)

    def _step_label(self, step: StepRun) -> str:
        run = self.graph.runs.get(step.run_id)
        return f"{step.key}\n{run.name}" if run else step.key

    def __str__(self) -> str:
        return self.to_tree()

    def __repr__(self) -> str:
        root = self.root
        return f"Lineage({root.name!r}, {root.version!r}: {len(self.graph.versions)} versions)"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_tree())}</pre>"


def _indented(branches: list[_Branch], indent: str) -> list[tuple[_Branch, str, bool]]:
    """Return branches with their indent and whether each is the last one; the first branch is popped first."""
    last = len(branches) - 1
    return [(branch, indent, i == last) for i, branch in enumerate(branches)][::-1]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _mermaid(text: str) -> str:
    """Escape text with Mermaid's entity codes."""
    for character, code in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("\n", "<br/>")):
        text = text.replace(character, code)
    return text
