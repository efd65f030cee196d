"""What a microcontroller is tried with, and what it must do; each check is one line of the table.

Rules: `trials` says when a check passes. Without a bench no car can be locked, so what needs one is
left out and said so. Requirement ids: C-01, C-02a, C-08, C-09. With a car: `vetoes`, `in_car`, `power_cuts`.

Example:
    for result in run(subject, bench=None, groups=GROUPS):
        print(result)
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from firmware_tools.conform import fitting, in_car, live, power_cuts, states, vetoes
from firmware_tools.conform.subject import ORDER, SILENCE_S, Subject
from firmware_tools.conform.trials import (
    OPEN,
    Result,
    again,
    by_mcu,
    common_fields,
    fixed,
    lock_order,
    must,
    releasing_order,
    same,
    took,
    yes,
)
from protocol import mcu_link
from protocol.orders import OrderType, State, encode_order, sign_order
from protocol.vectors.orders_good import administering, releasing
from protocol.vectors.orders_story import JURISDICTION, documents, signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_tools.conform.line import Bench

WITH_CAR: Final = ("interlock", "lock", "power", "restored")
"""They need a bench; `interlock` comes first, since a car locks once in seven days."""
GROUPS: Final = (
    "commissioning", "line", "unsigned", "rejected", "accepted", "replay", "states", "fitting", *WITH_CAR,
    "revoked",
)  # fmt: skip
"""`states` and `fitting` have parts in commissioning. The last ones are asked last: whoever is revoked signs
nothing afterwards, and a storage that was given back breaks the chain."""
DAMAGED: Final = 24  # damaged copies of an order that would be taken
CUTS: Final = 12
TOPICAL: Final = ("unsigned", "rejected", "interlock")


def run(
    subject: Subject, bench: Bench | None, groups: tuple[str, ...], *, cuts: int = CUTS, seed: int = 1
) -> Iterator[Result]:
    """Yield each result as it is known; `commissioning` always runs, all else stands on it.

    Args:
        subject: an empty unit under test.
        bench: the car around it, None without one.
        groups: of `GROUPS`; `rejected/signers` is that topic of a group of vectors alone.
        cuts: of the power.
        seed: draws their moments.
    """
    topics = {group: tuple(part[1:] for part in _parts(groups, group)) for group in TOPICAL}
    yield from _commissioning(subject, bench, groups)
    made: dict[str, Callable[[], Iterator[Result]]] = {
        "line": lambda: _line(subject),
        "unsigned": lambda: _unsigned(subject, topics["unsigned"]),
        "rejected": lambda: _rejected(subject, topics["rejected"]),
        "accepted": lambda: _accepted(subject),
        "replay": lambda: _replay(subject),
        "states": lambda: states.bound(subject),
        "revoked": lambda: states.revoked(subject),
    }
    if bench is not None:
        made |= {
            "interlock": lambda: vetoes.try_all(subject, bench, topics["interlock"]),
            "lock": lambda: in_car.lock(subject, bench),
            "power": lambda: power_cuts.cut(subject, bench, cuts, seed),
        }
    for group in GROUPS[1:]:
        if group in made and _parts(groups, group):
            subject.wait(1)  # STATUS says what the group before did
            yield from made[group]()
    faults = subject.chain_faults()
    yield Result(
        group="chain",
        name=f"{len(subject.heard.dispositions)} dispositions",
        expected="verified, gapless, linked",
        got="; ".join(faults) or "verified, gapless, linked",
        passed=not faults,
    )
    if bench is not None and _parts(groups, "restored"):
        yield from in_car.restore(subject, bench)


def _parts(groups: tuple[str, ...], group: str) -> list[str]:
    """Return what is asked of a group: "" for all of it, "/topic" for one."""
    return [asked.removeprefix(group) for asked in groups if asked.partition("/")[0] == group]


# --- Commissioning ------------------------------------------------------------------------------------------


def _commissioning(subject: Subject, bench: Bench | None, groups: tuple[str, ...]) -> Iterator[Result]:
    has_states, has_fitting = bool(_parts(groups, "states")), bool(_parts(groups, "fitting"))
    subject.begin()
    unlock = sign_order(releasing(OrderType.UNLOCK), signer("ombuds"))
    yield must(
        subject, "commissioning", "an order to an empty device", unlock, "UNKNOWN_KEY", "DELEGATION_MISSING"
    )
    subject.provision()
    subject.wait(3)
    for name in ("gate", "installer"):
        subject.authority(1, documents()[f"delegation/{name}"])
    if has_states:
        yield from states.without_delegation(subject)
        yield from states.being_fitted(subject)
    if has_fitting:
        yield from fitting.before_bind(subject, _bind(subject), bench)
    bind = _bind(subject)
    without_gate = sign_order(bind, by_mcu(), signer("installer"))
    yield must(subject, "commissioning", "BIND without the gate", without_gate, "SIGNER_SET")
    made = sign_order({**bind, 2: subject.fresh_id()}, by_mcu(), signer("installer"), signer("gate"))
    yield took("commissioning", "BIND", subject.present(made), State.DONE)
    subject.wait(2)
    yield same("commissioning", "mode after BIND", 1, subject.status[4])
    if has_fitting:
        yield from fitting.after_bind(subject, encode_order(bind))
    if has_states:
        yield from states.without_snapshot(subject)
    subject.meet_lenders()
    for name in ("maker", "checker", "ombuds"):
        subject.authority(1, documents()[f"delegation/{name}"])


def _bind(subject: Subject) -> dict[int, object]:
    chal, tick = subject.challenge()
    return common_fields(subject, OrderType.BIND) | {
        12: subject.now_s + 3_600,
        13: chal,
        14: tick + 3_600,
        18: JURISDICTION,
        25: None,
    }


# --- Without a lock -----------------------------------------------------------------------------------------


def _line(subject: Subject) -> Iterator[Result]:
    """Damage a frame that would be taken; then send it whole."""
    unlock = releasing_order(subject, OrderType.UNLOCK, "ombuds")
    frame = mcu_link.encode_frame(ORDER, unlock)
    draw = random.Random(20)  # noqa: S311 - damage that repeats, no secret
    seen, before = len(subject.heard.dispositions), fixed(subject)
    for number in range(DAMAGED):
        damaged = bytearray(frame)
        if number % 3 == 0:
            del damaged[draw.randrange(len(frame) - 1) :]
        elif number % 3 == 1:
            damaged[draw.randrange(len(frame) - 1)] ^= 1 << draw.randrange(8)
        else:
            damaged[0:0] = bytes(draw.randrange(1, 256) for _ in range(draw.randrange(1, 40)))
        subject.line.write(bytes(damaged) + b"\0")
        subject.wait(1)
    subject.line.write(b"\x55" * 5_000 + b"\0")
    subject.wait(SILENCE_S)
    answered = len(subject.heard.dispositions) - seen
    yield same("line", f"{DAMAGED} damaged copies of an UNLOCK and 5,000 bytes without a zero", 0, answered)
    yield same("line", "what they moved", before, fixed(subject))
    halves = frame[:300], frame[300:]
    for part in halves:
        subject.line.write(part)
        subject.wait(1)
    answer = subject.once(unlock)
    yield took("line", "the same UNLOCK whole, in two pieces", answer, State.DONE)


def _unsigned(subject: Subject, topics: tuple[str, ...]) -> Iterator[Result]:
    for case in live.as_they_are():
        if not case.name.startswith(topics):
            continue
        expected = {case.code, "WRONG_KIND"} if case.name == "container/empty" else {case.code}
        yield must(subject, "unsigned", case.name, case.message, *sorted(expected))


def _rejected(subject: Subject, topics: tuple[str, ...]) -> Iterator[Result]:
    if subject.status[8][0] == 0:  # an old counter needs a newer one
        yield from _accepted(subject)
    challenge = subject.challenge()
    for case in live.to_make_anew():
        if not case.name.startswith(topics):
            continue
        allowed = {case.code}
        if "other-lender" in case.name:  # a device that was never given that root knows no such delegation
            allowed |= {"DELEGATION_MISSING"}
        message = live.made_anew(case.message, subject, challenge)
        yield must(subject, "rejected", case.name, message, *sorted(allowed))


def _accepted(subject: Subject) -> Iterator[Result]:
    query = (
        administering(OrderType.QUERY) | common_fields(subject, OrderType.QUERY) | {12: subject.now_s + 3_600}
    )
    yield took("accepted", "QUERY", subject.present(sign_order(query, signer("ombuds"))), State.DONE)
    for name in ("maker", "checker", "gate", "ombuds"):
        answer = subject.present(releasing_order(subject, OrderType.UNLOCK, name))
        yield took("accepted", f"UNLOCK by {name}", answer, State.DONE)
        subject.wait(1)
    lock = lock_order(subject)
    yield took("accepted", "LOCK", subject.present(lock), State.ACCEPTED_PENDING)
    subject.wait(1)
    cancel = releasing_order(subject, OrderType.CANCEL, "maker")
    yield took("accepted", "CANCEL", subject.present(cancel), State.DONE)
    subject.wait(1)
    yield same("accepted", "state after CANCEL", State.CANCELLED, subject.state)


def _replay(subject: Subject) -> Iterator[Result]:
    """Each accepted message again, in a later state: nothing acts (C-01)."""
    unlock = releasing_order(subject, OrderType.UNLOCK, "ombuds")
    yield took("replay", "UNLOCK", subject.present(unlock), State.DONE)
    subject.wait(1)
    lock = lock_order(subject)
    first = subject.present(lock)
    yield took("replay", "LOCK", first, State.ACCEPTED_PENDING)
    subject.wait(1)
    yield from again(subject, "the LOCK while it is open", lock)
    yield from again(subject, "the UNLOCK of before, while the LOCK is open", unlock)
    yield same("replay", "the LOCK is still open", "yes", yes(subject.state in OPEN))
    subject.present(releasing_order(subject, OrderType.UNLOCK, "maker"))
    subject.wait(1)
    yield from again(subject, "the LOCK after its UNLOCK", lock)
    yield same("replay", "no order is open", None, subject.status[6])
