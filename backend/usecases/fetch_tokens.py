"""Go tokens are fetched for cars that wait armed, and the gate is told what cars have said.

Rules (C-15; README §1.15, §1.20):
- A token is asked for while the order is open, and sent only if it still is when the answer comes: an UNLOCK
  in between wins. It is entered in the log before it leaves.
- The gate gets the car's place as a cell of a tenth of a degree, about 11 km: enough for a forecast of the
  air and for nothing else. It is made of the latest position that the box's signed policy let it send; a box
  that may send in/out or nothing has none. A fix older than PLACE_AGE_S_MAX is none either, as for zones.
  Without a place the token carries no forecast; then the car's own ambient signal has to agree, or the car
  does not lock. The cell is nowhere stored or logged.

Example:
    >>> fetch_tokens(database, gate, counts, now_us=utc_us(), between=lambda: None)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from backend import ledger
from backend.domain.batch_time import TimeSource
from backend.domain.order_flow import ask_again_after_s
from backend.ledger.log import LedgerError
from backend.store.contention import in_transaction
from backend.store.dispositions import list_untold
from backend.store.latest import load_fix
from backend.store.mcus import find_mcu_by_id, locate_mcu
from backend.store.order_outbox import GoQuestion, list_due_go
from backend.store.orders import locate_order_by_hash
from backend.usecases.gate_port import GateAwayError, GateSaid, GateUnreadableError
from backend.usecases.go_requests import is_go_open, send_token
from protocol.limits import ORDERS_DRIVEN_MAX, PLACE_AGE_S_MAX

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from sqlmodel import Session

    from backend.store.database import Database
    from backend.usecases.gate_port import Gate

LOG = logging.getLogger(__name__)

_SECOND_US: Final = 1_000_000
_CELL_E7: Final = 1_000_000  # a tenth of a degree


def fetch_tokens(
    database: Database, gate: Gate, counts: Counter[str], *, now_us: int, between: Callable[[], None]
) -> None:
    """Ask the gate for the go tokens that are due; count what it said.

    Args:
        database: Where the questions are.
        gate: Whom to ask.
        counts: What was done, by name.
        now_us: UTC in µs.
        between: Called before each question: the gate's answer may take long, and releases go first.
    """
    with database.reading() as session:
        asked = list_due_go(session, now_us=now_us, limit=ORDERS_DRIVEN_MAX)
        open_now = [item for item in asked if _is_open(session, item)]
        places = {item.item_no: coarse_place(session, item, now_us=now_us) for item in open_now}
    for item in asked:
        between()
        said = None
        if item in open_now:
            try:
                said = gate.go(go_request=item.document, place=places[item.item_no])
            except GateAwayError as away:
                counts["gate_away"] += 1
                LOG.warning("gate does not answer a go request cause=%s", away)
                _note_go(database, item, None, is_away=True, now_us=now_us)
                continue
        counts["go_dropped" if said is None else f"go_{said.verdict.lower()}"] += 1
        try:
            _note_go(database, item, said, is_away=False, now_us=now_us)
        except LedgerError as down:
            counts["ledger_away"] += 1
            LOG.warning("ledger does not take a go token cause=%s", type(down).__name__)
            _note_go(database, item, None, is_away=True, now_us=now_us)


def _note_go(
    database: Database, item: GoQuestion, said: GateSaid | None, *, is_away: bool, now_us: int
) -> None:
    """Keep the gate's answer and queue the token, if the order is still open: an UNLOCK may have come."""

    def note() -> None:
        locate_mcu(session, device_id=item.device_id, lock=True)
        row = session.get(GoQuestion, item.item_no)
        if row is None:
            return
        row.attempts += 1
        row.due_us = now_us + ask_again_after_s(row.attempts) * _SECOND_US if is_away else None
        if said is not None:
            row.verdict, row.token = said.verdict, said.token
            if said.token is not None and _is_open(session, row):
                entry = ledger.Entry(
                    leaf_type=ledger.LeafType.GO,
                    content=said.token,
                    org_id=row.org_id,
                    device_id=row.device_id,
                )
                ledger.append_all(session, [entry], at_us=now_us)
                send_token(session, row, now_us=now_us)
        session.add(row)
        session.flush()

    with database.writing() as session:
        in_transaction(session, note)


def tell_gate(database: Database, gate: Gate, counts: Counter[str]) -> None:
    """Tell the gate what cars said: it counts acceptances and locks."""
    with database.reading() as session:
        untold = list_untold(session, limit=ORDERS_DRIVEN_MAX)
        keys = {row.mcu_id: find_mcu_by_id(session, mcu_id=row.mcu_id) for row in untold}
    for row in untold:
        mcu = keys[row.mcu_id]
        if mcu is not None:
            try:
                gate.disposition(document=row.document, mcu_key=mcu.cose_key)
            except GateUnreadableError as refused:  # this one only: those behind it are told
                counts["gate_unreadable"] += 1
                LOG.warning("gate never takes this disposition hash=%s cause=%s", row.digest.hex(), refused)
            except GateAwayError as away:
                counts["gate_away"] += 1
                LOG.warning("gate does not take dispositions cause=%s", away)
                return
        with database.writing() as session, session.begin():
            row.is_told = True
            session.merge(row)
        counts["gate_told"] += 1


def coarse_place(session: Session, item: GoQuestion, *, now_us: int) -> tuple[int, int] | None:
    """Return the cell in which a car was last seen, tenths of a degree north and east; None when unknown."""
    found = load_fix(session, org_id=item.org_id, device_id=item.device_id)
    if found is None or found.fix.lat_e7 is None or found.fix.lon_e7 is None:
        return None
    is_fresh = 0 <= now_us - found.utc_us <= PLACE_AGE_S_MAX * _SECOND_US
    if not is_fresh or found.time_source is not TimeSource.DEVICE:
        return None
    return round(found.fix.lat_e7 / _CELL_E7), round(found.fix.lon_e7 / _CELL_E7)


def _is_open(session: Session, item: GoQuestion) -> bool:
    order = locate_order_by_hash(session, device_id=item.device_id, cmd_hash=item.cmd_hash)
    return order is not None and is_go_open(session, order)
