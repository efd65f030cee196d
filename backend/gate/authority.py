"""The roots the gate trusts, and the delegations it has been shown: who holds which role now.

Rules (C-02, C-02a, K-05): the readers are those of the car (`protocol.orders_authority`), so the gate never
believes a person whom the car would not. Documents are kept as they came and read again in their order when
the gate starts. A revocation takes effect at once. Beyond the car: a service account is no person (P-06) -
its name begins with `svc:`, or it is not in the lender's register of officers where there is one.

This module asks nobody for the time and stores nothing.

Example:
    >>> book = AuthorityBook(anchors)
    >>> book.take("authority", snapshot), book.take("delegation", data)
    (True, True)
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from protocol import cose_sign, orders_authority, orders_payload
from protocol.orders import Role, check_signature

SERVICE_PREFIX = "svc:"


class AuthorityRefusedError(Exception):
    """A document is refused; the text is the code."""


class AuthorityBook:
    """Roots by issuer and delegations by hash.

    Args:
        anchors: issuer to root keys (COSE_Key, 75 bytes) and threshold.
    """

    def __init__(self, anchors: Mapping[str, tuple[Iterable[bytes], int]]) -> None:
        self.roots: dict[str, Any] = {
            issuer: orders_authority.Root(issuer, list(keys), threshold)
            for issuer, (keys, threshold) in anchors.items()
        }
        self.delegations: dict[bytes, Any] = {}
        self.documents: dict[bytes, bytes] = {}
        self.per_day: dict[bytes, int] = {}

    def take(self, kind: str, data: bytes) -> bool:
        """Put a document in force; return whether anything is new.

        Args:
            kind: "authority" (a snapshot), "revocation" or "delegation".
            data: the whole message.

        Raises:
            AuthorityRefusedError: it is not authentic, of another root, or older than what is in force.
        """
        try:
            match kind:
                case "authority":
                    return self._take_snapshot(data)
                case "revocation":
                    return self._take_revocation(data)
                case _:
                    return self._take_delegation(data)
        except ValueError as error:
            raise AuthorityRefusedError(str(error.args[0])) from error

    def holder(self, digest: bytes) -> Any:  # noqa: ANN401  # the car's own class, which has no annotations
        """Return a delegation that was taken, or None."""
        return self.delegations.get(digest)

    def persons(self, role: Role) -> dict[bytes, str]:
        """Return the persons of a role, by their delegations' hashes; those over or revoked too."""
        return {
            digest: str(holder.person)
            for digest, holder in self.delegations.items()
            if holder.role == int(role)
        }

    def is_valid(self, holder: Any, role: Role, now_s: int) -> bool:  # noqa: ANN401  # see `holder`
        """Return whether a delegation gives a role now: not revoked, not early, not over."""
        is_current = holder.nbf <= now_s < holder.exp
        return holder.role == int(role) and is_current and not orders_authority.is_revoked(holder, self.roots)

    def _take_snapshot(self, data: bytes) -> bool:
        payload, _ = cose_sign.read_sign(data)
        fields = orders_payload.read_document("authority", payload)
        known = self.roots.get(fields[2])
        if known is None:
            raise AuthorityRefusedError("UNKNOWN_KEY")
        new = orders_authority.read_snapshot(data, known, check_signature)
        self.roots[fields[2]] = new
        return new is not known

    def _take_revocation(self, data: bytes) -> bool:
        _, _, payload, _ = cose_sign.read_sign1(data)
        fields = orders_payload.read_document("revocation", payload)
        known = self.roots.get(fields[2])
        if known is None:
            raise AuthorityRefusedError("UNKNOWN_KEY")
        return bool(orders_authority.read_revocation(data, known, check_signature))

    def _take_delegation(self, data: bytes) -> bool:
        digest = hashlib.sha256(data).digest()
        if digest in self.delegations:
            return False
        found = orders_authority.read_delegation(data, self.roots, check_signature)
        payload, _ = cose_sign.read_sign(data)
        self.delegations[digest] = found
        self.documents[digest] = data
        self.per_day[digest] = orders_payload.read_document("delegation", payload)[-65543]
        return True


def is_service_account(person: str, officers: frozenset[str] | None) -> bool:
    """Return whether a name is no person's.

    Args:
        person: the delegation's subject.
        officers: the lender's register; None where there is none.
    """
    return person.startswith(SERVICE_PREFIX) or (officers is not None and person not in officers)
