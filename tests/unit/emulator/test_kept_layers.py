"""The script in the registry's container that keeps layers, on folders like a registry's."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest

from rayform_localstack import images

SCRIPT = Path(images.__file__).resolve().parents[1] / "images/services/layers.py"
MUCH = 1 << 30


class Registry:
    """A registry's folders.

    Args:
        root: where they lie.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def data(self, digest: str) -> Path:
        """Return the file of a blob."""
        return self.root / "blobs/sha256" / digest[:2] / digest / "data"

    def put(self, content: bytes) -> str:
        """Upload a blob; return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        self.data(digest).parent.mkdir(parents=True, exist_ok=True)
        uploaded = self.root / "uploaded"
        uploaded.write_bytes(content)
        uploaded.rename(self.data(digest))
        return digest

    def push(self, repository: str, *layers: bytes) -> str:
        """Push an image; return its digest."""
        config = self.put(b'{"config": "' + repository.encode() + b'"}')
        parts = [{"digest": f"sha256:{self.put(layer)}"} for layer in layers]
        manifest = self.put(json.dumps({"config": {"digest": f"sha256:{config}"}, "layers": parts}).encode())
        link = self.root / "repositories" / repository / "_manifests/revisions/sha256" / manifest / "link"
        link.parent.mkdir(parents=True)
        link.write_text(f"sha256:{manifest}")
        return manifest

    def linked(self, repository: str) -> dict[str, bytes]:
        """Return what a repository's links lead to, by digest."""
        folder = self.root / "repositories" / repository / "_layers/sha256"
        found = {}
        for link in folder.glob("*/link"):
            assert link.read_text() == f"sha256:{link.parent.name}"
            found[link.parent.name] = self.data(link.parent.name).read_bytes()
        return found


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with an empty volume."""
    monkeypatch.setenv("RAYFORM_LAYERS", str(tmp_path / "layers"))
    monkeypatch.setenv("RAYFORM_LAYERS_FREE", "0")
    spec = importlib.util.spec_from_file_location("kept_layers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "layers").mkdir()
    return module


@pytest.fixture
def registry(tmp_path: Path, layers: ModuleType) -> Registry:
    """A cloud's registry."""
    return next_cloud(tmp_path, layers, "first")


def next_cloud(tmp_path: Path, layers: ModuleType, name: str) -> Registry:
    """Return the empty registry of another cloud."""
    layers.REGISTRY = tmp_path / name
    layers.REGISTRY.mkdir()
    return Registry(layers.REGISTRY)


def digests(*contents: bytes) -> set[str]:
    """Return the digests of some blobs."""
    return {hashlib.sha256(content).hexdigest() for content in contents}


def test_a_repository_of_the_next_cloud_has_the_layers_of_the_first(tmp_path, layers, registry):
    """What an image names is kept, its manifest isn't; a repository then has it as if it had been mounted."""
    manifest = registry.push("team/steps", b"base", b"code")
    registry.put(b"uploaded without an image")
    layers.keep(MUCH)
    assert digests(b"base", b"code") < set(layers.kept())
    assert len(layers.kept()) == 3
    assert registry.data(manifest).is_file()
    assert {registry.data(d).read_bytes() for d in digests(b"base", b"code")} == {b"base", b"code"}
    second = next_cloud(tmp_path, layers, "second")
    layers.link("other/name")
    layers.link("other/name")
    assert {d: second.linked("other/name")[d] for d in digests(b"base", b"code")} == {
        hashlib.sha256(c).hexdigest(): c for c in (b"base", b"code")
    }
    assert not (second.root / "repositories/other/name/_manifests").exists()


def test_what_is_kept_takes_its_room_once(layers, registry):
    """The registry's own copy becomes a link to the kept one."""
    registry.push("steps", b"base")
    layers.keep(MUCH)
    (digest,) = digests(b"base")
    assert registry.data(digest).is_symlink()
    assert not list(layers.LAYERS.glob("new.*"))


