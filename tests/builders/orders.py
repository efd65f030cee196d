"""A device that waits for orders, built from the story of the order vectors; for CPython tests."""

import contextlib
from collections.abc import Mapping
from typing import Any

from protocol import cose_sign, orders_authority, orders_reader
from protocol.ids import cose_key_bytes
from protocol.orders import check_signature
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import CHAL2, CHAL2_TICK_S, lock_hash
from protocol.vectors.orders_story import ANCHORS, DEVICE_STATE, MCU, documents

_HEX = ("lender_id", "vin_bind", "contract_ref", "epoch", "prev", "chal")


def anchor(issuer: str) -> Any:
    """Return a root as a device is made with it, before any snapshot."""
    names, threshold = ANCHORS[issuer]
    keys = [cose_key_bytes(published_signer(name).public_key) for name in names]
    return orders_authority.Root(issuer, keys, threshold)


def roots(missing: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the roots with their snapshots."""
    found = {}
    for issuer, name in zip(ANCHORS, ("platform", "lender", "other-lender"), strict=True):
        found[issuer] = anchor(issuer)
        if f"authority/{name}" not in missing:
            data = documents()[f"authority/{name}"]
            found[issuer] = orders_authority.read_snapshot(data, found[issuer], check_signature)
    return found


def device(changes: Mapping[str, Any] | None = None) -> Any:
    """Return the bound car of the story, with the changes of a vector."""
    fields = {**DEVICE_STATE, **(changes or {})}
    missing, revocations = tuple(fields.pop("missing")), fields.pop("revocations", ())
    made = orders_reader.Device(MCU.kid, cose_sign.key_xy(cose_key_bytes(MCU.public_key)))
    for name, value in fields.items():
        setattr(made, name, bytes.fromhex(value) if name in _HEX and value is not None else value)
    made.heads = list(made.heads)
    made.done = {bytes.fromhex(key): value for key, value in made.done.items()}
    made.roots = roots(missing)
    for name, data in documents().items():
        if name.startswith("delegation/") and name not in missing:
            delegation = orders_authority.read_delegation(data, made.roots, check_signature)
            made.delegations[delegation.digest] = delegation
    for data in revocations:
        for root in made.roots.values():
            with contextlib.suppress(orders_authority.AuthorityError):  # another root's
                orders_authority.read_revocation(bytes.fromhex(data), root, check_signature)
    return made


def answer(message: bytes, at: Any) -> tuple[str, str]:
    """Return outcome and code of an order; the signatures checked are given back."""
    left = at.signatures_left
    read = orders_reader.read_order(message, at, check_signature)
    at.signatures_left = left
    return read.outcome, read.code


def go_answer(message: bytes, at: Any) -> tuple[str, str]:
    """Return outcome and code of a go token for the good LOCK."""
    code, token = orders_reader.read_go(message, at, lock_hash(), CHAL2, CHAL2_TICK_S, check_signature)
    return "LINK" if token is None else "GO", code


def accept(read: Any, at: Any) -> None:
    """Do to a device what acceptance stores."""
    at.heads = orders_reader.heads_after(read.order, at)
    at.prev = read.cmd_hash
    at.done[read.order[2]] = "stored"
    if read.order.get(13) is not None:
        at.chal = None
