"""Fetches a pinned release of Terraform and verifies its signature and checksum."""

from __future__ import annotations

import hashlib
import io
import platform
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from rayform_core.errors import IntegrityError, PrerequisiteError, RemoteError, UsageError
from rayform_core.files import private_folder, write_atomically
from rayform_provisioner.terraform.settings import TerraformSettings
from rayform_provisioner.terraform.signature import KEY_ID, verify_signed

__all__ = ["PINNED", "RELEASES", "install"]

PINNED = "1.11.4"
"""The release that Rayform is tested with."""

RELEASES = "https://releases.hashicorp.com/terraform"
"""Where releases are; `--from` names another address with the same layout."""

MAX_BYTES = 300_000_000


def install(version: str = PINNED, source: str = RELEASES, sha256: str | None = None) -> Path:
    """Fetch a release into `$RAYFORM_HOME/terraform/bin`, and return the path of the binary.

    The archive's checksum must be the one in the release's own list, which HashiCorp must have signed, or `sha256` if
    that is passed. Nothing is written before it was checked. A release that is there already is fetched again.

    Args:
        version: the release, such as `1.11.4`.
        source: base address; HTTPS, or HTTP on loopback.
        sha256: the checksum that the archive must have, from a source that you trust.

    Raises:
        UsageError: the version or the address is not valid.
        PrerequisiteError: there is no release for this machine.
        RemoteError: the release can't be fetched.
        IntegrityError: the signature or the checksum is wrong.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise UsageError(f"'{version}' is not a release of Terraform.", hint=f"Write it like {PINNED}.")
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]", source):
        raise UsageError(f"'{source}' is not an HTTPS address.")
    archive_name = f"terraform_{version}_{_platform()}.zip"
    base = f"{source.rstrip('/')}/{version}"
    name = f"terraform_{version}_SHA256SUMS"
    listed = _fetch(f"{base}/{name}", 1_000_000)
    if sha256 is None:
        # Whoever can change an archive on its server can change the list next to it as well.
        verify_signed(listed, _fetch(f"{base}/{name}.{KEY_ID}.sig", 100_000), name)
    sums = listed.decode(errors="replace")
    expected = next(
        (line.split()[0] for line in sums.splitlines() if line.split()[1:] == [archive_name]), None
    )
    if expected is None:
        raise PrerequisiteError(f"Release {version} has no archive for this machine ({archive_name}).")
    if sha256 is not None and sha256.lower() != expected.lower():
        raise IntegrityError(f"The release's list has another checksum for {archive_name} than --sha256.")
    archive = _fetch(f"{base}/{archive_name}", MAX_BYTES)
    actual = hashlib.sha256(archive).hexdigest()
    if actual != expected.lower():
        raise IntegrityError(
            f"{archive_name} is damaged or was tampered with.",
            why=f"Its SHA-256 is {actual}, and the release's list has {expected}.",
            hint="Nothing was installed. Try again, or from another network.",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            info = opened.getinfo("terraform")
            if info.file_size > MAX_BYTES:
                raise IntegrityError(f"{archive_name} unpacks to more than Terraform can be.")
            binary = opened.read(info)
    except (zipfile.BadZipFile, KeyError) as error:
        raise IntegrityError(f"{archive_name} holds no Terraform.") from error
    path = private_folder(TerraformSettings.folder() / "bin") / "terraform"
    write_atomically(path, binary, mode=0o700)
    return path


def _platform() -> str:
    system, machine = platform.system().lower(), platform.machine().lower()
    arch = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(machine)
    if system not in ("linux", "darwin") or arch is None:
        raise PrerequisiteError(f"There is no release of Terraform for {system} on {machine}.")
    return f"{system}_{arch}"


def _fetch(url: str, limit: int) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the scheme was checked
            data: bytes = answer.read(limit + 1)
    except (urllib.error.URLError, OSError) as error:
        raise RemoteError(
            f"{url} can't be fetched.",
            why=f"{error}.",
            hint="Check the network, or name another place with --from.",
        ) from error
    if len(data) > limit:
        raise IntegrityError(f"{url} is larger than it can be.")
    return data
