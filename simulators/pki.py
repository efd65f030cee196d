"""A small certificate authority for simulated worlds: broker, devices and strangers get certificates here.

Rules: P-256 everywhere; a server certificate has serverAuth, a client one clientAuth; key files are mode
0600. It does not stand in for the backend's own authority (`tbox backend init` makes that one), it has no
revocation service (`revocation_list` only writes a file), and only simulators and tests may trust it.

Example:
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     CertificateAuthority.create(pathlib.Path(folder)).issue_server("broker").cert.name
    'broker.pem'
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A simulated certificate outlives any test or demo, and starts early enough for a clock that is behind.
LIFETIME = dt.timedelta(days=30)
BACKDATED = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A certificate and its key as files, as TLS libraries want them."""

    cert: Path
    key: Path
    serial: int


def _write_private(path: Path, data: bytes) -> None:
    """Write `data` so that only its owner ever could read the file."""
    path.touch(mode=0o600)
    path.write_bytes(data)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """A root key, its certificate, and the folder where everything it issues is written."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, folder: Path, common_name: str = "simulated authority") -> CertificateAuthority:
        """Make a new root in `folder` (made when missing) and write `ca.pem` and `ca.key`.

        Args:
            folder: where this authority writes.
            common_name: the root's name, to tell two authorities apart in an error message.
        """
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(_name(common_name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_private(folder / "ca.key", _pem(key))
        (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder=folder, certificate=certificate, key=key)

    @classmethod
    def load(cls, folder: Path, *, cert: Path, key: Path) -> CertificateAuthority:
        """Take an authority that someone else made, to issue from it into `folder`.

        Raises:
            TypeError: the key is not an elliptic-curve key.
        """
        folder.mkdir(parents=True, exist_ok=True)
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key}: not an elliptic-curve key")
        return cls(folder=folder, certificate=x509.load_pem_x509_certificate(cert.read_bytes()), key=private)

    @property
    def ca_file(self) -> Path:
        """The root certificate's file, which clients and broker trust."""
        return self.folder / "ca.pem"

    def issue_server(self, name: str, addresses: Iterable[str] = ("127.0.0.1", "::1")) -> Credential:
        """Issue a server certificate for `localhost` and the addresses, as `<name>.pem` and `<name>.key`."""
        names: list[x509.GeneralName] = [x509.DNSName("localhost")]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        return self._issue(name, name, ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(names))

    def issue_client(self, common_name: str, file_stem: str | None = None) -> Credential:
        """Issue a client certificate whose CN is `common_name`: a device id, or `bridge`."""
        return self._issue(common_name, file_stem or common_name, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def revocation_list(self, serials: Iterable[int], path: Path | None = None) -> Path:
        """Write a signed list of revoked serial numbers; returns its file, `crl.pem` unless named.

        Args:
            serials: serial numbers of certificates that must be refused from now on.
            path: where to write; a broker that watches this file follows it.
        """
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - BACKDATED)
            .next_update(now + LIFETIME)
        )
        for serial in serials:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(serial)
                .revocation_date(now - BACKDATED)
                .build()
            )
            builder = builder.add_revoked_certificate(entry)
        target = path or self.folder / "crl.pem"
        scratch = target.with_suffix(".new")
        scratch.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        scratch.replace(target)
        return target

    def _issue(
        self,
        common_name: str,
        file_stem: str,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        cert_file, key_file = self.folder / f"{file_stem}.pem", self.folder / f"{file_stem}.key"
        _write_private(key_file, _pem(key))
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return Credential(cert=cert_file, key=key_file, serial=certificate.serial_number)
