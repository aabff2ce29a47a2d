"""Text of steps and of catalog rows on the terminal of whoever reads them."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.seeded_stack import Seeder

from rayform.cli import main
from rayform.launching.live_progress import LiveProgress
from rayform.launching.progress import PlainProgress, Progress
from rayform.reading.client import Client
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import RunStatus, StepError, StepStatus
from rayform_runtime.execution.interface import RunEvent, RunOutcome
from rayform_runtime.spec import PipelineSpec, SourceRef, StepSpec

_EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J\u202e\x1b[8mhidden"
_RED = "\x1b[31mred\x1b[0m"

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(rayform_home: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    capsys.readouterr()

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capsys.readouterr()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return call


def _controls(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")} - {"\n", "\t"}


@pytest.fixture
def hostile(client: Client, rayform_home: Path) -> Seeder:
    """A failed run whose every text holds control characters."""
    seeder = Seeder(client, "run")
    error = StepError(f"Error{_EVIL}", f"message{_EVIL}", f"traceback{_EVIL}")
    seeder.step("loader", {}, error=error, log=f"{_RED} {_EVIL}\nlast line")
    seeder.finish(RunStatus.FAILED, error)
    client.close()
    # Rayform refuses such names; someone who can write to a shared catalog doesn't need Rayform.
    with contextlib.closing(sqlite3.connect(rayform_home / "local" / "catalog.db")) as database, database:
        database.execute(
            "UPDATE runs SET name = name || ?, pipeline = pipeline || ?, user_name = ?", (_EVIL,) * 3
        )
        database.execute("UPDATE step_runs SET key = key || ?", (_EVIL,))
    return seeder


@pytest.mark.parametrize(
    "command",
    [("runs", "list"), ("runs", "describe", "ID"), ("runs", "logs", "ID"), ("runs", "follow", "ID"),
     ("pipeline", "list"),
     ("runs", "list", "--json"), ("runs", "describe", "ID", "--json"), ("runs", "describe", _EVIL),
     ("artifact", "describe", _EVIL), ("stack", "describe", _EVIL), ("model", "list", "--filter", _EVIL),
     (_EVIL,), ("runs", "list", f"--{_EVIL}"), ("runs", "list", "--sort", _EVIL), ("runs", "delete", "ID")],
    ids=lambda words: ascii(" ".join(words))[1:25],
)  # fmt: skip
@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
def test_no_command_passes_control_characters_on(
    cli: Cli, hostile: Seeder, command: tuple[str, ...], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a row, a log or an argument holds, only colours reach the terminal."""
    if colour:
        monkeypatch.setenv("FORCE_COLOR", "1")
    _, out, err = cli(*(str(hostile.run.id) if word == "ID" else word for word in command))
    assert out + err
    assert _controls(out + err) <= ({"\x1b"} if colour else set())
    assert "\x1b]" not in out + err
    assert "\x1b[2J" not in out + err
    if "--json" in command:
        document = json.loads(out)
        assert document.get("items", [document])[0]["name"] == f"run{_EVIL}"


def test_raw_prints_a_log_as_it_is(cli: Cli, hostile: Seeder) -> None:
    """`--raw` of `runs logs` and `runs follow` writes the bytes of the step."""
    for command in ("logs", "follow"):
        _, out, _ = cli("runs", command, str(hostile.run.id), "--raw")
        assert f"{_RED} {_EVIL}" in out


def _play(progress: Progress) -> None:
    def event(kind: str, **facts: Any) -> RunEvent:
        return RunEvent(kind=kind, at=datetime.now(UTC), run_id="r", step_key=f"load{_EVIL}", **facts)

    progress.begin()
    progress(event("step", step_status=StepStatus.RUNNING))
    progress(event("log", text=f"{_RED}{_EVIL}\nsecond"))
    progress(event("phase", text=f"build{_EVIL}"))
    progress(event("phase", text=f"build{_EVIL}", seconds=1.0))
    progress(event("restart", text=f"lost{_EVIL}"))
    progress(event("step", step_status=StepStatus.FAILED, text=f"failed{_EVIL}"))
    error = StepError(f"Error{_EVIL}", f"message{_EVIL}", f"trace{_EVIL}\nline")
    progress.finish(RunOutcome(run_id=new_id(), status=RunStatus.FAILED, errors={f"load{_EVIL}": error}))


@pytest.mark.parametrize("display", [PlainProgress, LiveProgress])
def test_a_live_run_shows_only_colours(display: type[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step prints, and every name and error of a run, reach the terminal without control functions."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    source = SourceRef(module="m", qualname="f")
    spec = PipelineSpec(
        name="p", source=source, steps=[StepSpec(key=f"load{_EVIL}", name="load", source=source)]
    )
    out = io.StringIO()
    _play(display(spec, f"run{_EVIL}", f"stack{_EVIL}", out))
    text = out.getvalue()
    assert "\x1b]" not in text
    assert not {"\x9b", "\u202e", "\x07"} & set(text)
    assert "\x1b[2J" not in text
    assert "\x1b[8m" not in text
    assert "\\x1b]52" in text
    assert "\x1b[31mred" in text
