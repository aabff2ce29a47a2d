"""`get_logger`: where its lines go, and at which level."""

from __future__ import annotations

import logging

import pytest

from rayform import get_logger
from rayform_core.errors import UsageError


def test_lines_go_to_the_present_standard_error_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is written once, to what standard error is at that moment."""
    logger = get_logger("rayform-test.a")
    assert get_logger("rayform-test.a") is logger
    logger.info("hello %d", 1)
    logger.debug("not shown")
    assert capsys.readouterr().err == "INFO rayform-test.a: hello 1\n"


def test_level_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`RAYFORM_LOGGING_VERBOSITY` sets the level; what is no level is refused with the nearest one."""
    monkeypatch.setenv("RAYFORM_LOGGING_VERBOSITY", "error")
    logger = get_logger("rayform-test.b")
    assert logger.level == logging.ERROR
    logger.warning("not shown")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RAYFORM_LOGGING_VERBOSITY", "debg")
    with pytest.raises(UsageError, match="DEBUG"):
        get_logger("rayform-test.b")
