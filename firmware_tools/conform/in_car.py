"""A car is locked in due form, and at each step what must not work is tried (C-15, S-02, O-01).

Rules: the car is the bench's; it is left unlocked and able to start.

Example:
    for result in lock(subject, bench):
        print(result)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firmware_tools.conform.subject import GO, ORDER, PARKED, SILENCE_S, Subject
from firmware_tools.conform.trials import again, lock_order, releasing_order, same, took, yes
from protocol import cose_sign, strict_cbor
from protocol.envelope import Kind
from protocol.orders import OrderType, State, sign_document
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import MCU, digest
from protocol.vectors.story import fixed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_tools.conform.line import Bench
    from firmware_tools.conform.trials import Result

RESTORED_S: Final = 20  # of the device: until it speaks again
PARK_S_RESTORED: Final = 30
PARK_S_MAX: Final = 2_000  # of the device: production asks for ten minutes, and twice that is late


def lock(subject: Subject, bench: Bench) -> Iterator[Result]:
    """Lock a car in due form and try at each step what must not work."""
    yield same("lock", "an unlocked car starts", "yes", yes(starts(subject, bench)))
    order = lock_order(subject)
    yield took("lock", "LOCK", subject.present(order), State.ACCEPTED_PENDING)
    hear_warning(subject, bench)
    asked = len(subject.heard.go_requests)
    bench.do("move", 1)
    subject.wait(60)
    yield same("lock", "no go request while the car shakes", asked, len(subject.heard.go_requests))
    bench.do("move", 0)
    subject.wait(PARK_S_MAX, lambda: len(subject.heard.go_requests) > asked)
    yield same("lock", "go requests once parked", "yes", yes(len(subject.heard.go_requests) > asked))
    yield from _go_tokens(subject)
    answer = go_token(subject)
    subject.send(GO, answer)
    subject.wait(10, lambda: subject.state is State.LOCKED)
    yield same("lock", "state after the go token", State.LOCKED, subject.state)
    if subject.state is not State.LOCKED:
        return
    bench.do("keep")
    subject.kept = [(ORDER, order), (GO, answer)]
    yield same("lock", "a locked car starts", "no", yes(starts(subject, bench)))
    yield from again(subject, "the LOCK while it is locked", order)
    bench.do("press", 6)
    subject.wait(10, lambda: subject.state is State.OVERRIDDEN)
    yield same("lock", "state after the emergency button", State.OVERRIDDEN, subject.state)
    yield same("lock", "a car in its emergency window starts", "yes", yes(starts(subject, bench)))
    subject.present(releasing_order(subject, OrderType.UNLOCK, "ombuds"))
    subject.wait(2)
    yield same("lock", "state after UNLOCK", State.RELEASED, subject.state)
    bench.do("reset")
    subject.wait(5)
    for name, message, kind in (("the LOCK", order, ORDER), ("the go token", answer, GO)):
        subject.once(message, kind, SILENCE_S)
        subject.wait(2)
        yield same("lock", f"{name} again after a reset: an order is open", None, subject.status[6])
    yield same("lock", "the car starts at the end", "yes", yes(starts(subject, bench)))


def restore(subject: Subject, bench: Bench) -> Iterator[Result]:
    """Give the storage of the locked car back, long after its release; nothing may lock (README §2).

    A bench that cannot do that says so, and nothing is judged. The chain is judged before: what was said
    since the image was kept is said no more.
    """
    if not subject.kept or "error" in bench.do("restore"):
        return
    subject.wait(RESTORED_S)
    yield same("restored", "the storage of the locked car: locked", "no", yes(subject.state is State.LOCKED))
    yield same("restored", "the car starts", "yes", yes(starts(subject, bench)))
    for kind, message in subject.kept:
        subject.once(message, kind, SILENCE_S)
        subject.wait(PARK_S_RESTORED)
        name = "the LOCK" if kind == ORDER else "the go token"
        yield same("restored", f"{name} again: locked", "no", yes(subject.state is State.LOCKED))
    yield same("restored", "the car starts at the end", "yes", yes(starts(subject, bench)))


def _go_tokens(subject: Subject) -> Iterator[Result]:
    """Tokens that must not lock (C-15)."""
    other = fixed_bytes("another", 32)
    wrong = (
        ("by the maker", go_token(subject, key_9=digest("maker"), by="maker-1")),
        ("by a stranger", go_token(subject, by="stranger")),
        ("of another order", go_token(subject, key_3=other)),
        ("of another parking", go_token(subject, key_4=other[:16])),
        ("of another device", go_token(subject, key_2=other)),
        ("cut", go_token(subject)[:-1]),
    )
    for name, token in wrong:
        subject.send(GO, token)
        subject.wait(SILENCE_S)
        yield same("lock", f"locked by a go token {name}", "no", yes(subject.state is State.LOCKED))


def go_token(subject: Subject, *, by: str = "gate-1", **changes: object) -> bytes:
    """Return a go token for the newest request, with changes of its fields (`key_3=…`)."""
    asked = strict_cbor.loads(cose_sign.read_sign1(subject.heard.go_requests[-1])[2])
    fields: dict[int, object] = {1: 1, 2: MCU.kid, 3: asked[3], 4: asked[4], 5: 1, 6: subject.now_s}
    fields |= {7: [4, 21], 8: fixed_bytes("loan facts", 32), 9: digest("gate")}
    fields |= {int(key.removeprefix("key_")): value for key, value in changes.items()}
    return sign_document(Kind.GO, fields, published_signer(by))


def hear_warning(subject: Subject, bench: Bench) -> None:
    """Turn the ignition on often enough for the warning to be heard on two cycles of the episode."""
    for _ in range(3):
        turn_key(subject, bench, on=True)
        subject.wait(40, lambda: subject.state is State.ARMED)
        turn_key(subject, bench, on=False)
        subject.wait(15)  # an ignition-on after ten seconds off is another cycle


def turn_key(subject: Subject, bench: Bench, *, on: bool) -> None:
    """Turn the ignition on or off, the bus saying the same."""
    bench.do("turn_on" if on else "turn_off")
    subject.facts = dict(PARKED) | {10: on}


def starts(subject: Subject, bench: Bench) -> bool:
    """Turn the key to start; return whether the engine then runs, and turn it off."""
    turn_key(subject, bench, on=True)
    subject.wait(12)
    bench.do("crank")
    subject.wait(2)
    runs = bench.do("let_go")["engine_runs"] is True
    turn_key(subject, bench, on=False)
    subject.wait(12)
    return runs