def test_an_image_that_was_deleted_is_not_kept(layers, registry):
    """Its manifest's link is gone, so nothing names its layers."""
    manifest = registry.push("steps", b"base")
    (registry.root / "repositories/steps/_manifests/revisions/sha256" / manifest / "link").unlink()
    layers.keep(MUCH)
    assert layers.kept() == {}


def test_a_blob_that_is_not_what_its_name_says_is_not_kept(layers, registry):
    """A blob is hashed while it is copied."""
    registry.push("steps", b"base")
    (digest,) = digests(b"base")
    registry.data(digest).write_bytes(b"bass")
    layers.keep(MUCH)
    assert digest not in layers.kept()
    assert registry.data(digest).read_bytes() == b"bass"


@pytest.mark.parametrize("damage", [b"", b"bas", b"bass"], ids=["emptied", "cut", "overwritten"])
def test_a_damaged_layer_is_dropped_and_kept_again_once_it_is_pushed(tmp_path, layers, registry, damage):
    """No cloud gets a layer that was touched, and the next push of it makes it whole, even in a cloud that had it."""
    registry.push("steps", b"base")
    layers.keep(MUCH)
    (digest,) = digests(b"base")
    kept = layers.kept()[digest].path
    kept.chmod(0o644)
    kept.write_bytes(damage)
    second = next_cloud(tmp_path, layers, "second")
    layers.link("steps")
    assert digest not in second.linked("steps")
    for cloud in (second, registry):
        assert not cloud.data(digest).exists()
    registry.put(b"base")
    assert registry.data(digest).read_bytes() == b"base"
    layers.REGISTRY = registry.root
    layers.keep(MUCH)
    layers.REGISTRY = second.root
    layers.link("steps")
    assert second.linked("steps")[digest] == b"base"


def test_a_layer_that_was_only_touched_stays(layers, registry):
    """One whose time of modification changed is read again, and is whole."""
    registry.push("steps", b"base")
    layers.keep(MUCH)
    (digest,) = digests(b"base")
    os.utime(layers.kept()[digest].path)
    assert layers.kept()[digest].path.stat().st_mtime == layers.STAMP


def test_prune_drops_the_longest_unused_and_what_was_left_unfinished(tmp_path, layers, registry):
    """A push of an image is a use of all its layers."""
    registry.push("a", b"x" * 100, b"old" * 100)
    layers.keep(MUCH)
    for layer in layers.kept().values():
        os.utime(layer.path, (1, layers.STAMP))
    second = next_cloud(tmp_path, layers, "second")
    layers.link("b")
    second.push("b", b"x" * 100, b"new" * 100)
    layers.keep(MUCH)
    (layers.LAYERS / "new.unfinished").touch()
    layers.prune(500)
    assert digests(b"x" * 100, b"new" * 100) < set(layers.kept())
    assert not digests(b"old" * 100) & set(layers.kept())
    assert not list(layers.LAYERS.glob("new.*"))
    layers.prune(0)
    assert layers.kept() == {}


def test_no_more_is_kept_than_the_limit_and_the_next_prune_makes_room(layers, registry):
    """A layer without space stays in the cloud alone, and the next start drops layers that are long unused."""
    registry.push("a", b"x" * 600)
    registry.push("b", b"y" * 600)
    layers.keep(1000)
    assert sum(layer.size for layer in layers.kept().values()) <= 1000
    assert len(digests(b"x" * 600, b"y" * 600) & set(layers.kept())) == 1
    layers.prune(1000)
    assert sum(layer.size for layer in layers.kept().values()) <= 750


def test_a_full_disk_is_left_alone(layers, registry, monkeypatch):
    """Where too little would stay free, nothing is kept and the registry has its blobs as before."""
    registry.push("a", b"base")
    monkeypatch.setattr(layers, "FREE_AT_LEAST", 1 << 62)
    layers.keep(MUCH)
    assert layers.kept() == {}
    assert registry.data(*digests(b"base")).read_bytes() == b"base"


@pytest.mark.parametrize("name", ["", "../up", "a/../../b", "/etc", "a//../b", "A", "a\nb", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(layers, registry, name):
    """Only names that a registry takes become folders."""
    with pytest.raises(SystemExit, match="isn't a valid repository name"):
        layers.link(name)
