"""Cache keys: a step's earlier result stands for a new one if their keys are equal.

A key is readable: `v1` and one digest for each part, `v1.code=….parameters=….inputs=…` and so on. So comparing two
keys explains a miss, and the catalog stores nothing but the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_runtime.execution.interface import CacheDecision

if TYPE_CHECKING:
    from uuid import UUID

    from rayform_runtime.catalog.entities import ArtifactVersion, StepRun
    from rayform_runtime.spec import PipelineSpec, SourceRef, StepSpec

__all__ = ["KeyInput", "StaticParts", "cache_key", "explain_miss", "parts_of", "static_parts"]

_VERSION = "v1"
_PARTS = ("code", "parameters", "inputs", "outputs", "image", "environment", "cache_on")


@dataclass(frozen=True, slots=True)
class KeyInput:
    """An input as the key sees it: digests of content, so that equal data of a later run still hits.

    Args:
        digests: those of the versions, in order.
        joined: whether the versions are passed as a list.
        index: which element of a list a mapped step takes.
        is_tuple: whether the versions are passed as a tuple.
    """

    digests: Sequence[str]
    joined: bool = False
    index: int | None = None
    is_tuple: bool = False


@dataclass(frozen=True, slots=True)
class StaticParts:
    """The parts of a step's key that don't change in a run; made once for all instances of the step."""

    code: str
    outputs: str
    image: str
    environment: str
    cache_on: str | None = None
    """Digest of `cache_files` and `cache_on`; `None` without them, and then no part of the key."""
    why_not: str | None = field(default=None)
    """Why the step is never taken from the cache, or `None`."""


def _digest(value: object, *, sort_keys: bool = True) -> str:
    text = json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), default=str, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _import_path(source: SourceRef | None) -> str:
    """Return an import path; it is the same if a script is run and if it is imported."""
    if source is None:
        return ""
    is_script = source.module in ("__main__", "__mp_main__", "__rayform_main__") and source.file
    return f"{Path(source.file).stem if is_script and source.file else source.module}:{source.qualname}"


def _command_line(spec: PipelineSpec) -> dict[str, object]:
    program = spec.program
    # A variable's name holds no space.
    return {"command line": program.argv[1:]} if program is not None and program.argv_is_read else {}


def static_parts(spec: PipelineSpec, step: StepSpec) -> StaticParts:
    """Return the parts of a step's key for its code, outputs, image and environment."""
    why_not = None
    if not spec.enable_cache:
        why_not = "Caching is off for the pipeline."
    elif not step.enable_cache:
        why_not = "Caching is off for the step."
    elif not step.code_digest:
        why_not = "Its source can't be read, so a change in it would go unnoticed."
    outputs = [
        [
            o.name,
            o.artifact_name,
            _import_path(o.type),
            _import_path(o.materializer),
            str(o.artifact_type or ""),
            o.version,
        ]
        for o in step.outputs
    ]
    image = step.image or spec.image
    return StaticParts(
        code=_digest([step.source.qualname, step.code_digest]),
        outputs=_digest(outputs),
        image=_digest(image.model_dump(mode="json") if image is not None else None),
        environment=_digest({**spec.environment, **step.environment, **_command_line(spec)}),
        cache_on=_digest(step.cache_on) if step.cache_on else None,
        why_not=why_not,
    )


def cache_key(
    static: StaticParts,
    parameters: Mapping[str, object],
    inputs: Mapping[str, KeyInput],
    exact: Mapping[str, str] | None = None,
) -> str:
    """Return the key of one step run.

    Args:
        static: the parts of its step.
        parameters: plain JSON by argument name; the order of a dict counts, that of the arguments doesn't.
        inputs: its artifact inputs by argument name.
        exact: the exact texts of those parameters that differ from their plain JSON.
    """
    passed = {
        name: {"$exact": exact[name]} if exact and name in exact else parameters[name]
        for name in sorted(parameters)
    }
    input_digests = {
        n: [list(i.digests), i.joined, i.index, *(["tuple"] if i.is_tuple else [])] for n, i in inputs.items()
    }
    parts = {
        "code": static.code,
        "parameters": _digest(passed, sort_keys=False),
        "inputs": _digest(input_digests),
        "outputs": static.outputs,
        "image": static.image,
        "environment": static.environment,
        "cache_on": static.cache_on,
    }
    return ".".join([_VERSION, *(f"{name}={parts[name]}" for name in _PARTS if parts[name] is not None)])


