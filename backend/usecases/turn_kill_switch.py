"""An organisation stops all its restrictive orders with one word, and lets them go on with another.

Rules: while it is on, no restrictive order is taken, approved or sent, and no go token is fetched. Releases
do not look at it. Each turn is kept and entered in the log. What a car has accepted runs on: it has its own
ends, and an UNLOCK.

Example:
    >>> turn_kill_switch(session, caller=caller, is_on=True, reason="list imported twice", now_us=utc_us())
"""

from sqlmodel import Session

from backend import ledger
from backend.domain.access import Caller
from backend.store.order_outbox import KillSwitch, kill_switch_of
from protocol import strict_cbor


def turn_kill_switch(
    session: Session, *, caller: Caller, is_on: bool, reason: str, now_us: int
) -> KillSwitch:
    """Turn it, in the caller's transaction; turning it to where it stands changes nothing."""
    now = kill_switch_of(session, org_id=caller.org_id)
    if now is not None and now.is_on == is_on:
        return now
    turn = KillSwitch(org_id=caller.org_id, is_on=is_on, reason=reason, key_id=caller.key_id, at_us=now_us)
    session.add(turn)
    session.flush()
    content = strict_cbor.dumps({1: 1, 2: caller.org_id, 3: is_on, 4: reason, 5: caller.key_id, 6: now_us})
    entry = ledger.Entry(leaf_type=ledger.LeafType.KILL_SWITCH, content=bytes(content), org_id=caller.org_id)
    if is_on:
        ledger.append_or_queue(session, entry, at_us=now_us)
    else:  # letting restrictive orders go on is itself a restrictive step: log before act
        ledger.append_all(session, [entry], at_us=now_us)
    return turn
