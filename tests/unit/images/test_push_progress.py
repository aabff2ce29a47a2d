"""What the user sees while an image is pushed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rayform_runtime.images import builder


def test_no_more_is_sent_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine counts a layer's archive too, which is larger than its files; the line doesn't."""
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(builder.time, "monotonic", lambda: float(next(clock)))
    lines: list[str] = []
    progress = builder._push_progress(lambda text, seconds: lines.append(text), "image 'train'")
    for current in (100, 205):
        event = {"id": "a", "progressDetail": {"current": current * 2**20, "total": 200 * 2**20}}
        progress(event)
    assert lines == ["pushing image 'train': 100 of 200 MB", "pushing image 'train': 200 of 200 MB"]


def test_steps_that_share_an_image_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three are named; the line ends as its phase does, without an ellipsis of its own."""
    plan: Any = SimpleNamespace(tag="0123456789abcdef")
    engine: Any = SimpleNamespace(close=lambda: None)
    registry: Any = SimpleNamespace(find=lambda tag: None, push=lambda local, tag, progress: "pushed")
    monkeypatch.setattr(builder, "docker_engine", lambda: engine)
    monkeypatch.setattr(builder, "build_image", lambda client, plan, tag, report: report("", None))
    lines: list[str] = []
    builder.ensure_images(dict.fromkeys("abcde", plan), registry, lambda text, seconds: lines.append(text))
    assert lines[0] == "building image 0123456789ab for a, b, c and 2 more"
