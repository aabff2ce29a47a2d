"""The certificates that a PostgreSQL server's own is checked against."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rayform_core.errors import PrerequisiteError, UsageError
from rayform_core.files import home, private_folder, write_atomically

__all__ = ["AWS_BUNDLE", "SYSTEM", "as_text", "root_certificates"]

AWS_BUNDLE = "aws-rds"
"""Value of `ca_bundle` for the roots of Amazon RDS, which come with Rayform."""
SYSTEM = "system"
"""Value of `ca_bundle` for the roots that this machine trusts."""
_AWS_FILE = Path(__file__).with_name("rds-ca.pem")
_PEM = "-----BEGIN CERTIFICATE-----"


def as_text(ca_bundle: str | None) -> str | None:
    """Return `ca_bundle` in a form that holds on other machines too: a path becomes the file's text.

    Raises:
        PrerequisiteError: the file is missing.
        UsageError: it holds no certificate.
    """
    if ca_bundle is None or ca_bundle in (AWS_BUNDLE, SYSTEM) or _PEM in ca_bundle:
        return ca_bundle
    path = Path(ca_bundle).expanduser()
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(
            f"The certificates of the catalog's server, '{ca_bundle}', can't be read.", why=f"{error}."
        ) from error
    if _PEM not in text:
        raise UsageError(f"'{ca_bundle}' holds no certificate.", hint="Name a PEM file with the server's CA.")
    return text


def root_certificates(ca_bundle: str | None) -> str | None:
    """Return libpq's `sslrootcert` for a setting, or `None` for libpq's own default.

    Raises:
        PrerequisiteError: the file is missing.
        UsageError: it holds no certificate.
    """
    if ca_bundle == AWS_BUNDLE:
        return str(_AWS_FILE)
    text = as_text(ca_bundle)
    if text is None or text == SYSTEM:
        return text
    # libpq reads certificates from a file alone. Its name is its digest, so what exists is right.
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    path = private_folder(home() / "cache" / "certificates") / f"{name}.pem"
    if not path.exists():
        write_atomically(path, text)
    return str(path)
