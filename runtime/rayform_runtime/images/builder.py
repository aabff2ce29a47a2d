"""Builds step images with the Docker Engine and pushes them, unless the registry has them already."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayform_core.errors import PrerequisiteError, RayformError, RemoteError, UsageError
from rayform_runtime.images.build_context import CHECK_MARK, BuildPlan, ImagePlatform, plan_image
from rayform_runtime.images.docker_engine import docker_engine
from rayform_runtime.images.interface import ContainerRegistry, ImageReference
from rayform_runtime.images.local_wheels import find_links_folders
from rayform_runtime.spec import ImageSpec, PipelineSpec

if TYPE_CHECKING:
    import docker

__all__ = ["build_image", "ensure_images", "plan_images"]

Report = Callable[[str, float | None], None]
"""Told what is being done, and once it ended, how many seconds it took."""

_KEPT = 8_000
"""Characters of a build's output that are kept for its error."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The engine puts what a command says on standard error in red, each piece as it was written."""

_NOT_FOUND = re.compile(
    r".*(No matching distribution found for|no version of|was\s+not\s+found\s+in\s+the\s+p(ackage|rovided)).*"
)
"""What pip and uv say of a requirement that no index has."""


def plan_images(
    spec: PipelineSpec, *, project: Path, base_image: str, platform: ImagePlatform
) -> dict[str, BuildPlan]:
    """Return the build plan of each step, by step key; steps with equal needs have the same plan.

    Raises:
        UsageError, NotFoundError: an `ImageSpec` can't be built; names the step.
    """
    plans: dict[str, BuildPlan] = {}
    known: dict[str, BuildPlan] = {}
    folders = find_links_folders()
    for step in spec.steps:
        wanted = step.image or spec.image or ImageSpec()
        key = wanted.model_dump_json()
        if key not in known:
            try:
                known[key] = plan_image(
                    wanted, project=project, base_image=base_image, platform=platform, find_links=folders
                )
            except RayformError as error:
                error.message = f"The image of step '{step.key}' can't be built: {error.message}"
                raise
        plans[step.key] = known[key]
    return plans


def ensure_images(
    plans: Mapping[str, BuildPlan], registry: ContainerRegistry, report: Report
) -> dict[str, ImageReference]:
    """Return the pushed image of each step, building and pushing those that the registry lacks.

    Args:
        plans: build plan by step key.
        registry: where images are pushed.
        report: told about each phase.

    Raises:
        PrerequisiteError: no Docker Engine, no disk.
        UsageError: a package can't be found, versions differ from the cluster's.
        RemoteError: the registry refuses.
    """
    references: dict[str, ImageReference] = {}
    for tag, plan in {plan.tag: plan for plan in plans.values()}.items():
        found = registry.find(tag)
        if found is None:
            local = f"rayform-step:{tag}"
            steps = [key for key, other in plans.items() if other.tag == tag]
            more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""
            what = f"image {tag[:12]} for {', '.join(steps[:3])}{more}"
            client = docker_engine()
            try:
                build_image(client, plan, local, _timed(report, f"building {what}"))
            finally:
                client.close()
            started = time.monotonic()
            report(f"pushing {what}", None)
            found = registry.push(local, tag, _push_progress(report, what))
            report(f"pushing {what}", time.monotonic() - started)
        references[tag] = found
    return {key: references[plan.tag] for key, plan in plans.items()}


