"""Runs Terraform or OpenTofu and reads its stream of JSON events.

python-terraform builds the command lines. Its `cmd` shows nothing until the command ends, and its `destroy` passes a
flag that Terraform no longer has; the subclass here streams instead, and avoids both.

Source: Terraform's machine-readable UI (version 1.2 of its JSON).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayform_core.errors import IntegrityError, PrerequisiteError
from rayform_core.files import write_atomically
from rayform_provisioner.terraform.errors import Diagnostic, error_of
from rayform_provisioner.terraform.settings import TerraformSettings
from rayform_provisioner.terraform.state_place import next_place, present_place

__all__ = ["UNSAVED_FILE", "Event", "Finished", "Terraform"]

try:
    from python_terraform import IsFlagged
    from python_terraform import Terraform as _PythonTerraform
except ModuleNotFoundError as error:  # the extra is not installed
    raise PrerequisiteError(
        "Deploying stacks needs the Python package 'python-terraform'.",
        hint="Install it: pip install 'rayform[terraform]'.",
    ) from error

LOG_LINES = 40
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
UNSAVED_FILE = "errored.tfstate"
"""The file into which Terraform writes a state that it can't save in its backend."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one resource.

    Args:
        address: the resource.
        action: `create`, `update`, `delete`, `read`, `replace`, `import`, …
        phase: `planned`, `drift`, `start`, `progress`, `complete` or `error`.
        seconds: how long it has taken so far.
        resource_id: the cloud's ID, if Terraform knows it.
    """

    address: str
    action: str
    phase: str
    seconds: float = 0.0
    resource_id: str = ""

    @classmethod
    def parse(cls, phase: str, hook: Mapping[str, Any]) -> Event:
        """Read what Terraform's JSON says about the resource."""
        return cls(
            str(hook.get("resource", {}).get("addr", "")),
            str(hook.get("action", "")),
            phase,
            float(hook.get("elapsed_seconds") or 0),
            str(hook.get("id_value") or ""),
        )


@dataclass(slots=True)
class Finished:
    """The result of a Terraform command.

    Args:
        code: exit status.
        text: its output.
        events: what happened, without progress.
        diagnostics: errors and warnings.
        outputs: values of the outputs after an apply; `None` if Terraform reported none, or hid a secret one.
    """

    code: int
    text: str = ""
    events: list[Event] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    outputs: dict[str, Any] | None = None


_PHASES = {
    "apply_start": "start",
    "apply_progress": "progress",
    "apply_complete": "complete",
    "apply_errored": "error",
    "planned_change": "planned",
    "resource_drift": "drift",
}
"""Type of a message in Terraform's stream to the phase of an `Event`."""


