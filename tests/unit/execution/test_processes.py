"""Messages between processes, liveness of processes, logs, tracebacks and the user's code."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.errors import NotFoundError, PrerequisiteError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.config import SQLiteConfig
from rayform_runtime.catalog.entities import NewRun, Run, RunStatus
from rayform_runtime.catalog.sql.catalog import SQLCatalog
from rayform_runtime.context import get_step_context, is_in_step
from rayform_runtime.execution.scheduling.liveness import is_alive, mark_dead_runs
from rayform_runtime.execution.worker.arguments import coerced
from rayform_runtime.execution.worker.logs import LogFile, read_log
from rayform_runtime.processes.framing import FrameReader, pack, receive, send
from rayform_runtime.processes.identity import process_started, this_host
from rayform_runtime.spec import SourceRef
from rayform_runtime.usercode import loading as user_code
from rayform_runtime.usercode.tracebacks import step_error


@given(st.lists(st.binary(max_size=200), max_size=8), st.integers(1, 50))
def test_frames_survive_any_cut(messages: list[bytes], size: int) -> None:
    """However the stream is cut into pieces, the same messages come out."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = FrameReader(ours)
        stream = b"".join(map(pack, messages))
        got = []
        for start in range(0, len(stream), size):
            theirs.sendall(stream[start : start + size])
            got += reader.read()
        assert got == messages
        theirs.close()
        assert reader.read() == []
        assert reader.ended


def test_cut_frame_is_no_message() -> None:
    """A sender that dies in the middle of a frame leaves no half-read message."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(pack("whole") + pack("cut")[:-1])
        theirs.close()
        assert receive(ours) == "whole"
        assert receive(ours) is None


def test_blocking_and_reading_ends_speak_alike() -> None:
    """`receive` reads what `send` wrote."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(theirs, {"a": 1})
        assert receive(ours) == {"a": 1}


def run_of(**facts: object) -> Run:
    now = datetime.now(UTC)
    run = Run(
        id=uuid4(),
        name="r",
        pipeline="p",
        status=RunStatus.RUNNING,
        stack_name="s",
        created_at=now,
        started_at=now,
        ended_at=None,
        heartbeat_at=now,
        parameters={},
        tags=(),
        user=None,
        host=this_host(),
        pid=os.getpid(),
        pid_started=process_started(os.getpid()),
        error=None,
        model_version_id=None,
        orchestrator_id=None,
    )
    return replace(run, **facts)  # type: ignore[arg-type]


def test_a_process_is_known_by_its_id_and_its_start() -> None:
    """This process lives; one with another start, or that has ended, doesn't; another host's process is unknown."""
    assert is_alive(run_of()) is True
    started = process_started(os.getpid())
    assert started is not None
    assert is_alive(run_of(pid_started=started - 1)) is False
    assert is_alive(run_of(host="elsewhere")) is None
    assert is_alive(run_of(host="elsewhere@" + this_host().partition("@")[2])) is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = process_started(child.pid)
    assert began is not None
    assert abs(began - time.clock_gettime(time.CLOCK_BOOTTIME)) < 30
    child.kill()
    # Dead and not reaped yet: a zombie isn't alive.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_started(child.pid) is None
    child.communicate()
    assert is_alive(run_of(pid=child.pid, pid_started=began)) is False


def test_a_run_of_an_earlier_boot_is_dead() -> None:
    """After a reboot the process IDs mean other processes; a record without a boot leaves it to the heartbeat."""
    machine = this_host().partition("@")[0]
    assert is_alive(run_of(host=f"{machine}@another-boot")) is False
    assert is_alive(run_of(host=machine)) is None


