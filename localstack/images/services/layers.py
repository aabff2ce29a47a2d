#!/usr/bin/python3
"""Keeps the registry's image layers in a volume that outlives a cloud, so that pushes to the next cloud find them.

Docker Engine remembers the digest of each layer that it has pushed, and asks a registry for it before it compresses
the layer again. The registry's own storage stays in the cloud's own volume; symbolic links in it lead to the kept
layers. If a kept layer is lost, the registry lacks that blob, and it is pushed again.

    layers.py prune LIMIT     drop damaged and unfinished layers, and the longest unused beyond LIMIT bytes;
                              only while no other registry uses the volume (registry.sh holds its lock)
    layers.py link REPOSITORY link every kept layer into a repository
    layers.py keep LIMIT      keep the layers of the registry's images, while there is space

A kept layer is the file `sha256/DIGEST.SIZE`. It is renamed to that once it is checked and on disk, with a time of
modification that never changes: a file with another time was changed, and is read again before use. Its time of
access is the last push of an image that has it.

Source of the registry's folders: https://github.com/distribution/distribution, `registry/storage/paths.go`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LAYERS = Path(os.environ.get("RAYFORM_LAYERS", "/var/lib/rayform/layers"))
REGISTRY = Path(os.environ.get("RAYFORM_REGISTRY", "/var/lib/registry/docker/registry/v2"))
PART = r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(f"{PART}(/{PART})*")
STAMP = 946_684_800
MOST = 4096
"""The most layers, however small: each repository gets a link to each."""

FREE_AT_LEAST = int(os.environ.get("RAYFORM_LAYERS_FREE", str(2 << 30)))
"""Disk space that keeping a layer must leave free, in bytes."""

BLOCK = 1 << 20


class Layer(NamedTuple):
    """A kept layer."""

    digest: str
    size: int
    used: float
    path: Path


def kept() -> dict[str, Layer]:
    """Return the complete layers by digest, and drop the damaged ones."""
    layers = {}
    with suppress(FileNotFoundError):
        for entry in os.scandir(LAYERS / "sha256"):
            digest, _, size = entry.name.partition(".")
            facts = entry.stat(follow_symlinks=False)
            path = Path(entry.path)
            if _is_complete(path, digest, int(size) if size.isdigit() else -1, facts):
                layers[digest] = Layer(digest, facts.st_size, facts.st_atime, path)
            else:
                sys.stderr.write(f"Layer {digest[:12]} is damaged, and was dropped.\n")
                path.unlink(missing_ok=True)
    return layers


def _is_complete(path: Path, digest: str, size: int, facts: os.stat_result) -> bool:
    if facts.st_size != size:
        return False
    if facts.st_mtime == STAMP:
        return True
    with path.open("rb") as file:
        complete = hashlib.file_digest(file, "sha256").hexdigest() == digest
    if complete:
        os.utime(path, (facts.st_atime, STAMP))
    return complete


def prune(limit: int) -> None:
    """Drop the longest unused layers until the rest takes `limit` bytes, or less if new ones had no space."""
    (LAYERS / "sha256").mkdir(parents=True, exist_ok=True)
    for unfinished in LAYERS.glob("new.*"):
        unfinished.unlink()
    full = LAYERS / "full"
    most = MOST
    if full.exists():
        limit, most = limit * 3 // 4, most * 3 // 4
        full.unlink()
    layers = sorted(kept().values(), key=lambda layer: layer.used)
    size = sum(layer.size for layer in layers)
    while layers and (size > limit or len(layers) > most):
        oldest = layers.pop(0)
        oldest.path.unlink()
        size -= oldest.size


def link(repository: str) -> None:
    """Link every kept layer into a repository, as if each had been mounted into it."""
    if not REPOSITORY.fullmatch(repository):
        raise SystemExit(f"'{repository}' isn't a valid repository name.")
    links = REGISTRY / "repositories" / repository / "_layers/sha256"
    for layer in kept().values():
        data = _data(layer.digest)
        if not data.exists():
            data.parent.mkdir(parents=True, exist_ok=True)
            _replace_by_link(data, layer.path)
        file = links / layer.digest / "link"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f"new.{os.getpid()}")
            unfinished.write_text(f"sha256:{layer.digest}")
            unfinished.replace(file)


def keep(limit: int) -> None:
    """Keep the layers of the registry's images; note it if there is no space for one."""
    (LAYERS / "sha256").mkdir(parents=True, exist_ok=True)
    with (LAYERS / "keeping").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        layers = kept()
        size = sum(layer.size for layer in layers.values())
        for digest in _named_by_images():
            if (kept_layer := layers.get(digest)) is not None:
                os.utime(kept_layer.path, (time.time(), STAMP))
                continue
            data = _data(digest)
            if not data.is_file() or data.is_symlink():
                continue
            new = data.stat().st_size
            disk = os.statvfs(LAYERS)
            if (
                size + new > limit
                or len(layers) >= MOST
                or disk.f_bavail * disk.f_frsize < new + FREE_AT_LEAST
            ):
                (LAYERS / "full").touch()
                continue
            if (layer := _copy(digest, data)) is not None:
                layers[digest] = layer
                size += new
                _replace_by_link(data, layer.path)  # otherwise it would take its space twice


def _copy(digest: str, data: Path) -> Layer | None:
    """Copy a blob; return the kept layer, or `None` if the blob doesn't have the digest in its name."""
    unfinished = LAYERS / f"new.{digest}.{os.getpid()}"
    sha256, size = hashlib.sha256(), 0
    try:
        with data.open("rb") as source, unfinished.open("wb") as target:
            while block := source.read(BLOCK):
                sha256.update(block)
                size += target.write(block)
            target.flush()
            os.fchmod(target.fileno(), 0o444)
            os.fsync(target.fileno())
        if sha256.hexdigest() != digest:
            return None
        now = time.time()
        os.utime(unfinished, (now, STAMP))
        path = LAYERS / "sha256" / f"{digest}.{size}"
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return Layer(digest, size, now, path)


def _data(digest: str) -> Path:
    return REGISTRY / "blobs/sha256" / digest[:2] / digest / "data"


def _replace_by_link(data: Path, target: Path) -> None:
    unfinished = data.with_name(f"new.{os.getpid()}")
    unfinished.symlink_to(target)
    unfinished.replace(data)


def _named_by_images() -> Iterator[str]:
    """Yield the digests of the layers and configurations of the registry's images."""
    seen: set[str] = set()
    for folder, inside, _ in os.walk(REGISTRY / "repositories"):
        inside[:] = [name for name in inside if name not in {"_layers", "_uploads"}]
        if not folder.endswith("/_manifests/revisions/sha256"):
            continue
        manifests = inside[:]
        inside.clear()
        for manifest in manifests:
            if not Path(folder, manifest, "link").exists():
                continue  # the image was deleted
            try:
                image = json.loads(_data(manifest).read_bytes())
                digests = [part["digest"] for part in (*image.get("layers", []), image["config"])]
            except (OSError, ValueError, LookupError, TypeError, AttributeError):
                continue  # a list of images; the images have manifests of their own
            for digest in digests:
                name = str(digest).removeprefix("sha256:")
                if re.fullmatch("[0-9a-f]{64}", name) and name not in seen:
                    seen.add(name)
                    yield name


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prune", bytes_]:
            prune(int(bytes_))
        case ["link", name_]:
            link(name_)
        case ["keep", bytes_]:
            keep(int(bytes_))
        case _:
            raise SystemExit(__doc__)
