"""What a microcontroller is tried with, and what it must do; each check is one line of the table.

Rules: a check passes when the answer is one of those allowed *and* nothing that must not move has moved:
counter heads, last accepted order, state, coil. Without a bench no car can be locked, so what needs one is
left out and said so. Requirement ids: C-01, C-02a, C-08, C-09, C-15, S-02, O-01.

Example:
    for result in run(subject, bench=None, groups=GROUPS):
        print(result)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from firmware_tools.conform import live
from firmware_tools.conform.subject import GO, ORDER, PARKED, SILENCE_S, Answer, Subject
from protocol import cose_sign, mcu_link, strict_cbor
from protocol.envelope import Kind
from protocol.orders import OrderSigner, OrderType, Role, State, sign_document, sign_order
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import administering, common, releasing, restricting
from protocol.vectors.orders_story import DAY_S, JURISDICTION, MCU, digest, documents, signer
from protocol.vectors.story import fixed_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_tools.conform.line import Bench

GROUPS: Final = ("commissioning", "line", "unsigned", "rejected", "accepted", "replay", "lock")
DAMAGED: Final = 24  # damaged copies of an order that would be taken
PARK_S_MAX: Final = (
    2_000  # of the device: the floors of production ask for ten minutes, and twice that is late
)
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


def run(subject: Subject, bench: Bench | None, groups: tuple[str, ...]) -> Iterator[Result]:
    """Yield each result as it is known; `commissioning` always runs, all else stands on it.

    Args:
        subject: an empty unit under test.
        bench: the car around it, None without one.
        groups: of `GROUPS`; `rejected/signers` is that topic of a group of vectors alone.
    """
    topics = {group: tuple(part[1:] for part in _parts(groups, group)) for group in ("unsigned", "rejected")}
    yield from _commissioning(subject)
    made: dict[str, Callable[[], Iterator[Result]]] = {
        "line": lambda: _line(subject),
        "unsigned": lambda: _unsigned(subject, topics["unsigned"]),
        "rejected": lambda: _rejected(subject, topics["rejected"]),
        "accepted": lambda: _accepted(subject),
        "replay": lambda: _replay(subject),
    }
    if bench is not None:
        made["lock"] = lambda: _lock(subject, bench)
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


def _parts(groups: tuple[str, ...], group: str) -> list[str]:
    """Return what is asked of a group: "" for all of it, "/topic" for one."""
    return [asked.removeprefix(group) for asked in groups if asked.partition("/")[0] == group]


def _fixed(subject: Subject) -> tuple[object, ...]:
    """Return what no refused message may move."""
    status = subject.status
    return (tuple(status[8]), status[9], status[5], status[6], status[16])


def _must(
    subject: Subject, group: str, name: str, message: bytes, *allowed: str, kind: int = ORDER
) -> Result:
    """Present a message that must be refused in one of some words."""
    before = _fixed(subject)
    answer = subject.present(message, kind)
    subject.wait(1)
    moved = _fixed(subject) != before
    got = f"{answer}{', and something moved' if moved else ''}"
    is_refused = answer.state in (None, State.REJECTED)
    return Result(
        group=group,
        name=name,
        expected=" or ".join(allowed),
        got=got,
        passed=answer.code in allowed and is_refused and not moved,
    )


def _took(group: str, name: str, answer: Answer, *states: State) -> Result:
    return Result(
        group=group,
        name=name,
        expected=" or ".join(f"{state.name} OK" for state in states),
        got=str(answer),
        passed=answer.code == "OK" and answer.state in states,
    )


def _is(group: str, name: str, expected: object, got: object) -> Result:
    return Result(group=group, name=name, expected=_word(expected), got=_word(got), passed=expected == got)


def _word(value: object) -> str:
    return value.name if isinstance(value, State) else str(value)


def _yes(fact: object) -> str:
    return "yes" if fact else "no"


# --- Commissioning ------------------------------------------------------------------------------------------


def _commissioning(subject: Subject) -> Iterator[Result]:
    subject.begin()
    unlock = sign_order(releasing(OrderType.UNLOCK), signer("ombuds"))
    yield _must(
        subject, "commissioning", "an order to an empty device", unlock, "UNKNOWN_KEY", "DELEGATION_MISSING"
    )
    subject.provision()
    subject.wait(3)
    for name in ("maker", "checker", "gate", "ombuds", "installer"):
        subject.authority(1, documents()[f"delegation/{name}"])
    bind = _bind(subject)
    without_gate = sign_order(bind, _mcu(), signer("installer"))
    yield _must(subject, "commissioning", "BIND without the gate", without_gate, "SIGNER_SET")
    made = sign_order({**bind, 2: subject.fresh_id()}, _mcu(), signer("installer"), signer("gate"))
    yield _took("commissioning", "BIND", subject.present(made), State.DONE)
    subject.wait(2)
    yield _is("commissioning", "mode after BIND", 1, subject.status[4])


def _mcu() -> OrderSigner:
    return OrderSigner(signer=MCU, role=Role.MCU)


def _common(subject: Subject, order_type: OrderType) -> dict[int, object]:
    klass = {1: 0, 3: 0, 5: 0, 2: 1, 4: 1, 9: 1}.get(int(order_type), 2)
    return common(order_type, subject.status[8][klass] + 1) | {
        2: subject.fresh_id(),
        8: subject.status[3],
        10: subject.now_s - 600,
    }


def _bind(subject: Subject) -> dict[int, object]:
    chal, tick = subject.challenge()
    return _common(subject, OrderType.BIND) | {
        12: subject.now_s + 3_600,
        13: chal,
        14: tick + 3_600,
        18: JURISDICTION,
        25: None,
    }


def _lock_order(subject: Subject, order_type: OrderType = OrderType.LOCK) -> bytes:
    """Return a LOCK that asks for no more than the device's floors."""
    chal, tick = subject.challenge()
    fields = restricting(order_type) | _common(subject, order_type)
    fields |= {11: subject.now_s - 300, 12: subject.now_s - 600 + DAY_S, 13: chal, 14: tick + DAY_S - 60}
    fields |= {19: {1: 0}, 20: {1: 0, 2: 1}, 21: subject.status[9]}
    return sign_order(fields, signer("maker"), signer("checker"), signer("gate", logged=True))


