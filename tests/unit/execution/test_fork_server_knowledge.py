"""What fork servers know: who a process is, which children ended, and when a process may fork."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time

import pytest

from rayform_runtime.processes.framing import FrameReader, FrameWriter
from rayform_runtime.processes.identity import ProcessIdentity, start_ticks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def printed(code: str) -> str:
    """Run code in a process of its own, since it takes over signals or starts threads; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_a_process_lives_until_it_is_dead_even_if_nobody_reaps_it() -> None:
    """A zombie doesn't live, nor does a process with the same ID and another start."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(child.pid)
    assert identity.lives()
    assert not ProcessIdentity(child.pid, identity.ticks - 1).lives()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.lives()
    with pytest.raises(ProcessLookupError):
        start_ticks(child.pid)
    child.communicate()
    assert not identity.lives()


def test_a_process_whose_state_cannot_be_read_counts_as_living(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of descriptors is no reason to kill workers."""

    def no_descriptor(pid: int) -> int:
        raise OSError(24, "Too many open files")

    identity = ProcessIdentity.of(os.getpid())
    monkeypatch.setattr("rayform_runtime.processes.identity.start_ticks", no_descriptor)
    assert identity.lives()


def test_an_end_wakes_the_server_and_takes_the_group_along() -> None:
    """Reaping gives the child's status and kills what it left in its group; a group of no worker is left alone."""
    code = """
import os, select, subprocess, time
from rayform_runtime.processes.identity import process_started
from rayform_runtime.processes.reaping import ChildWatch
ends = ChildWatch()
def family():
    read, write = os.pipe()
    leader = os.fork()
    if leader == 0:
        os.setsid()
        rest = os.fork()
        if rest == 0:
            time.sleep(1000)
        os.write(write, str(rest).encode())
        os._exit(3)
    return leader, int(os.read(read, 20))
worker, left = family()
other, kept = family()
reaped = {}
while len(reaped) < 2:
    select.select([ends], [], [], 10)
    reaped |= {child.pid: os.waitstatus_to_exitcode(child.status) for child in ends.reap({worker})}
deadline = time.monotonic() + 5
while process_started(left) is not None and time.monotonic() < deadline:
    time.sleep(0.01)
print(reaped == {worker: 3, other: 3}, process_started(left) is None, process_started(kept) is not None)
os.killpg(other, 9)
"""
    assert printed(code) == "True True True"


def test_orphans_are_adopted_and_known_by_a_variable() -> None:
    """A process whose parent has ended becomes a child, and shows the variables that it was started with."""
    code = """
import os, subprocess
from rayform_runtime.processes.reaping import adopt_orphans, children, variable_of
adopt_orphans()
shell = "WORKER='a b' sleep 1000 >/dev/null & echo $!"
orphan = int(subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, check=True).stdout)
import time
time.sleep(0.2)
print(children() == [orphan], variable_of(orphan, "WORKER"), variable_of(orphan, "OTHER"), variable_of(1 << 30, "X"))
os.kill(orphan, 9)
"""
    assert printed(code) == "True a b None None"


def test_a_process_with_threads_does_not_fork() -> None:
    """Both rules see a second thread; the strict one also sees a thread that Python's `threading` doesn't know."""
    code = """
import _thread, threading, time
from rayform_runtime.processes.fork_safety import is_single_threaded, reason_not_to_fork
print(is_single_threaded(), reason_not_to_fork())
_thread.start_new_thread(time.sleep, (1000,))
print(is_single_threaded())
threading.Thread(target=time.sleep, args=(1000,), daemon=True, name="mine").start()
print(reason_not_to_fork())
"""
    assert printed(code).splitlines() == ["True None", "False", "importing the code started threads (mine)"]


def test_a_module_that_warns_against_forking_is_a_reason() -> None:
    """A package that is unsafe after a fork is named."""
    code = """
import sys
from rayform_runtime.processes.fork_safety import reason_not_to_fork
sys.modules["jax"] = sys
print(reason_not_to_fork())
"""
    assert printed(code) == "the code imports jax"


def test_a_writer_never_blocks_and_loses_nothing() -> None:
    """A message larger than the socket's buffer is sent in pieces as the other end reads; descriptors go along once."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs:
        writer = FrameWriter(ours)
        started = time.monotonic()
        writer.send("first", [write])
        writer.send(b"x" * (4 << 20))
        writer.send("last")
        assert time.monotonic() - started < 5 and not writer.is_done
        data, descriptors, _, _ = socket.recv_fds(theirs, 1, 4)
        os.write(descriptors[0], b"along")
        assert os.read(read, 10) == b"along"
        os.close(descriptors[0])
        assert os.read(read, 10) == b""  # the writer has closed its own
        os.close(read)
        got: list[object] = []
        reader: FrameReader[object] = FrameReader(theirs)
        reader._buffer += data
        while len(got) < 3:
            if select.select([], [ours], [], 0)[1]:
                writer.flush()
            got += reader.read()
        assert got == ["first", b"x" * (4 << 20), "last"] and writer.is_done


def test_a_writer_drops_what_it_could_not_send() -> None:
    """Descriptors of frames that are never sent are closed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = FrameWriter(ours)
        writer.send(b"x" * (4 << 20))
        read, write = os.pipe()
        writer.send("late", [write])
        writer.drop()
        assert writer.is_done
        assert os.read(read, 1) == b""  # no writing end is open
        os.close(read)
        theirs.close()
        with pytest.raises(OSError, match=r"Broken pipe|Connection reset"):
            writer.send("gone")
