"""Builds step images with the Docker Engine, and pushes those that the registry doesn't have."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rayform_core.errors import PrerequisiteError, RayformError, RemoteError, UsageError
from rayform_runtime.images.build_context import CHECK_MARK, BuildPlan, ImagePlatform, plan_image
from rayform_runtime.images.docker_engine import docker_engine
from rayform_runtime.images.interface import ContainerRegistry, ImageReference, PushEvent
from rayform_runtime.images.local_wheels import find_links_folders
from rayform_runtime.spec import ANY_STEP, PipelineSpec

if TYPE_CHECKING:
    import docker

__all__ = ["build_image", "ensure_images", "plan_images"]

Report = Callable[[str, float | None], None]
"""Called with a phase and `None` while the phase runs, and with the phase and its seconds at its end."""

_KEPT = 8_000
"""Last characters of a build's output that are kept for its error."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The engine colours a command's standard error red, each piece as it was written."""

_NOT_FOUND = re.compile(
    r".*(No matching distribution found for|no version of|was\s+not\s+found\s+in\s+the\s+p(ackage|rovided)).*"
)
"""What pip and uv print about a requirement that no index has."""


def plan_images(
    spec: PipelineSpec, *, project: Path, base_image: str, platform: ImagePlatform
) -> dict[str, BuildPlan]:
    """Return the build plan of each step, by the keys of `spec.images`; steps with equal images share a plan.

    Args:
        spec: the pipeline.
        project: the project's folder.
        base_image: the stack's base image, for specs that name none.
        platform: versions and wheel that the cluster has.

    Raises:
        UsageError, NotFoundError: an image can't be built; names the step.
    """
    plans: dict[str, BuildPlan] = {}
    plans_by_image: dict[str, BuildPlan] = {}
    folders = find_links_folders()
    for name, image in spec.images.items():
        key = image.model_dump_json()
        if key not in plans_by_image:
            try:
                plans_by_image[key] = plan_image(
                    image, project=project, base_image=base_image, platform=platform, find_links=folders
                )
            except RayformError as error:
                error.message = f"The image of {_steps_named(name)} can't be built: {error.message}"
                raise
        plans[name] = plans_by_image[key]
    return plans


def _steps_named(name: str) -> str:
    return "the pipeline's steps" if name == ANY_STEP else f"step '{name}'"


def ensure_images(
    plans: Mapping[str, BuildPlan], registry: ContainerRegistry, report: Report
) -> dict[str, ImageReference]:
    """Return the pushed image of each step; build and push those that the registry doesn't have.

    Args:
        plans: build plans by step key.
        registry: the registry to push to.
        report: receives each phase.

    Raises:
        PrerequisiteError: the Docker Engine doesn't answer, or its disk is full.
        UsageError: a package can't be found, or versions differ from the cluster's.
        RemoteError: the registry refuses the image, or the build fails for another reason.
    """
    references: dict[str, ImageReference] = {}
    for tag, plan in {plan.tag: plan for plan in plans.values()}.items():
        image = registry.find(tag)
        if image is None:
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
            image = registry.push(local, tag, _push_progress(report, what))
            report(f"pushing {what}", time.monotonic() - started)
        references[tag] = image
    return {key: references[plan.tag] for key, plan in plans.items()}


def build_image(
    client: docker.DockerClient,
    plan: BuildPlan,
    local_tag: str,
    report: Report,
    *,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Build one image, unless the engine has it; layers that the engine has are used again.

    Args:
        client: the Docker Engine.
        plan: what to build.
        local_tag: the image's tag on this machine.
        report: receives each phase.
        labels: labels of the image, beyond those that the plan sets.

    Raises:
        PrerequisiteError, UsageError, RemoteError: the build failed; has the last lines of its output.
    """
    from docker.errors import APIError, ImageNotFound

    try:
        client.images.get(local_tag)
        return
    except ImageNotFound:
        pass
    started = time.monotonic()
    report("", None)
    output = ""
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
                output = (output + text)[-_KEPT:]
                if text.startswith("Step "):
                    report(text.splitlines()[0][:100], None)
            if failure := event.get("error"):
                raise build_error(plan, str(failure), output)
    except APIError as error:
        raise build_error(plan, str(error.explanation or error), output) from error
    report("", time.monotonic() - started)