class Terraform(_PythonTerraform):  # type: ignore[misc]  # python-terraform has no types
    """Terraform in one working folder.

    Args:
        folder: the root module's folder.
        settings: which binary, mirror and plugin cache.
        environment: variables in addition to this process's own, such as an emulator's keys.
        on_event: called for every event, in the calling thread.
        on_start: called with the process ID of each command, so that after a crash a later process can find it.
    """

    def __init__(
        self,
        folder: Path,
        settings: TerraformSettings,
        environment: dict[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        self.settings = settings
        self.environment = environment or {}
        self.on_event = on_event
        self.on_start = on_start
        self.root = folder
        # No `state`: the configuration's backend says where it is. It is never read through python-terraform.
        super().__init__(working_dir=str(folder), terraform_bin_path=str(settings.binary()))

    def read_state_file(self, file_path: str | None = None) -> None:
        """Do nothing: python-terraform only reads a format of the state that Terraform gave up years ago."""

    def moves_state(self) -> bool:
        """Whether the next `init` moves this folder's state to another place."""
        present, following = present_place(self.root), next_place(self.root)
        return present is not None and following is not None and present != following

    def prepare(self, digest: str, *, carry: bool = True) -> bool:
        """Run `init` unless the folder was prepared for the same `digest` already; return whether it ran.

        Args:
            digest: changes when `init` must run again.
            carry: if the state moves, copy it over whatever is at its new place.

        Raises:
            StateLockedError: the state moves, and another command holds a lock.
            TerraformError: a provider or the backend is not available.
        """
        stamp = self.root / ".terraform" / "rayform-prepared"
        mark = f"{digest} {self.settings.fingerprint()}"
        lock = self.root / ".terraform.lock.hcl"
        with contextlib.suppress(OSError):
            if lock.exists() and stamp.read_text() == mark:
                return False
        carries = carry and self.moves_state()
        mode = ("migrate_state", "force_copy") if carries else ("reconfigure",)
        # An `init` that fails may already have changed the backend, so the folder no longer counts as prepared.
        stamp.unlink(missing_ok=True)
        self._run("init", input=False, no_color=IsFlagged, **dict.fromkeys(mode, IsFlagged))
        write_atomically(stamp, mark)
        return True

    def push_unsaved(self) -> bool:
        """Save the state that an earlier Terraform could not save; return whether there was one.

        Raises:
            StateLockedError: another command holds the lock.
            TerraformError: a newer state has been saved since, or the backend can't be reached; the file stays.
        """
        unsaved = self.root / UNSAVED_FILE
        if not unsaved.exists():
            return False
        self._run("state push", str(unsaved))
        unsaved.unlink()
        return True

    def plan_to(
        self, plan: Path, *, destroy: bool = False, refresh_only: bool = False, refresh: bool = True
    ) -> Finished:
        """Plan, save the plan to `plan`, and return what would happen; code 0 for nothing, 2 for changes.

        Args:
            plan: file to write.
            destroy: plan to destroy everything.
            refresh_only: plan to bring the state up to date, and to change nothing in the cloud.
            refresh: read every resource first; if false, trust the state.

        Raises:
            StateLockedError: another command holds the lock.
            TerraformError: the plan failed.
        """
        flags: dict[str, object] = {} if refresh else {"refresh": False}
        if destroy:
            flags["destroy"] = IsFlagged
        if refresh_only:
            flags["refresh_only"] = IsFlagged
        return self._stream("plan", out=str(plan), detailed_exitcode=IsFlagged, ok=(0, 2), **flags)

    def apply_plan(self, plan: Path) -> Finished:
        """Apply the saved plan `plan`, and nothing else.

        Raises:
            StateLockedError: another command holds the lock.
            TerraformError: a resource failed; those that succeeded are in the state.
        """
        return self._stream("apply", str(plan), auto_approve=IsFlagged)

    def read_plan(self, plan: Path) -> dict[str, Any]:
        """Return the saved plan in Terraform's JSON."""
        return self._json("show", str(plan))

    def outputs(self) -> dict[str, Any]:
        """Return output values by name."""
        return {name: item["value"] for name, item in self._json("output").items()}

    def pull_state(self) -> dict[str, Any]:
        """Return the raw state; empty if there is none."""
        text = self._run("state pull").text.strip()
        if not text:
            return {}
        try:
            state: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise IntegrityError("Terraform's state is not JSON.", why=f"{error}.") from error
        return state

    def forget(self, addresses: list[str]) -> None:
        """Remove `addresses` from the state; nothing changes in the cloud."""
        if addresses:
            self._run("state rm", *addresses)

    def validate_folder(self) -> list[Diagnostic]:
        """Return the errors and warnings of `terraform validate`."""
        report = self._json("validate", ok=(0, 1))
        return [Diagnostic.parse(item) for item in report.get("diagnostics", [])]

    def cmd(self, cmd: str, *args: str, **kwargs: object) -> tuple[int, str, str]:
        """Run any command to its end, with python-terraform's signature: all of its own methods call this."""
        kwargs.pop("capture_output", None)
        kwargs.pop("raise_on_error", None)
        done = self._run(cmd, *args, ok=None, **kwargs)
        return done.code, done.text, "\n".join(d.summary for d in done.diagnostics)

    def _json(self, command: str, *args: str, ok: tuple[int, ...] = (0,)) -> dict[str, Any]:
        done = self._run(command, *args, ok=ok, json=IsFlagged)
        try:
            document: dict[str, Any] = json.loads(done.text)
        except ValueError as error:
            raise IntegrityError(f"terraform {command} printed no JSON.", why=done.text[-300:]) from error
        return document

    def _run(
        self, command: str, *args: str, ok: tuple[int, ...] | None = (0,), **options: object
    ) -> Finished:
        """Run a command that has no event stream."""
        lines: list[str] = []
        with self._process(command, args, options) as process:
            assert process.stdout is not None
            lines.extend(line.rstrip("\n") for line in process.stdout)
            code = process.wait()
        text = "\n".join(lines)
        if ok is not None and code not in ok:
            # Remove colours here, because not every command accepts -no-color.
            log = [line for line in _COLOUR.sub("", text).splitlines() if line.strip()]
            raise error_of(command, _plain_diagnostics("\n".join(log)), log[-LOG_LINES:], killed=code < 0)
        return Finished(code, text)

    def _stream(self, command: str, *args: str, ok: tuple[int, ...] = (0,), **options: object) -> Finished:
        """Run a command with JSON events, and pass each on as it comes."""
        log: deque[str] = deque(maxlen=LOG_LINES)
        done = Finished(0)
        interrupts = 0
        with self._process(command, args, {"json": IsFlagged, "input": False, **options}) as process:
            assert process.stdout is not None
            while True:
                try:
                    for line in process.stdout:
                        self._take(line, log, done)
                    done.code = process.wait()
                    break
                except KeyboardInterrupt:
                    # At the first interrupt, Terraform finishes the calls that it has sent and saves its state. At the
                    # second it stops at once. At the third it is killed, and the next command cleans up after it.
                    interrupts += 1
                    _signal_group(process, signal.SIGKILL if interrupts > 2 else signal.SIGINT)
        if interrupts:
            raise KeyboardInterrupt
        done.text = "\n".join(log)
        if done.code not in ok:
            raise error_of(command, done.diagnostics, list(log), killed=done.code < 0)
        return done

    def _take(self, line: str, log: deque[str], done: Finished) -> None:
        """Read a line of the event stream into `log` and `done`, and report its event."""
        try:
            raw = json.loads(line)
        except ValueError:
            if line.strip():
                log.append(line.rstrip())
            return
        log.append(str(raw.get("@message", "")))
        kind = str(raw.get("type"))
        if kind == "diagnostic":
            done.diagnostics.append(Diagnostic.parse(raw.get("diagnostic", {})))
        elif kind == "outputs":
            outputs = raw.get("outputs", {})
            complete = all("value" in item and not item.get("sensitive") for item in outputs.values())
            done.outputs = {name: item["value"] for name, item in outputs.items()} if complete else None
        elif kind in _PHASES:
            event = Event.parse(_PHASES[kind], raw.get("hook") or raw.get("change") or {})
            if event.phase != "progress":
                done.events.append(event)
            if self.on_event is not None:
                self.on_event(event)

    @contextlib.contextmanager
    def _process(
        self, command: str, args: tuple[str, ...], options: dict[str, object]
    ) -> Iterator[subprocess.Popen[str]]:
        line = self.generate_cmd_string(command, *args, **options)
        environment = self.settings.environment({**os.environ, **self.environment})
        # Start a new session, so that Ctrl-C reaches Terraform only through this process, and so that the provider
        # processes of a killed Terraform can be found as a group.
        process = subprocess.Popen(
            line,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        if self.on_start is not None:
            self.on_start(process.pid)
        with _termination_as_interrupt():
            try:
                yield process
            except BaseException:
                if process.poll() is None:
                    _signal_group(process, signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(60)
                raise
            finally:
                if process.poll() is None:
                    _signal_group(process, signal.SIGKILL)
                    process.wait()
                if process.stdout is not None:
                    process.stdout.close()
                self.temp_var_files.clean_up()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    # Send SIGINT to Terraform alone, which asks its providers to stop; send a kill to all of them.
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that Terraform can end properly when a terminal is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plain_diagnostics(text: str) -> list[Diagnostic]:
    """Read errors from the output of a command that has no JSON."""
    diagnostics = []
    for block in re.sub("│ |[│╷╵]", "", text).split("Error: ")[1:]:
        summary, _, detail = block.partition("\n")
        diagnostics.append(Diagnostic("error", summary.strip(), detail.strip()))
    if not diagnostics:  # `terraform state` prints its errors without that word
        bare = [line for line in text.splitlines() if line.startswith(("Failed to ", "Error "))]
        diagnostics = [Diagnostic("error", line) for line in bare[:1]]
    return diagnostics
