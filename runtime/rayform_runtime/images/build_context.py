"""Turns an `ImageSpec` into a Dockerfile and the files it needs; the digest of both names the image.

Layers that images share, and that change rarely, come first: base, Ray with what Rayform needs, system packages,
requirements, Rayform, files and environment. The project's own code is not in the image: it travels as a bundle
(`usercode/bundle.py`), so an edit builds nothing.

No secret enters a layer, since every `ARG`, `ENV` and `RUN` stays readable in the image's history: URLs with a login,
and variables that are named like secrets, are refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rayform_core.errors import NotFoundError, UsageError
from rayform_core.secret_rules import is_secret
from rayform_core.version import __version__
from rayform_runtime.images.dockerfile import (
    image_name,
    path_in_image,
    quoted,
    refuse_control_characters,
    url_word,
    variable_name,
    word,
)
from rayform_runtime.images.local_wheels import find_local_wheels
from rayform_runtime.images.requirements import (
    read_requirements,
    refuse_conflicts,
    wheel_requirements,
)
from rayform_runtime.spec import ImageSpec
from rayform_runtime.usercode.project_files import project_files

__all__ = ["LABEL_PYTHON", "LABEL_RAY", "LABEL_RAYFORM", "BuildPlan", "ImagePlatform", "plan_image"]

LABEL_RAY = "io.rayform.ray"
LABEL_PYTHON = "io.rayform.python"
LABEL_RAYFORM = "io.rayform.version"
CHECK_MARK = "RAYFORM-CHECK"
_HERE = "/opt/rayform/image"
_STAYS_READABLE = "It would stay readable in the image."
_ROOM_EXTRAS = ("ray", "s3", "postgres")


@dataclass(frozen=True, slots=True)
class ImagePlatform:
    """What each image must share with the cluster: the versions of Ray and Python, and Rayform's own wheel."""

    ray: str
    python: str
    wheel: Path

    def __post_init__(self) -> None:
        """Refuse versions that aren't ones: a head reports them, and they go into the Dockerfile."""
        for name, version in (("Ray", self.ray), ("Python", self.python)):
            message = f"The cluster reports {name} {version!r}, which isn't a version."
            word(version, r"[0-9][0-9A-Za-z.+!-]*", message, "Run `rayform stack status` to check the head.")


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Everything that a build needs.

    Args:
        tag: digest of the rest; the image's tag in the registry.
        dockerfile: text of the Dockerfile.
        files: `{path in the context: content, or file to read it from}`.
        build_args: arguments of a user-defined Dockerfile.
        base: the image that the build starts from, for messages.
    """

    tag: str
    dockerfile: str
    files: Mapping[str, bytes | Path]
    build_args: Mapping[str, str] = field(default_factory=dict)
    base: str = ""

    def archive(self) -> io.BytesIO:
        """Return the build context as a tar file; equal plans give equal bytes."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            for name, content in sorted(
                {**self.files, "Dockerfile.rayform": self.dockerfile.encode()}.items()
            ):
                data = content if isinstance(content, bytes) else content.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                executable = isinstance(content, Path) and content.stat().st_mode & 0o100
                entry.mode = 0o755 if executable else 0o644
                archive.addfile(entry, io.BytesIO(data))
        raw.seek(0)
        return raw


def plan_image(
    spec: ImageSpec,
    *,
    project: Path,
    base_image: str,
    platform: ImagePlatform,
    find_links: Sequence[Path] = (),
) -> BuildPlan:
    """Plan the build of one image.

    Args:
        spec: the image that the user asks for.
        project: the project's folder; relative paths in `spec` start there.
        base_image: the stack's base image, used if `spec` names none.
        platform: versions and wheel that the cluster has.
        find_links: folders of local wheels, which are used for requirements that they fit.

    Raises:
        UsageError: a login or secret would enter a layer, or a value is malformed.
        NotFoundError: a file that `spec` names is missing.
    """
    refuse_control_characters(spec)
    _refuse_secrets(spec)
    if spec.dockerfile is not None:
        return _from_dockerfile(spec, project, platform)
    files: dict[str, bytes | Path] = {}
    base = spec.base_image or base_image
    lines = [f"FROM {image_name(base)}", "USER root"]
    if spec.ca_bundle is not None:
        files["image/ca.pem"] = _file(project, spec.ca_bundle, "ca_bundle")
        lines += [
            f"COPY image/ca.pem {_HERE}/ca.pem",
            f"ENV PIP_CERT={_HERE}/ca.pem SSL_CERT_FILE={_HERE}/ca.pem REQUESTS_CA_BUNDLE={_HERE}/ca.pem",
        ]
    # Ray's layer comes before everything in which images differ: it is the largest one, and is built and pushed once
    # for all images with the same base. Rayform's own is small and changes with each of its versions.
    lines += _ray_layer(spec, platform, files)
    lines += _apt_layer(spec.apt_packages)
    lines += _requirements_layer(spec, project, platform, find_links, files)
    lines += _rayform_layer(platform, files)
    for target, source in sorted(spec.files.items()):
        lines += _copy_layer(project, target, source, files)
    if spec.environment:
        lines.append(
            "ENV " + " ".join(f"{variable_name(k)}={quoted(v)}" for k, v in sorted(spec.environment.items()))
        )
    return _named(lines, files, {}, base)


