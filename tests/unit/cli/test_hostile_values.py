"""Every option and argument of every command with hostile values: an error that explains, never a traceback."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from rayform.cli import LazyGroup, main, rayform

_NUMBERS = [
    "99999999999999999999",
    "-99999999999999999999",
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    "0x10",
    "١٢",
    "9" * 5000,
]
_TEXTS = ["", " ", "\x1b[2J", "a\nb", "../../etc/passwd", "-", "--", "ssh://u@h:99999999", "ssh://[", "k=" + "9" * 5000,
          "created_at>" + "9" * 30, "size=1e999", "\udcff", "a" * 70_000, "%s%n{0}", "/dev/null", "[", "{"]  # fmt: skip
# What these do can't be tried with any value: they start processes, change the shell or wait for Ctrl-C.
_SKIPPED = {
    "localstack up",
    "localstack reset",
    "terraform install",
    "cluster ssh",
    "cluster dashboard",
    "init",
}


def _commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        elif " ".join((*path, name)) not in _SKIPPED:
            yield (*path, name), command


_ALL = dict(_commands(rayform))


def _filler(parameter: click.Parameter) -> list[str]:
    """Return a harmless value for a parameter that must be there."""
    value = (
        "1" if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType) else "none"
    )
    if isinstance(parameter.type, click.Choice):
        value = str(parameter.type.choices[0])
    return [value] if isinstance(parameter, click.Argument) else [parameter.opts[-1], value]


def _calls(path: tuple[str, ...], command: click.Command) -> Iterator[list[str]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
            continue
        is_number = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
        for value in _NUMBERS if is_number else [*_TEXTS, *_NUMBERS[:2]]:
            words: list[str] = []
            for other in command.params:
                if other is parameter:
                    words += [value] if isinstance(other, click.Argument) else [other.opts[-1], value]
                elif other.required:
                    words += _filler(other)
            yield [*path, *words]


@pytest.fixture
def _alone(rayform_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, no programs, no terminal."""

    def refuse(*_: Any) -> None:
        raise OSError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("RAYFORM_PROGRESS", "off")
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("path", _ALL, ids=" ".join)
def test_hostile_values_end_with_an_explanation(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is one of the documented ones, and no exception leaves the command."""
    for words in _calls(path, _ALL[path]):
        try:
            with contextlib.suppress(SystemExit):
                main(words)
                pytest.fail("main returned")
        except BaseException as error:
            raise AssertionError(f"{[word[:60] for word in words]}: {error!r:.300}") from error
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err, words
        assert "Traceback" not in shown.out, words


def test_all_commands_are_tried() -> None:
    """The table of commands was walked, except for those that can't be tried."""
    assert len(_ALL) > 60
    assert isinstance(rayform, LazyGroup)