def build_error(plan: BuildPlan, failure: str, output: str) -> RayformError:
    """Build the error for a failed build, from the engine's message and the last lines of the build's output."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    failure = _COLOUR.sub("", failure)
    text = "\n".join([*lines, failure])
    last = "\n".join(lines[-8:] or [failure])
    if "no space left on device" in text.lower():
        return PrerequisiteError(
            "The image can't be built: the disk of the Docker Engine is full.",
            why=_line(text, "no space left on device"),
            hint="Free space, for instance with `docker system prune`.",
        )
    if match := re.search(rf"{CHECK_MARK} (Python \d[\d.]* and Ray \S+)", text):
        cluster = re.search(r"w=\('([\d.]+)', '([\d.]+)'\)", plan.dockerfile)
        has = f"Python {cluster.group(1)} and Ray {cluster.group(2)}" if cluster else "other versions"
        return UsageError(
            f"The image from '{plan.base}' doesn't fit the cluster.",
            why=f"It has {match.group(1).strip()}, and the cluster has {has}.",
            hint="Use a base image with the cluster's Python, or set the Ray version in the stack's definition.",
        )
    if match := re.search(r"E: Unable to locate package (\S+)", text):
        return UsageError(
            f"There is no Debian package '{match.group(1)}' for the base image '{plan.base}'.",
            hint="Correct `apt_packages`, or use a base image with a release that has the package.",
        )
    if match := re.search(r"E: (Failed to fetch .+|Could not .+)", text):
        return RemoteError("The image's Debian packages can't be fetched.", why=match.group(1)[:300])
    if match := _NOT_FOUND.search(text):
        return UsageError(
            "The image's requirements can't be installed.",
            why=_compact(_from_error(lines) or match.group(0)),
            hint="Correct the requirement's name or version, or name an index that has it.",
        )
    if re.search(r"pull access denied|manifest (unknown|for .* not found)|repository does not exist", text):
        return UsageError(f"The base image '{plan.base}' can't be pulled.", why=_compact(failure))
    return RemoteError(
        "The image's build failed.",
        why=_compact(last),
        hint="These are the last lines of the build's output.",
    )


def _from_error(lines: list[str]) -> str:
    """Return the lines in which pip or uv reports an error; uv begins them with `error:` or `×`, by version."""
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*(ERROR|error|×|╰)", line)]
    return "\n".join(lines[starts[0] : starts[0] + 6]) if starts else ""


def _line(text: str, part: str) -> str:
    return next((line.strip() for line in text.splitlines() if part in line.lower()), part)


def _compact(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()[:1200]


def _timed(report: Report, what: str) -> Report:
    return lambda text, seconds: report(f"{what}: {text}" if text else what, seconds)


class _Layer(NamedTuple):
    pushed: int
    total: int


def _push_progress(report: Report, what: str) -> Callable[[PushEvent], None]:
    """Turn the engine's messages, one per layer and block, into a line every two seconds."""
    layers: dict[str, _Layer] = {}
    last_report = time.monotonic()

    def progress(event: PushEvent) -> None:
        nonlocal last_report
        detail = event.get("progressDetail") or {}
        total = detail.get("total")
        layer = event.get("id")
        if layer and total:
            # `current` counts the archive around the layer's files too, and `total` doesn't.
            layers[layer] = _Layer(min(detail.get("current", 0), total), total)
        if layers and time.monotonic() - last_report >= 2:
            last_report = time.monotonic()
            pushed = sum(each.pushed for each in layers.values()) / 2**20
            whole = sum(each.total for each in layers.values()) / 2**20
            report(f"pushing {what}: {pushed:.0f} of {whole:.0f} MB", None)

    return progress
