"""Who may sign batches: the boxes named by a group of messages, with their agent keys in force.

One query for a whole group, across organisations: a topic names a box, and the owner is learnt here. Never
for a caller's query.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlmodel import col, select

from backend.store.devices import Device, DeviceKey

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlmodel import Session

AGENT_ROLE = "d2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """One box as the bridge needs it.

    Attributes:
        org_id: whose it is.
        is_revoked: whether it has been revoked.
        keys: COSE keys by kid, those in force now.
    """

    org_id: str
    is_revoked: bool
    keys: dict[bytes, bytes] = field(default_factory=dict)


def load_signers(session: Session, *, device_ids: Collection[str], now_us: int) -> dict[str, Signers]:
    """Return the known ones of the boxes named, with the agent keys valid at `now_us`."""
    if not device_ids:
        return {}
    wanted = list(device_ids)
    boxes = session.exec(select(Device).where(col(Device.device_id).in_(wanted)))
    signers = {
        box.device_id: Signers(org_id=box.org_id, is_revoked=box.revoked_us is not None) for box in boxes
    }
    keys = session.exec(
        select(DeviceKey).where(col(DeviceKey.device_id).in_(wanted), DeviceKey.role == AGENT_ROLE)
    )
    for key in keys:
        if key.is_in_force(now_us):
            signers[key.device_id].keys[bytes.fromhex(key.kid)] = key.cose_key
    return signers
