"""What a shell is offered."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.seeded_stack import seed_training_run

from rayform import stacks
from rayform.reading.client import Client


def complete(line: str) -> list[str]:
    """Return what bash would be offered after `line`."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from rayform.cli import main; main()"],
        env={
            **os.environ,
            "_RAYFORM_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [offer.partition(",")[2] for offer in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("rayform sta", {"stack"}),
        ("rayform stack set ", {"default", "prod"}),
        ("rayform stack describe p", {"prod"}),
        ("rayform runs describe tr", {"train-1"}),
        ("rayform runs list --stack d", {"default"}),
        ("rayform artifact describe mo", {"model"}),
        ("rayform pipeline describe ", {"train"}),
        ("rayform model describe ", {"digits"}),
        ("rayform catalog describe ", {"default"}),
        ("rayform profile set ", {"default"}),
    ],
)
def test_names_are_offered(client: Client, line: str, offered: set[str]) -> None:
    """Commands and the names of stacks, runs, artifacts, models and components are completed."""
    stacks.register_stack("prod")
    seed_training_run(client)
    client.create_model("digits")
    assert set(complete(line)) == offered


def test_a_broken_registry_offers_nothing(rayform_home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names can't be read, none are offered and nothing is printed."""
    monkeypatch.setenv("RAYFORM_PROFILE", "gone")
    assert complete("rayform stack set ") == []
