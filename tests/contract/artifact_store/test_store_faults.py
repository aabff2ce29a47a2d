"""Whatever the network does, a value comes back right or the error is clear."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.servers.fault_proxy import FAULTS, fault_proxy

from rayform_core.errors import ConflictError, NotFoundError, RayformError
from rayform_core.ids import new_id
from rayform_runtime.artifacts.stores.config import S3StoreConfig
from rayform_runtime.artifacts.stores.digest import bytes_digest
from rayform_runtime.artifacts.stores.interface import (
    LARGEST_EMBEDDED,
    MANIFEST_NAME,
    ArtifactMissingError,
    CorruptArtifactError,
    ObjectDownload,
)
from rayform_runtime.artifacts.stores.s3 import S3ArtifactStore

pytestmark = [pytest.mark.moto, pytest.mark.fault]

TRANSFERS = 1000


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait between tries for a fiftieth of the time."""
    import botocore.retries.standard

    slow = botocore.retries.standard.ExponentialBackoff.delay_amount
    monkeypatch.setattr(
        botocore.retries.standard.ExponentialBackoff,
        "delay_amount",
        lambda self, context: slow(self, context) / 50,
    )


def open_store(url: str, bucket: str) -> S3ArtifactStore:
    return S3ArtifactStore(S3StoreConfig(bucket=bucket, endpoint_url=url), stack_name="test")


def new_bucket(url: str) -> str:
    import boto3

    bucket = f"test-{uuid.uuid4().hex}"
    boto3.Session().client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket=bucket)
    return bucket


def methods_asked(proxy: Any) -> list[str]:
    """Return a list that grows by the method of each request from now on."""
    asked: list[str] = []
    count = proxy.next_fault
    proxy.next_fault = lambda m, b, p: asked.append(m) or count(m, b, p)  # type: ignore[func-returns-value]
    return asked


def content(number: int) -> dict[str, bytes]:
    source = random.Random(number)
    files = {"value.bin": source.randbytes(source.randrange(0, 60_000))}
    if number % 7 == 0:
        files["more/second.bin"] = source.randbytes(2000)
    return files


