"""The depot registers a label: which keys and which SIM are in the box that wears it.

Rules: a label is of one box for good; the same again changes nothing, a new SIM or test report of the same
box is taken over. What another box's label says is never changed by a second registration. A public key D1
that is sent is that of the microcontroller named.

Example:
    >>> register_label(session, caller=caller, asked=AskedLabel(...), now_us=utc_us())
"""

from dataclasses import dataclass

from sqlmodel import Session

from backend.domain.access import Caller
from backend.domain.refusal import Reason, Refusal
from backend.store.devices import locate_device
from backend.store.labels import Label, find_label, label_of_device
from protocol import cose_sign
from protocol.errors import ProtocolError
from protocol.label import read_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLabel:
    """What the depot says of a box."""

    label: str
    device_id: str
    mcu_id: str
    mcu_key: bytes | None
    iccid: str | None
    report_sha256: str


def register_label(session: Session, *, caller: Caller, asked: AskedLabel, now_us: int) -> Label | Refusal:
    """Store a label in the caller's transaction."""
    try:
        serial = read_serial(asked.label)
    except ProtocolError as wrong:
        return Refusal(reason=Reason.BAD_INSTALL, detail=wrong.detail)
    if asked.mcu_key is not None and cose_sign.thumbprint(asked.mcu_key).hex() != asked.mcu_id:
        return Refusal(reason=Reason.BAD_MCU, detail="mcu_id is not the thumbprint of mcu_key")
    device = locate_device(session, device_id=asked.device_id)
    if device is not None and device.org_id != caller.org_id:
        return Refusal(reason=Reason.DEVICE_ELSEWHERE, detail="another organisation has enrolled this box")
    label = find_label(session, org_id=caller.org_id, label=serial)
    worn = label_of_device(session, device_id=asked.device_id)
    if label is not None and (label.box, label.mcu_id) != (asked.device_id, asked.mcu_id):
        return Refusal(reason=Reason.LABEL_TAKEN, detail="print another label: this one is of another box")
    if worn is not None and (worn.org_id, worn.label) != (caller.org_id, serial):
        return Refusal(reason=Reason.LABEL_TAKEN, detail="the box wears another label")
    if label is None:
        label = Label(
            org_id=caller.org_id,
            label=serial,
            box=asked.device_id,
            mcu_id=asked.mcu_id,
            report_sha256=asked.report_sha256,
            created_us=now_us,
        )
    label.iccid, label.report_sha256 = asked.iccid, asked.report_sha256
    label.mcu_key = asked.mcu_key or label.mcu_key
    session.add(label)
    session.flush()
    return label
