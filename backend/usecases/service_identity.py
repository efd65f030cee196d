"""The server's own keys, read from its home: the CA, the receipt key, the policy key, the nonce secret.

Rules:
- A published key, one whose private half stands in this project's documents, is refused unless this is a
  demonstration.
- Reading is done once at the start; a missing or open file stops the start with a line that says what to do.

Example:
    >>> identity = load_identity(settings)
    >>> identity.receipt_signer.kid.hex()
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from backend.domain.certificates import Issuer
from backend.domain.published_keys import is_published
from backend.errors import SecretError
from backend.settings import Settings
from backend.store.key_files import load_certificate, load_private_key, read_private
from protocol.envelope import SoftwareSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceIdentity:
    """What this server signs with."""

    issuer: Issuer
    receipt_signer: SoftwareSigner
    policy_signer: SoftwareSigner
    nonce_secret: bytes

    @property
    def ca_pem(self) -> str:
        """The CA's certificate in PEM."""
        return self.issuer.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def ca_sha256(self) -> str:
        """The CA certificate's fingerprint, hex: what an installer compares by eye."""
        return self.issuer.certificate.fingerprint(SHA256()).hex()


def load_identity(settings: Settings) -> ServiceIdentity:
    """Read all keys.

    Raises:
        SecretError: One is missing, open to others, not a P-256 key, published, or not the certificate's.
    """
    issuer = Issuer(
        certificate=load_certificate(settings.ca_certificate_path),
        private_key=load_trusted_key(settings.ca_key_path, demo=settings.demo),
    )
    if issuer.certificate.public_key() != issuer.private_key.public_key():
        raise SecretError(
            what=f"{settings.ca_key_path} is not the key of {settings.ca_certificate_path}",
            next_step="restore the two from the same backup",
        )
    return ServiceIdentity(
        issuer=issuer,
        receipt_signer=load_receipt_signer(settings),
        policy_signer=SoftwareSigner(load_trusted_key(settings.policy_key_path, demo=settings.demo)),
        nonce_secret=read_private(settings.nonce_secret_path),
    )


def load_receipt_signer(settings: Settings) -> SoftwareSigner:
    """Read the receipt key alone: all the bridge needs.

    Raises:
        SecretError: It is missing, open to others, not a P-256 key, or published.
    """
    return SoftwareSigner(load_trusted_key(settings.receipt_key_path, demo=settings.demo))


def load_trusted_key(path: Path, *, demo: bool) -> EllipticCurvePrivateKey:
    """Read a private key that is not one of the published ones, except in a demonstration."""
    key = load_private_key(path)
    if not demo and is_published(key):
        raise SecretError(
            what=f"{path} holds a published example key",
            meaning="anyone could sign in this server's name",
            next_step=f"remove {path} and run `tbox backend init`; or set TBOX_DEMO=true for a demonstration",
        )
    return key
