"""What goes into delegations, snapshots and revocations, made from what officers say.

Rules (§4.1, README §2.2): a delegation binds one key to one person, one role and some types for at most 30
days; one ceremony makes up to three that follow one another without a gap. A person is named by a number of
the lender's, never by a name. Types default to all that the role may sign, less than that can be asked for.

Example:
    >>> payloads = delegation_payloads(ask)   # one to three
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.lender.errors import WrongUsageError
from backend.lender.limits import DELEGATION_DAYS_MAX, DELEGATIONS_MAX, ROOT_YEARS_MAX
from backend.lender.roots import Anchor
from protocol import orders_authority, strict_cbor
from protocol.ids import cose_key_bytes
from protocol.orders import OrderType, Role, SignKind, encode_document
from protocol.orders_vocabulary import ROLE_TYPES, ROOT_OF

_DAY_S = 86_400
_YEAR_S = 366 * _DAY_S
_SERIAL_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationAsk:
    """What a ceremony is asked to delegate.

    Attributes:
        issuer: whose root.
        person: a number or code of the person, 1 to 32 bytes.
        role: maker to installer.
        key: the person's key.
        begin_s: POSIX seconds at which the first begins.
        days: life of each, at most 30.
        count: how many follow one another.
        per_day: orders a day, counted by the gate.
        types: what it may sign; empty for all of the role.
    """

    issuer: str
    person: str
    role: Role
    key: EllipticCurvePublicKey
    begin_s: int
    days: int
    count: int = 1
    per_day: int = 10
    types: Sequence[OrderType] = ()


def delegation_payloads(ask: DelegationAsk) -> tuple[bytes, ...]:
    """Return the payloads of consecutive delegations.

    Raises:
        WrongUsageError: what is asked is beyond the rules; nothing is drafted that a car would refuse.
    """
    if not 1 <= ask.count <= DELEGATIONS_MAX or not 1 <= ask.days <= DELEGATION_DAYS_MAX:
        raise WrongUsageError(
            f"one ceremony makes 1 to {DELEGATIONS_MAX} delegations of 1 to {DELEGATION_DAYS_MAX} days each"
        )
    if ask.role not in ROOT_OF or ROOT_OF[ask.role] != orders_authority.root_role(ask.issuer):
        raise WrongUsageError(
            f"the root of {ask.issuer} cannot make a {ask.role.name.lower().replace('_', ' ')}",
            next_step="makers and checkers have their lender's root, all others the platform's",
        )
    types = sorted(map(int, ask.types or ROLE_TYPES[ask.role]))
    foreign = [OrderType(one).name for one in types if one not in ROLE_TYPES[ask.role]]
    if foreign:
        raise WrongUsageError(f"a {ask.role.name.lower()} never signs {', '.join(foreign)}")
    return tuple(_delegation(ask, types, number) for number in range(ask.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAsk:
    """What a snapshot of a root says.

    Attributes:
        anchor: keys and threshold from now on.
        number: higher than the snapshot in force.
        issued_s, expires_s: POSIX seconds.
        revoked: kids (bytes) and persons (text).
        online: the key that may add revocations, or None.
        taken_in: number of the online key's last addition that `revoked` includes.
        pack: jurisdiction, version and hash of the pack in force; the platform's only.
        zones: version and hash of the zone set; the platform's only.
        metadata: hash of the full metadata, 32 bytes.
    """

    anchor: Anchor
    number: int
    issued_s: int
    expires_s: int
    revoked: tuple[bytes | str, ...] = ()
    online: EllipticCurvePublicKey | None = None
    taken_in: int = 0
    pack: tuple[str, int, bytes] | None = None
    zones: tuple[int, bytes] | None = None
    metadata: bytes = bytes(32)


def snapshot_payload(ask: SnapshotAsk) -> bytes:
    """Return the payload of a snapshot.

    Raises:
        WrongUsageError: dates or members beyond the rules.
    """
    if not 0 < ask.expires_s - ask.issued_s <= ROOT_YEARS_MAX * _YEAR_S:
        raise WrongUsageError(f"a snapshot is in force for at most {ROOT_YEARS_MAX} years")
    fields: dict[int, object] = {
        1: 1,
        2: ask.anchor.issuer,
        3: ask.number,
        4: ask.issued_s,
        5: ask.expires_s,
        6: list(ask.anchor.keys),
        7: ask.anchor.threshold,
        8: list(ask.revoked),
        9: None if ask.online is None else cose_key_bytes(ask.online),
        10: None if ask.pack is None else list(ask.pack),
        11: None if ask.zones is None else list(ask.zones),
        12: ask.metadata,
        13: ask.taken_in,
    }
    return _encoded(SignKind.AUTHORITY.value, fields)


def revocation_fields(
    issuer: str, number: int, issued_s: int, revoked: Iterable[bytes | str]
) -> dict[int, object]:
    """Return the fields of an addition of revocations by the online key.

    Raises:
        WrongUsageError: not of their form, or nothing to revoke.
    """
    fields: dict[int, object] = {1: 1, 2: issuer, 3: number, 4: issued_s, 5: list(revoked)}
    if not fields[5]:
        raise WrongUsageError("name a person or a kid to revoke")
    _encoded("revocation", fields)
    return fields


def _delegation(ask: DelegationAsk, types: list[int], number: int) -> bytes:
    begin_s = ask.begin_s + number * ask.days * _DAY_S
    is_lender = ROOT_OF[ask.role] == Role.LENDER_ROOT
    lender_id = bytes.fromhex(ask.issuer.partition(":")[2])
    claims: dict[int, object] = {
        1: ask.issuer,
        2: ask.person,
        4: begin_s + ask.days * _DAY_S,
        5: begin_s,
        7: secrets.token_bytes(_SERIAL_BYTES),
        8: {1: strict_cbor.loads(cose_key_bytes(ask.key))},
        -65537: int(ask.role),
        -65541: types,
        -65542: orders_authority.lender_cohort(lender_id) if is_lender else None,
        -65543: ask.per_day,
    }
    return _encoded(SignKind.DELEGATION.value, claims)


def _encoded(kind: str, fields: dict[int, object]) -> bytes:
    try:
        return encode_document(kind, fields)
    except ValueError as wrong:
        raise WrongUsageError(f"this is no {kind}: {wrong}") from wrong