@pytest.mark.slow
@pytest.mark.usefixtures("aws", "quick_retries")
def test_a_thousand_transfers_under_faults(moto_url: str) -> None:
    """500 commits and 500 loads with every kind of fault: each value right or a clear error, none wrong."""
    bucket = new_bucket(moto_url)
    outcome: Counter[str] = Counter()
    with fault_proxy(moto_url, rate=0.12, seed=7) as proxy:
        store = open_store(proxy.url, bucket)

        def transfer(number: int) -> None:
            version, files = new_id(), content(number)
            uri = f"{store.uri}/versions/{version}"
            try:
                with store.staging(version) as folder:
                    for name, data in files.items():
                        (folder / name).parent.mkdir(exist_ok=True)
                        (folder / name).write_bytes(data)
                    _, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
            except RayformError as error:
                outcome[f"commit: {type(error).__name__}"] += 1
                assert error.message
                assert not isinstance(error, ConflictError), "its own retry was taken for another writer"
                return
            outcome["committed"] += 1
            shutil.rmtree(store._cache.root / "entries" / str(version), ignore_errors=True)
            try:
                with store.open_local(uri, digest=manifest.digest) as folder:
                    found = {
                        p.relative_to(folder).as_posix(): p.read_bytes()
                        for p in folder.rglob("*")
                        if p.is_file() and p.name != MANIFEST_NAME
                    }
            except RayformError as error:
                outcome[f"load: {type(error).__name__}"] += 1
                return
            assert found == files, f"transfer {number} came back wrong"
            outcome["right"] += 1

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(transfer, range(TRANSFERS // 2)))
        injected = proxy.done
    print(dict(outcome), dict(injected))
    assert set(injected) == set(FAULTS)
    assert sum(injected.values()) > 100
    # Trying again overcomes every fault that comes once.
    assert outcome["right"] > 0.97 * TRANSFERS / 2
    # What failed left no manifest, and so is no artifact.
    honest = open_store(moto_url, bucket)
    manifests = sum(o.key.endswith(MANIFEST_NAME) for o in honest.list_objects("versions/"))
    assert manifests >= outcome["committed"]


@pytest.mark.usefixtures("aws", "quick_retries")
@pytest.mark.parametrize("fault", ["lost answer", "reset", "503", "500"])
def test_a_conditional_write_whose_answer_is_lost_is_ones_own(moto_url: str, fault: str) -> None:
    """A retry that meets the object it wrote itself succeeds, and one that meets another's is refused."""
    bucket = new_bucket(moto_url)
    with fault_proxy(moto_url, rate=0.4, faults=(fault,), seed=3) as proxy:
        store = open_store(proxy.url, bucket)
        for number in range(10):
            store.put_bytes(f"k{number}", b"mine", if_absent=True)
            with pytest.raises(ConflictError):
                store.put_bytes(f"k{number}", b"other", if_absent=True)
            assert store.get_bytes(f"k{number}") == b"mine"


@pytest.mark.usefixtures("aws", "quick_retries")
def test_a_large_upload_that_is_changed_on_its_way_is_not_committed(moto_url: str) -> None:
    """Every part is compared with the part that was sent."""
    bucket = new_bucket(moto_url)
    with fault_proxy(moto_url, rate=1.0, faults=("corrupt request",)) as proxy:
        store = open_store(proxy.url, bucket)
        version = new_id()
        with store.staging(version) as folder:
            (folder / "large").write_bytes(random.Random(1).randbytes(40 << 20))
            with pytest.raises(RayformError, match="changed on its way|did not answer|refused"):
                store.commit(version, folder, type="t:T", materializer="m:M")
    honest = open_store(moto_url, bucket)
    assert not honest.exists(f"{honest.uri}/versions/{version}")
    assert not list(honest.list_objects("versions/"))


@pytest.mark.usefixtures("aws", "quick_retries")
def test_a_body_that_breaks_off_is_fetched_again(moto_url: str, tmp_path: Path) -> None:
    """Now and then, the file is whole and its digest that of its content; always, the error names the key."""
    bucket = new_bucket(moto_url)
    data = random.Random(2).randbytes(3 << 20)
    open_store(moto_url, bucket).put_bytes("k", data)
    with fault_proxy(moto_url, rate=0.5, faults=("truncated",), seed=1) as proxy:
        digests = open_store(proxy.url, bucket)._download([ObjectDownload("k", tmp_path / "k", len(data))])
        assert proxy.done["truncated"] > 0
    assert (tmp_path / "k").read_bytes() == data
    assert digests == {tmp_path / "k": bytes_digest(data)}
    with (
        fault_proxy(moto_url, rate=1.0, faults=("truncated",)) as proxy,
        pytest.raises(RayformError, match="did not answer as it should on 'k'"),
    ):
        open_store(proxy.url, bucket).download_objects([ObjectDownload("k", tmp_path / "again", len(data))])


@pytest.mark.usefixtures("aws", "quick_retries")
def test_a_download_that_failed_waits_for_no_other_file(
    moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where one file is gone, those that still come are given up in the middle, and the error names that one."""
    import rayform_runtime.artifacts.stores.s3 as module

    store = open_store(moto_url, new_bucket(moto_url))
    store.put_bytes("slow", bytes(10_000))
    monkeypatch.setattr(module, "_BLOCK", 10)  # 1,000 blocks of 20 ms
    write = module.write_digested

    def slowly(path: Path, blocks: Iterable[bytes]) -> str:
        return write(path, (block for block in blocks if not time.sleep(0.02)))

    monkeypatch.setattr(module, "write_digested", slowly)
    began = time.monotonic()
    with pytest.raises(NotFoundError, match="gone"):
        store.download_objects(
            [ObjectDownload("slow", tmp_path / "slow", 10_000), ObjectDownload("gone", tmp_path / "gone", 1)]
        )
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("aws")
def test_files_in_parts_and_in_one_stream_come_back_together(
    moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file whose parts come at once, with many small ones and an empty one; changed files are refused."""
    import rayform_runtime.artifacts.stores.s3 as module

    monkeypatch.setattr(module, "_NEARBY_PART", 5 << 20)
    store = open_store(moto_url, new_bucket(moto_url))
    source = random.Random(3)
    files = {f"small/{number}": source.randbytes(number * 500) for number in range(25)}
    files["large"] = source.randbytes(12 << 20)
    version = new_id()
    with store.staging(version) as folder:
        (folder / "small").mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        uri, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
    shutil.rmtree(store._cache.root / "entries")
    with store.open_local(uri, digest=manifest.digest) as folder:
        assert {name: (folder / name).read_bytes() for name in files} == files
    for name in ("small/24", "large"):
        key = f"versions/{version}/{manifest.folder}/{name}"
        store.put_bytes(key, files[name][:-1] + b"?")
        shutil.rmtree(store._cache.root / "entries", ignore_errors=True)
        with pytest.raises(CorruptArtifactError, match=name), store.open_local(uri, digest=manifest.digest):
            pass
        store.put_bytes(key, files[name])


@pytest.mark.usefixtures("aws", "quick_retries")
def test_a_server_that_is_always_busy_is_reported(moto_url: str) -> None:
    """After several tries the error says that it is busy, and names the bucket."""
    bucket = new_bucket(moto_url)
    with fault_proxy(moto_url, rate=1.0, faults=("503",)) as proxy:
        with pytest.raises(RayformError, match=f"{bucket}.*busy"):
            open_store(proxy.url, bucket).put_bytes("a", b"x")
        assert proxy.done["503"] >= 5


@pytest.mark.usefixtures("aws")
def test_errors_say_what_the_user_can_do(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket, nobody there, and no credentials: each names the next thing to do."""
    with pytest.raises(RayformError, match=r"no bucket 'never-made'.*stack deploy"):
        open_store(moto_url, "never-made").check()
    import botocore.httpsession

    store = open_store("http://127.0.0.1:9", "some-bucket")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    with pytest.raises(RayformError, match="did not answer.*endpoint_url"):
        store.check()
    del botocore
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(RayformError, match="credentials.*aws configure"):
        open_store(moto_url, "some-bucket").check()


@pytest.mark.usefixtures("aws")
def test_a_small_artifact_takes_one_request_each_way(moto_url: str) -> None:
    """Its files lie in its manifest, and text is readable there."""
    bucket = new_bucket(moto_url)
    with fault_proxy(moto_url, rate=0.0) as proxy:
        store = open_store(proxy.url, bucket)
        store.check()
        asked = methods_asked(proxy)
        version = new_id()
        with store.staging(version) as folder:
            (folder / "value.json").write_bytes(b"[1, 2]")
            (folder / "more").mkdir()
            (folder / "more/binary").write_bytes(bytes(range(256)))
            uri, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
        shutil.rmtree(store._cache.root / "entries")
        with store.open_local(uri, digest=manifest.digest) as place:
            assert (place / "value.json").read_bytes() == b"[1, 2]"
            assert (place / "more/binary").read_bytes() == bytes(range(256))
    assert asked == ["PUT", "GET"]
    (found,) = store.list_objects()
    assert b'"value.json":"[1, 2]"' in store.get_bytes(found.key)


@pytest.mark.usefixtures("aws")
def test_content_in_memory_takes_one_request_or_two_each_way(moto_url: str) -> None:
    """A machine asks once for a small artifact, which is one object, and once for the manifest of a large one."""
    bucket = new_bucket(moto_url)
    with fault_proxy(moto_url, rate=0.0) as proxy:
        store = open_store(proxy.url, bucket)
        store.check()
        small, large = {"value.json": b"[1, 2]"}, {"value.json": b"1" * (LARGEST_EMBEDDED + 1)}
        asked = methods_asked(proxy)
        uri, manifest = store.commit_files(new_id(), small, type="t:T", materializer="m:M")
        assert open_store(proxy.url, bucket).read_files(uri, digest=manifest.digest) == small
        assert asked == ["PUT"]
        shutil.rmtree(store._cache.root / "manifests")
        assert store.read_files(uri, digest=manifest.digest) == small
        assert store.read_files(uri, digest=manifest.digest) == small
        assert asked == ["PUT", "GET"]
        assert store.read_files(uri) == small  # what no digest vouches for is asked for each time
        assert asked == ["PUT", "GET", "GET"]
        uri, manifest = store.commit_files(new_id(), large, type="t:T", materializer="m:M")
        shutil.rmtree(store._cache.root / "entries")
        asked.clear()
        for _ in range(2):
            assert store.read_files(uri, digest=manifest.digest) is None
            with store.open_local(uri, digest=manifest.digest) as place:
                assert (place / "value.json").read_bytes() == large["value.json"]
        assert asked == ["GET", "GET"]
        assert not store._fetched_manifests


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("damage", [b"", b"{}", b"[1"], ids=["empty", "another", "cut"])
def test_a_damaged_manifest_in_the_cache_is_fetched_again(moto_url: str, damage: bytes) -> None:
    """The store's copy counts, and replaces the damaged one."""
    store = open_store(moto_url, new_bucket(moto_url))
    uri, manifest = store.commit_files(new_id(), {"a": b"1"}, type="t:T", materializer="m:M")
    (kept,) = (store._cache.root / "manifests").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert store.read_files(uri, digest=manifest.digest) == {"a": b"1"}
    assert kept.read_bytes() == whole
    store.delete(uri)
    assert not kept.exists()
    with pytest.raises(ArtifactMissingError):
        store.read_files(uri, digest=manifest.digest)


@pytest.mark.usefixtures("aws")
def test_readers_share_one_download(moto_url: str) -> None:
    """Eight readers of one artifact at once fetch it once, and eviction leaves an artifact that is being read."""
    bucket = new_bucket(moto_url)
    with fault_proxy(moto_url, rate=0.0) as proxy:
        store = open_store(proxy.url, bucket)
        version = new_id()
        with store.staging(version) as folder:
            (folder / "a").write_bytes(b"x" * 10_000)
            uri, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
        shutil.rmtree(store._cache.root / "entries")
        gets: list[str] = []
        count = proxy.next_fault
        proxy.next_fault = lambda m, b, p: (gets.append(p) if m == "GET" else None) or count(m, b, p)  # type: ignore[func-returns-value,method-assign]
        barrier = threading.Barrier(8)

        def read(_: int) -> bytes:
            other = open_store(proxy.url, bucket)
            barrier.wait()
            with other.open_local(uri, digest=manifest.digest) as place:
                other._cache.evict(0)
                return (place / "a").read_bytes()

        with ThreadPoolExecutor(8) as pool:
            found: list[Any] = list(pool.map(read, range(8)))
    assert found == [b"x" * 10_000] * 8
    assert len([p for p in gets if p.split("?")[0].endswith("/a")]) == 1
    store._cache.evict(0)
    assert not list((store._cache.root / "entries").iterdir())


@pytest.mark.usefixtures("aws")
def test_objects_are_encrypted_with_the_key_that_is_set(moto_url: str) -> None:
    """Data and manifest alike, and the loaded value is right."""
    import boto3

    bucket = new_bucket(moto_url)
    key = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000001"
    store = S3ArtifactStore(
        S3StoreConfig(bucket=bucket, endpoint_url=moto_url, kms_key_id=key), stack_name="test"
    )
    version = new_id()
    with store.staging(version) as folder:
        (folder / "a").write_bytes(b"x" * 10_000)
        uri, manifest = store.commit(version, folder, type="t:T", materializer="m:M")
    client = boto3.Session().client("s3", endpoint_url=moto_url)
    heads = [client.head_object(Bucket=bucket, Key=f"artifacts/{o.key}") for o in store.list_objects()]
    assert len(heads) == 2
    assert {(head["ServerSideEncryption"], head["SSEKMSKeyId"]) for head in heads} == {("aws:kms", key)}
    shutil.rmtree(store._cache.root / "entries")
    with store.open_local(uri, digest=manifest.digest) as place:
        assert (place / "a").read_bytes() == b"x" * 10_000


def test_google_clouds_errors_say_what_to_do(
    make_gcs_store: Any, gcs_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """No bucket, and no credentials."""
    from rayform_runtime.artifacts.stores.config import GCSStoreConfig
    from rayform_runtime.artifacts.stores.gcs import GCSArtifactStore

    make_gcs_store().check()
    store = GCSArtifactStore(GCSStoreConfig(bucket="never-made", endpoint_url=gcs_url), stack_name="test")
    with pytest.raises(RayformError, match=r"no bucket 'never-made'.*stack deploy"):
        store.check()
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    store = GCSArtifactStore(GCSStoreConfig(bucket="some-bucket", project="p"), stack_name="test")
    with pytest.raises(RayformError, match=r"credentials.*gcloud auth"):
        store.check()


@pytest.mark.usefixtures("aws")
def test_forks_of_a_prepared_process_have_connections_of_their_own(moto_url: str) -> None:
    """Eight processes that fork from one with a prepared client commit and read at once."""
    bucket = new_bucket(moto_url)
    open_store(moto_url, bucket).prepare_for_forks()
    assert not list(open_store(moto_url, bucket).list_objects())
    open_store(moto_url, bucket).prepare_for_forks()
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                store = open_store(moto_url, bucket)
                for number in range(20):
                    files = {"value.json": f"{os.getpid()} {number}".encode()}
                    uri, manifest = store.commit_files(new_id(), files, type="t:T", materializer="m:M")
                    store._cache.drop_manifest(uri.rpartition("/")[2])
                    assert store.read_files(uri, digest=manifest.digest) == files
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert len(list(open_store(moto_url, bucket).list_objects())) == 160
