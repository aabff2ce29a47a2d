"""What a person sees of an image on its way to the registry."""

from __future__ import annotations

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
