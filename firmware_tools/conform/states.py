"""Vectors of a device in another state: brought there over the line, or left out with the reason.

Rules: what a line can bring about is a device that is being fitted, one that lacks a delegation or a lender's
snapshot, a challenge used up, an order or a tick that is over, people revoked. Revoked people stay so: theirs
come last. Each vector is made anew as `live` does, but for what gets a link code whoever the device is.

Example:
    yield from being_fitted(subject)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_tools.conform import live
from firmware_tools.conform.subject import AUTHORITY, BUSY_S
from firmware_tools.conform.trials import (
    Result,
    lock_order,
    must,
    releasing_order,
    same,
    took,
)
from protocol import strict_cbor
from protocol.orders import OrderType, State
from protocol.vectors.orders_story import CHALLENGE_TICK_S, NOW_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_tools.conform.subject import Subject
    from protocol.vectors.orders_tried import Tried

FITTED: Final = (
    "bind-without-gate", "bind-without-device", "bind-gate-and-ticket", "bench-of-300-s",
    "ticket-of-another-installer", "ticket-of-another-device", "ticket-of-another-visit", "ticket-broken",
    "another-device-s-key", "ticket-over",
)  # fmt: skip
BOUND: Final = ("time/no-challenge-open", "commissioning/bench-in-a-bound-car", "time/over", "time/tick-over")
REVOKED: Final = ("delegation/person-revoked", "delegation/revoked-unlock", "delegation/key-revoked")
LEFT_OUT: Final = {
    "signature/rate": "how many signatures it may check at once is the device's own",
    "time/perhaps-over": "a second cannot be hit",
    "time/perhaps-early": "a second cannot be hit",
    "time/no-clock": "a bound device has had the time",
    "time/wide-clock": "how wide its clock has become is the device's own",
    "time/query-no-clock": "a bound device has had the time",
    "content/monitor-only": "a start type or a fault makes it so, no order that leaves the lender",
    "content/metadata-stale": "a week would have to pass",
    "repeat/lock": "the group replay tries it",
    "repeat/lock-with-other-content": "the group replay tries it",
    "repeat/lock-after-a-later-one": "the group replay tries it",
}
TICKET_OVER_S: Final = 29  # of that vector's ticket


def without_delegation(subject: Subject) -> Iterator[Result]:
    """Try an order whose checker the device was never told of."""
    case = live.of_other_states()["trap/checker-unknown"]
    answer = subject.once(case.message)
    yield same("states", case.name, case.code, answer.code)


def being_fitted(subject: Subject) -> Iterator[Result]:
    """Try what must not bind a car, nor hold its coil, while it is being fitted."""
    for name in FITTED:
        case = live.of_other_states()[f"commissioning/{name}"]
        subject.wait(BUSY_S)
        challenge = subject.challenge()
        if name == "ticket-over":
            subject.wait(TICKET_OVER_S + 2)
        yield must(subject, "states", case.name, _anew(case, subject, challenge), case.code)


def without_snapshot(subject: Subject) -> Iterator[Result]:
    """Try a LOCK in a bound car that knows its lender's root and none of its snapshots."""
    case = live.of_other_states()["content/no-lender-snapshot"]
    yield must(subject, "states", case.name, _anew(case, subject, subject.challenge()), case.code)


def bound(subject: Subject) -> Iterator[Result]:
    """Try what a bound car refuses by its clock, its ticks, its challenge and its mode."""
    used_up = subject.challenge()
    yield took("states", "LOCK", subject.present(lock_order(subject)), State.ACCEPTED_PENDING)
    subject.wait(1)
    yield took(
        "states", "CANCEL", subject.present(releasing_order(subject, OrderType.CANCEL, "maker")), State.DONE
    )
    for name in BOUND:
        case = live.of_other_states()[name]
        subject.wait(BUSY_S)
        challenge = used_up if name == "time/no-challenge-open" else subject.challenge()
        yield must(subject, "states", name, _anew(case, subject, challenge), case.code)


def revoked(subject: Subject) -> Iterator[Result]:
    """Revoke people and keys; what they sign then, releases too, gets no effect (K-05)."""
    for name in REVOKED:
        case = live.of_other_states()[name]
        told: Any = case.changes["revocations"]
        for document in told:
            subject.send(AUTHORITY, strict_cbor.dumps([3, bytes.fromhex(document)]))
            subject.wait(2 * BUSY_S)
        challenge = subject.challenge()
        yield must(subject, "revoked", name, _anew(case, subject, challenge), case.code)


def _anew(case: Tried, subject: Subject, challenge: tuple[bytes, int]) -> bytes:
    """Return a vector for the device at hand; one without an authentic word in it as it is."""
    if case.outcome == "LINK":
        return case.message
    changes: Any = case.changes
    message = live.made_anew(
        case.message,
        subject,
        challenge,
        heads=changes.get("heads", live.HEADS),
        challenge_tick_s=changes.get("chal_tick", CHALLENGE_TICK_S),
        from_s=changes.get("latest") or NOW_S,
    )
    if case.name != "time/tick-over":
        return message
    return live.changed(message, {14: subject.status[7] - 1})
