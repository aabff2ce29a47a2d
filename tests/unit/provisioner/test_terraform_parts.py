# ruff: noqa: E501
"""Terraform's errors, settings and installation."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pysequoia
import pytest

from rayform_core.errors import IntegrityError, PrerequisiteError, RemoteError, UsageError
from rayform_provisioner.terraform import install as terraform_install
from rayform_provisioner.terraform import signature
from rayform_provisioner.terraform.errors import (
    Diagnostic,
    ErrorKind,
    StateLockedError,
    TerraformError,
    error_of,
)
from rayform_provisioner.terraform.install import install
from rayform_provisioner.terraform.settings import TerraformSettings

LOCKED = """state blob is already locked

Lock Info:
  ID:        41a1d77b-98a0-e8f4-17a2-8d8e1d0a35a2
  Path:      bucket/rayform/x.tfstate
  Operation: OperationTypeApply
  Who:       ada@laptop
  Version:   1.11.4
  Created:   2026-11-20 22:00:00.123 +0000 UTC
"""


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("creating EC2 Instance: operation error EC2: RunInstances, api error VcpuLimitExceeded: You have requested more vCPU capacity", ErrorKind.QUOTA, "VcpuLimitExceeded: You have requested more vCPU capacity"),
        ("creating IAM Role: api error AccessDenied: User is not authorized to perform: iam:CreateRole", ErrorKind.PERMISSION, "AccessDenied: User is not authorized to perform: iam:CreateRole"),
        ("api error InsufficientInstanceCapacity: We currently do not have sufficient capacity", ErrorKind.CAPACITY, "InsufficientInstanceCapacity: We currently do not have sufficient capacity"),
        ("api error InvalidKeyPair.Duplicate: The keypair already exists", ErrorKind.EXISTS, "InvalidKeyPair.Duplicate: The keypair already exists"),
        ("api error DependencyViolation: resource sg-1 has a dependent object", ErrorKind.IN_USE, "DependencyViolation: resource sg-1 has a dependent object"),
        ("No valid credential sources found", ErrorKind.CREDENTIALS, "No valid credential sources found"),
        ("Post \"https://x\": dial tcp 127.0.0.1:1: connect: connection refused", ErrorKind.NETWORK, "Post \"https://x\": dial tcp 127.0.0.1:1: connect: connection refused"),
        ("Failed to query available provider packages: could not connect to the registry: dial tcp: connection refused", ErrorKind.PROVIDER, "Failed to query available provider packages: could not connect to the registry: dial tcp: connection refused"),
        ("Something else\nand more", ErrorKind.OTHER, "Something else"),
    ],
)  # fmt: skip
def test_errors_are_read_from_the_clouds_text(text, kind, sentence):
    """Kind and the sentence that matters come from the cloud's own words."""
    error = error_of("apply", [Diagnostic("error", text, address="module.x.aws_y.z")], [])
    assert (error.kind, error.resource) == (kind, "module.x.aws_y.z")
    assert error.why == sentence
    assert error.hint


def test_a_provider_that_cannot_be_had_leads_to_the_mirror():
    """Although the error has the words of a network failure, its next step is a mirror."""
    detail = "Could not retrieve the list of available versions: dial tcp: lookup: no such host"
    error = error_of("init", [Diagnostic("error", "Failed to query available provider packages", detail)], [])
    assert error.kind is ErrorKind.PROVIDER
    assert "rayform terraform configure --mirror" in error.hint


def test_lock_names_its_holder():
    """A locked state says who holds it, for what, since when."""
    error = error_of("plan", [Diagnostic("error", "Error acquiring the state lock", LOCKED)], [])
    assert isinstance(error, StateLockedError)
    assert error.holder.who == "ada@laptop"
    assert "ada@laptop holds the lock (OperationTypeApply) since 2026-11-20" in str(error)


