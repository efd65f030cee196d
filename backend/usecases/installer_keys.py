"""Which key an installer works with: the newest delegation in force of this person as installer.

Rules (README §2.2): an installer's key is delegated by the platform's root for at most 30 days. A work ticket
names that key, so a phone that was lost is worthless as soon as the person is revoked. Nothing is believed
that the car and the gate would not believe: the same readers read.

Example:
    >>> found = find_installer(session, org_id=org_id, person="Avery Fitter", now_s=now_s)
    >>> found.kid.hex(), found.public_key
    ('…', <…>)
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from sqlmodel import Session

from backend.store.authority import list_issuer_documents
from backend.usecases.authority_documents import load_roots
from protocol import orders_authority
from protocol.orders import Role, check_signature

_SCALAR = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Installer:
    """A person with a key in force.

    Attributes:
        person: as the delegation names him.
        kid: 32 bytes.
        public_key: of that key.
        delegation: the whole message.
    """

    person: str
    kid: bytes
    public_key: EllipticCurvePublicKey
    delegation: bytes


def find_installer(
    session: Session, *, org_id: str, person: str | None = None, kid: bytes | None = None, now_s: int
) -> Installer | None:
    """Return an installer by name or by key, None when no delegation in force names one.

    Args:
        session: Reads.
        org_id: Who asks; the platform's delegations are everybody's.
        person: As the delegation names him; None looks for `kid` alone.
        kid: The key; None takes the one whose delegation ends last.
        now_s: POSIX seconds.
    """
    roots = load_roots(session, org_id=org_id, lender_id=None)
    found: list[tuple[int, Installer]] = []
    for row in list_issuer_documents(session, issuer=orders_authority.PLATFORM, kind="delegation"):
        try:
            holder = orders_authority.read_delegation(row.document, roots, check_signature)
        except ValueError:
            continue  # of a root that is gone
        is_meant = (person is None or holder.person == person) and (kid is None or holder.kid == kid)
        is_current = holder.nbf <= now_s < holder.exp and not orders_authority.is_revoked(holder, roots)
        if is_meant and is_current and holder.role == int(Role.INSTALLER):
            installer = Installer(
                person=holder.person,
                kid=bytes(holder.kid),
                public_key=_public_key(holder.xy),
                delegation=row.document,
            )
            found.append((holder.exp, installer))
    return max(found, key=lambda item: item[0])[1] if found else None


def _public_key(xy: bytes) -> EllipticCurvePublicKey:
    x, y = int.from_bytes(xy[:_SCALAR], "big"), int.from_bytes(xy[_SCALAR:], "big")
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
