"""Image layers that outlive a cloud, with Docker's own pushes and pulls."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from support.emulated import EmulatedCloud, eventually, left_in_docker

from rayform_core.errors import ConflictError
from rayform_localstack import cloud, images, inspection
from rayform_localstack.engine import docker_client
from rayform_localstack.labels import container_name

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

EXISTS = "Layer already exists"
MOST = 200 << 20


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A volume of layers for one test."""
    name = f"rayform-test-layers-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("RAYFORM_LAYERS_VOLUME", name)
    yield name
    assert name not in {v["Name"] for v in docker_client().api.volumes().get("Volumes") or []}


@pytest.fixture
def start(
    volume: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., EmulatedCloud]]:
    """Start a cloud in the home of a name; all are down afterwards, and the volume is gone."""
    began: dict[str, EmulatedCloud] = {}

    def up(home: str, engine: str = "moto", **settings: Any) -> EmulatedCloud:
        monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / home))
        folder = tmp_path / f"key-{len(began)}"
        folder.mkdir()
        state = cloud.up(engine, **{"layers_limit": MOST, **settings})
        began[f"{home}-{state.id}"] = emulated = EmulatedCloud(state, folder)
        return emulated

    yield up
    for name, emulated in began.items():
        emulated.close()
        monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / name.rpartition("-")[0]))
        cloud.down()
        assert left_in_docker(emulated.state.id) == []
    assert cloud.down(layers=True) == [volume]
    assert cloud.down(layers=True) == []


@pytest.fixture
def image() -> Iterator[str]:
    """An image of two layers, one small and one of a megabyte, that no registry has had."""
    client = docker_client()
    tag = f"rayform-test/layers-{uuid.uuid4().hex[:8]}:1"
    root = io.BytesIO()
    with tarfile.open(fileobj=root, mode="w") as tar:
        _add(tar, "small", os.urandom(64))
    base = client.api.import_image_from_data(root.getvalue(), repository="rayform-test/layers-base", tag="1")
    assert "error" not in base
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        _add(tar, "Dockerfile", b"FROM rayform-test/layers-base:1\nCOPY large /\n")
        _add(tar, "large", os.urandom(1 << 20))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    yield tag
    client.images.remove(tag, force=True)
    client.images.remove("rayform-test/layers-base:1", force=True)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def login(emulated: EmulatedCloud) -> dict[str, str]:
    """Return the administrator's login to the registry."""
    (given,) = emulated.aws("ecr").get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    return {"username": user, "password": password}


def push(emulated: EmulatedCloud, image: str, repository: str) -> list[str]:
    """Make a repository and push to it; return what the engine says of each layer at last, or its error."""
    client, ecr = docker_client(), emulated.aws("ecr")
    try:
        ecr.create_repository(repositoryName=repository)
    except ecr.exceptions.RepositoryAlreadyExistsException:
        pass
    uri = f"{emulated.state.registry}/{repository}"
    client.images.get(image).tag(uri, "v1")
    said: dict[str, str] = {}
    try:
        for event in client.api.push(uri, "v1", auth_config=login(emulated), stream=True, decode=True):
            if "error" in event:
                return [str(event["error"])]
            if event.get("id"):
                said[event["id"]] = event["status"]
    finally:
        client.images.remove(f"{uri}:v1", force=True)
    return sorted(said.values())


def pull(emulated: EmulatedCloud, image: str, repository: str) -> str:
    """Pull what was pushed to a repository, with no layer on this machine; return its image's identifier."""
    client = docker_client()
    uri = f"{emulated.state.registry}/{repository}:v1"
    saved = b"".join(client.images.get(image).save(named=image))
    client.images.remove(image, force=True)
    client.images.remove("rayform-test/layers-base:1", force=True)
    try:
        pulled: str = client.images.pull(uri, auth_config=login(emulated)).id
        client.images.remove(uri, force=True)
    finally:
        client.images.load(saved)
        client.images.get(image).tag("rayform-test/layers-base", "1")
    return pulled


