"""Packs the Rayform that is running into a wheel, so that clusters and images run the very same code.

A build back end would need its own environment and, for an installed Rayform, the sources. But a wheel is only a zip
file with three small text files in it, so this module packs the packages as they are on disk.

Source: PyPA's binary distribution format (wheel 1.0).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import zipfile
from pathlib import Path

from rayform_core.errors import IntegrityError
from rayform_core.files import private_folder
from rayform_core.version import __version__

__all__ = ["build_wheel", "wheel_name"]

PACKAGES = ("rayform_core", "rayform_runtime", "rayform_provisioner", "rayform_localstack", "rayform")
# Files that are inside a package in a wheel and outside it in a checkout: package, place in the checkout (relative to
# the package's folder), place in the wheel.
OUTSIDE = (
    ("rayform_provisioner", "../../terraform/modules", "rayform_provisioner/_terraform/modules"),
    ("rayform_localstack", "../images", "rayform_localstack/_images"),
)
SKIPPED = {"__pycache__", ".terraform", "tests", "examples", ".pytest_cache"}


def wheel_name() -> str:
    """Return the file name of this version's wheel."""
    return f"rayform-{__version__}-py3-none-any.whl"


def build_wheel(folder: Path) -> Path:
    """Write the wheel of the running Rayform into `folder` and return its path.

    The same sources give the same bytes. If the wheel exists already with these bytes, it is left alone.

    Raises:
        IntegrityError: Rayform is not installed, not even in editable mode.
    """
    try:
        distribution = importlib.metadata.distribution("rayform")
    except importlib.metadata.PackageNotFoundError as error:
        raise IntegrityError("Rayform is not installed.", hint="Install it: pip install rayform.") from error
    files = _package_files()
    info = f"rayform-{__version__}.dist-info"
    files[f"{info}/METADATA"] = (distribution.read_text("METADATA") or "").encode()
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: rayform\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = []
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(content)}\n")
    record.append(f"{info}/RECORD,,\n")
    files[f"{info}/RECORD"] = "".join(record).encode()

    target = private_folder(folder) / wheel_name()
    # A name that no other process uses, because two runs that start together both write the wheel.
    part = target.with_name(f"{target.stem}-{os.urandom(6).hex()}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, content in sorted(files.items(), key=lambda item: (".dist-info/" in item[0], item[0])):
                entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
        if not target.exists() or target.read_bytes() != part.read_bytes():
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _package_files() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise IntegrityError(f"The package '{package}' is missing.", hint="Install rayform again.")
        root = Path(spec.origin).resolve().parent
        _add(files, root, package)
        for owner, outside, inside in OUTSIDE:
            source = (root / outside).resolve()
            if (
                owner == package
                and not any(name.startswith(f"{inside}/") for name in files)
                and source.is_dir()
            ):
                _add(files, source, inside)
    return files


def _add(files: dict[str, bytes], root: Path, prefix: str) -> None:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not SKIPPED & set(parts) and path.suffix not in (".pyc", ".part"):
            files["/".join((prefix, *parts))] = path.read_bytes()
