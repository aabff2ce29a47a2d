"""What this machine keeps of each deployed stack: `$RAYFORM_HOME/deployments/NAME/`, readable only by its owner.

| file | content |
| --- | --- |
| `record.json` | the reference, written before the first call to the cloud; what the cloud resolved; the status |
| `definition.yaml` | the definition as it was last applied |
| `running.json` | the mark of the command that runs now; stays there if the command is killed |
| `history.jsonl` | one line for each plan that was applied |
| `ssh/` | the stack's key |
| `work/` | Terraform's root module, its copy of the modules, and its state if the backend is local |
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rayform_core.errors import ConflictError, IntegrityError, NotFoundError, PrerequisiteError
from rayform_core.files import file_lock, home, private_folder, write_atomically
from rayform_core.process_start import start_since_boot
from rayform_core.version import __version__

__all__ = [
    "HistoryEntry",
    "Running",
    "StackFolder",
    "StackRecord",
    "deployed_names",
    "now",
    "set_aside",
    "whoami",
]


def now() -> str:
    """Return the time in UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def whoami() -> str:
    """Return `user@host`, as Terraform writes it into its locks."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name  # LOGNAME would be wrong after `su` or `sudo -E`
    except KeyError:  # a user ID without a name
        user = os.environ.get("USER", "")
    return f"{user}@{socket.gethostname()}"


def set_aside(word: str, *paths: Path) -> None:
    """Append `.WORD` to the names of those `paths` that exist, with a number if such a file exists already."""
    number = 1
    while True:
        suffix = f".{word}{number if number > 1 else ''}"
        moves = [(path, path.with_name(path.name + suffix)) for path in paths]
        if not any(new.exists() for _, new in moves):
            break
        number += 1
    for path, new in moves:
        if path.exists():
            path.replace(new)


def deployments() -> Path:
    """Return the folder that holds all stack folders."""
    return home() / "deployments"


def deployed_names() -> list[str]:
    """Return the names of stacks that have a record here."""
    folder = deployments()
    return sorted(path.parent.name for path in folder.glob("*/record.json")) if folder.exists() else []


class StackRecord(BaseModel):
    """What is decided about a stack; it exists from the first plan to the end of a destroy."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    """The format of this file."""
    name: str
    """The stack's name."""
    reference: str
    """The stack's unique reference; made with the record."""
    region: str
    """The cloud's region; changes only while the stack is planned."""
    target: str
    """The cloud that the stack is in; changes only while the stack is planned."""
    created: str
    """When the record was made."""
    ssh_public_key: str
    """The key that opens SSH on the head; changes with `rayform stack new-key`."""
    status: str = "planned"
    """`planned`; `deploying` or `destroying` from the first change until the command succeeds; `deployed`."""
    zones: list[str] = Field(default_factory=list)
    """The availability zones in use, the head's first; each deploy writes them."""
    zone_slots: dict[str, int] = Field(default_factory=dict)
    """Zone to the number of its subnets in the VPC's range; each deploy writes them."""
    disk_key: str | None = None
    """The customer's key that encrypts each new disk of the account; each deploy writes it."""
    pinned_images: dict[str, str] = Field(default_factory=dict)
    """Machine images in use, by what the definition asked for; each deploy writes them."""
    shapes: dict[str, dict[str, int | str]] = Field(default_factory=dict)
    """`head` and each worker group to what its instance type has; each deploy writes them."""
    deployed: str | None = None
    """When the last deploy succeeded."""
    outputs: dict[str, Any] = Field(default_factory=dict)
    """Terraform's outputs; each deploy and refresh writes them."""
    kept: list[str] = Field(default_factory=list)
    """Resources that a destroy keeps on purpose."""


class Running(BaseModel):
    """The mark of a command that is running or was killed."""

    model_config = ConfigDict(extra="ignore")

    operation: str
    pid: int
    who: str
    started: str
    terraform: list[list[float]] = Field(default_factory=list)
    """Process ID and start time of each Terraform it started."""
    changes: bool = True
    """Whether it may leave resources that the state doesn't know; a plan leaves at most a lock."""


class HistoryEntry(BaseModel):
    """One line of a stack's history."""

    model_config = ConfigDict(extra="ignore")

    at: str
    """When the command ended."""
    who: str
    """`user@host`."""
    operation: str
    """`deploy`, `refresh` or `destroy`."""
    result: str
    """`done`, `failed` or `interrupted`."""
    reference: str
    """The stack's reference at that time."""
    added: int = 0
    """Resources that were created."""
    changed: int = 0
    """Resources that were updated."""
    removed: int = 0
    """Resources that were deleted."""
    seconds: float = 0.0
    """How long the command took."""
    rayform: str = __version__
    """Rayform's version."""
    error: str | None = None
    """The error of a failed command."""


