"""Verifies that HashiCorp signed a list of checksums."""

from __future__ import annotations

from pathlib import Path

from rayform_core.errors import IntegrityError, PrerequisiteError

__all__ = ["KEY_ID", "verify_signed"]

KEY_ID = "72D7468F"
"""The end of the key's fingerprint, which stands in the name of a release's signature."""

_KEY = Path(__file__).parent / "hashicorp.asc"
"""HashiCorp's release key, C874 011F 0AB4 0511 0D02 1055 3436 5D94 72D7 468F, valid until March 2030."""


def verify_signed(data: bytes, signature: bytes, name: str, key: Path = _KEY) -> None:
    """Verify a detached OpenPGP signature.

    Args:
        data: what was signed.
        signature: the signature, binary or in ASCII armor.
        name: how an error names the data.
        key: file of the public key.

    Raises:
        PrerequisiteError: the package that verifies signatures isn't installed.
        IntegrityError: the key didn't sign the data.
    """
    try:
        import pysequoia
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            "The signature of Terraform's release can't be verified: the Python package 'pysequoia' is missing.",
            hint="Install it: pip install 'rayform[terraform]'. Or pass the archive's checksum with --sha256.",
        ) from error
    certificate = pysequoia.Cert.from_file(str(key))
    try:
        pysequoia.verify(
            bytes=data, store=lambda _: [certificate], signature=pysequoia.Sig.from_bytes(signature)
        )
    except Exception as error:  # the package has no errors of its own
        raise IntegrityError(
            f"{name} is not signed by HashiCorp.",
            why="Its signature doesn't fit HashiCorp's release key.",
            hint="Nothing was installed. Try again, or from another network. For a mirror without signatures, pass the "
            "archive's checksum with --sha256.",
        ) from error
