"""The checks of a definition that compare one section with another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from rayform_provisioner.definitions.located import LocatedYaml, Problem

if TYPE_CHECKING:
    from rayform_provisioner.definitions.definition import StackDefinition

__all__ = ["problems_between"]

_Finding: TypeAlias = tuple[tuple[str, ...], str, str]
"""The keys that lead to a value, what is wrong with it, and what would be right."""


def problems_between(definition: StackDefinition, located: LocatedYaml) -> list[Problem]:
    """Return what one section of `definition` makes impossible in another, in the file's order."""
    findings = [*_keys_elsewhere(definition), *_zones_without_effect(definition)]
    problems = [
        Problem(".".join(path), located.mark(path), message, hint) for path, message, hint in findings
    ]
    return sorted(problems, key=lambda problem: (problem.mark.line, problem.mark.column))


def _keys_elsewhere(definition: StackDefinition) -> Iterator[_Finding]:
    """A KMS key encrypts only in its own region."""
    sections = {
        "artifact_store": definition.artifact_store.kms_key_arn,
        "container_registry": definition.container_registry.kms_key_arn,
        "catalog": definition.catalog.kms_key_arn,
    }
    for section, arn in sections.items():
        region = arn.split(":")[3] if arn else definition.region
        if region != definition.region:
            yield (
                (section, "kms_key_arn"),
                f"This key is in {region}, and the stack is in {definition.region}.",
                f"Name a key of {definition.region}.",
            )


def _zones_without_effect(definition: StackDefinition) -> Iterator[_Finding]:
    """The subnets of an existing network decide about the zones."""
    if definition.network.existing is not None and definition.zones is not None:
        yield (
            ("zones",),
            "The zones of an existing VPC are those of its subnets.",
            "Leave `zones` out, and name subnets in the zones that you want.",
        )