def test_a_lock_without_a_holder_is_not_reported_as_held():
    """If the lock can't be written, the error has the cloud's reason, and doesn't say that somebody holds it."""
    detail = "Error message: operation error S3: PutObject, api error AccessDenied: no s3:PutObject for you"
    error = error_of("plan", [Diagnostic("error", "Error acquiring the state lock", detail)], [])
    assert isinstance(error, TerraformError)
    assert error.kind is ErrorKind.PERMISSION
    assert "AccessDenied: no s3:PutObject for you" in error.why


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without settings."""
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))
    for name in ("RAYFORM_TERRAFORM", "RAYFORM_TERRAFORM_MIRROR", "RAYFORM_TERRAFORM_PLUGIN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def fake(path, version):
    """A program that says it is a Terraform of `version`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho \'{{"terraform_version": "{version}"}}\'\n')
    path.chmod(0o755)
    return path


def test_old_terraform_is_refused(home, tmp_path, monkeypatch):
    """A Terraform that would write secrets into the state is refused, with what to do."""
    monkeypatch.setenv("RAYFORM_TERRAFORM", str(fake(tmp_path / "terraform", "1.5.7")))
    with pytest.raises(PrerequisiteError, match="too old"):
        TerraformSettings().binary()


def test_no_terraform_says_how_to_get_one(home, tmp_path, monkeypatch):
    """Without any Terraform, the error says how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="rayform terraform install"):
        TerraformSettings().binary()


def test_tofu_is_found_where_terraform_is_not(home, tmp_path, monkeypatch):
    """OpenTofu on PATH will do."""
    fake(tmp_path / "bin" / "tofu", "1.11.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert TerraformSettings().version.product == "OpenTofu"


def test_mirror_becomes_a_cli_configuration(home, tmp_path):
    """A mirror goes into Rayform's own configuration; a variable that names no file is removed."""
    settings = TerraformSettings(mirror=str(tmp_path))
    environment = settings.environment({"TF_CLI_CONFIG_FILE": "/nowhere", "TF_CLI_ARGS_plan": "-destroy"})
    text = Path(environment["TF_CLI_CONFIG_FILE"]).read_text()
    assert "filesystem_mirror" in text
    assert str(tmp_path) in text
    assert "TF_CLI_ARGS_plan" not in environment
    assert "TF_CLI_CONFIG_FILE" not in TerraformSettings().environment({"TF_CLI_CONFIG_FILE": "/nowhere"})
    assert (
        "network_mirror"
        in Path(
            TerraformSettings(mirror="https://mirror.example/").environment({})["TF_CLI_CONFIG_FILE"]
        ).read_text()
    )
    with pytest.raises(PrerequisiteError, match="not a folder"):
        TerraformSettings(mirror=str(tmp_path / "no")).environment({})


def test_settings_are_kept_and_taken_away(home):
    """What `rayform terraform configure` stores is read back; an empty text takes it away."""
    TerraformSettings.store(mirror="https://mirror.example/")
    assert TerraformSettings().mirror == "https://mirror.example/"
    assert stat.S_IMODE(os.stat(TerraformSettings.folder() / "settings.json").st_mode) == 0o600
    TerraformSettings.store(mirror="")
    assert TerraformSettings().mirror is None


def sign_list(folder, signer):
    """Sign the list of checksums, as the release's own signature."""
    names = folder / "terraform_1.11.4_SHA256SUMS"
    made = pysequoia.sign(signer.signer(), names.read_bytes(), mode=pysequoia.SignatureMode.DETACHED)
    (folder / "terraform_1.11.4_SHA256SUMS.72D7468F.sig").write_bytes(made)


@pytest.fixture(scope="module")
def signer():
    """A key that signs like HashiCorp's."""
    return pysequoia.Tsk.generate("Releases <releases@example.com>")


