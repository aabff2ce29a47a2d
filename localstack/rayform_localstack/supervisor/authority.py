"""The certificate authority of the cloud's databases, so that clients can verify a server as they do on RDS."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rayform_core.files import write_atomically

__all__ = ["DatabaseAuthority"]

_DAYS = datetime.timedelta(days=3650)


class DatabaseAuthority:
    """A CA in the state folder: `database-ca.pem` for clients, and its key. The first use makes both.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._certificate_file = folder / "database-ca.pem"
        self._key_file = folder / "database-ca.key"
        if not self._certificate_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("Rayform emulated RDS CA")
            certificate = (
                _builder(name, name, key)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .sign(key, hashes.SHA256())
            )
            write_atomically(self._key_file, _private(key).decode())
            write_atomically(
                self._certificate_file, certificate.public_bytes(serialization.Encoding.PEM).decode()
            )

    def issue(self, address: str) -> tuple[bytes, bytes]:
        """Return a new key and its certificate for a server, which clients reach by its address."""
        authority = x509.load_pem_x509_certificate(self._certificate_file.read_bytes())
        signer = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = (
            _builder(_name(address), authority.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(signer, hashes.SHA256())
        )
        return _private(key), certificate.public_bytes(serialization.Encoding.PEM)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _DAYS)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
