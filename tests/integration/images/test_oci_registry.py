"""The OCI registry client against a real registry on loopback, and real builds."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid

import pytest

from rayform_core.errors import RemoteError, UsageError
from rayform_runtime.images.build_context import LABEL_RAY, ImagePlatform
from rayform_runtime.images.builder import build_image, ensure_images, plan_images
from rayform_runtime.images.config import DockerRegistryConfig
from rayform_runtime.images.docker_engine import docker_engine
from rayform_runtime.images.oci import OCIRegistry
from rayform_runtime.spec import ImageSpec, PipelineSpec, SourceRef, StepSpec

pytestmark = pytest.mark.docker
LABELS = {"rayform.test": "cluster"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory):
    """Debian's own OCI registry in a process of this test's."""
    binary = shutil.which("docker-registry")
    if binary is None:
        pytest.fail("docker-registry isn't installed: run scripts/setup.sh system")
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\n"
        f"http:\n  addr: 127.0.0.1:{port}\nlog:\n  level: error\n"
    )
    with subprocess.Popen(
        [binary, "serve", str(config)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/"):
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
        process.terminate()


@pytest.fixture
def registry(registry_host):
    return OCIRegistry(DockerRegistryConfig(uri=f"{registry_host}/team/steps", insecure=True), stack_name="s")


@pytest.fixture(scope="module")
def small_image():
    """An image of a few bytes, made from nothing."""
    import io
    import tarfile

    client = docker_engine()
    tag = f"rayform-test-{uuid.uuid4().hex[:8]}:1"
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    repository, _, version = tag.partition(":")
    client.api.import_image_from_data(
        raw.getvalue(), repository=repository, tag=version, changes=["LABEL rayform.test=cluster"]
    )
    yield tag
    for name in [
        t for image in client.images.list(filters={"label": "rayform.test=cluster"}) for t in image.tags
    ]:
        if name == tag or name.startswith("127.0.0.1:"):
            client.images.remove(name, force=True)
    client.close()


def test_an_image_that_was_never_pushed_is_not_found(registry):
    """`find` gives `None` for an unknown tag, and `check` passes."""
    registry.check()
    assert registry.find("nothing") is None


def test_a_pushed_image_is_found_with_its_digest(registry, small_image):
    """`push` gives the reference that `find` gives afterwards, with progress on the way."""
    events = []
    pushed = registry.push(small_image, "v1", events.append)
    assert pushed == registry.find("v1")
    assert pushed.digest.startswith("sha256:") and events
    assert str(pushed) == f"{registry.uri}:v1@{pushed.digest}"


def test_a_registry_that_does_not_answer_is_a_remote_error():
    """The error names the registry and what to check."""
    registry = OCIRegistry(DockerRegistryConfig(uri=f"127.0.0.1:{free_port()}/x", insecure=True))
    with pytest.raises(RemoteError, match="doesn't answer"):
        registry.check()


def test_an_address_without_a_repository_is_refused():
    """A host alone is no repository."""
    with pytest.raises(UsageError, match="isn't the address of a repository"):
        OCIRegistry(DockerRegistryConfig(uri="registry.example.com"))


@pytest.fixture(scope="module")
def base_image():
    from rayform_localstack.images import base_image

    return base_image()


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    import ray

    from rayform_core.wheel import build_wheel

    return ImagePlatform(ray.__version__, "3.11", build_wheel(tmp_path_factory.mktemp("wheel")))


@pytest.fixture
def clean_images():
    client = docker_engine()
    before = {i.id for i in client.images.list()}
    yield client
    for image in client.images.list():
        if image.id not in before and any(t.startswith(("rayform-step:", "127.0.0.1:")) for t in image.tags):
            with contextlib.suppress(Exception):
                client.images.remove(image.id, force=True)
    client.close()


def pipeline(**images):
    source = SourceRef(module="m", qualname="f")
    steps = [StepSpec(key=k, name=k, source=source, image=i) for k, i in images.items()]
    return PipelineSpec(name="p", source=source, steps=steps)


@pytest.mark.slow
def test_steps_images_are_built_pushed_once_and_then_found(
    registry, base_image, platform, clean_images, tmp_path
):
    """The first run builds and pushes one image for two equal steps; the second does neither."""
    (tmp_path / "note.txt").write_text(uuid.uuid4().hex)
    image = ImageSpec(files={"/srv/note.txt": "note.txt"}, environment={"MODE": "fast"})
    plans = plan_images(
        pipeline(a=image, b=image), project=tmp_path, base_image=base_image, platform=platform
    )
    said = []
    first = ensure_images(plans, registry, lambda text, seconds: said.append((text, seconds)))
    assert first["a"] == first["b"] and any(t.startswith("pushing") and s for t, s in said)
    again = []
    assert ensure_images(plans, registry, lambda text, seconds: again.append(text)) == first
    assert again == []
    built = clean_images.images.get(f"rayform-step:{plans['a'].tag}")
    assert built.labels[LABEL_RAY] == platform.ray
    out = clean_images.containers.run(
        built.id,
        [
            "sh",
            "-c",
            "cat /srv/note.txt; echo $MODE; python -c 'import rayform_runtime.execution.on_ray.worker'",
        ],
        remove=True,
        network_mode="none",
        labels=LABELS,
    )
    assert out.decode().strip() == (tmp_path / "note.txt").read_text() + "fast"


@pytest.mark.slow
def test_a_base_image_with_another_ray_is_refused(base_image, platform, clean_images, tmp_path):
    """A Ray version that differs from the cluster's fails the build and names both."""
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\n")
    other = ImagePlatform(platform.ray, "3.12", platform.wheel)
    plans = plan_images(pipeline(a=ImageSpec()), project=tmp_path, base_image=base_image, platform=other)
    with pytest.raises(UsageError, match=r"Python 3\.11.*cluster has Python 3\.12"):
        build_image(clean_images, plans["a"], f"rayform-step:{plans['a'].tag}", lambda *_: None)


@pytest.mark.slow
def test_a_requirement_that_does_not_exist_fails_with_its_name(base_image, platform, clean_images, tmp_path):
    """The error carries the installer's own sentence."""
    wanted = ImageSpec(requirements=["rayform-no-such-thing==9.9"])
    plans = plan_images(pipeline(a=wanted), project=tmp_path, base_image=base_image, platform=platform)
    with pytest.raises(UsageError, match="rayform-no-such-thing"):
        build_image(clean_images, plans["a"], "rayform-step:none", lambda *_: None)


def test_a_missing_engine_is_a_prerequisite(monkeypatch):
    """A socket that nobody listens on says how to start Docker."""
    from rayform_core.errors import PrerequisiteError

    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(PrerequisiteError, match="doesn't answer") as refused:
        docker_engine()
    assert "Start it" in refused.value.hint
    assert os.environ["DOCKER_HOST"] in str(refused.value)
