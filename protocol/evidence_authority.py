"""Who was allowed to sign, in an evidence file: roots of the trust file, and what they signed.

Rules: only roots that the verifier brought are believed. Snapshots are taken in the order of their versions,
so a rotated root is followed by the thresholds of old and new; delegations count when their root has signed
them. A revocation is remembered with the time it was issued: what a key signed before stays signed. Zone set
and hours are nobody's message: they count when a snapshot here names their hash. Reading is done by the car's
own code (`orders_authority`).

This module judges no order: see `evidence_orders`.

Example:
    >>> Authority(roots={}).delegations
    {}
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol import cose_sign, orders_authority, orders_payload
from protocol.evidence_ledger import Ledger
from protocol.evidence_manifest import PartKind
from protocol.evidence_report import Code, Trust, Weight
from protocol.orders import check_signature

_DELEGATION, _SNAPSHOT, _REVOCATION, _ZONES, _CALENDAR = 1, 2, 3, 4, 5
_UNKNOWN = "UNKNOWN_KEY"


@dataclass(slots=True, kw_only=True)
class Authority:
    """What the roots have signed.

    Attributes:
        roots: by issuer, as of the last snapshot here.
        delegations: by digest.
        revoked_s: POSIX seconds from which a kid (bytes) or person (text) of an issuer is revoked.
        snapshots: fields of the platform's snapshots, by version.
        named: hashes of the zone sets and hours that are here and named by one of them.
    """

    roots: Mapping[str, Any]
    delegations: dict[bytes, Any] = field(default_factory=dict)
    revoked_s: dict[tuple[str, bytes | str], int] = field(default_factory=dict)
    snapshots: dict[int, Any] = field(default_factory=dict)
    named: set[bytes] = field(default_factory=set)

    def place_sentences(self, at_s: int) -> list[str]:
        """Return which pack and zone set the platform's snapshot of a moment gave cars."""
        issued = [fields for _, fields in sorted(self.snapshots.items()) if fields[4] <= at_s]
        if not issued or (issued[-1][10] is None and issued[-1][11] is None):
            return []
        fields, found = issued[-1], []
        if fields[10] is not None:
            found.append(
                f"pack {fields[10][0]} version {fields[10][1]}{self._here(fields[10][2], 'its hours are')}"
            )
        if fields[11] is not None:
            found.append(f"zone set version {fields[11][0]}{self._here(fields[11][1], 'it is')}")
        return [f"By the platform's snapshot {fields[3]} cars then had {' and '.join(found)}."]

    def _here(self, digest: bytes, what: str) -> str:
        return f" ({what} here)" if digest in self.named else ""

    def revoked_at(self, holder: Any) -> int | None:  # noqa: ANN401  # the car's own reader has no annotations
        """Return since when a delegation's key or person is revoked, or None."""
        times = [
            self.revoked_s[holder.issuer, entry]
            for entry in (holder.kid, holder.person)
            if (holder.issuer, entry) in self.revoked_s
        ]
        return min(times, default=None)


def read_authority(ledger: Ledger, trust: Trust) -> Authority:
    """Return what the roots have signed, with findings for what none of them has."""
    roots = {
        issuer: orders_authority.Root(issuer, list(anchor.keys), anchor.threshold)
        for issuer, anchor in trust.roots.items()
    }
    found = Authority(roots=roots)
    parts = ledger.whole(PartKind.AUTHORITY)
    snapshots = [data for part, data in parts if part.ref.section == _SNAPSHOT]
    for data in sorted(snapshots, key=_version):
        _take(ledger, data, lambda data=data: _snapshot(found, roots, data))
    for part, data in parts:
        if part.ref.section == _REVOCATION:
            _take(ledger, data, lambda data=data: _revocation(found, roots, data))
        elif part.ref.section == _DELEGATION:
            _take(ledger, data, lambda data=data: _delegation(found, roots, data))
        elif part.ref.section in (_ZONES, _CALENDAR):
            _take(ledger, data, lambda data=data: _named(found, data))
    return found


def _take(ledger: Ledger, data: bytes, read: Any) -> None:  # noqa: ANN401
    try:
        read()
    except (orders_authority.AuthorityError, ValueError) as error:
        word = str(error.args[0]) if error.args else "BAD_ENCODING"
        if word == _UNKNOWN:
            text = "A document of authority is by a root that the trust file does not name."
            ledger.find(Code.AUTHORITY_UNTRUSTED, Weight.UNVERIFIABLE, text)
        else:
            text = f"A document of authority ({len(data)} bytes) does not hold: {word}."
            ledger.find(Code.AUTHORITY_BROKEN, Weight.CONTRADICTION, text)


def _fields(kind: str, data: bytes) -> Any:  # noqa: ANN401
    payload = cose_sign.read_sign1(data)[2] if kind == "revocation" else cose_sign.read_sign(data)[0]
    return orders_payload.read_document(kind, payload)


def _version(data: bytes) -> int:
    try:
        return int(_fields("authority", data)[3])
    except ValueError:
        return 0


def _known(roots: Mapping[str, Any], issuer: str) -> Any:  # noqa: ANN401
    if issuer not in roots:
        raise orders_authority.AuthorityError(_UNKNOWN)
    return roots[issuer]


def _snapshot(found: Authority, roots: dict[str, Any], data: bytes) -> None:
    fields = _fields("authority", data)
    roots[fields[2]] = orders_authority.read_snapshot(data, _known(roots, fields[2]), check_signature)
    _revoke(found, fields[2], fields[8], fields[4])
    if fields[2] == orders_authority.PLATFORM:
        found.snapshots[fields[3]] = fields


def _named(found: Authority, data: bytes) -> None:
    digest = hashlib.sha256(data).digest()
    if not any(
        entry and entry[-1] == digest for at in found.snapshots.values() for entry in (at[10], at[11])
    ):
        raise orders_authority.AuthorityError("no snapshot here names this zone set or these hours")
    found.named.add(digest)


def _revocation(found: Authority, roots: dict[str, Any], data: bytes) -> None:
    fields = _fields("revocation", data)
    orders_authority.read_revocation(data, _known(roots, fields[2]), check_signature)
    _revoke(found, fields[2], fields[5], fields[4])


def _delegation(found: Authority, roots: dict[str, Any], data: bytes) -> None:
    delegation = orders_authority.read_delegation(data, roots, check_signature)
    found.delegations[delegation.digest] = delegation


def _revoke(found: Authority, issuer: str, entries: list[bytes | str], issued_s: int) -> None:
    for entry in entries:
        key = (issuer, entry)
        found.revoked_s[key] = min(issued_s, found.revoked_s.get(key, issued_s))