def _from_dockerfile(spec: ImageSpec, project: Path, platform: ImagePlatform) -> BuildPlan:
    """Plan a user-defined Dockerfile with the project as its context, and Rayform's layer on top."""
    assert spec.dockerfile is not None
    own = _file(project, spec.dockerfile, "dockerfile").read_text()
    if own.rstrip().endswith(("\\", "`")):
        raise UsageError(
            f"The last line of '{spec.dockerfile}' isn't complete.",
            why="It ends with a character that continues it on the next line, which would be Rayform's.",
            hint="Complete or remove that line.",
        )
    files: dict[str, bytes | Path] = {f.name: f.path for f in project_files(project)}
    return _named(
        [own.rstrip(), "USER root", *_rayform_on_top(spec, platform, files)],
        files,
        spec.build_args,
        spec.dockerfile,
    )


def _apt_layer(packages: Sequence[str]) -> list[str]:
    for package in packages:
        word(
            package,
            r"[a-z0-9][a-z0-9.+-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?",
            f"'{package}' in apt_packages isn't the name of a Debian package.",
            "Write each as in `libgl1`, or with a version as in `libgl1=1.6.0-1`.",
        )
    if not packages:
        return []
    return [
        "RUN export DEBIAN_FRONTEND=noninteractive && apt-get update -qq && apt-get install -y -qq "
        f"--no-install-recommends {' '.join(sorted(packages))} && rm -rf /var/lib/apt/lists/*"
    ]


def _requirements_layer(
    spec: ImageSpec,
    project: Path,
    platform: ImagePlatform,
    find_links: Sequence[Path],
    files: dict[str, bytes | Path],
) -> list[str]:
    """Install the user's requirements, in one resolution with Ray's and Rayform's, which are installed already.

    A requirement that doesn't go with one of theirs is an error that names both; installed after each other, the last
    one would win.
    """
    requirements = read_requirements(spec.requirements, project)
    if not requirements.lines:
        return []
    own = [f"ray=={platform.ray}", *wheel_requirements(platform.wheel, _ROOM_EXTRAS)]
    refuse_conflicts([*requirements.lines, *requirements.constraints], own)
    local = find_local_wheels(requirements.lines, find_links, python=platform.python)
    # A wheel of this machine is preferred: a package index may have a build of several gigabytes.
    pins = [f"{wheel.project}=={wheel.version}" for wheel in local]
    constraints = [f"ray=={platform.ray}", *pins, *requirements.constraints]
    files["image/requirements.txt"] = _lines(requirements.lines)
    files["image/constraints.txt"] = _lines(constraints)
    lines = [f"COPY image/requirements.txt image/constraints.txt {_HERE}/"]
    if requirements.hashed:
        # A file with hashes is installed by them first; Ray's requirements have none, so they can't be in that command.
        files["image/hashed.txt"] = _lines(requirements.hashed)
        lines += [
            f"COPY image/hashed.txt {_HERE}/",
            _pip(spec, f"--require-hashes --no-deps -r {_HERE}/hashed.txt"),
        ]
    options = f"-r {_HERE}/ray.txt -r {_HERE}/requirements.txt -c {_HERE}/constraints.txt"
    if local:
        for wheel in local:
            files[f"image/wheels/{wheel.path.name}"] = wheel.path
        lines.append(f"COPY image/wheels/ {_HERE}/wheels/")
        options += f" --find-links {_HERE}/wheels"
        return [*lines, _pip(spec, options, f" && rm -rf {_HERE}/wheels")]
    return [*lines, _pip(spec, options)]


def _lines(texts: Sequence[str]) -> bytes:
    return ("\n".join(texts) + "\n").encode()


def _ray_layer(spec: ImageSpec, platform: ImagePlatform, files: dict[str, bytes | Path]) -> list[str]:
    """Install Ray and what else Rayform needs, and check that the base image has the cluster's Python."""
    files["image/ray.txt"] = _lines(
        [f"ray=={platform.ray}", *wheel_requirements(platform.wheel, _ROOM_EXTRAS)]
    )
    return [f"COPY image/ray.txt {_HERE}/", _pip(spec, f"-r {_HERE}/ray.txt"), _check(platform)]