def kept(volume: str, script: str = "ls /layers/sha256 2>/dev/null || true") -> list[str]:
    """Run a shell script with the volume at /layers; return its lines."""
    command = [
        "docker",
        "run",
        "--rm",
        "-v",
        f"{volume}:/layers",
        "--entrypoint",
        "sh",
        images.services_image(),
    ]
    done = subprocess.run([*command, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def await_kept(volume: str, count: int) -> list[str]:
    """Return the names of the kept layers once they are this many."""
    return eventually(lambda: (found := kept(volume)) and len(found) == count and found, f"{count} layers")


@pytest.mark.parametrize("engine", ["moto", pytest.param("localstack", marks=pytest.mark.localstack)])
def test_the_next_cloud_s_push_uploads_no_layer(
    start: Callable[..., EmulatedCloud], volume: str, image: str, engine: str
) -> None:
    """The engine finds each layer in a repository of any name; the manifest is pushed, and the image is whole."""
    first = start("home", engine)
    assert push(first, image, "team/steps") == ["Pushed", "Pushed"]
    await_kept(volume, 3)  # two layers and the configuration
    cloud.down()
    second = start("home", engine)
    assert push(second, image, "other") == [EXISTS, EXISTS]
    ecr = second.aws("ecr")
    (described,) = eventually(
        lambda: ecr.describe_images(repositoryName="other")["imageDetails"], "in the API"
    )
    identifier = docker_client().images.get(image).id
    assert pull(second, image, "other") == identifier

    ecr.batch_delete_image(repositoryName="other", imageIds=[{"imageDigest": described["imageDigest"]}])
    uri = f"{second.state.registry}/other"

    def gone() -> bool | None:
        try:
            docker_client().api.inspect_distribution(f"{uri}:v1", auth_config=login(second))
        except APIError:
            return True
        return None

    eventually(gone, "the image is gone from the registry")
    ecr.create_repository(repositoryName="empty")
    with pytest.raises(APIError, match=r"not found|unknown"):
        docker_client().api.inspect_distribution(
            f"{second.state.registry}/empty:v1", auth_config=login(second)
        )
    assert "does not exist in the registry" in refused(second, image)


def refused(emulated: EmulatedCloud, image: str) -> str:
    """Push to a repository that the API doesn't know; return the error."""
    client, uri = docker_client(), f"{emulated.state.registry}/never-made"
    client.images.get(image).tag(uri, "v1")
    try:
        lines = client.api.push(uri, "v1", auth_config=login(emulated), stream=True, decode=True)
        return next((str(line["error"]) for line in lines if "error" in line), "")
    finally:
        client.images.remove(f"{uri}:v1", force=True)


@pytest.mark.fault
def test_damaged_and_lost_layers_are_pushed_again_and_kept_whole(
    start: Callable[..., EmulatedCloud], volume: str, image: str
) -> None:
    """A layer that was cut short is no layer to the next cloud, nor to the one that had it, once it is pushed again."""
    first = start("first")
    push(first, image, "steps")
    names = await_kept(volume, 3)
    large = next(name for name in names if int(name.partition(".")[2]) > 1 << 20)
    kept(volume, f"truncate -s 1000 /layers/sha256/{large}")
    second = start("second")
    identifier = docker_client().images.get(image).id
    assert push(second, image, "steps") == [EXISTS, "Pushed"]
    assert pull(second, image, "steps") == identifier
    await_kept(volume, 3)
    kept(volume, "rm /layers/sha256/*")
    assert "Pushed" in push(first, image, "steps")
    assert pull(first, image, "steps") == identifier
    # A registry that is killed comes back with what it had.
    docker_client().api.kill(container_name(first.state.id, "registry"))
    eventually(lambda: push(first, image, "again") == [EXISTS, EXISTS] or None, "the registry is back")
    assert pull(first, image, "again") == identifier


def test_layers_of_a_living_cloud_stay_and_others_go_beyond_the_limit(
    start: Callable[..., EmulatedCloud], volume: str, image: str
) -> None:
    """Two clouds share the volume; a limit is enforced by the cloud that starts alone, and nobody takes it away."""
    first = start("first")
    push(first, image, "steps")
    names = await_kept(volume, 3)
    second = start("second", layers_limit=1000)
    assert push(second, image, "steps") == [EXISTS, EXISTS]
    with pytest.raises(ConflictError, match=f"in use by {first.state.id}"):
        cloud.down(layers=True)
    assert inspection.status()["running"]
    docker_client().api.kill(container_name(first.state.id, "registry"))  # what it has linked stays, too
    cloud.down()
    start("second", layers_limit=1000)
    assert sorted(kept(volume)) == sorted(names)
    for home in ("first", "second"):
        os.environ["RAYFORM_HOME"] = str(Path(os.environ["RAYFORM_HOME"]).with_name(home))
        cloud.down()
    start("third", layers_limit=1_000_000)
    left = kept(volume)
    assert len(left) < 3
    assert sum(int(name.partition(".")[2]) for name in left) <= 1_000_000
