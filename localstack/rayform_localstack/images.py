"""The images of the emulated cloud: built once, and cached by the digest of everything that goes into them.

Step images start from `base`, instances boot `machine`, and `services` holds PostgreSQL and the OCI registry. All
three build on one Debian root: pulled if a registry can be reached, otherwise made by debootstrap. The Dockerfiles
are in `localstack/images/`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rayform_core.errors import PrerequisiteError
from rayform_core.files import file_lock
from rayform_localstack.engine import docker_client, space_in_gib

if TYPE_CHECKING:
    import docker

__all__ = [
    "IMAGE_LABEL",
    "Progress",
    "base_image",
    "debian_image",
    "ensure",
    "machine_image",
    "services_image",
]

SUITE = "bookworm"
PULLED_ROOT = "debian:bookworm-slim"
IMAGE_LABEL = "rayform.image"
EXTRAS = ("ray", "docker", "postgres", "s3")
"""The extras of Rayform that every node and step image needs."""

NEEDED_GIB = 6.0
"""Disk space for the four images and for building them."""

Progress = Callable[[str], None]
"""Called with what is being done, one line each time."""


def _quiet(_: str) -> None: ...


def _folder() -> Path:
    """Return the folder of Dockerfiles: inside the installed package, or in the repository of an editable install."""
    here = Path(__file__).resolve().parent
    installed = here / "_images"
    return installed if installed.is_dir() else here.parent / "images"


def _requirements() -> str:
    """Return Rayform's own requirements on a node, by its package metadata, one per line."""
    from packaging.requirements import Requirement

    lines = set()
    for text in importlib.metadata.requires("rayform") or []:
        requirement = Requirement(text)
        if requirement.name == "rayform":
            continue
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in EXTRAS):
            extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            lines.add(f"{requirement.name}{extras}{requirement.specifier}")
    return "\n".join(sorted(lines, key=str.casefold)) + "\n"


def _constraints() -> str:
    """Return the versions of this installation's packages, so that laptop and nodes have the same."""
    pins = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name != "rayform" and re.fullmatch(r"[A-Za-z0-9._-]+", name):
            pins[re.sub(r"[-_.]+", "-", name).lower()] = distribution.version
    public = {k: v for k, v in pins.items() if "+" not in v}  # without local builds, such as torch+cpu
    return "".join(f"{name}=={version}\n" for name, version in sorted(public.items()))


def _relevant_constraints() -> str:
    """Return the constraints of what Rayform's requirements pull in, so that other packages change no digest."""
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in _constraints().splitlines())
    waiting = [Requirement(line) for line in _requirements().splitlines()]
    reached: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        extras = requirement.extras or {""}
        if name not in pins:
            continue
        key = f"{name}[{','.join(sorted(extras))}]"
        if key in reached:
            continue
        reached.add(key)
        for text in importlib.metadata.requires(name) or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": e}) for e in {*extras, ""}):
                waiting.append(child)
    names = {key.partition("[")[0] for key in reached}
    return "".join(f"{name}=={pins[name]}\n" for name in sorted(names))


def _certificates() -> bytes:
    """Return this machine's bundle of trusted certificates, which may include those of a closed network."""
    for path in (os.environ.get("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"):
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    return b""


def _index_arguments() -> dict[str, str]:
    """Return the package index settings for the build; a login in one would stay in the image's history."""
    settings = {k: os.environ[k] for k in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if os.environ.get(k)}
    for key, value in settings.items():
        if re.search(r"//[^/@]+@", value):
            raise PrerequisiteError(
                f"{key} holds a login, which would stay readable in the images of the emulated cloud.",
                hint="While the images are built, set it to an index that needs no login.",
            )
    return {k: v for k, v in settings.items() if "file:" not in v}


def _digest(*pieces: bytes | str) -> str:
    whole = hashlib.sha256()
    for piece in pieces:
        data = piece.encode() if isinstance(piece, str) else piece
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return whole.hexdigest()[:12]


def _has(client: docker.DockerClient, tag: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _files(name: str) -> dict[str, bytes]:
    folder = _folder() / name
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


def _root(client: docker.DockerClient, progress: Progress) -> str:
    """Return the tag of the Debian root with Python; make it if it is missing."""
    packages = "ca-certificates,python3,python3-venv"
    tag = f"rayform/debian:{_digest(SUITE, packages)}"
    if _has(client, tag):
        return tag
    if _pull_root(client, tag, packages, progress):
        return tag
    if shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        raise PrerequisiteError(
            f"The base image '{PULLED_ROOT}' can't be pulled and debootstrap isn't installed.",
            hint="Install it (apt-get install debootstrap), or give Docker access to a registry.",
        )
    if os.geteuid() != 0:
        raise PrerequisiteError(
            f"The base image '{PULLED_ROOT}' can't be pulled, and debootstrap needs root.",
            hint="Run `sudo -E rayform localstack build` once, or give Docker access to a registry.",
        )
    progress("Making a Debian root by debootstrap (about a minute, once)")
    with tempfile.TemporaryDirectory(prefix="rayform-root-") as folder:
        target = Path(folder) / "root"
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(target)],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            check=False,
        )
        if done.returncode != 0:
            raise PrerequisiteError(
                "debootstrap could not make the base image.",
                why=" ".join(done.stdout.strip().splitlines()[-2:]) or done.stderr.strip()[-300:],
                hint="Check that Debian's mirror can be reached and that the disk has space, then try again.",
            )
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(target / cache, ignore_errors=True)
        sources = target / "etc/apt/sources.list"
        mirror = sources.read_text().split()[1] if sources.exists() else ""
        if mirror:
            sources.write_text(f"deb {mirror} {SUITE} main\ndeb {mirror} {SUITE}-updates main\n")
        with subprocess.Popen(["tar", "-C", str(target), "-c", "."], stdout=subprocess.PIPE) as tar:
            assert tar.stdout is not None
            repository, _, version = tag.partition(":")
            client.api.import_image_from_stream(
                tar.stdout, repository=repository, tag=version, changes=['CMD ["/bin/bash"]']
            )
    return tag


