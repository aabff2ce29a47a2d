"""What an imported stack would reach: hosts, variables, secrets and files that its settings name.

A stack's YAML comes from someone else. Its settings decide which host gets artifacts, code and passwords, and which
variable or secret of the reader's is the password. So an import shows all of that, and refuses names that aren't
Rayform's own, and hosts that would be reached without encryption, unless the user allows each by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rayform_core.errors import UsageError
from rayform_core.network import is_loopback

if TYPE_CHECKING:
    from rayform.stacks.components import ComponentRecord

__all__ = ["Reached", "reached_by", "refuse_foreign_names"]

_VARIABLE = re.compile(r"RAYFORM_[A-Z0-9_]+")
"""Variables that a definition may name: those that a user sets for Rayform."""
_AWS_SECRET = re.compile(r"(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:)?(rayform/|rds!).+")
_GOOGLE_SECRET = re.compile(r"projects/[^/]+/secrets/rayform-[^/]+(/versions/[^/]+)?")
"""Secrets that a definition may name: Rayform's own, and those that RDS keeps for its databases."""

_HOSTS = ("host", "endpoint_url", "uri", "address", "tunnel", "bucket", "base_image")
_FILES = ("path", "ssh_key", "known_hosts", "ca_bundle")
_VARIABLES = ("password_env",)
_SECRETS = ("password_secret",)


@dataclass(frozen=True, slots=True)
class Reached:
    """One thing that a component's settings name.

    Args:
        component: the kind of the component.
        what: `host`, `variable`, `secret`, `file` or `setting`.
        setting: the name of the setting.
        value: its value.
    """

    component: str
    what: str
    setting: str
    value: str


def reached_by(records: Iterable[ComponentRecord]) -> list[Reached]:
    """Return what the settings of components name, hosts first; a setting that Rayform can't place is listed too."""
    kinds = {"host": _HOSTS, "variable": _VARIABLES, "secret": _SECRETS, "file": _FILES}
    by_setting = {setting: what for what, settings in kinds.items() for setting in settings}
    order = [*kinds, "setting"]
    found = [
        Reached(record.kind, by_setting.get(name, "setting"), name, str(value))
        for record in records
        for name, value in record.config.items()
        if value is not None
    ]
    return sorted(found, key=lambda each: order.index(each.what))


def refuse_foreign_names(records: Sequence[ComponentRecord], allowed: Iterable[str], where: str) -> None:
    """Refuse settings that would send what isn't Rayform's, or send it in the clear.

    Args:
        records: the components of an imported stack.
        allowed: variables, secrets and hosts that the user trusts this file with.
        where: where the stack comes from, for the error.

    Raises:
        UsageError: names the setting, and how to allow it.
    """
    trusted = set(allowed)
    for each in reached_by(records):
        if each.value in trusted:
            continue
        if each.what == "variable" and not _VARIABLE.fullmatch(each.value):
            raise _refusal(
                each, where, f"would send the variable '{each.value}' to a host that the file chooses",
                "Variables for a shared stack begin with RAYFORM_.",
            )  # fmt: skip
        if each.what == "secret" and not (
            _AWS_SECRET.fullmatch(each.value) or _GOOGLE_SECRET.fullmatch(each.value)
        ):
            raise _refusal(
                each, where, f"would read the secret '{each.value}' with your cloud rights",
                "Secrets of a shared stack begin with `rayform/` (AWS; or are RDS's own) or `rayform-` (Google).",
            )  # fmt: skip
    for record in records:
        for each in reached_by([record]):
            host = _in_the_clear(each, record.config)
            if host is not None and not trusted & {host, each.value}:
                raise _refusal(
                    each, where, f"would reach '{host}' without encryption",
                    "Only addresses of this machine may be reached so.", name=host,
                )  # fmt: skip


def _refusal(each: Reached, where: str, what: str, why: str, name: str | None = None) -> UsageError:
    return UsageError(
        f"{where}: the setting '{each.setting}' of the {each.component} {what}.",
        why=why,
        hint=f"If you trust the file with it, add --allow '{name or each.value}'. Nothing was registered.",
    )


def _in_the_clear(each: Reached, config: Mapping[str, object]) -> str | None:
    """Return the host that a setting would reach without encryption, or `None`."""
    host: str | None = None
    if each.setting == "endpoint_url" and not each.value.startswith("https://"):
        host = urlsplit(each.value).hostname or each.value
    elif each.setting == "uri" and config.get("insecure"):
        host = urlsplit(f"//{each.value}").hostname or each.value
    elif each.setting == "host" and config.get("sslmode") in ("disable", "allow", "prefer"):
        host = each.value
    return None if host is None or is_loopback(host) else host
