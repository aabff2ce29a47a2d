# ruff: noqa: E501  (patterns and sentences read better whole)
"""Turns what Terraform reports into typed errors: the resource, the kind of failure, the sentence that matters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rayform_core.errors import ConflictError, RemoteError
from rayform_provisioner.clouds import LockInfo

__all__ = ["Diagnostic", "ErrorKind", "StateLockedError", "TerraformError", "error_of"]


class ErrorKind(StrEnum):
    """What kind of failure it was."""

    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    QUOTA = "quota"
    CAPACITY = "capacity"
    EXISTS = "exists"
    IN_USE = "in use"
    NETWORK = "network"
    CONFIGURATION = "configuration"
    PROVIDER = "provider"
    OTHER = "other"


_KINDS: tuple[tuple[ErrorKind, str], ...] = (
    # First, because failures of a registry or a mirror also contain the words of the other kinds.
    (
        ErrorKind.PROVIDER,
        r"Failed to query available provider packages|Failed to install provider|Inconsistent dependency lock file|plugin crashed|Plugin did not respond",
    ),
    (
        ErrorKind.CREDENTIALS,
        r"no valid credential|ExpiredToken|InvalidClientTokenId|AuthFailure|SignatureDoesNotMatch|failed to refresh cached credentials|UnrecognizedClient",
    ),
    (
        ErrorKind.PERMISSION,
        r"AccessDenied|UnauthorizedOperation|Forbidden|not authorized to perform|AccessDeniedException",
    ),
    (
        ErrorKind.QUOTA,
        r"LimitExceeded|VcpuLimitExceeded|QuotaExceeded|MaxSpotInstanceCountExceeded|ServiceQuota",
    ),
    (
        ErrorKind.CAPACITY,
        r"InsufficientInstanceCapacity|InsufficientCapacity|SpotMaxPriceTooLow|Unsupported: Your requested instance type",
    ),
    (
        ErrorKind.EXISTS,
        r"AlreadyExists|BucketAlreadyOwnedByYou|InvalidKeyPair\.Duplicate|InvalidGroup\.Duplicate|InvalidPermission\.Duplicate|ResourceExistsException|already exists",
    ),
    (
        ErrorKind.IN_USE,
        r"DependencyViolation|DeleteConflict|BucketNotEmpty|RepositoryNotEmpty|InvalidDBInstanceState|ResourceInUse",
    ),
    (
        ErrorKind.NETWORK,
        r"connection refused|no such host|i/o timeout|TLS handshake timeout|RequestError: send request failed|connection reset",
    ),
    (
        ErrorKind.CONFIGURATION,
        r"Invalid value for variable|Unsupported argument|Missing required argument|Invalid (?:expression|reference|function)|Reference to undeclared",
    ),
)

_HINTS = {
    ErrorKind.CREDENTIALS: "Check the cloud's credentials (AWS: `aws sts get-caller-identity`), then run the command again.",
    ErrorKind.PERMISSION: "Give the user who deploys the permission that is named; docs/stacks.md has the whole policy.",
    ErrorKind.QUOTA: "Ask the cloud to raise the quota, or choose a smaller instance type, then run the command again.",
    ErrorKind.CAPACITY: "Try another instance type or other zones, or run the command again later.",
    ErrorKind.EXISTS: "Something else has that name already: remove or rename it, then run the command again.",
    ErrorKind.IN_USE: "Something still uses it; run the command again in a minute.",
    ErrorKind.NETWORK: "Check the network and the endpoint, then run the command again: it continues where it stopped.",
    ErrorKind.PROVIDER: "Terraform can't get its provider. Check the network, or name a mirror of the provider: `rayform terraform configure --mirror FOLDER` (docs/terraform.md says how to make one).",
    ErrorKind.CONFIGURATION: "Unless you changed the modules, this is a mistake in Rayform: please report it.",
    ErrorKind.OTHER: "Run the command again: it continues where it stopped.",
}


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error or warning of Terraform."""

    severity: str
    summary: str
    detail: str = ""
    address: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> Diagnostic:
        """Read a diagnostic from Terraform's JSON."""
        return cls(
            str(raw.get("severity", "error")),
            str(raw.get("summary", "")).strip(),
            str(raw.get("detail", "")).strip(),
            str(raw.get("address") or ""),
        )

    @property
    def sentence(self) -> str:
        """The sentence that matters: the cloud's own error code and text, if there is one."""
        text = f"{self.summary}\n{self.detail}".strip()
        match = re.search(r"api error ([A-Za-z0-9.]+): (.+)", text)
        if match:
            code, sentence = match.group(1), match.group(2).strip().splitlines()[0].strip()
            return code if sentence == code else f"{code}: {sentence}"
        if self.detail and self.summary.rstrip(".") in (
            "Error",
            "Invalid value for variable",
            "Error acquiring the state lock",
        ):
            return " ".join(self.detail.split("\n\n")[0].split())
        return " ".join(text.splitlines()[0].split()) if text else "Terraform gave no reason."

    @property
    def kind(self) -> ErrorKind:
        """What kind of failure it was, read from its text."""
        text = f"{self.summary} {self.detail}"
        for kind, pattern in _KINDS:
            if re.search(pattern, text, re.IGNORECASE):
                return kind
        return ErrorKind.OTHER