def _pull_root(client: docker.DockerClient, tag: str, packages: str, progress: Progress) -> bool:
    from docker.errors import APIError, DockerException

    try:
        progress(f"Pulling {PULLED_ROOT}")
        client.images.pull(PULLED_ROOT)
    except (APIError, DockerException, OSError):
        return False
    dockerfile = (
        f"FROM {PULLED_ROOT}\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends "
        f"{packages.replace(',', ' ')} && rm -rf /var/lib/apt/lists/*\n"
    )
    _build(client, tag, {"Dockerfile": dockerfile.encode()}, {}, progress)
    return True


def _build(
    client: docker.DockerClient,
    tag: str,
    files: dict[str, bytes],
    arguments: dict[str, str],
    progress: Progress,
) -> None:
    """Build one image from files in memory; if that fails, the error has the last lines of the build."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(data))
    context.seek(0)
    lines: list[str] = []
    for event in client.api.build(
        fileobj=context,
        custom_context=True,
        tag=tag,
        rm=True,
        forcerm=True,
        decode=True,
        buildargs=arguments,
        labels={IMAGE_LABEL: tag.partition("/")[2].partition(":")[0]},
    ):
        if text := str(event.get("stream", "")).strip():
            lines.append(text)
        if error := event.get("error"):
            raise PrerequisiteError(
                f"The image '{tag}' could not be built.",
                why=" | ".join([*lines[-4:], str(error)])[-1500:],
                hint="Check that containers can reach the package indexes, and that the disk has space.",
            )


def _ensure(
    client: docker.DockerClient,
    name: str,
    parent: str,
    progress: Progress,
    extra: dict[str, bytes] | None = None,
    arguments: dict[str, str] | None = None,
) -> str:
    files = _files(name)
    named = b"".join(
        key.encode() + b"\0" + value for key, value in sorted({**files, **(extra or {})}.items())
    )
    tag = f"rayform/{name}:{_digest(parent, named)}"
    if not _has(client, tag):
        progress(f"Building {tag}")
        _build(client, tag, {**files, **(extra or {})}, {"PARENT": parent, **(arguments or {})}, progress)
    return tag


def _locked(make: Callable[[docker.DockerClient], str]) -> str:
    """Build under a lock of this machine, so that two clouds that start together build each image once."""
    client = docker_client()
    free = space_in_gib()
    lock = Path(tempfile.gettempdir()) / f"rayform-images-{os.getuid()}.lock"
    with file_lock(lock, timeout=1800, what="The building of the emulated cloud's images"):
        if free is not None and free < NEEDED_GIB:
            raise PrerequisiteError(
                f"The emulated cloud's images need {NEEDED_GIB:.0f} GiB of disk, and {free:.1f} GiB are free.",
                hint="Free some space where Docker keeps its data, for example: docker system prune.",
            )
        return make(client)


def _base(client: docker.DockerClient, progress: Progress) -> str:
    extra = {
        "requirements.txt": _requirements().encode(),
        "constraints.txt": _relevant_constraints().encode(),
        "ca-certificates.crt": _certificates(),
    }
    return _ensure(client, "base", _root(client, progress), progress, extra, _index_arguments())


def debian_image(progress: Progress = _quiet) -> str:
    """Return the local tag of the bare Debian with Python that the other images stand on, built if it is missing."""
    return _locked(lambda client: _root(client, progress))


def base_image(progress: Progress = _quiet) -> str:
    """Return the local tag of the image that step images start from; build it if it is missing.

    It holds Debian's Python 3.11, and in `/opt/rayform/venv` (first on PATH) Ray and Rayform's requirements in the
    versions of this installation. Emulated nodes share this machine's engine, so they have it too.

    Args:
        progress: called with what is being done.

    Raises:
        PrerequisiteError: no engine, no disk space, or a part can't be fetched.

    Example:
        >>> base_image()  # doctest: +SKIP
        'rayform/base:3f1c0a9be2d4'
    """
    return _locked(lambda client: _base(client, progress))


def machine_image(progress: Progress = _quiet) -> str:
    """Return the local tag of the image that emulated instances boot; build it if it is missing."""
    return _locked(lambda client: _ensure(client, "machine", _base(client, progress), progress))


def services_image(progress: Progress = _quiet) -> str:
    """Return the local tag of the image with PostgreSQL and the OCI registry; build it if it is missing."""
    return _locked(lambda client: _ensure(client, "services", _root(client, progress), progress))


def ensure(progress: Progress = _quiet) -> dict[str, str]:
    """Build every image that is missing; return the tag of each by its name."""
    return {
        "base": base_image(progress),
        "machine": machine_image(progress),
        "services": services_image(progress),
    }
