"""What is due goes down to boxes: releases first; an order again until its car has answered.

Rules (README §1.8, §2.11):
- Intent first: that an order may have left is committed before it is published. So a crash in between sends
  nothing and says SENT; the next round sends it.
- A restrictive order is not sent while the kill switch is on, nor when its life is over. A release is never
  looked at: not by a clock, not by a switch.
- A message that the line did not take is due again at once.

Example:
    >>> dispatch_orders(database, link.publish, now_us=utc_us())
    Counter({'sent_order': 1})
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from backend.domain.order_flow import Stage, Step, is_restrictive, may, resend_after_s
from backend.store.contention import in_transaction
from backend.store.mcus import locate_mcu
from backend.store.order_outbox import Outgoing, claim_due, is_killed, put_off
from backend.store.orders import locate_order
from backend.usecases.order_steps import take_step
from protocol.ids import DeviceId
from protocol.limits import ORDERS_SENT_MAX
from protocol.topics import Down, down_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlmodel import Session

    from backend.store.database import Database

_SECOND_US: Final = 1_000_000
_KILLED_AGAIN_US: Final = 10 * _SECOND_US  # how soon after the switch is off an order that waits goes on


def dispatch_orders(
    database: Database, publish: Callable[[str, bytes], bool], *, now_us: int
) -> Counter[str]:
    """Publish what is due; return how many of what.

    Args:
        database: Where it waits.
        publish: Topic and payload to the line; False when the line did not take it.
        now_us: UTC in µs.

    Raises:
        OperationalError: The database does not answer; nothing was published.
    """
    counts: Counter[str] = Counter()
    with database.writing() as session:
        leaving = in_transaction(session, lambda: _claim(session, counts, now_us=now_us))
        stuck = []
        for item_no, topic, payload, name in leaving:
            if publish(topic, payload):
                counts[name] += 1
            else:
                stuck.append(item_no)
        if stuck:
            counts["unsent"] += len(stuck)
            in_transaction(session, lambda: put_off(session, item_nos=stuck, due_us=now_us + _SECOND_US))
    return counts


def _claim(session: Session, counts: Counter[str], *, now_us: int) -> list[tuple[int, str, bytes, str]]:
    """Decide on what is due; return number, topic, payload and counter of what is to be published."""
    counts.clear()
    leaving = []
    for item in claim_due(session, now_us=now_us, limit=ORDERS_SENT_MAX):
        if item.sends_max and item.sends >= item.sends_max:
            session.delete(item)
            continue
        if item.kind == Down.ORDER and not _may_leave(session, item, counts, now_us=now_us):
            continue
        if item.kind == Down.GO and is_killed(session, org_id=item.org_id):
            counts["go_killed"] += 1
            session.delete(item)
            continue
        item.sends += 1
        item.due_us = now_us + resend_after_s(item.sends) * _SECOND_US
        session.add(item)
        assert item.item_no is not None, "a row that was read has its number"
        kind = Down(item.kind)
        topic = down_topic(DeviceId(item.device_id), kind)
        leaving.append((item.item_no, topic, item.payload, f"sent_{kind.value}"))
    session.flush()
    return leaving


def _may_leave(session: Session, item: Outgoing, counts: Counter[str], *, now_us: int) -> bool:
    """Take the step to SENT, unless the order may not leave now or no longer."""
    locate_mcu(session, device_id=item.device_id, lock=True)
    order = locate_order(session, cmd_id=item.subject)
    if order is None or not may(Stage(order.stage), Step.SENT):
        session.delete(item)
        return False
    if is_restrictive(order.type):
        if order.expires_us is not None and order.expires_us <= now_us:
            session.delete(item)
            return False
        if is_killed(session, org_id=order.org_id):
            counts["order_killed"] += 1
            item.due_us = now_us + _KILLED_AGAIN_US
            session.add(item)
            return False
    order.sends += 1
    take_step(session, order, Step.SENT, why="published to the broker", now_us=now_us)
    return True