@pytest.fixture
def releases(tmp_path, signer, monkeypatch):
    """A release site on loopback, with one release that a key of the test signs; yields its address and folder."""
    key = tmp_path / "key.asc"
    key.write_text(str(signer.extract_certificate()))
    monkeypatch.setattr(
        terraform_install, "verify_signed", lambda *arguments: signature.verify_signed(*arguments, key=key)
    )
    folder = tmp_path / "site" / "1.11.4"
    folder.mkdir(parents=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("terraform", '#!/bin/sh\necho \'{"terraform_version": "1.11.4"}\'\n')
    name = f"terraform_1.11.4_{terraform_install._platform()}.zip"
    (folder / name).write_bytes(archive.getvalue())
    (folder / "terraform_1.11.4_SHA256SUMS").write_text(
        f"{hashlib.sha256(archive.getvalue()).hexdigest()}  {name}\n"
    )
    sign_list(folder, signer)
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path / "site")))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder / name
    server.shutdown()
    thread.join()
    server.server_close()


def test_install_fetches_verifies_and_is_used(home, releases, monkeypatch, tmp_path):
    """A release is fetched, its checksum holds, and it is the one that is used from then on."""
    path = install("1.11.4", releases[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert TerraformSettings().version.path == path


def test_install_refuses_what_is_damaged(home, releases):
    """An archive whose checksum is wrong is not installed, nor one that differs from a checksum of one's own."""
    url, archive = releases
    with pytest.raises(IntegrityError, match="another checksum"):
        install("1.11.4", url, sha256="0" * 64)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="tampered"):
        install("1.11.4", url)
    assert not (home / "terraform" / "bin").exists()


def test_install_refuses_a_list_that_is_not_signed(home, releases, signer):
    """A server that changes archive and list, has no signature, or one of another key, installs nothing."""
    url, archive = releases
    folder = archive.parent
    names, signed = (
        folder / "terraform_1.11.4_SHA256SUMS",
        folder / "terraform_1.11.4_SHA256SUMS.72D7468F.sig",
    )
    genuine = names.read_bytes()
    names.write_bytes(genuine + b"0" * 64 + b"  other.zip\n")
    with pytest.raises(IntegrityError, match="not signed"):
        install("1.11.4", url)
    names.write_bytes(genuine)
    for forged in (b"", b"no signature", signed.read_bytes()[:-40], b"\x00" * 500):
        whole = signed.read_bytes()
        signed.write_bytes(forged)
        with pytest.raises(IntegrityError, match="not signed"):
            install("1.11.4", url)
        signed.write_bytes(whole)
    sign_list(folder, pysequoia.Tsk.generate("Somebody <else@example.com>"))
    with pytest.raises(IntegrityError, match="not signed"):
        install("1.11.4", url)
    signed.unlink()
    with pytest.raises(RemoteError):
        install("1.11.4", url)
    assert not (home / "terraform" / "bin").exists()
    assert install("1.11.4", url, sha256=hashlib.sha256(archive.read_bytes()).hexdigest()).exists()


def test_the_shipped_key_is_hashicorps(signer):
    """The key in the package is the one whose fingerprint HashiCorp publishes, and nobody else's signature fits it."""
    key = pysequoia.Cert.from_file(str(signature._KEY))
    assert key.fingerprint == "c874011f0ab405110d02105534365d9472d7468f"
    made = pysequoia.sign(signer.signer(), b"list", mode=pysequoia.SignatureMode.DETACHED)
    with pytest.raises(IntegrityError):
        signature.verify_signed(b"list", made, "list")


def test_install_refuses_plain_http_bad_versions_and_what_is_not_there(home, releases):
    """Only HTTPS (or loopback) is asked, for a release that has a number and exists."""
    with pytest.raises(UsageError, match="HTTPS"):
        install("1.11.4", "http://example.com")
    with pytest.raises(UsageError, match="release"):
        install("../../etc", releases[0])
    with pytest.raises(RemoteError, match="can't be fetched"):
        install("1.99.0", releases[0])
