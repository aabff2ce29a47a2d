# ruff: noqa: E501 - tables of values
"""Bytes from a bucket and text from colleagues: only Rayform's own errors, and no file outside of its folder."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayform_core.errors import RayformError
from rayform_provisioner.definitions.definition import parse_definition
from rayform_runtime.execution.on_ray.event_file import read_line
from rayform_runtime.usercode.bundle import unpack_bundle

_NAMES = st.sampled_from(
    ["a.py", "../a", "/etc/x", "a/../../b", "a", "a/b", ".", "..", "", "a\0b", "\udcff", "x" * 300, "a/" * 500 + "b", "-", "~/x", "C:\\x"]
) | st.text(max_size=30)  # fmt: skip
_KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]
)  # fmt: skip
_ENTRIES = st.lists(
    st.tuples(_NAMES, _KINDS, _NAMES, st.binary(max_size=600), st.integers(0, 0o7777)), max_size=5
)


def _archive(entries: list[tuple[str, bytes, str, bytes, int]], form: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form, errors="surrogateescape") as archive:
        for name, kind, link, data, mode in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size, entry.mode = kind, link, len(data), mode
            with contextlib.suppress(ValueError, UnicodeError):  # what tarfile itself can't write
                archive.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def _unpack(content: bytes, folder: Path) -> None:
    before = sorted(p for p in folder.parent.iterdir())
    with contextlib.suppress(RayformError):
        unpack_bundle(gzip.compress(content, 1), hashlib.sha256(content).hexdigest(), folder / "target")
    assert sorted(p for p in folder.parent.iterdir()) == before
    assert [p.name for p in folder.iterdir()] in ([], ["target"])
    assert not any(p.is_symlink() or not (p.is_file() or p.is_dir()) for p in folder.rglob("*"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@settings(max_examples=300)
@given(_ENTRIES, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]), st.data())
def test_hostile_archives_stay_inside(
    place: Path, entries: list[tuple[str, bytes, str, bytes, int]], form: int, data: st.DataObject
) -> None:
    """An archive with the right digest unpacks below its folder or is refused; so does one with changed bytes."""
    content = bytearray(_archive(entries, form))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, min(len(content), 2000) - 1))] = data.draw(st.integers(0, 255))
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        _unpack(bytes(content), folder)
    finally:
        shutil.rmtree(folder)


@given(st.binary(max_size=2000))
def test_bytes_that_are_no_archive_are_refused(place: Path, data: bytes) -> None:
    """Any bytes in the place of a bundle end with Rayform's own error."""
    folder = Path(tempfile.mkdtemp(dir=place))
    with pytest.raises(RayformError):
        unpack_bundle(data, "0" * 64, folder / "target")
    assert list(folder.iterdir()) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "at", "run_id", "step_key", "rayform_end", "outcome", "error", "type", "cache", "status", "run_id", "errors"]) | st.text(max_size=5), inner, max_size=4),
)  # fmt: skip


@settings(max_examples=300)
@given(_JSON | st.just("nested"), st.binary(max_size=100))
def test_lines_that_are_no_events_are_refused(document: object, garbage: bytes) -> None:
    """A line of a run's event stream is an event, or a `ValueError` that the follower expects."""
    import json

    nested = b"[" * 200_000
    for line in (
        json.dumps(document).encode(),
        b'{"rayform_end":' + json.dumps(document).encode() + b"}",
        garbage,
        nested,
    ):
        with contextlib.suppress(ValueError):
            read_line(line)


@settings(max_examples=300)
@given(
    st.text(max_size=300)
    | st.sampled_from(
        [
            "&a [*a]",
            "a: &a\n  <<: *a",
            "!!python/object/apply:os.system [true]",
            "{" * 3000,
            "- " * 3000,
            "a: " + "9" * 5000,
            "? [",
            "\ud800",
            "%TAG ! x:\n---\n!a b",
            "x: 0x" + "f" * 3000,
            "name: 2026-99-99",
        ]
    )
)
def test_any_text_is_no_definition(text: str) -> None:
    """Text in the place of a stack definition ends with Rayform's own error."""
    with contextlib.suppress(RayformError):
        parse_definition(text)
