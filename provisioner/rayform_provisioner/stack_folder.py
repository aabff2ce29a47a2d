"""What this machine keeps of each deployed stack: `$RAYFORM_HOME/deployments/NAME/`, readable by its owner alone.

| file | holds |
| --- | --- |
| `record.json` | the reference, written before the first call to the cloud; what was settled; how far it is |
| `definition.yaml` | the definition as it was last applied |
| `running.json` | what runs now, and by whom; stays behind when it is killed |
| `history.jsonl` | one line for each plan that was applied |
| `ssh/` | the stack's key |
| `work/` | Terraform's root module, its copy of the modules, and with a local backend its state |
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
    """Return the time, UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def whoami() -> str:
    """Return `user@host`, as Terraform writes it into its locks."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name  # not LOGNAME, which `su` and `sudo -E` leave as it was
    except KeyError:  # a user ID without a name
        user = os.environ.get("USER", "")
    return f"{user}@{socket.gethostname()}"


def set_aside(word: str, *paths: Path) -> None:
    """Rename those of `paths` that exist to end in `.WORD`, and with a number where one did so before."""
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
    """What was settled about a stack; from the first plan to the end of its destroy."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    name: str
    reference: str
    region: str
    target: str
    created: str
    ssh_public_key: str
    status: str = "planned"
    """`planned`, `deploying`, `deployed`, `destroying`."""
    zones: list[str] = Field(default_factory=list)
    pinned_images: dict[str, str] = Field(default_factory=dict)
    shapes: dict[str, dict[str, int | str]] = Field(default_factory=dict)
    deployed: str | None = None
    outputs: dict[str, Any] = Field(default_factory=dict)
    kept: list[str] = Field(default_factory=list)
    """Resources that a destroy left on purpose."""


class Running(BaseModel):
    """A command that runs, or that was killed."""

    model_config = ConfigDict(extra="ignore")

    operation: str
    pid: int
    who: str
    started: str
    terraform: list[list[float]] = Field(default_factory=list)
    """Process ID and start time of each Terraform it started."""
    changes: bool = True
    """Whether it may leave what the state doesn't know; a plan leaves a lock at worst."""


class HistoryEntry(BaseModel):
    """One line of a stack's history."""

    model_config = ConfigDict(extra="ignore")

    at: str
    who: str
    operation: str
    result: str
    reference: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    seconds: float = 0.0
    rayform: str = __version__
    error: str | None = None


class StackFolder:
    """The folder of one stack.

    Args:
        name: the stack.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.held_since = ""
        self.path = deployments() / name
        self.work = self.path / "work"
        self.definition_file = self.path / "definition.yaml"
        self.key_file = self.path / "ssh" / "id_ed25519"
        self.known_hosts = self.path / "ssh" / "known_hosts"
        self._record_file = self.path / "record.json"
        self._running_file = self.path / "running.json"
        self._history_file = self.path / "history.jsonl"

    def record(self) -> StackRecord | None:
        """Return the record, or `None` where the stack was never planned here.

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
            known = deployed_names()
            hint = None if known else "None is deployed from here: make one with `rayform stack deploy`."
            raise NotFoundError("deployed stack", self.name, known=known, hint=hint)
        return record

    def save(self, record: StackRecord) -> None:
        """Write the record."""
        write_atomically(self._record_file, record.model_dump())

    def begin(self, region: str, target: str) -> StackRecord:
        """Return the record, and where there is none write one with a fresh reference first.

        A stack that was only ever planned is nowhere yet, so a plan for another place takes it there.

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
            for what, before, wanted in (
                ("region", record.region, region),
                ("target", record.target, target),
            ):
                if before != wanted:
                    raise ConflictError(
                        f"Stack '{self.name}' is in {what} '{before}', not '{wanted}'.",
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
        """Make a new SSH key, keep what there is of the old one beside it, and return the new public key.

        The record names the new key last, so that an interrupted call is simply made again.
        """
        record = self.existing()
        # A call before this one may have set the key aside that the running head still takes.
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
        """Hold the stack's lock, and give what a killed command left, if one was.

        Raises:
            ConflictError: another command holds it; says which, whose and since when.
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
            if not held and running is not None:  # else it is about another lock, such as the state's
                raise ConflictError(
                    f"Stack '{self.name}' is locked.",
                    why=f"`{running.operation}` by {running.who} (process {running.pid}) runs since {running.started}.",
                    hint=error.hint,
                ) from None
            raise

    def _running(self) -> Running | None:
        try:
            return Running.model_validate_json(self._running_file.read_text())
        except (FileNotFoundError, ValidationError, OSError):
            return None

    def holder(self) -> Running | None:
        """Return the command that is changing the stack now, if one lives."""
        running = self._running()
        return running if running is not None and psutil.pid_exists(running.pid) else None

    def mark_running(self, operation: str, left: Running | None = None, *, changes: bool = True) -> Running:
        """Write down that `operation` runs in this process.

        Args:
            operation: the command.
            left: what a killed command left; since it may still own a lock, its start counts as this one's.
            changes: whether it may leave what the state doesn't know.
        """
        started = left.started if left else now()
        changes = changes or (left is not None and left.changes)
        running = Running(
            operation=operation, pid=os.getpid(), who=whoami(), started=started, changes=changes
        )
        write_atomically(self._running_file, running.model_dump())
        return running

    def mark_terraform(self, running: Running, pid: int) -> None:
        """Write down a Terraform that was started, so that the next command can end it if this one dies."""
        with contextlib.suppress(psutil.Error):
            running.terraform = [*running.terraform[-3:], [float(pid), psutil.Process(pid).create_time()]]
            write_atomically(self._running_file, running.model_dump())

    def mark_ended(self) -> None:
        """Take the mark away: nothing that the state doesn't know can be left."""
        self._running_file.unlink(missing_ok=True)

    def add_history(self, entry: HistoryEntry) -> None:
        """Append a line to the history; a crash may cut the last line, which reading skips."""
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
        """Remove all but the history, after the stack is destroyed."""
        self._record_file.unlink(missing_ok=True)
        for path in (self.definition_file, self._running_file):
            path.unlink(missing_ok=True)
        for folder in (self.work, self.key_file.parent):
            shutil.rmtree(folder, ignore_errors=True)


def _end_orphans(left: Running, patience: float = 20.0) -> None:
    """End Terraforms, and their providers, that outlived the command that started them.

    Terraform gets a chance to end what it is in the midst of and to save its state.
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


def _group(group: int, started: float) -> list[psutil.Process]:
    """Processes of the group, if it still is the one that was started then (a process ID may be used again)."""
    found = []
    for process in psutil.process_iter(["pid", "create_time", "name", "status"]):
        try:
            if os.getpgid(process.pid) != group or process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            born = process.info["create_time"]
            if process.pid == group and abs(born - started) > 1:
                return []
            if born >= started - 1 and any(
                word in (process.info["name"] or "") for word in ("terraform", "tofu")
            ):
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found
