"""Who may sign batches: the boxes named by a group of messages, with their agent keys in force.

One query for a whole group, across organisations: a topic names a box, and the owner is learnt here. Never
for a caller's query. Columns are read, not objects, since a busy bridge asks many times a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlmodel import col, or_, select

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
    boxes = session.exec(
        select(Device.device_id, Device.org_id, Device.revoked_us).where(col(Device.device_id).in_(wanted))
    )
    signers = {
        device_id: Signers(org_id=org_id, is_revoked=revoked_us is not None)
        for device_id, org_id, revoked_us in boxes
    }
    keys = session.exec(
        select(DeviceKey.device_id, DeviceKey.kid, DeviceKey.cose_key).where(
            col(DeviceKey.device_id).in_(wanted),
            DeviceKey.role == AGENT_ROLE,
            DeviceKey.valid_from_us <= now_us,
            or_(col(DeviceKey.valid_to_us).is_(None), col(DeviceKey.valid_to_us) > now_us),
        )
    )
    for device_id, kid, cose_key in keys:
        signers[device_id].keys[bytes.fromhex(kid)] = cose_key
    return signers
