"""The gate is brought every commissioning record, so that its own table of proved cars is fed.

Rules: the oldest first, each once it was taken; a gate that is away is asked again in the next round. One
that the gate reads and will never take (no relay proof, a demonstration's image) is not brought twice: the
backend's own probation has failed for it too, or its settings differ from the gate's, which the log says.

Example:
    >>> tell_commissionings(database, gate, counts, now_us=utc_us())
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from backend.store.devices import list_device_keys
from backend.store.install_records import InstallRecord, records_to_tell
from backend.usecases.gate_port import GateAwayError, GateUnreadableError, ShownRecord
from backend.usecases.installer_keys import find_installer
from protocol.install_record import decode_record, record_payload
from protocol.limits import ORDERS_DRIVEN_MAX

if TYPE_CHECKING:
    from collections import Counter

    from sqlmodel import Session

    from backend.store.database import Database
    from backend.usecases.gate_port import Gate

LOG = logging.getLogger(__name__)

_SECOND_US = 1_000_000


def tell_commissionings(database: Database, gate: Gate, counts: Counter[str], *, now_us: int) -> None:
    """Bring the gate what it has not been told."""
    with database.reading() as session:
        shown = [
            (row.sha256, _shown(session, row)) for row in records_to_tell(session, limit=ORDERS_DRIVEN_MAX)
        ]
    for sha256, record in shown:
        try:
            if record is None:
                counts["commissioning_refused"] += 1
                LOG.warning("a record's keys are not known any more sha256=%s", sha256)
            else:
                gate.commissioned(record)
                counts["commissioning_told"] += 1
        except GateUnreadableError as refused:
            counts["commissioning_refused"] += 1
            LOG.warning("gate never takes this record sha256=%s cause=%s", sha256, refused)
        except GateAwayError as away:
            counts["gate_away"] += 1
            LOG.warning("gate does not take records cause=%s", away)
            return
        with database.writing() as session, session.begin():
            row = session.get(InstallRecord, sha256)
            assert row is not None, "records are kept"
            row.told_gate_us = now_us
            session.add(row)


def _shown(session: Session, row: InstallRecord) -> ShownRecord | None:
    """Return a record with the keys it is verified by, None when one is not known any more."""
    record = decode_record(record_payload(row.record))
    keys = list_device_keys(session, org_id=row.org_id, device_id=row.device_id)
    box_key = next((key.cose_key for key in keys if key.kid == record.box_kid.hex()), None)
    # A record that came late was signed while the delegation was in force: it is asked for that time first.
    times_s = (record.ended_s, record.began_s, row.at_us // _SECOND_US)
    found = (
        find_installer(session, org_id=row.org_id, kid=record.installer, now_s=at_s)
        for at_s in times_s
        if at_s is not None
    )
    installer = next((item for item in found if item is not None), None)
    if box_key is None or installer is None:
        return None
    return ShownRecord(
        record=row.record,
        attestation=row.attestation,
        mcu_key=row.mcu_key,
        box_key=box_key,
        delegation=installer.delegation,
    )
