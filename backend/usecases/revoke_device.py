"""An administrator revokes a box: its keys end, its certificates are revoked, it can never renew.

What it signed before stays stored and provable. Revoking twice changes nothing and says the same.

Example:
    >>> with database.writing() as session:
    ...     device = revoke_device(session, org_id=org, device_id=device, now_us=utc_us())
"""

from sqlmodel import Session

from backend.domain.device_life import DeviceEvent, DeviceStatus, next_status
from backend.domain.refusal import Reason, Refusal
from backend.store.certificates import list_certificates
from backend.store.devices import Device, find_device, list_device_keys


def revoke_device(session: Session, *, org_id: str, device_id: str, now_us: int) -> Device | Refusal:
    """End a box's life in the registry and commit it.

    Args:
        session: A writing session without an open transaction.
        org_id: Whose box it must be.
        device_id: Which box.
        now_us: When, µs UTC.
    """
    with session.begin():
        device = find_device(session, org_id=org_id, device_id=device_id)
        if device is None:
            return Refusal(reason=Reason.DEVICE_UNKNOWN, detail="no such box in this organisation")
        device.status = next_status(DeviceStatus(device.status), DeviceEvent.REVOKE)
        if device.revoked_us is None:
            device.revoked_us = now_us
            for key in list_device_keys(session, org_id=org_id, device_id=device_id):
                if key.valid_to_us is None or key.valid_to_us > now_us:
                    key.valid_to_us = now_us
            for certificate in list_certificates(session, org_id=org_id, device_id=device_id):
                if certificate.revoked_us is None:
                    certificate.revoked_us = now_us
    return device
