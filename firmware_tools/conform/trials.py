"""What the groups of `tbox conform` share: a result, the ways to compare, and orders for the device at hand.

Rules: a message that must be refused passes when the answer is one of those allowed *and* nothing that must
not move has moved: counter heads, last accepted order, state, coil.

Example:
    yield took("accepted", "UNLOCK", subject.present(releasing_order(subject, UNLOCK, "ombuds")), State.DONE)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_tools.conform.subject import ORDER, Answer, Subject
from protocol import cose_sign, strict_cbor
from protocol.orders import OrderSigner, OrderType, Role, State, sign_order
from protocol.vectors.orders_good import common, releasing, restricting
from protocol.vectors.orders_story import DAY_S, MCU, signer

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN: Final = {State.ACCEPTED_PENDING, State.WARNING, State.ARMED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table.

    Attributes: group, name, expected and got as a person reads them, passed.
    """

    group: str
    name: str
    expected: str
    got: str
    passed: bool


def fixed(subject: Subject) -> tuple[object, ...]:
    """Return what no refused message may move."""
    status = subject.status
    return (tuple(status[8]), status[9], status[5], status[6], status[16])


def must(subject: Subject, group: str, name: str, message: bytes, *allowed: str, kind: int = ORDER) -> Result:
    """Present a message that must be refused in one of some words."""
    before = fixed(subject)
    answer = subject.present(message, kind)
    subject.wait(1)
    moved = fixed(subject) != before
    got = f"{answer}{', and something moved' if moved else ''}"
    is_refused = answer.state in (None, State.REJECTED)
    return Result(
        group=group,
        name=name,
        expected=" or ".join(allowed),
        got=got,
        passed=answer.code in allowed and is_refused and not moved,
    )


def took(group: str, name: str, answer: Answer, *states: State) -> Result:
    """Judge a message that must be taken."""
    return Result(
        group=group,
        name=name,
        expected=" or ".join(f"{state.name} OK" for state in states),
        got=str(answer),
        passed=answer.code == "OK" and answer.state in states,
    )


def same(group: str, name: str, expected: object, got: object) -> Result:
    """Judge by equality."""
    return Result(group=group, name=name, expected=_word(expected), got=_word(got), passed=expected == got)


def _word(value: object) -> str:
    return value.name if isinstance(value, State) else str(value)


def yes(fact: object) -> str:
    """Return yes or no."""
    return "yes" if fact else "no"


def again(subject: Subject, name: str, message: bytes) -> Iterator[Result]:
    """Send a message again: its stored disposition comes, and nothing moves."""
    before = fixed(subject)
    answer = subject.present(message)
    subject.wait(2)
    said = [data for data, found in subject.heard.dispositions if found.cmd_id == _cmd_id(message)]
    is_stored = answer.message == said[0] or answer.code == "DUPLICATE"
    moved = fixed(subject) != before
    yield Result(
        group="replay",
        name=name,
        expected="the stored disposition",
        got=f"{answer}{', and something moved' if moved else ''}",
        passed=(is_stored or answer.message in said) and not moved,
    )


def _cmd_id(message: bytes) -> bytes:
    found: bytes = strict_cbor.loads(cose_sign.read_sign(message)[0])[2]
    return found


# --- Orders for the device at hand --------------------------------------------------------------------------


def by_mcu() -> OrderSigner:
    """Return D1 as a signer: the published test key."""
    return OrderSigner(signer=MCU, role=Role.MCU)


def common_fields(subject: Subject, order_type: OrderType) -> dict[int, object]:
    """Return what each order of the device at hand has: a fresh id, its epoch, the next counter, a date."""
    klass = {1: 0, 3: 0, 5: 0, 2: 1, 4: 1, 9: 1}.get(int(order_type), 2)
    return common(order_type, subject.status[8][klass] + 1) | {
        2: subject.fresh_id(),
        8: subject.status[3],
        10: subject.now_s - 600,
    }


def lock_order(subject: Subject, order_type: OrderType = OrderType.LOCK) -> bytes:
    """Return a LOCK that asks for no more than the device's floors."""
    chal, tick = subject.challenge()
    fields = restricting(order_type) | common_fields(subject, order_type)
    fields |= {11: subject.now_s - 300, 12: subject.now_s - 600 + DAY_S, 13: chal, 14: tick + DAY_S - 60}
    fields |= {19: {1: 0}, 20: {1: 0, 2: 1}, 21: subject.status[9]}
    return sign_order(fields, signer("maker"), signer("checker"), signer("gate", logged=True))


def releasing_order(subject: Subject, order_type: OrderType, *by: str) -> bytes:
    """Return a signed order of class B."""
    fields = releasing(order_type) | common_fields(subject, order_type)
    return sign_order(fields, *(signer(name) for name in by))
