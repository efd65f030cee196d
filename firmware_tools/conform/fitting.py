"""A device that is being fitted signs its part and holds the coil for a BENCH, and for nothing else.

Rules (SPEC §20.4, §22.4; K-02, S-12): a part of BIND is for this device and epoch, and only while
COMMISSIONING; the word about a record names the hash it was asked for. With a bench: a start is inhibited
while a BENCH holds, free afterwards, and the device's word tells both.

Example:
    yield from before_bind(subject, payload, bench)
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from firmware_tools.conform.in_car import starts, turn_key
from firmware_tools.conform.subject import BUSY_S, PART_QUESTION, SILENCE_S, Answer
from firmware_tools.conform.trials import (
    Result,
    by_mcu,
    common_fields,
    same,
    took,
    yes,
)
from protocol import cose_sign, strict_cbor
from protocol.errors import ProtocolError
from protocol.install_report import Commissioning, open_commissioning
from protocol.orders import (
    OrderType,
    SignKind,
    State,
    check_signature,
    encode_order,
    sign_order,
    sign_part,
)
from protocol.vectors.keys import published_lookup, published_signer
from protocol.vectors.orders_good import ticket
from protocol.vectors.orders_story import signer
from protocol.vectors.story import fixed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_tools.conform.line import Bench
    from firmware_tools.conform.subject import Subject

RECORD_HASH: Final = fixed_bytes("a record", 32)
BIND_PART, RECORD_PART = 11, 0
HELD_S: Final = 45  # of the ticket, from the challenge's tick
BENCH_LIFE_S: Final = 110  # of the order


def before_bind(subject: Subject, fields: dict[int, object], bench: Bench | None) -> Iterator[Result]:
    """Ask for parts while the device is being fitted; with a bench prove the relay.

    Args:
        subject: the device.
        fields: of the BIND that comes next.
        bench: the car around it.
    """
    payload = encode_order(fields)
    protected = sign_part(SignKind.COMMAND, payload, by_mcu())[0]
    got = _part(subject, BIND_PART, payload)
    digest = cose_sign.signed_digest("command", payload, protected)
    holds = (
        isinstance(got, dict)
        and (got.get(3), got.get(4)) == (sha256(payload).digest(), protected)
        and isinstance(got.get(5), bytes)
        and check_signature(_own_xy(), digest, got[5]) == "OK"
    )
    yield same("fitting", "its part of a BIND, signed in its role", "yes", yes(holds))
    for name, change in (("epoch", {8: bytes(16)}), ("device", {5: bytes(32)})):
        other = _part(subject, BIND_PART, encode_order({**fields, **change}))
        yield same("fitting", f"a part of a BIND of another {name}", "WRONG_MODE", other)
    yield same("fitting", "a part of an UNLOCK", "WRONG_MODE", _part(subject, BIND_PART, _unlock(subject)))
    yield same("fitting", "a question cut short", "BAD_ENCODING", _part(subject, RECORD_PART, b""))
    if bench is not None:
        yield from _relay(subject, bench)
    said = _word(subject)
    yield same(
        "fitting", "its word about a record", "verified", said if isinstance(said, str) else "verified"
    )


def after_bind(subject: Subject, payload: bytes) -> Iterator[Result]:
    """Ask once more: a bound device signs no bond, and for an hour its word about the record."""
    yield same("fitting", "a part of a BIND once bound", "WRONG_MODE", _part(subject, BIND_PART, payload))
    said = _word(subject)
    yield same("fitting", "its word once bound", "verified", said if isinstance(said, str) else "verified")


def _relay(subject: Subject, bench: Bench) -> Iterator[Result]:
    yield took("fitting", "BENCH", _bench(subject), State.DONE)
    subject.wait(2)
    yield same("fitting", "coil while a BENCH holds", "on", "on" if subject.status[16] else "off")
    yield same("fitting", "the car starts while a BENCH holds", "no", yes(starts(subject, bench)))
    subject.wait(HELD_S, lambda: not subject.status[16])
    yield same(
        "fitting", "coil after the seconds of the ticket", "off", "on" if subject.status[16] else "off"
    )
    yield same("fitting", "the car starts afterwards", "yes", yes(starts(subject, bench)))
    said = _word(subject)
    seen = said.benches[-1] if isinstance(said, Commissioning) and said.benches else None
    is_told = seen is not None and seen.held_s > 0 and seen.crank_s > 0 and seen.starts == 0
    is_told = is_told and seen is not None and seen.is_contact_open_seen
    yield same("fitting", "its word tells held, cranked, contact open, no start", "yes", yes(is_told))
    turn_key(subject, bench, on=False)


def _bench(subject: Subject) -> Answer:
    subject.wait(BUSY_S)
    chal, tick = subject.challenge()
    fields = common_fields(subject, OrderType.BENCH) | {12: subject.now_s + 100, 13: chal}
    fields |= {14: tick + BENCH_LIFE_S, 25: ticket(key_4=chal, key_5=HELD_S, key_6=subject.now_s)}
    kept = {key: value for key, value in fields.items() if key not in (4, 6, 7)}
    return subject.present(sign_order(kept, signer("installer")))


def _unlock(subject: Subject) -> bytes:
    fields = common_fields(subject, OrderType.UNLOCK) | {12: None, 13: None, 14: None, 22: None}
    return encode_order(fields)


def _word(subject: Subject) -> Commissioning | str:
    """Return the device's word about the record, verified, or what is wrong with it."""
    got = _part(subject, RECORD_PART, RECORD_HASH)
    if not isinstance(got, dict) or not isinstance(got.get(6), bytes):
        return str(got)
    try:
        said = open_commissioning(got[6], published_lookup("mcu-1"))
    except ProtocolError as refused:
        return f"refused: {refused}"
    is_ours = (said.record_sha256, said.epoch) == (RECORD_HASH, subject.status[3])
    return said if is_ours else "of another record or epoch"


def _part(subject: Subject, kind: int, body: bytes) -> dict[int, Any] | str:
    """Ask for a part; return it, or the word of the link code, or SILENCE."""
    subject.wait(BUSY_S)
    question = strict_cbor.dumps({1: 1, 2: kind, 3: body})
    parts, codes = len(subject.heard.parts), len(subject.heard.link_codes)
    subject.send(PART_QUESTION, question)
    about = sha256(question).digest()

    def answer() -> dict[int, Any] | str | None:
        if len(subject.heard.parts) > parts:
            return subject.heard.parts[-1]
        words = [said for said in subject.heard.link_codes[codes:] if said.get(2) == about]
        return str(words[0].get(1)) if words else None

    subject.wait(4 * SILENCE_S, answer)
    return answer() or "SILENCE"


def _own_xy() -> bytes:
    numbers = published_signer("mcu-1").public_key.public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