def _releasing(subject: Subject, order_type: OrderType, *by: str) -> bytes:
    fields = releasing(order_type) | _common(subject, order_type)
    return sign_order(fields, *(signer(name) for name in by))


# --- Without a lock -----------------------------------------------------------------------------------------


def _line(subject: Subject) -> Iterator[Result]:
    """Damage a frame that would be taken; then send it whole."""
    unlock = _releasing(subject, OrderType.UNLOCK, "ombuds")
    frame = mcu_link.encode_frame(ORDER, unlock)
    draw = random.Random(20)  # noqa: S311 - damage that repeats, no secret
    seen, before = len(subject.heard.dispositions), _fixed(subject)
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
    yield _is("line", f"{DAMAGED} damaged copies of an UNLOCK and 5,000 bytes without a zero", 0, answered)
    yield _is("line", "what they moved", before, _fixed(subject))
    halves = frame[:300], frame[300:]
    for part in halves:
        subject.line.write(part)
        subject.wait(1)
    answer = subject.once(unlock)
    yield _took("line", "the same UNLOCK whole, in two pieces", answer, State.DONE)


def _unsigned(subject: Subject, topics: tuple[str, ...]) -> Iterator[Result]:
    for case in live.as_they_are():
        if not case.name.startswith(topics):
            continue
        expected = {case.code, "WRONG_KIND"} if case.name == "container/empty" else {case.code}
        yield _must(subject, "unsigned", case.name, case.message, *sorted(expected))


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
        yield _must(subject, "rejected", case.name, message, *sorted(allowed))


def _accepted(subject: Subject) -> Iterator[Result]:
    query = administering(OrderType.QUERY) | _common(subject, OrderType.QUERY) | {12: subject.now_s + 3_600}
    yield _took("accepted", "QUERY", subject.present(sign_order(query, signer("ombuds"))), State.DONE)
    for name in ("maker", "checker", "gate", "ombuds"):
        answer = subject.present(_releasing(subject, OrderType.UNLOCK, name))
        yield _took("accepted", f"UNLOCK by {name}", answer, State.DONE)
        subject.wait(1)
    lock = _lock_order(subject)
    yield _took("accepted", "LOCK", subject.present(lock), State.ACCEPTED_PENDING)
    subject.wait(1)
    cancel = _releasing(subject, OrderType.CANCEL, "maker")
    yield _took("accepted", "CANCEL", subject.present(cancel), State.DONE)
    subject.wait(1)
    yield _is("accepted", "state after CANCEL", State.CANCELLED, subject.state)


def _replay(subject: Subject) -> Iterator[Result]:
    """Each accepted message again, in a later state: nothing acts (C-01)."""
    unlock = _releasing(subject, OrderType.UNLOCK, "ombuds")
    yield _took("replay", "UNLOCK", subject.present(unlock), State.DONE)
    subject.wait(1)
    lock = _lock_order(subject)
    first = subject.present(lock)
    yield _took("replay", "LOCK", first, State.ACCEPTED_PENDING)
    subject.wait(1)
    yield from _again(subject, "the LOCK while it is open", lock)
    yield from _again(subject, "the UNLOCK of before, while the LOCK is open", unlock)
    yield _is("replay", "the LOCK is still open", "yes", _yes(subject.state in OPEN))
    subject.present(_releasing(subject, OrderType.UNLOCK, "maker"))
    subject.wait(1)
    yield from _again(subject, "the LOCK after its UNLOCK", lock)
    yield _is("replay", "no order is open", None, subject.status[6])


