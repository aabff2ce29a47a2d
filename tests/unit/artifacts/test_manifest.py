"""A manifest is checked before anything in it is believed."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayform_core.errors import UsageError
from rayform_runtime.artifacts.stores.digest import bytes_digest, tree_digest
from rayform_runtime.artifacts.stores.interface import CorruptArtifactError, StoredFile
from rayform_runtime.artifacts.stores.keys import is_safe_key, safe_key, version_id
from rayform_runtime.artifacts.stores.manifest import decode_manifest, encode_manifest, make_manifest

VERSION = uuid.UUID(int=7)
FILES = [StoredFile("b", 2, "b" * 64), StoredFile("a/c", 1, "a" * 64)]


def document(**changes: Any) -> bytes:
    made = json.loads(encode_manifest(make_manifest(VERSION, FILES, type="t:T", materializer="m:M")))
    return json.dumps({**made, **changes}).encode()


def test_a_manifest_survives_json() -> None:
    """Decoding returns the encoded manifest, with files in the order of their paths."""
    manifest = make_manifest(
        VERSION,
        FILES,
        type="t:T",
        materializer="m:M",
        metadata={"a": [1, None]},
        visualizations={"p": "b"},
        folder="f",
    )
    assert decode_manifest(encode_manifest(manifest), uri="u", id=VERSION) == manifest
    assert [file.path for file in manifest.files] == ["a/c", "b"]


@given(
    st.dictionaries(
        st.text("abc/", min_size=1).filter(is_safe_key), st.binary() | st.text().map(str.encode)
    ).filter(lambda content: not any(a.startswith(f"{b}/") for a in content for b in content))
)
def test_embedded_files_survive_json(content: dict[str, bytes]) -> None:
    """Text and other bytes come back as they were, and a changed one is refused."""
    files = [StoredFile(path, len(data), bytes_digest(data)) for path, data in content.items()]
    made = make_manifest(VERSION, files, type="t:T", materializer="m:M", embedded=content)
    encoded = encode_manifest(made)
    assert decode_manifest(encoded, uri="u") == made
    changed = json.loads(encoded)
    for path in content:
        changed["embedded"][path] = "other than " + content[path].hex()
        with pytest.raises(CorruptArtifactError, match="isn't what was committed"):
            decode_manifest(json.dumps(changed).encode(), uri="u")


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [["../../etc/passwd", 1, "a" * 64]]},
        {"files": [["/etc/passwd", 1, "a" * 64]]},
        {"files": [["a\\b", 1, "a" * 64]]},
        {"files": [["rayform-manifest.json", 1, "a" * 64]]},
        {
            "files": [["rayform-manifest.json/x", 3, "a" * 64]],
            "digest": tree_digest([StoredFile("rayform-manifest.json/x", 3, "a" * 64)]),
        },
        {"files": [["a", -1, "a" * 64]]},
        {"files": [["a", True, "a" * 64]]},
        {"files": [["a", 1, "A" * 64]]},
        {"files": [["a", 1, "a"]]},
        {"files": [["a", 1, "a" * 64], ["a", 1, "a" * 64]]},
        {"files": {"a": 1}},
        {
            "files": [["b/c", 1, "a" * 64], ["b", 2, "b" * 64]],
            "digest": tree_digest([StoredFile("b/c", 1, "a" * 64), StoredFile("b", 2, "b" * 64)]),
        },
        {"files": [[["a"], 1, "a" * 64]]},
        {"size": 4},
        {"size": "3"},
        {"digest": "0" * 64},
        {"digest": None},
        {"id": "not a uuid"},
        {"id": str(uuid.UUID(int=8))},
        {"type": 3},
        {"metadata": []},
        {"visualizations": {"x": "gone"}},
        {"visualizations": {"x": ["b"]}},
        {"folder": "../other"},
        {"folder": "a/b"},
        {"folder": 3},
        {"embedded": []},
        {"embedded": {"b": "xx"}},
        {"embedded": {"b": "xx", "a/c": "x"}},
        {"embedded": {"b": ["no base64!"], "a/c": [1]}},
        {"schema": 0},
        {"schema": True},
        {"schema": "1"},
    ],
    ids=str,
)
def test_a_hostile_manifest_is_refused(changes: dict[str, Any]) -> None:
    """Paths that leave the artifact, wrong types, and numbers that don't add up."""
    with pytest.raises(CorruptArtifactError, match="corrupt"):
        decode_manifest(document(**changes), uri="u", id=VERSION)


def test_a_newer_manifest_says_to_upgrade() -> None:
    """Whatever else stands in it."""
    with pytest.raises(CorruptArtifactError, match="newer version"):
        decode_manifest(b'{"schema": 3, "x": 1}', uri="u")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    """Any content is a manifest or a clear error."""
    with pytest.raises(CorruptArtifactError):
        decode_manifest(data, uri="u")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(field=st.sampled_from(sorted(json.loads(document()))), value=json_values)
def test_no_json_breaks_the_decoder(field: str, value: Any) -> None:
    """Any JSON in a field is refused, or read as it is."""
    try:
        manifest = decode_manifest(document(**{field: value}), uri="u", id=VERSION)
    except CorruptArtifactError:
        return
    assert all(is_safe_key(file.path) for file in manifest.files)


def test_a_picture_that_was_not_written_is_refused() -> None:
    """A visualization is one of the files."""
    with pytest.raises(UsageError, match="didn't write it"):
        make_manifest(VERSION, FILES, type="t:T", materializer="m:M", visualizations={"x": "gone.html"})


@given(st.text(max_size=60))
def test_a_safe_key_stays_below_its_root(key: str) -> None:
    """Joined to a folder, it names something inside."""
    from pathlib import PurePosixPath

    if is_safe_key(key):
        assert safe_key(key) == key
        path = PurePosixPath("/root/store") / key
        assert ".." not in path.parts
        assert path.parts[:3] == ("/", "root", "store")
        assert str(path) == f"/root/store/{key}"


def test_only_versions_of_a_store_are_its_artifacts() -> None:
    """Another root, another folder, and a UUID written in another way are refused."""
    assert version_id("s3://b/p", f"s3://b/p/versions/{VERSION}") == VERSION
    for uri in (
        f"s3://b/other/versions/{VERSION}",
        f"s3://b/p/versions/{VERSION.hex}",
        f"s3://b/p/versions/{VERSION}/x",
    ):
        with pytest.raises(UsageError):
            version_id("s3://b/p", uri)