def _check(platform: ImagePlatform) -> str:
    """Return the instruction that fails unless Python and Ray are the cluster's."""
    check = (
        f"import sys, ray; w=('{platform.python}', '{platform.ray}'); "
        "h=('%d.%d' % sys.version_info[:2], ray.__version__); "
        f"sys.exit(None if h == w else '{CHECK_MARK} Python %s and Ray %s' % h)"
    )
    return f'RUN python -c "{check}"'


def _rayform_layer(platform: ImagePlatform, files: dict[str, bytes | Path]) -> list[str]:
    """Install Rayform's own wheel, whose requirements are there."""
    wheel = platform.wheel
    files[f"image/{wheel.name}"] = wheel.read_bytes()
    return [
        f"COPY image/{wheel.name} {_HERE}/",
        _pip(ImageSpec(), f"--no-deps {_HERE}/{wheel.name}"),
        _label(platform),
    ]


def _label(platform: ImagePlatform) -> str:
    return f"LABEL {LABEL_RAY}={platform.ray} {LABEL_PYTHON}={platform.python} {LABEL_RAYFORM}={__version__}"


def _rayform_on_top(spec: ImageSpec, platform: ImagePlatform, files: dict[str, bytes | Path]) -> list[str]:
    """Install Rayform and Ray over whatever a user-defined Dockerfile made."""
    wheel = platform.wheel
    files[f"image/{wheel.name}"] = wheel.read_bytes()
    files["image/ray.txt"] = _lines([f"ray=={platform.ray}"])
    return [
        f"COPY image/{wheel.name} image/ray.txt {_HERE}/",
        _pip(spec, f"'rayform[{','.join(_ROOM_EXTRAS)}] @ file://{_HERE}/{wheel.name}' -c {_HERE}/ray.txt"),
        _check(platform),
        _label(platform),
    ]


def _pip(spec: ImageSpec, options: str, afterwards: str = "") -> str:
    indexes = ""
    if spec.index_url:
        indexes += f" --index-url {url_word(spec.index_url, 'index_url')}"
    for url in spec.extra_index_urls:
        indexes += f" --extra-index-url {url_word(url, 'extra_index_urls')}"
    # uv installs several times as fast; it is used if the base image has it, and a virtual environment.
    return (
        'RUN if command -v uv >/dev/null && [ -n "${VIRTUAL_ENV:-}" ]; '
        f"then uv pip install --no-cache --compile-bytecode{indexes} {options}; "
        f"else python -m pip install --no-cache-dir --disable-pip-version-check{indexes} {options}; fi{afterwards}"
    )


def _copy_layer(project: Path, target: str, source: str, files: dict[str, bytes | Path]) -> list[str]:
    path = PurePosixPath(target)
    if not path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"'{target}' in the image's files isn't an absolute path in the image.",
            hint="Write the path from `/` on, without `..`.",
        )
    origin = project / source
    if origin.is_dir():
        inside = project_files(origin)
        for file in inside:
            files[f"files{target}/{file.name}"] = file.path
    else:
        files[f"files{target}"] = _file(project, source, "files")
    return [f"COPY {json.dumps([f'files{target}', path_in_image(target)])}"]


def _refuse_secrets(spec: ImageSpec) -> None:
    for url in filter(None, [spec.index_url, *spec.extra_index_urls]):
        if re.search(r"//[^/@]*@", url):
            raise UsageError(
                f"The package index '{re.sub(r'//[^/@]*@', '//***@', url)}' holds a login.",
                why=_STAYS_READABLE,
                hint="Use an index or a mirror that needs no login.",
            )
    for field_name, values in (("environment", spec.environment), ("build_args", spec.build_args)):
        for name, value in values.items():
            if is_secret(name, value):
                raise UsageError(
                    f"'{name}' in the image's {field_name} looks like a secret.",
                    why=_STAYS_READABLE,
                    hint="Read secrets from the cloud's secret store when the step runs.",
                )


def _named(
    lines: Sequence[str], files: Mapping[str, bytes | Path], build_args: Mapping[str, str], base: str
) -> BuildPlan:
    dockerfile = "\n".join(lines) + "\n"
    digest = hashlib.sha256(dockerfile.encode())
    for name, content in sorted(files.items()):
        if isinstance(content, Path) and content.suffix == ".whl":
            # Its name has version and build, so its hundreds of megabytes need not be read at every start.
            data = f"{content.name} {content.stat().st_size}".encode()
        else:
            data = content if isinstance(content, bytes) else content.read_bytes()
        digest.update(f"\0{name}\0{len(data)}\0".encode() + data)
    digest.update(json.dumps(dict(build_args), sort_keys=True).encode())
    return BuildPlan(digest.hexdigest()[:24], dockerfile, dict(files), dict(build_args), base)


def _file(project: Path, name: str, where: str) -> Path:
    path = project / name
    if not path.is_file():
        near = [p.relative_to(project).as_posix() for p in sorted(path.parent.glob("*"))[:200] if p.is_file()]
        raise NotFoundError(f"file for the image's {where}", str(path), known=near)
    return path
