"""The operator sets up a home: keys, CA, database, the first organisation and its administrator's key.

Rules:
- Repeatable: what exists is kept, what is missing is made. A set-up that was interrupted goes on where it
  stopped.
- The home's folders are open to their owner only: the database holds positions.
- The administrator's key is made with the first organisation, and shown by that run only.

Example:
    >>> done = set_up_home(settings, organisation="Example Leasing", now_us=utc_us())
    >>> done.admin_key.text if done.admin_key else "was set up before"
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from backend.domain.access import Role
from backend.domain.certificates import BRIDGE_NAME, Issuer, make_authority
from backend.domain.refusal import Refusal
from backend.domain.renewal_nonce import SECRET_BYTES
from backend.errors import RefusedError
from backend.settings import Settings
from backend.store.api_keys import list_api_keys
from backend.store.database import Database, open_database
from backend.store.key_files import PUBLIC, load_private_key, make_private_key, make_secret, write_new
from backend.store.log_keys import make_log_key
from backend.store.migrate import status, upgrade
from backend.store.organisations import Organisation, find_platform
from backend.usecases.create_api_key import CreatedKey, create_api_key
from backend.usecases.create_organisation import create_organisation
from backend.usecases.issue_certificates import issue_client_certificate
from backend.usecases.keep_partitions import keep_partitions
from backend.usecases.register_service_keys import ServicePurpose, register_service_keys
from backend.usecases.service_identity import load_identity

if TYPE_CHECKING:
    from collections.abc import Callable

CA_NAME = "T-Box device CA"


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeSetUp:
    """What a set-up found or made.

    Attributes:
        org_id: The platform's organisation.
        made: Files made by this run.
        migrated: Whether this run changed the database's tables.
        admin_key: The administrator's key if this run made it, else None.
        ca_sha256: Fingerprint of the CA's certificate, hex.
        receipt_kid: Thumbprint of the receipt key, hex: what a verifier puts in his trust file.
    """

    org_id: str
    made: tuple[Path, ...]
    migrated: bool
    admin_key: CreatedKey | None
    ca_sha256: str
    receipt_kid: str


def set_up_home(settings: Settings, *, organisation: str, now_us: int) -> HomeSetUp:
    """Make what is missing of a home.

    Raises:
        SecretError: A file cannot be written, or one that exists is not usable.
        RefusedError: The organisation's name is not usable.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = _make_files(settings, now_us=now_us)
    identity = load_identity(settings)
    database = open_database(settings.database_url)
    try:
        migrated = not status(database).is_current
        if migrated:
            upgrade(database)
            keep_partitions(database, now_us=now_us)
        platform, admin_key = _first_organisation(database, name=organisation, now_us=now_us)
        keys = {
            ServicePurpose.RECEIPT: identity.receipt_signer.public_key,
            ServicePurpose.POLICY: identity.policy_signer.public_key,
        }
        with database.writing() as session:
            register_service_keys(session, org_id=platform.org_id, keys=keys, now_us=now_us)
        made += _bridge_certificate(
            database, settings, issuer=identity.issuer, org_id=platform.org_id, now_us=now_us
        )
    finally:
        database.close()
    return HomeSetUp(
        org_id=platform.org_id,
        made=made,
        migrated=migrated,
        admin_key=admin_key,
        ca_sha256=identity.ca_sha256,
        receipt_kid=identity.receipt_signer.kid.hex(),
    )


def _make_files(settings: Settings, *, now_us: int) -> tuple[Path, ...]:
    """Make the key files and the CA's certificate that do not exist yet; return which."""

    def make_certificate(path: Path) -> None:
        certificate = make_authority(
            load_private_key(settings.ca_key_path),
            name=CA_NAME,
            serial=x509.random_serial_number(),
            now_us=now_us,
        )
        write_new(path, certificate.public_bytes(Encoding.PEM), mode=PUBLIC)

    makers: tuple[tuple[Path, Callable[[Path], object]], ...] = (
        (settings.ca_key_path, make_private_key),
        (settings.ca_certificate_path, make_certificate),
        (settings.receipt_key_path, make_private_key),
        (settings.policy_key_path, make_private_key),
        (settings.log_key_path, make_log_key),
        (settings.nonce_secret_path, lambda path: make_secret(path, length=SECRET_BYTES)),
    )
    missing = tuple((path, make) for path, make in makers if not path.exists())
    for path, make in missing:
        make(path)
    return tuple(path for path, _ in missing)


def _bridge_certificate(
    database: Database, settings: Settings, *, issuer: Issuer, org_id: str, now_us: int
) -> tuple[Path, ...]:
    """Make the certificate with which the bridge shows itself to the broker, if there is none."""
    if settings.bridge_certificate_path.exists():
        return ()
    made: tuple[Path, ...] = (settings.bridge_certificate_path,)
    if settings.bridge_key_path.exists():
        key = load_private_key(settings.bridge_key_path)
    else:
        key = make_private_key(settings.bridge_key_path)
        made = (settings.bridge_key_path, *made)
    with database.writing() as session:
        chain = issue_client_certificate(
            session,
            issuer=issuer,
            org_id=org_id,
            public_key=key.public_key(),
            name=BRIDGE_NAME,
            now_us=now_us,
        )
    write_new(settings.bridge_certificate_path, chain.encode(), mode=PUBLIC)
    return made


def _first_organisation(
    database: Database, *, name: str, now_us: int
) -> tuple[Organisation, CreatedKey | None]:
    """Return the platform's organisation, and the key of its administrator if this call made it."""
    with database.reading() as session:
        platform = find_platform(session)
    with database.writing() as session:
        if platform is None:
            outcome = create_organisation(session, name=name, is_platform=True, now_us=now_us)
            if isinstance(outcome, Refusal):
                raise RefusedError(what=f"the organisation cannot be made: {outcome.detail}")
            platform = outcome
    with database.reading() as session:
        if list_api_keys(session, org_id=platform.org_id, after=None, limit=1):
            return platform, None
    with database.writing() as session:
        key = create_api_key(
            session,
            org_id=platform.org_id,
            name="first administrator",
            role=Role.ORG_ADMIN,
            life_days=None,
            roles=frozenset(Role),
            now_us=now_us,
        )
    assert not isinstance(key, Refusal), "nothing in it comes from outside"
    return platform, key
