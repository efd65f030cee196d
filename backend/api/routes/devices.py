"""The registry of boxes: list, one box with its keys and certificates, revoke."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.api.deps import (
    CurrentCaller,
    CurrentServices,
    NowUs,
    OwnDevice,
    ReadSession,
    WriteSession,
    allow,
)
from backend.api.paging import Page, Paging
from backend.api.problems import from_refusal
from backend.api.schemas import EXAMPLE_DEVICE, EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.device_life import DeviceStatus
from backend.domain.refusal import Refusal
from backend.store.certificates import Certificate, list_certificates
from backend.store.devices import Device, DeviceKey, list_device_keys, list_devices
from backend.usecases.revoke_device import revoke_device
from backend.usecases.tell_broker import try_to_tell_broker

router = APIRouter(tags=["devices"])

_SCOPE = "devices"
_EXAMPLE: dict[str, JsonValue] = {
    "device": EXAMPLE_DEVICE,
    "label": "TB-000123",
    "status": "enrolled",
    "created_at": EXAMPLE_TIME,
    "revoked_at": None,
}


class DeviceOut(BaseModel):
    """One box."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    device: str = Field(description="Device id: thumbprint of its first agent key, 64 hex digits.")
    label: str | None = Field(description="What is printed on the box.")
    status: DeviceStatus = Field(description="Where it is in its life.")
    created_at: UtcTime
    revoked_at: datetime | None = Field(description="When it was revoked.")

    @classmethod
    def of(cls, row: Device) -> Self:
        """Show a row."""
        return cls(
            device=row.device_id,
            label=row.label,
            status=DeviceStatus(row.status),
            created_at=to_datetime(row.created_us),
            revoked_at=optional_time(row.revoked_us),
        )


class KeyOut(BaseModel):
    """One signing key of a box."""

    kid: str = Field(description="Its RFC 9679 thumbprint, 64 hex digits.")
    role: str = Field(description="`d2`: the agent's key. `d1`: the MCU's.")
    cose_key: str = Field(description="The public key as COSE_Key, hex: for a verifier's trust file.")
    valid_from: UtcTime
    valid_to: datetime | None = Field(description="When it ended; null while it is in force.")

    @classmethod
    def of(cls, row: DeviceKey) -> Self:
        """Show a row."""
        return cls(
            kid=row.kid,
            role=row.role,
            cose_key=row.cose_key.hex(),
            valid_from=to_datetime(row.valid_from_us),
            valid_to=optional_time(row.valid_to_us),
        )


class CertificateOut(BaseModel):
    """One TLS certificate of a box."""

    serial: str = Field(description="Serial number, hex.")
    not_before: UtcTime
    not_after: UtcTime
    revoked_at: datetime | None = Field(description="When it was revoked.")

    @classmethod
    def of(cls, row: Certificate) -> Self:
        """Show a row."""
        return cls(
            serial=row.serial,
            not_before=to_datetime(row.not_before_us),
            not_after=to_datetime(row.not_after_us),
            revoked_at=optional_time(row.revoked_us),
        )


class DeviceDetailOut(DeviceOut):
    """One box with its keys, and the certificates that have been issued to it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _EXAMPLE
                | {
                    "keys": [
                        {
                            "kid": EXAMPLE_DEVICE,
                            "role": "d2",
                            "cose_key": "a401022001215820" + "00" * 32 + "225820" + "00" * 32,
                            "valid_from": EXAMPLE_TIME,
                            "valid_to": None,
                        }
                    ],
                    "certificates": [
                        {
                            "serial": "0123456789abcdef",
                            "not_before": EXAMPLE_TIME,
                            "not_after": EXAMPLE_TIME,
                            "revoked_at": None,
                        }
                    ],
                }
            ]
        }
    )

    keys: list[KeyOut] = Field(description="Its signing keys, oldest first.")
    certificates: list[CertificateOut] = Field(description="Its TLS certificates, newest first.")


@router.get("/devices", summary="List boxes", dependencies=[allow(Permission.DEVICE_READ)])
def read_devices(caller: CurrentCaller, session: ReadSession, paging: Paging) -> Page[DeviceOut]:
    """Return the organisation's boxes in the order of their ids, revoked ones too."""
    rows = list_devices(
        session, org_id=caller.org_id, after=paging.after_text(_SCOPE), limit=paging.limit + 1
    )
    return paging.page(rows, scope=_SCOPE, key=lambda row: [row.device_id], show=DeviceOut.of)


@router.get("/devices/{device_id}", summary="Show a box", dependencies=[allow(Permission.DEVICE_READ)])
def read_device(device: OwnDevice, session: ReadSession) -> DeviceDetailOut:
    """Return one box with its keys and certificates."""
    keys = list_device_keys(session, org_id=device.org_id, device_id=device.device_id)
    certificates = list_certificates(session, org_id=device.org_id, device_id=device.device_id)
    return DeviceDetailOut(
        **DeviceOut.of(device).model_dump(),
        keys=[KeyOut.of(row) for row in keys],
        certificates=[CertificateOut.of(row) for row in certificates],
    )


@router.post(
    "/devices/{device_id}/revoke", summary="Revoke a box", dependencies=[allow(Permission.DEVICE_REVOKE)]
)
def end_device(
    device: OwnDevice, session: WriteSession, now_us: NowUs, services: CurrentServices
) -> DeviceOut:
    """End a box's life in the registry: its keys, its certificates, its right to renew. There is no way back.

    What it signed before stays stored and provable. Asking again changes nothing.
    """
    outcome = revoke_device(session, org_id=device.org_id, device_id=device.device_id, now_us=now_us)
    if isinstance(outcome, Refusal):
        raise from_refusal(outcome)
    try_to_tell_broker(
        services.database,
        folder=services.settings.broker_path,
        issuer=services.identity.issuer,
        now_us=now_us,
    )
    return DeviceOut.of(outcome)