class StackFolder:
    """The folder of one stack. Its paths never change.

    Args:
        name: the stack's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        # The folder itself.
        self.path = deployments() / name
        # Terraform's working folder.
        self.work = self.path / "work"
        # The definition as it was last applied.
        self.definition_file = self.path / "definition.yaml"
        # The private SSH key; the public one is next to it.
        self.key_file = self.path / "ssh" / "id_ed25519"
        # The head's pinned SSH host keys.
        self.known_hosts = self.path / "ssh" / "known_hosts"
        # The record, the mark of the running command and the history: see the module's table.
        self._record_file = self.path / "record.json"
        self._running_file = self.path / "running.json"
        self._history_file = self.path / "history.jsonl"
        # When this process last took the stack's lock; empty before.
        self.held_since = ""

    def record(self) -> StackRecord | None:
        """Return the record, or `None` if the stack was never planned here.

        Raises:
            IntegrityError: it can't be read.
        """
        try:
            return StackRecord.model_validate_json(self._record_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise IntegrityError(
                f"The record of stack '{self.name}' can't be read.",
                why=f"{self._record_file}: {error}",
                hint="A newer Rayform may have written it; its reference is the prefix of the stack's names.",
            ) from error

    def existing(self) -> StackRecord:
        """Return the record.

        Raises:
            NotFoundError: there is none.
        """
        record = self.record()
        if record is None:
            names = deployed_names()
            hint = (
                None
                if names
                else "No stack was deployed from this machine: deploy one with `rayform stack deploy`."
            )
            raise NotFoundError("deployed stack", self.name, known=names, hint=hint)
        return record

    def save(self, record: StackRecord) -> None:
        """Write the record."""
        write_atomically(self._record_file, record.model_dump())

    def begin(self, region: str, target: str) -> StackRecord:
        """Return the record; if there is none, write one with a new reference first.

        A stack that was only planned is nowhere yet, so a plan for another place replaces its record.

        Raises:
            ConflictError: the stack is elsewhere: another region or another cloud.
        """
        record = self.record()
        if (
            record is not None
            and record.status == "planned"
            and (record.region, record.target) != (region, target)
        ):
            shutil.rmtree(self.work, ignore_errors=True)
            record = None
        if record is not None:
            for what, present, requested in (
                ("region", record.region, region),
                ("target", record.target, target),
            ):
                if present != requested:
                    raise ConflictError(
                        f"Stack '{self.name}' is in {what} '{present}', not '{requested}'.",
                        hint="Destroy it first, or give the definition another name.",
                    )
            return record
        record = StackRecord(
            name=self.name,
            reference=f"{self.name}-{secrets.token_hex(4)}",
            region=region,
            target=target,
            created=now(),
            ssh_public_key=self._make_key(),
        )
        self.save(record)
        return record

    def replace_key(self) -> str:
        """Make a new SSH key, keep the old one's files next to it, and return the new public key.

        The record names the new key last, so an interrupted call can simply be repeated.
        """
        record = self.existing()
        # Keep earlier keys too: the running head may still need one that an earlier call set aside.
        set_aside("old", self.key_file, self.key_file.with_suffix(".pub"))
        record.ssh_public_key = self._make_key()
        self.save(record)
        return record.ssh_public_key

    def _make_key(self) -> str:
        public = self.key_file.with_suffix(".pub")
        private_folder(self.key_file.parent)
        if not (self.key_file.exists() and public.exists()):
            for path in (self.key_file, public):
                path.unlink(missing_ok=True)
            command = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"rayform-{self.name}",
                "-f",
                str(self.key_file),
            ]
            try:
                subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
            except FileNotFoundError as error:
                raise PrerequisiteError(
                    "OpenSSH's ssh-keygen is missing.",
                    hint="Install OpenSSH's client (Debian: openssh-client).",
                ) from error
            except subprocess.CalledProcessError as error:
                raise PrerequisiteError(
                    "ssh-keygen made no key.", why=error.stderr.decode(errors="replace")
                ) from error
        return public.read_text().strip()

    @contextlib.contextmanager
    def locked(self, operation: str) -> Iterator[Running | None]:
        """Hold the stack's lock, and yield the mark that a killed command left, or `None`.

        Raises:
            ConflictError: another command holds it; the error says which, whose and since when.
        """
        private_folder(self.path)
        held = False
        try:
            with file_lock(self.path / "lock", timeout=0, what=f"Stack '{self.name}'"):
                held = True
                left = self._running()
                if left is not None:
                    _end_orphans(left)
                self.held_since = now()
                yield left
        except ConflictError as error:
            running = self._running()
            if not held and running is not None:  # otherwise it is about another lock, such as the state's
                raise ConflictError(
                    f"Stack '{self.name}' is locked.",
                    why=f"`{running.operation}` by {running.who} (process {running.pid}) "
                    f"has been running since {running.started}.",
                    hint=error.hint,
                ) from None
            raise

    def _running(self) -> Running | None:
        try:
            return Running.model_validate_json(self._running_file.read_text())
        except (FileNotFoundError, ValidationError, OSError):
            return None

    def holder(self) -> Running | None:
        """Return the command that is changing the stack now, or `None`."""
        running = self._running()
        return running if running is not None and psutil.pid_exists(running.pid) else None

    def mark_running(self, operation: str, left: Running | None = None, *, changes: bool = True) -> Running:
        """Write down that `operation` runs in this process.

        Args:
            operation: the command.
            left: the mark of a killed command; because that may still own a lock, its start counts as this one's.
            changes: whether `operation` may leave resources that the state doesn't know.
        """
        started = left.started if left else now()
        changes = changes or (left is not None and left.changes)
        running = Running(
            operation=operation, pid=os.getpid(), who=whoami(), started=started, changes=changes
        )
        write_atomically(self._running_file, running.model_dump())
        return running

    def mark_terraform(self, running: Running, pid: int) -> None:
        """Add a Terraform process to the mark, so that the next command can end it if this one dies."""
        with contextlib.suppress(psutil.Error):
            running.terraform = [*running.terraform[-3:], [float(pid), _started(pid)]]
            write_atomically(self._running_file, running.model_dump())

    def mark_ended(self) -> None:
        """Remove the mark: the state knows every resource."""
        self._running_file.unlink(missing_ok=True)

    def add_history(self, entry: HistoryEntry) -> None:
        """Append a line to the history; a line that a crash cut short is skipped when the history is read."""
        private_folder(self.path)
        descriptor = os.open(self._history_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(entry.model_dump()) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def history(self) -> list[HistoryEntry]:
        """Return the history, oldest first."""
        entries = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._history_file.read_text().splitlines():
                with contextlib.suppress(ValidationError):
                    entries.append(HistoryEntry.model_validate_json(line))
        return entries

    def forget(self) -> None:
        """Remove everything except the history, after the stack is destroyed."""
        self._record_file.unlink(missing_ok=True)
        for path in (self.definition_file, self._running_file):
            path.unlink(missing_ok=True)
        for folder in (self.work, self.key_file.parent):
            shutil.rmtree(folder, ignore_errors=True)


def _end_orphans(left: Running, patience: float = 20.0) -> None:
    """End the Terraform processes, and their providers, that outlived the killed command `left`.

    Terraform gets `patience` seconds to finish the calls that it has sent and to save its state.
    """
    for pid, started in left.terraform:
        group = int(pid)
        members = _group(group, started)
        if not members:
            continue
        for process in members:
            if process.pid == group:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + patience
        while members and time.monotonic() < deadline:
            time.sleep(0.1)
            leader_lives = any(p.pid == group for p in members)
            members = _group(group, started)
            if leader_lives and not any(p.pid == group for p in members):
                break  # Terraform is gone; its providers have nothing left to do
            if not leader_lives:
                break
        for process in members:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(members, timeout=5)


def _started(pid: int) -> float:
    """Return when a process started, by a clock that a change of the wall clock doesn't move.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    if not psutil.LINUX:
        return psutil.Process(pid).create_time()
    since_boot = start_since_boot(pid)
    if since_boot is None:
        raise psutil.NoSuchProcess(pid)
    return since_boot


def _group(group: int, started: float) -> list[psutil.Process]:
    """Return the processes of the group, unless its ID has been used again since `started`."""
    members = []
    for process in psutil.process_iter(["pid", "name", "status"]):
        try:
            if os.getpgid(process.pid) != group or process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            born = _started(process.pid)
            if process.pid == group and abs(born - started) > 1:
                return []
            if born >= started - 1 and any(
                word in (process.info["name"] or "") for word in ("terraform", "tofu")
            ):
                members.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return members
