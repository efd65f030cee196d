"""The people and the car of the order vectors: roots, delegations, one bound device waiting for orders.

Rules: see `story`; nothing random, nothing from a clock. Every key is published (SPEC §14). The lender's root
is two of three keys, the platform's three of five. `DEVICE_STATE` is a JSON-ready description of the device's
side, so that any implementation can build it and try the vectors.

This module decides nothing: what a device answers stands in `orders_messages`.

Example:
    >>> len(documents()) > 10, len(DEVICE_STATE["heads"])
    (True, 3)
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache

from protocol import strict_cbor
from protocol.envelope import Kind
from protocol.ids import cose_key_bytes
from protocol.orders import (
    OrderSigner,
    OrderType,
    Role,
    SignKind,
    sign_document,
    sign_with_root,
)
from protocol.vectors.keys import published_signer
from protocol.vectors.story import NOON_US, fixed_bytes

NOW_S = NOON_US // 1_000_000
DAY_S = 86_400
LENDER_ID = fixed_bytes("lender", 8)
OTHER_LENDER_ID = fixed_bytes("other lender", 8)
LENDER = f"lender:{LENDER_ID.hex()}"
OTHER_LENDER = f"lender:{OTHER_LENDER_ID.hex()}"
PLATFORM = "platform"
MCU = published_signer("mcu-1")
EPOCH, CHALLENGE = fixed_bytes("epoch"), fixed_bytes("challenge")
VIN_BIND, CONTRACT = fixed_bytes("vin bind", 32), fixed_bytes("contract", 32)
PREV = fixed_bytes("last accepted order", 32)
JURISDICTION = "US-CA"
TICK_S, CHALLENGE_TICK_S = 50_000, 49_000

PLATFORM_ROOT = tuple(f"platform-root-{number}" for number in range(1, 6))
LENDER_ROOT = tuple(f"lender-root-{number}" for number in range(1, 4))
OTHER_ROOT = ("other-root-1",)
LOG_REF = ("log.example/tbox", 41, 42, fixed_bytes("log root", 32))
ATTESTATION = (7, (1, 2, 3), 5)

_LENDER_TYPES = (
    *(OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL, OrderType.WARN),
    *(OrderType.QUERY, OrderType.DECOMMISSION, OrderType.TRACE),
)
_GATE_TYPES = (
    *(OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL, OrderType.WARN),
    *(OrderType.QUERY, OrderType.DECOMMISSION, OrderType.BIND, OrderType.BENCH),
)
_RELEASING_TYPES = (OrderType.UNLOCK, OrderType.CANCEL, OrderType.QUERY)
_INSTALLER_TYPES = (OrderType.QUERY, OrderType.BIND, OrderType.BENCH)


def cohort(lender_id: bytes) -> bytes:
    """Return the cohort of a lender's cars."""
    return hashlib.sha256(b"tbox/cohort/1" + lender_id).digest()


def claims(
    name: str,
    role: Role,
    types: Iterable[OrderType],
    *,
    person: str | None = None,
    issuer: str | None = None,
    nbf_s: int = NOW_S - DAY_S,
    exp_s: int = NOW_S + 20 * DAY_S,
) -> dict[int, object]:
    """Return the claims of a delegation for a published key."""
    lenders = role in (Role.MAKER, Role.CHECKER)
    issuer = issuer or (LENDER if lenders else PLATFORM)
    key = strict_cbor.loads(cose_key_bytes(published_signer(name).public_key))
    return {
        1: issuer,
        2: person or f"person {name}",
        4: exp_s,
        5: nbf_s,
        7: fixed_bytes(f"serial {name} {int(role)} {nbf_s}", 8),
        8: {1: key},
        -65537: int(role),
        -65541: [int(order_type) for order_type in types],
        -65542: cohort(bytes.fromhex(issuer.partition(":")[2])) if lenders else None,
        -65543: 10,
    }


def by_roots(issuer: str, *names: str) -> list[OrderSigner]:
    """Return signers of root keys, by the names of published keys."""
    role = Role.PLATFORM_ROOT if issuer == PLATFORM else Role.LENDER_ROOT
    return [OrderSigner(signer=published_signer(name), role=role) for name in names]


def delegate(fields: Mapping[int, object]) -> bytes:
    """Return a delegation signed by exactly the threshold of its issuer's keys."""
    issuer = str(fields[1])
    names = {PLATFORM: PLATFORM_ROOT[:3], LENDER: LENDER_ROOT[:2], OTHER_LENDER: OTHER_ROOT}[issuer]
    return sign_with_root(SignKind.DELEGATION, fields, by_roots(issuer, *names))


def snapshot_fields(issuer: str, keys: Iterable[str], threshold: int) -> dict[int, object]:
    """Return the first snapshot of a root."""
    return {
        1: 1,
        2: issuer,
        3: 1,
        4: NOW_S - DAY_S,
        5: NOW_S + 7 * DAY_S,
        6: [cose_key_bytes(published_signer(name).public_key) for name in keys],
        7: threshold,
        8: [],
        9: cose_key_bytes(published_signer("online-1").public_key),
        10: [JURISDICTION, 7, fixed_bytes("pack", 32)] if issuer == PLATFORM else None,
        11: [3, fixed_bytes("zones", 32)] if issuer == PLATFORM else None,
        12: fixed_bytes(f"metadata {issuer}", 32),
        13: 0,
    }