def parts_of(key: str) -> dict[str, str]:
    """Return a key's parts; empty for a key of another version.

    Example:
        >>> parts_of("v1.code=ab.inputs=cd")
        {'code': 'ab', 'inputs': 'cd'}
    """
    version, *parts = key.split(".")
    if version != _VERSION:
        return {}
    return dict(part.split("=", 1) for part in parts if "=" in part)


_WORDS = {
    "code": "the step's code, or project code that it calls",
    "outputs": "its outputs or their materializers",
    "image": "its image",
    "environment": "its environment variables, or the command line that its script reads",
    "cache_on": "a file of `cache_files`, or the value of `cache_on`",
}


def explain_miss(
    key: str,
    parameters: Mapping[str, object],
    inputs: Mapping[str, KeyInput],
    candidates: Iterable[StepRun],
    versions: Mapping[UUID, ArtifactVersion],
    run_name: Callable[[UUID], str] = str,
    changes: Callable[[str, StepRun], Sequence[str]] = lambda part, candidate: (),
) -> CacheDecision:
    """Explain why a step was not taken from the cache, by what has changed since the most similar earlier run.

    Args:
        key: the key that the cache doesn't have.
        parameters, inputs: the key's parts.
        candidates: earlier successful runs of the step, newest first.
        versions: the artifact versions that were inputs of the candidates, by ID.
        run_name: returns the name of a run for its ID.
        changes: returns the names of what has changed in a part since a candidate, if they are known.
    """
    ours = parts_of(key)
    nearest: tuple[int, StepRun, list[str]] | None = None
    for candidate in candidates:
        theirs = parts_of(candidate.cache_key or "")
        if not theirs:
            continue
        different = [name for name in _PARTS if ours.get(name) != theirs.get(name)]
        if nearest is None or len(different) < nearest[0]:
            nearest = (len(different), candidate, different)
    if nearest is None:
        return CacheDecision(False, "No earlier run of it succeeded with caching on.", key)
    _, candidate, different = nearest
    if not different:
        return CacheDecision(False, "Its earlier result is incomplete: an output was deleted.", key)
    changed: list[str] = []
    for part in different:
        if part == "parameters":
            changed += _changed_parameters(parameters, candidate.parameters)
        elif part == "inputs":
            changed += _changed_inputs(inputs, candidate, versions)
        else:
            changed += changes(part, candidate) or [_WORDS[part]]
    return CacheDecision(
        False,
        f"Changed since run '{run_name(candidate.run_id)}': {'; '.join(changed)}.",
        key,
        changed=tuple(changed),
    )


def _changed_parameters(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    missing = object()
    names = [n for n in {**ours, **theirs} if ours.get(n, missing) != theirs.get(n, missing)]
    shown = []
    for name in names:
        before = _short(theirs[name]) if name in theirs else "nothing"
        after = _short(ours[name]) if name in ours else "nothing"
        shown.append(f"parameter '{name}' was {before} and is {after}")
    return shown or ["the types, or the order, of values in its parameters"]


def _changed_inputs(
    ours: Mapping[str, KeyInput], candidate: StepRun, versions: Mapping[UUID, ArtifactVersion]
) -> list[str]:
    changed = []
    for name, source in ours.items():
        before = [versions[v].digest for v in candidate.inputs.get(name, ()) if v in versions]
        if list(source.digests) != before:
            changed.append(f"input '{name}'")
    changed += [f"input '{name}' is gone" for name in candidate.inputs if name not in ours]
    return changed or ["how its inputs are mapped or joined"]


def _short(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
