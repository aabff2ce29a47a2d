"""Artifacts: tiny values, a 100 MB array, and 1 GB to and from the S3 emulator, each compared with doing it by hand."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import row

ROOT = Path(__file__).resolve().parents[1]
GIGABYTE = 1_000_000_000


def run(size: int = GIGABYTE) -> list[dict[str, Any]]:
    """Return the results; `size` is that of the S3 artifact in bytes."""
    return [*tiny_values(), *large_array(), *s3_transfer(size)]


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _local_store(folder: Path) -> Any:
    from rayform_runtime.artifacts.stores.config import LocalStoreConfig
    from rayform_runtime.artifacts.stores.local import LocalArtifactStore

    return LocalArtifactStore(LocalStoreConfig(path=str(folder)), stack_name="bench")


def _two_durable_files(folder: Path, number: int) -> None:
    """Do the least that a commit needs: write and sync two files, and rename their folder."""
    place = folder / f".{number}"
    place.mkdir()
    for name in ("a", "b"):
        descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"x" * 300)
        os.fsync(descriptor)
        os.close(descriptor)
    place.rename(folder / str(number))
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def tiny_values(count: int = 200) -> list[dict[str, Any]]:
    """Measure a small dict: saved durably, and loaded with its digest checked."""
    from rayform_core.ids import new_id
    from rayform_runtime.artifacts.values import load_value, save_value

    bare, save, load = [], [], []
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        folder = Path(name)
        store = _local_store(folder / "store")
        save_value(store, new_id(), 1)
        (folder / "bare").mkdir()
        for number in range(count):
            value = {"step": number, "loss": 0.25, "tags": ["a", "b"]}
            started = time.perf_counter()
            _two_durable_files(folder / "bare", number)
            bare.append((time.perf_counter() - started) * 1e3)
            started = time.perf_counter()
            saved = save_value(store, new_id(), value)
            save.append((time.perf_counter() - started) * 1e3)
            manifest = saved.manifest
            started = time.perf_counter()
            load_value(
                store,
                saved.uri,
                digest=manifest.digest,
                type=manifest.type,
                materializer=manifest.materializer,
            )
            load.append((time.perf_counter() - started) * 1e3)
    return [
        row(
            "tiny JSON value: durable commit",
            save,
            "ms",
            bar=0.4,
            baseline=statistics.median(bare),
            baseline_name="two files written, synced and renamed by hand",
            note="nearly all of it is the disk's; compare with the baseline of the same seconds",
        ),
        row("tiny JSON value: verified load", load, "ms", bar=0.2),
    ]


def large_array() -> list[dict[str, Any]]:
    """Measure 100 MB of float64: saved durably, loaded with its digest checked, and read once."""
    import numpy as np

    from rayform_core.ids import new_id
    from rayform_runtime.artifacts.values import load_value, save_value

    array = np.random.default_rng(0).normal(size=12_500_000)
    bare, ours = [], []
    with tempfile.TemporaryDirectory(dir=ROOT) as name:
        store = _local_store(Path(name) / "store")
        for number in range(6):
            path = Path(name) / f"{number}.npy"

            def by_hand(path: Path = path) -> None:
                with path.open("wb") as file:
                    np.save(file, array)
                    file.flush()
                    os.fsync(file.fileno())
                np.load(path).sum()

            bare.append(_timed(by_hand))
            path.unlink()
            started = time.perf_counter()
            saved = save_value(store, new_id(), array)
            loaded = load_value(store, saved.uri, digest=saved.manifest.digest)
            loaded.sum()
            ours.append(time.perf_counter() - started)
            del loaded
            store.delete(saved.uri)
    return [
        row(
            "100 MB float64 array: durable commit and verified load",
            ours[1:],
            "s",
            bar=0.15,
            baseline=statistics.median(bare[1:]),
            baseline_name="np.save, fsync, np.load by hand, unverified",
        )
    ]


# Each transfer runs in a process of its own, so that its peak of memory is its own.
_BARE = """
import json, resource, sys, time
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
url, bucket, source, target, part, parallel = sys.argv[1:]
# Without a check of its CRC, which no other digest makes up for here, boto3 is at its quickest.
client = boto3.client("s3", endpoint_url=url, config=Config(response_checksum_validation="when_required"))
config = TransferConfig(multipart_threshold=int(part), multipart_chunksize=int(part), max_concurrency=int(parallel))
client.list_objects_v2(Bucket=bucket)
t = time.perf_counter(); client.upload_file(source, bucket, "bare", Config=config); up = time.perf_counter() - t
c, t = cpu(), time.perf_counter()
client.download_file(bucket, "bare", target, Config=config)
c, down = cpu() - c, time.perf_counter() - t
client.delete_object(Bucket=bucket, Key="bare")
print(json.dumps([up, down, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, c]))
"""
_OURS = """
import json, os, resource, shutil, sys, time
from pathlib import Path
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.config import S3StoreConfig
from rayform_runtime.artifacts.stores.s3 import S3ArtifactStore
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
url, bucket, source = sys.argv[1:]
store = S3ArtifactStore(S3StoreConfig(bucket=bucket, endpoint_url=url), stack_name="bench")
list(store.list_objects())
version = new_id()
with store.staging(version) as folder:
    os.link(source, folder / "data")
    t = time.perf_counter()
    uri, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
    up = time.perf_counter() - t