ANCHORS: Mapping[str, tuple[tuple[str, ...], int]] = {
    PLATFORM: (PLATFORM_ROOT, 3),
    LENDER: (LENDER_ROOT, 2),
    OTHER_LENDER: (OTHER_ROOT, 1),
}
"""By issuer, the root keys a device is made with, and their threshold."""


@cache
def documents() -> Mapping[str, bytes]:
    """Return snapshots and delegations by name, each as it travels."""
    made = {}
    for issuer, (keys, threshold) in ANCHORS.items():
        fields = snapshot_fields(issuer, keys, threshold)
        name = {PLATFORM: "platform", LENDER: "lender", OTHER_LENDER: "other-lender"}[issuer]
        signers = by_roots(issuer, *keys[:threshold])
        made[f"authority/{name}"] = sign_with_root(SignKind.AUTHORITY, fields, signers)
    given = {
        "maker": claims("maker-1", Role.MAKER, _LENDER_TYPES),
        "checker": claims("checker-1", Role.CHECKER, _LENDER_TYPES),
        "gate": claims("gate-1", Role.GATE, _GATE_TYPES),
        "safety-officer": claims("safety-1", Role.SAFETY_OFFICER, _RELEASING_TYPES),
        "ombuds": claims("ombuds-1", Role.OMBUDS, _RELEASING_TYPES),
        "installer": claims("installer-1", Role.INSTALLER, _INSTALLER_TYPES),
        "maker-as-checker": claims("maker-1", Role.CHECKER, _LENDER_TYPES, person="another name"),
        "same-person": claims("checker-2", Role.CHECKER, _LENDER_TYPES, person="person maker-1"),
        "checker-unlock-only": claims("checker-1", Role.CHECKER, (OrderType.UNLOCK,)),
        "checker-over": claims(
            "checker-1", Role.CHECKER, _LENDER_TYPES, nbf_s=NOW_S - 20 * DAY_S, exp_s=NOW_S - DAY_S
        ),
        "checker-early": claims(
            "checker-1", Role.CHECKER, _LENDER_TYPES, nbf_s=NOW_S + DAY_S, exp_s=NOW_S + 20 * DAY_S
        ),
        "maker-of-other-lender": claims("maker-2", Role.MAKER, _LENDER_TYPES, issuer=OTHER_LENDER),
    }
    return made | {f"delegation/{name}": delegate(fields) for name, fields in given.items()}


def digest(name: str) -> bytes:
    """Return the name that signers give a delegation: SHA-256 of the whole message."""
    return hashlib.sha256(documents()[f"delegation/{name}"]).digest()


def signer(name: str, *, logged: bool = False) -> OrderSigner:
    """Return the holder of a delegation; `logged` puts the gate's place in the log into its header."""
    key, role = {
        "maker": ("maker-1", Role.MAKER),
        "checker": ("checker-1", Role.CHECKER),
        "gate": ("gate-1", Role.GATE),
        "safety-officer": ("safety-1", Role.SAFETY_OFFICER),
        "ombuds": ("ombuds-1", Role.OMBUDS),
        "installer": ("installer-1", Role.INSTALLER),
        "maker-as-checker": ("maker-1", Role.CHECKER),
        "same-person": ("checker-2", Role.CHECKER),
        "checker-unlock-only": ("checker-1", Role.CHECKER),
        "checker-over": ("checker-1", Role.CHECKER),
        "checker-early": ("checker-1", Role.CHECKER),
        "maker-of-other-lender": ("maker-2", Role.MAKER),
    }[name]
    return OrderSigner(
        signer=published_signer(key),
        role=role,
        delegation=digest(name),
        log_ref=LOG_REF if logged else None,
        attestation=(ATTESTATION[0], list(ATTESTATION[1]), ATTESTATION[2]) if logged else None,
    )


def revocation(number: int, *revoked: bytes | str) -> bytes:
    """Return an addition of the online key to the lender's revocations."""
    fields = {1: 1, 2: LENDER, 3: number, 4: NOW_S, 5: list(revoked)}
    return sign_document(Kind.REVOCATION, fields, published_signer("online-1"))


DEVICE_STATE: Mapping[str, object] = {
    "mode": 1,
    "lender_id": LENDER_ID.hex(),
    "vin_bind": VIN_BIND.hex(),
    "contract_ref": CONTRACT.hex(),
    "jur": JURISDICTION,
    "epoch": EPOCH.hex(),
    "heads": [10, 20, 30],
    "prev": PREV.hex(),
    "chal": CHALLENGE.hex(),
    "chal_tick": CHALLENGE_TICK_S,
    "tick": TICK_S,
    "earliest": NOW_S - 2,
    "latest": NOW_S + 2,
    "signatures_left": 16,
    "done": {},
    "missing": [],
}
"""The bound car: field of `orders_reader.Device` to value, bytes in hex; `missing` names documents it lacks,
`done` maps a cmd_id to the stored disposition."""