def build_image(
    client: docker.DockerClient,
    plan: BuildPlan,
    local_tag: str,
    report: Report,
    *,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Build one image as `local_tag`; layers that the engine has are used again.

    Raises:
        PrerequisiteError, UsageError, RemoteError: says which line of which step failed, with its last words.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        client.images.get(local_tag)
        return
    except ImageNotFound:
        pass
    started = time.monotonic()
    report("", None)
    said = ""
    try:
        stream = client.api.build(
            fileobj=plan.archive(),
            custom_context=True,
            dockerfile="Dockerfile.rayform",
            tag=local_tag,
            buildargs=dict(plan.build_args),
            labels=dict(labels or {}),
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in stream:
            if text := _COLOUR.sub("", str(event.get("stream", ""))):
                said = (said + text)[-_KEPT:]
                if text.startswith("Step "):
                    report(text.splitlines()[0][:100], None)
            if failure := event.get("error"):
                raise build_error(plan, str(failure), said)
    except APIError as error:
        raise build_error(plan, str(error.explanation or error), said) from error
    report("", time.monotonic() - started)


def build_error(plan: BuildPlan, failure: str, said: str) -> RayformError:
    """Say what went wrong in a build, from the engine's message and what the build said last."""
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    failure = _COLOUR.sub("", failure)
    text = "\n".join([*lines, failure])
    last = "\n".join(lines[-8:] or [failure])
    if "no space left on device" in text.lower():
        return PrerequisiteError(
            "The image can't be built: the disk of the Docker Engine is full.",
            why=_line(text, "no space left on device"),
            hint="Free space, for instance with `docker system prune`.",
        )
    if found := re.search(rf"{CHECK_MARK} (Python \d[\d.]* and Ray \S+)", text):
        wanted = re.search(r"w=\('([\d.]+)', '([\d.]+)'\)", plan.dockerfile)
        has = f"Python {wanted.group(1)} and Ray {wanted.group(2)}" if wanted else "other versions"
        return UsageError(
            f"The image from '{plan.base}' doesn't fit the cluster.",
            why=f"It has {found.group(1).strip()}, the cluster has {has}.",
            hint="Take a base image with the cluster's Python, or set the Ray version in the stack's definition.",
        )
    if found := re.search(r"E: Unable to locate package (\S+)", text):
        return UsageError(
            f"There is no Debian package '{found.group(1)}' in the base image '{plan.base}'.",
            hint="Correct `apt_packages`, or take a base image whose release has it.",
        )
    if found := re.search(r"E: (Failed to fetch .+|Could not .+)", text):
        return RemoteError("The image's Debian packages can't be fetched.", why=found.group(1)[:300])
    if found := _NOT_FOUND.search(text):
        return UsageError(
            "The image's requirements can't be installed.",
            why=_compact(_from_error(lines) or found.group(0)),
            hint="Correct the requirement's name or version, or name an index that has it.",
        )
    if re.search(r"pull access denied|manifest (unknown|for .* not found)|repository does not exist", text):
        return UsageError(f"The base image '{plan.base}' can't be pulled.", why=_compact(failure))
    return RemoteError(
        "The image's build failed.", why=_compact(last), hint="The lines above are its last words."
    )


def _from_error(lines: list[str]) -> str:
    """Return the lines in which pip or uv (by its version `error:` or `×`) tells of an error."""
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*(ERROR|error|×|╰)", line)]
    return "\n".join(lines[starts[0] : starts[0] + 6]) if starts else ""


def _line(text: str, part: str) -> str:
    return next((line.strip() for line in text.splitlines() if part in line.lower()), part)


def _compact(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:1200]


def _timed(report: Report, what: str) -> Report:
    return lambda text, seconds: report(f"{what}: {text}" if text else what, seconds)


def _push_progress(report: Report, what: str) -> Callable[[Mapping[str, Any]], None]:
    """Turn the engine's messages, one a layer and block, into a line now and then."""
    layers: dict[str, tuple[int, int]] = {}
    told = [time.monotonic()]

    def progress(event: Mapping[str, Any]) -> None:
        detail = event.get("progressDetail") or {}
        if event.get("id") and detail.get("total"):
            total = int(detail["total"])  # of the layer's files; `current` counts the archive around them too
            layers[str(event["id"])] = (min(int(detail.get("current", 0)), total), total)
        if layers and time.monotonic() - told[0] >= 2:
            told[0] = time.monotonic()
            sent, whole = (sum(pair[i] for pair in layers.values()) / 2**20 for i in (0, 1))
            report(f"pushing {what}: {sent:.0f} of {whole:.0f} MB", None)

    return progress