@pytest.mark.parametrize("step", [-86_400.0, -3.0, 3.0, 86_400.0], ids=str)
def test_a_set_clock_changes_no_process(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Linux's boot time moves with the wall clock, and a run's process is the same before and after."""
    run, read, now = run_of(), Path.read_bytes, time.time

    def moved(path: Path) -> bytes:
        content = read(path)
        if path == Path("/proc/stat"):
            return re.sub(rb"btime (\d+)", lambda m: b"btime %d" % (int(m[1]) + int(step)), content)
        return content

    monkeypatch.setattr(Path, "read_bytes", moved)
    monkeypatch.setattr(time, "time", lambda: now() + step)
    assert is_alive(run) is True


def other_hosts_run(catalog: SQLCatalog) -> UUID:
    run_id = new_id()
    catalog.create_run(
        NewRun(
            run_id, "r", "p", spec={}, stack_name="s", stack={}, host="elsewhere@x", pid=1, pid_started=1.0
        )
    )
    return run_id


def test_a_live_run_of_another_host_survives_any_clock(tmp_path: Path) -> None:
    """Each heartbeat looks old to a fast clock, and a run that goes on beating stays as it is."""
    catalog = SQLCatalog(SQLiteConfig(path=str(tmp_path / "c.db")), stack_name="s")
    other = SQLCatalog(SQLiteConfig(path=str(tmp_path / "c.db")), stack_name="s")
    run_id, ended = other_hosts_run(other), threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            other.heartbeat(run_id)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert mark_dead_runs(catalog, stale_seconds=-3600) == []
    finally:
        ended.set()
        thread.join()
    assert catalog.get_run(run_id).status is RunStatus.RUNNING
    assert mark_dead_runs(catalog) == []
    assert mark_dead_runs(catalog, stale_seconds=-3600, confirm_seconds=0.3) == [run_id]
    catalog.close()
    other.close()


def test_log_is_made_with_its_first_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent step leaves no file; output is appended, private, and read from any byte."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path))
    path = tmp_path / "logs" / "run" / "one.log"
    log = LogFile(path)
    assert read_log(path.as_uri(), None) == b""
    log.write(b"first\n")
    log.close()
    log.write(b"second\n")
    log.close()
    assert read_log(path.as_uri(), None) == b"first\nsecond\n"
    assert read_log(path.as_uri(), None, start=6) == b"second\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_log(None, None) == b""
    with pytest.raises(NotFoundError):
        read_log("s3://bucket/logs/x.log", None)


def test_log_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """The error for a full device says what to do."""
    log = LogFile(Path("/dev/full"))
    with pytest.raises(PrerequisiteError, match="disk space"):
        log.write(b"x")
    log.close()


def test_error_whose_text_fails_is_still_recorded() -> None:
    """An exception with a broken `__str__` doesn't break its report."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    error = step_error(Broken())
    assert error.type.endswith("Broken")
    assert "can't be shown" in error.message


def test_error_is_recorded_in_text_that_can_be_written() -> None:
    """Half a surrogate pair in a message becomes its escape, in the traceback too."""
    try:
        raise ValueError("bad \udc80 \ud83d end é")
    except ValueError as raised:
        error = step_error(raised)
    assert error.message == "bad \\udc80 \\ud83d end é"
    assert error.traceback.endswith("ValueError: bad \\udc80 \\ud83d end é\n")


def test_script_is_loaded_without_its_main_block(tmp_path: Path) -> None:
    """A script's functions are found by its file; its main block and its pipeline call don't run."""
    file = tmp_path / "my-script.py"
    file.write_text(
        "import os\ndef f():\n    return 41\nclass K:\n    def m(self):\n        return 1\n"
        "if __name__ == '__main__':\n    raise SystemExit('ran')\n"
    )
    path, modules = list(sys.path), dict(sys.modules)
    try:
        assert user_code.load_source(SourceRef(module="__main__", qualname="f", file=str(file)))() == 41
        method = user_code.load_source(SourceRef(module="__main__", qualname="K.m", file=str(file)))
        assert method.__qualname__ == "K.m"
        with pytest.raises(NotFoundError, match="'g'"):
            user_code.load_source(SourceRef(module="__main__", qualname="g", file=str(file)))
        with pytest.raises(NotFoundError, match="script"):
            user_code.load_source(SourceRef(module="__main__", qualname="f", file=str(tmp_path / "gone.py")))
    finally:
        sys.path[:] = path
        for name in ("__main__", "__mp_main__"):
            sys.modules.pop(name, None)
            if name in modules:
                sys.modules[name] = modules[name]


def test_pickled_function_is_found(tmp_path: Path) -> None:
    """A function of a notebook travels as a pickle."""
    import base64

    import cloudpickle

    n = 3
    payload = base64.b64encode(cloudpickle.dumps(lambda x: x + n)).decode()
    assert user_code.load_function(SourceRef(module="__main__", qualname="f", pickled=payload))(1) == 4


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, 1),
        ([1, 2], list, [1, 2]),
        ([1, 2], tuple[int, int], (1, 2)),
        ("a", Path, Path("a")),
        ({"a": "1"}, dict[str, int], {"a": 1}),
        (None, int | None, None),
        ("x", None, "x"),
        ("x", object(), "x"),
    ],
)
def test_json_values_become_what_annotations_say(value: object, hint: object, expected: object) -> None:
    """Plain values stay; others are validated; an annotation that isn't a type is no obstacle."""
    assert coerced(value, hint, step="s", argument="a") == expected


def test_value_that_does_not_fit_names_argument_and_step() -> None:
    """The error says which argument of which step, and why."""
    with pytest.raises(UsageError, match="Argument 'n' of step 'train'"):
        coerced("many", int, step="train", argument="n")


def test_context_outside_of_a_step_is_a_clear_error() -> None:
    """There is no step context if no step runs."""
    assert not is_in_step()
    with pytest.raises(UsageError, match="No step is running"):
        get_step_context()


def test_inner_causes_of_our_own_errors_are_not_shown(tmp_path: Path) -> None:
    """Causes that Python's library or Rayform raised are left out; causes that the user's code raised are shown."""

    def ours(cause: str, filename: str) -> PrerequisiteError:
        # Compile it as if it came from that file.
        code = compile(cause, filename, "exec")
        try:
            try:
                exec(code, {})
            except Exception as error:
                raise PrerequisiteError("It can't be used.") from error
        except PrerequisiteError as error:
            error.__traceback__ = None
            # Remove this test's own frame, which stands for a frame of the framework.
            assert error.__cause__ is not None
            error.__cause__.__traceback__ = error.__cause__.__traceback__.tb_next  # type: ignore[union-attr]
            return error

    inner = step_error(ours("raise OSError('no space')", user_code.__file__))
    assert "no space" not in inner.traceback
    assert inner.traceback.endswith("PrerequisiteError: It can't be used.\n")
    theirs = step_error(ours("raise OSError('in my materializer')", str(tmp_path / "mine.py")))
    assert "in my materializer" in theirs.traceback