shutil.rmtree(store._cache.root / "entries")
c, t = cpu(), time.perf_counter()
with store.open_local(uri, digest=manifest.digest) as folder:
    c, down = cpu() - c, time.perf_counter() - t
    assert (folder / "data").stat().st_size == Path(source).stat().st_size
store.delete(uri)
print(json.dumps([up, down, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, c]))
"""


def s3_transfer(size: int = GIGABYTE, repeat: int = 3) -> list[dict[str, Any]]:
    """Measure a large artifact to and from moto's server; the baseline is boto3 with the best of several settings."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.servers.moto import CREDENTIALS, moto_server

    # In memory if it has room for four copies: then the disk's speed isn't part of the measurement.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 8 * size
    with tempfile.TemporaryDirectory(dir=memory if roomy else ROOT) as name:
        folder = Path(name)
        source = folder / "source"
        block = os.urandom(10_000_000)
        with source.open("wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
        environment = {
            **os.environ,
            **CREDENTIALS,
            "RAYFORM_HOME": str(folder / "home"),
            "TMPDIR": str(folder),
        }
        with moto_server(folder / "log", {"TMPDIR": str(folder)}) as url:
            import boto3

            bucket = f"bench-{uuid.uuid4().hex}"
            boto3.client(
                "s3",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            ).create_bucket(Bucket=bucket)

            def measured(script: str, *arguments: str) -> list[float]:
                done = subprocess.run(
                    [sys.executable, "-c", script, url, bucket, *arguments],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise RuntimeError(done.stderr[-2000:])
                shutil.rmtree(folder / "home", ignore_errors=True)
                (folder / "target").unlink(missing_ok=True)
                measurements: list[float] = json.loads(done.stdout)
                return measurements

            settings = [(16 << 20, 10), (64 << 20, 10), (128 << 20, 4), (4 << 30, 1)]
            bare: dict[tuple[int, int], list[list[float]]] = {setting: [] for setting in settings}
            ours: list[list[float]] = []
            # In turns, so that a busy machine slows all of them equally.
            for _ in range(repeat):
                for setting in settings:
                    bare[setting].append(
                        measured(_BARE, str(source), str(folder / "target"), *map(str, setting))
                    )
                ours.append(measured(_OURS, str(source)))
    up = min(statistics.median(one[0] for one in results) for results in bare.values())
    quickest = min(bare.values(), key=lambda results: statistics.median(one[1] for one in results))
    down = statistics.median(one[1] for one in quickest)
    processor = [statistics.median(one[3] for one in results) for results in (ours, quickest)]
    what = f"{size / 1e9:g} GB artifact"
    best = "boto3 alone, at the best of four transfer settings"
    return [
        row(
            f"{what} to the S3 emulator",
            [one[0] for one in ours],
            "s",
            bar=round(up * 1.2, 3),
            baseline=up,
            baseline_name=best,
            note="digest and comparison with what arrived included",
        ),
        row(
            f"{what} from the S3 emulator",
            [one[1] for one in ours],
            "s",
            bar=round(down * 1.2, 3),
            baseline=down,
            baseline_name=best,
            note=f"digest check included; {processor[0]:.2f} s of processor, boto3 alone {processor[1]:.2f} s",
        ),
        row(f"{what} both ways: peak memory", [one[2] for one in ours], "MB", bar=300),
    ]
