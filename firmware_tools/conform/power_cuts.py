"""Power cuts at drawn moments of what a device does most: whatever it was doing, it is whole afterwards.

Rules: before each cut something is sent that the device writes down; the cut comes at a drawn moment of the
next seconds, often within a write where the bench can do that. Afterwards the epoch is the same, no counter
went back, nothing is locked, the car starts, and the message, sent again, gets its stored answer or its
first. That the chain of dispositions has no gap is judged at the end of all groups.

Example:
    for result in cut(subject, bench, count=12, seed=1):
        print(result)
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from firmware_tools.conform.in_car import starts
from firmware_tools.conform.subject import ORDER
from firmware_tools.conform.trials import (
    Result,
    common_fields,
    lock_order,
    releasing_order,
    same,
    yes,
)
from protocol.orders import OrderType, State, sign_order
from protocol.vectors.orders_good import administering
from protocol.vectors.orders_story import signer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_tools.conform.line import Bench
    from firmware_tools.conform.subject import Answer, Subject

AFTER_MS: Final = 6_000  # a small board reads an order for so long
OFF_S: Final = (1, 5, 60, 3_600)
STARTS_S: Final = 20  # of the device: until it speaks again


def cut(subject: Subject, bench: Bench, count: int, seed: int) -> Iterator[Result]:
    """Cut the power `count` times; yield what was found after each."""
    draw = random.Random(seed)  # noqa: S311 - moments that repeat, no secret
    for number in range(count):
        name, message = _message(subject, number)
        epoch, heads = subject.status[3], list(subject.status[8])
        subject.send(ORDER, message)
        after_ms = draw.randrange(AFTER_MS)
        bench.do("cut_power", draw.choice(OFF_S), after_ms)
        subject.wait(STARTS_S)
        answer = subject.present(message)
        subject.wait(1)
        yield Result(
            group="power",
            name=f"{name}, cut after {after_ms} ms",
            expected="same epoch, counters not less, not locked, the message answered",
            got=_found(subject, epoch, heads, answer),
            passed=_is_whole(subject, epoch, heads, answer),
        )
    subject.present(releasing_order(subject, OrderType.UNLOCK, "ombuds"))
    yield same("power", "the car starts at the end", "yes", yes(starts(subject, bench)))


def _message(subject: Subject, number: int) -> tuple[str, bytes]:
    """Return a LOCK, a CANCEL, an UNLOCK and a QUERY in turn."""
    match number % 4:
        case 0:
            return "LOCK", lock_order(subject)
        case 1:
            return "CANCEL", releasing_order(subject, OrderType.CANCEL, "checker")
        case 2:
            return "UNLOCK", releasing_order(subject, OrderType.UNLOCK, "maker")
        case _:
            fields = administering(OrderType.QUERY) | common_fields(subject, OrderType.QUERY)
            return "QUERY", sign_order(fields | {12: subject.now_s + 3_600}, signer("ombuds"))


def _found(subject: Subject, epoch: bytes, heads: list[int], answer: Answer) -> str:
    same_epoch = "same epoch" if subject.status[3] == epoch else "ANOTHER EPOCH"
    return f"{same_epoch}, counters {heads} then {subject.status[8]}, {subject.state.name}, {answer}"


def _is_whole(subject: Subject, epoch: bytes, heads: list[int], answer: Answer) -> bool:
    is_same = subject.status[3] == epoch
    has_risen = all(later >= earlier for earlier, later in zip(heads, subject.status[8], strict=True))
    is_answered = answer.code == "OK" or answer.state is State.REJECTED
    return is_same and has_risen and subject.state is not State.LOCKED and is_answered