def _lock_of(text: str) -> LockInfo:
    """Read the block about a lock's holder that Terraform prints."""

    def value_of(name: str) -> str:
        line = re.search(rf"^\s*{name}:\s+(.*)$", text, re.MULTILINE)
        return line.group(1).strip() if line else ""

    return LockInfo(value_of("ID"), value_of("Who"), value_of("Operation"), value_of("Created"))


class TerraformError(RemoteError):
    """Terraform failed.

    Args:
        command: the Terraform command, such as `apply`.
        diagnostics: its errors.
        log: its last lines.
        killed: whether a signal ended it, so that it may have left a lock and resources that the state doesn't know.
    """

    def __init__(
        self, command: str, diagnostics: list[Diagnostic], log: list[str], *, killed: bool = False
    ) -> None:
        self.command = command
        self.killed = killed
        self.diagnostics = diagnostics
        self.log = log
        first = diagnostics[0] if diagnostics else Diagnostic("error", log[-1] if log else "")
        self.resource = first.address
        self.kind = first.kind
        about = f" at {first.address}" if first.address else ""
        more = "".join(f"\n        {d.address or 'elsewhere'}: {d.sentence}" for d in diagnostics[1:6])
        if len(diagnostics) > 6:
            more += f"\n        … and {len(diagnostics) - 6} more"
        super().__init__(
            f"terraform {command} failed{about} ({self.kind}).",
            why=first.sentence + more,
            hint=_HINTS[self.kind],
        )

    @property
    def refuses_state(self) -> bool:
        """Whether Terraform will never accept the state that it was to save: an older one, another's, or a part of one."""
        return not self.killed and re.search(_REFUSALS, "\n".join(self.log)) is not None

    @property
    def leaves_lock(self) -> bool:
        """Whether it may have left its lock behind."""
        return self.killed or any("releasing the state lock" in d.summary for d in self.diagnostics)


_REFUSALS = r"cannot (?:import|overwrite) (?:existing )?state with|Error reading source state"


@dataclass
class StateLockedError(ConflictError):
    """Another Terraform holds the lock of the state; `holder` says whose, and `stack` which stack's."""

    holder: LockInfo = field(default_factory=LockInfo)
    stack: str = ""

    def __post_init__(self) -> None:
        who = self.holder.who or "somebody"
        since = f" since {self.holder.created}" if self.holder.created else ""
        ConflictError.__init__(
            self,
            "The stack's state is locked.",
            why=f"{who} holds the lock ({self.holder.operation or 'unknown operation'}){since}.",
            hint="Wait until it ends and try again."
            + (
                f" If it is dead for good, remove its lock: rayform stack unlock {self.stack}."
                if self.stack
                else ""
            ),
        )


def error_of(
    command: str, diagnostics: list[Diagnostic], log: list[str], *, killed: bool = False
) -> TerraformError | StateLockedError:
    """Return the error that these diagnostics mean."""
    errors = [d for d in diagnostics if d.severity == "error"]
    for diagnostic in errors:
        if "acquiring the state lock" in diagnostic.summary:
            holder = _lock_of(diagnostic.detail)
            if holder.id:  # without an ID nobody holds it, and the bucket can't be reached or written
                return StateLockedError(holder)
    return TerraformError(command, errors, log, killed=killed)