def _again(subject: Subject, name: str, message: bytes) -> Iterator[Result]:
    before = _fixed(subject)
    answer = subject.present(message)
    subject.wait(2)
    said = [data for data, found in subject.heard.dispositions if found.cmd_id == _cmd_id(message)]
    is_stored = answer.message == said[0] or answer.code == "DUPLICATE"
    moved = _fixed(subject) != before
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


# --- With a car ---------------------------------------------------------------------------------------------


def _lock(subject: Subject, bench: Bench) -> Iterator[Result]:
    """Lock a car in due form and try at each step what must not work."""
    yield _is("lock", "an unlocked car starts", "yes", _yes(_starts(subject, bench)))
    lock = _lock_order(subject)
    yield _took("lock", "LOCK", subject.present(lock), State.ACCEPTED_PENDING)
    for _ in range(3):
        _key(subject, bench, on=True)
        subject.wait(40, lambda: subject.state is State.ARMED)
        _key(subject, bench, on=False)
        subject.wait(5)
    asked = len(subject.heard.go_requests)
    bench.do("move", 1)
    subject.wait(60)
    yield _is("lock", "no go request while the car shakes", asked, len(subject.heard.go_requests))
    bench.do("move", 0)
    subject.wait(PARK_S_MAX, lambda: len(subject.heard.go_requests) > asked)
    yield _is("lock", "go requests once parked", "yes", _yes(len(subject.heard.go_requests) > asked))
    yield from _go_tokens(subject)
    answer = _go(subject)
    subject.send(GO, answer)
    subject.wait(10, lambda: subject.state is State.LOCKED)
    yield _is("lock", "state after the go token", State.LOCKED, subject.state)
    if subject.state is not State.LOCKED:
        return
    yield _is("lock", "a locked car starts", "no", _yes(_starts(subject, bench)))
    yield from _again(subject, "the LOCK while it is locked", lock)
    bench.do("press", 6)
    subject.wait(10, lambda: subject.state is State.OVERRIDDEN)
    yield _is("lock", "state after the emergency button", State.OVERRIDDEN, subject.state)
    yield _is("lock", "a car in its emergency window starts", "yes", _yes(_starts(subject, bench)))
    subject.present(_releasing(subject, OrderType.UNLOCK, "ombuds"))
    subject.wait(2)
    yield _is("lock", "state after UNLOCK", State.RELEASED, subject.state)
    bench.do("reset")
    subject.wait(5)
    for name, message, kind in (("the LOCK", lock, ORDER), ("the go token", answer, GO)):
        subject.once(message, kind, SILENCE_S)
        subject.wait(2)
        yield _is("lock", f"{name} again after a reset: an order is open", None, subject.status[6])
    yield _is("lock", "the car starts at the end", "yes", _yes(_starts(subject, bench)))


def _go_tokens(subject: Subject) -> Iterator[Result]:
    """Tokens that must not lock (C-15)."""
    other = fixed_bytes("another", 32)
    wrong = (
        ("by the maker", _go(subject, key_9=digest("maker"), by="maker-1")),
        ("by a stranger", _go(subject, by="stranger")),
        ("of another order", _go(subject, key_3=other)),
        ("of another parking", _go(subject, key_4=other[:16])),
        ("of another device", _go(subject, key_2=other)),
        ("cut", _go(subject)[:-1]),
    )
    for name, token in wrong:
        subject.send(GO, token)
        subject.wait(SILENCE_S)
        yield _is("lock", f"locked by a go token {name}", "no", _yes(subject.state is State.LOCKED))


def _go(subject: Subject, *, by: str = "gate-1", **changes: object) -> bytes:
    asked = strict_cbor.loads(cose_sign.read_sign1(subject.heard.go_requests[-1])[2])
    fields: dict[int, object] = {1: 1, 2: MCU.kid, 3: asked[3], 4: asked[4], 5: 1, 6: subject.now_s}
    fields |= {7: [4, 21], 8: fixed_bytes("loan facts", 32), 9: digest("gate")}
    fields |= {int(key.removeprefix("key_")): value for key, value in changes.items()}
    return sign_document(Kind.GO, fields, published_signer(by))


def _key(subject: Subject, bench: Bench, *, on: bool) -> None:
    bench.do("turn_on" if on else "turn_off")
    subject.facts = dict(PARKED) | {10: on}


def _starts(subject: Subject, bench: Bench) -> bool:
    """Turn the key to start; return whether the engine then runs, and turn it off."""
    _key(subject, bench, on=True)
    subject.wait(12)
    bench.do("crank")
    subject.wait(2)
    runs = bench.do("let_go")["engine_runs"] is True
    _key(subject, bench, on=False)
    subject.wait(12)
    return runs
