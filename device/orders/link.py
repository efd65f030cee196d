"""The microcontroller's link as the agent sees it: kinds of messages, and what STATUS and LINK_CODE say.

Rules: bodies that are maps are `strict_cbor`; what does not read is refused as a whole and counted. Nothing
that comes over the link is authentic by itself: status and link codes are for carrying and for display, and
only a disposition, which D1 signs, is evidence. A key this reader does not know is passed over: agent and
microcontroller are updated apart.

It frames nothing (`protocol.mcu_link`) and opens no port.

Example:
    >>> LinkKind.STATUS, LinkKind(2).name
    (<LinkKind.STATUS: 129>, 'ORDER')
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from protocol import orders_payload, strict_cbor
from protocol.errors import ProtocolError, Reject
from protocol.limits import MCU_BODY_BYTES_MAX
from protocol.mcu_link import PART_BIND, PART_RECORD
from protocol.orders import State
from protocol.orders_vocabulary import CODES, LINK_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping


class LinkKind(IntEnum):
    """First byte of a frame; those above 0x80 come from the microcontroller."""

    HELLO = 1
    ORDER = 2
    GO = 3
    AUTHORITY = 4
    CHALLENGE_QUESTION = 5
    FACTS = 6
    TIME = 7
    DISPOSITION_ACK = 8
    DISPOSITION_GET = 9
    PROVISION = 10
    OVERRIDE_CODE = 11
    PART_QUESTION = 12
    INDICATE = 13
    STATUS = 0x81
    DISPOSITION = 0x82
    CHALLENGE = 0x83
    GO_REQUEST = 0x84
    LINK_CODE = 0x85
    EVENT = 0x86
    PART = 0x87


class Mode(IntEnum):
    """What the microcontroller accepts."""

    COMMISSIONING = 0
    ACTIVE = 1
    MONITOR = 2


COUNTERS_MAX = 64  # of the microcontroller in a status: with the box's own they still fit one batch's health

_HASH = ("bytes", 32, 32)
_ID = ("bytes", 16, 16)
_COUNT = ("uint", 0, (1 << 53) - 1)
_BOOL = ("bool",)
_NULL = ("null",)
_FORMS: Mapping[int, tuple[object, ...]] = {
    2: _HASH,
    3: _ID,
    4: ("uint", 0, 2),
    5: ("uint", 0, len(State) - 1),
    6: ("or", _NULL, _ID),
    7: _COUNT,
    8: ("tuple", _COUNT, _COUNT, _COUNT),
    9: _HASH,
    10: ("or", _NULL, ("tuple", _COUNT, _HASH)),
    11: ("or", _NULL, _ID),
    14: ("list", _HASH, 0, 64),
    15: ("uint", 0, 255),
    16: _BOOL,
    17: ("or", _NULL, _BOOL),
}


_LEVEL = ("or", _NULL, _BOOL)
_INPUTS = ("tuple", ("or", _NULL, _COUNT), _LEVEL, _LEVEL, _LEVEL, ("or", _NULL, ("text", 1, 8)), _LEVEL)
_BENCHES = ("list", ("tuple", _ID, _COUNT, _COUNT, _COUNT, _COUNT, _BOOL), 0, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The wires as the microcontroller sees them; None where it senses nothing.

    Attributes:
        supply_mv: at the box.
        ignition, crank, engine, button: whether each is live, or pressed.
        accel: `still`, `moving` or `failed`.
    """

    supply_mv: int | None = None
    ignition: bool | None = None
    crank: bool | None = None
    engine: bool | None = None
    accel: str | None = None
    button: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What happened while one BENCH held the coil: seconds held, of cranking and of a running engine."""

    cmd_id: bytes
    held_s: int
    crank_s: int
    starts: int
    engine_s: int
    is_contact_open_seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What D1 signed when it was asked for its part.

    Attributes:
        question: 11 BIND or 0 a record.
        digest: SHA-256 of the payload it is about.
        protected, signature: its part of a BIND.
        message: the whole `commissioning`, for a record.
    """

    question: int
    digest: bytes
    protected: bytes = b""
    signature: bytes = b""
    message: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the microcontroller said last about itself; unsigned.

    Attributes:
        mcu_id: thumbprint of D1.
        epoch: 16 bytes.
        mode: what it accepts.
        state: of the open or last restricting order.
        open_cmd_id: of the order that is open, None without one.
        tick_s: its monotonic seconds.
        heads: last counters of classes A, B, C.
        prev: cmd_hash of the last order it accepted.
        last: number and digest of its newest disposition, None before the first.
        nonce: with which it wants a signed time, None when it wants none.
        wants: hashes of delegations it lacks.
        wait: why an accepted order does not act yet, a name of `CODES`; OK when nothing waits.
        is_coil_on: it holds the relay.
        is_relay_sensed: what the relay's feedback says, None without feedback.
        firmware: its measurement, empty when it said none.
        is_demo: the image is the demo's.
        counters: its counters by name.
        inputs: its wires; None when it is too old to tell.
        benches: the last BENCH orders, oldest first.
    """

    mcu_id: bytes
    epoch: bytes
    mode: Mode
    state: State
    open_cmd_id: bytes | None
    tick_s: int
    heads: tuple[int, int, int]
    prev: bytes
    last: tuple[int, bytes] | None
    nonce: bytes | None
    wants: tuple[bytes, ...]
    wait: str
    is_coil_on: bool
    is_relay_sensed: bool | None
    firmware: bytes = b""
    is_demo: bool = False
    counters: Mapping[str, int] = field(default_factory=dict)
    inputs: Inputs | None = None
    benches: tuple[Bench, ...] = ()

    @property
    def is_open(self) -> bool:
        """An order is open or the car is locked: the box must answer within a minute (README §1.17)."""
        return self.open_cmd_id is not None or self.state in (State.LOCKED, State.OVERRIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidEvent:
    """Something that happened at the microcontroller; unsigned.

    Attributes:
        word: what.
        value: a number that goes with it, None without one.
    """

    word: str
    value: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCode:
    """Why a message got no signed answer.

    Attributes:
        code: its word.
        digest: SHA-256 of the message it is about, None when the microcontroller did not say.
        detail: for the log.
    """

    code: str
    digest: bytes | None
    detail: str


def read_status(body: bytes) -> Status:
    """Read a STATUS.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING; BAD_FIELD when a key is missing or not of its form.
    """
    fields = read_map(body, "status")
    for key, form in _FORMS.items():
        if key not in fields or not orders_payload.fits(fields[key], form):
            raise ProtocolError(Reject.BAD_FIELD, f"status[{key}]")
    firmware = fields.get(13)
    is_firmware = orders_payload.fits(firmware, ("tuple", ("bytes", 0, 32), _BOOL))
    value: dict[int, object] = fields
    last, heads = value[10], value[8]
    assert isinstance(heads, list)
    return Status(
        mcu_id=_bytes(value[2]),
        epoch=_bytes(value[3]),
        mode=Mode(_int(value[4])),
        state=State(_int(value[5])),
        open_cmd_id=None if value[6] is None else _bytes(value[6]),
        tick_s=_int(value[7]),
        heads=(_int(heads[0]), _int(heads[1]), _int(heads[2])),
        prev=_bytes(value[9]),
        last=(_int(last[0]), _bytes(last[1])) if isinstance(last, list) else None,
        nonce=None if value[11] is None else _bytes(value[11]),
        wants=tuple(_bytes(item) for item in _list(value[14])),
        wait=code_name(_int(value[15])),
        is_coil_on=value[16] is True,
        is_relay_sensed=None if value[17] is None else value[17] is True,
        firmware=_bytes(firmware[0]) if is_firmware and isinstance(firmware, list) else b"",
        is_demo=is_firmware and isinstance(firmware, list) and firmware[1] is True,
        counters=_counters(fields.get(12)),
        inputs=_inputs(fields.get(18)),
        benches=_benches(fields.get(19)),
    )


def read_link_code(body: bytes) -> LinkCode:
    """Read a LINK_CODE: {1: word, 2: SHA-256 of the message or null, 3: detail}.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, BAD_FIELD.
    """
    fields = read_map(body, "link code")
    word, digest, detail = fields.get(1), fields.get(2), fields.get(3)
    if isinstance(word, int) and not isinstance(word, bool) and 0 <= word < len(LINK_CODES):
        word = LINK_CODES[word]
    if not isinstance(word, str) or not (digest is None or orders_payload.fits(digest, _HASH)):
        raise ProtocolError(Reject.BAD_FIELD, "link code")
    said = detail.hex() if isinstance(detail, bytes) else detail if isinstance(detail, str) else ""
    return LinkCode(code=word, digest=None if digest is None else _bytes(digest), detail=said)


def read_event(body: bytes) -> SaidEvent:
    """Read an EVENT: {1: word, 2: tick, 3: number or null}.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, BAD_FIELD.
    """
    fields = read_map(body, "event")
    word, value = fields.get(1), fields.get(3)
    if not isinstance(word, str) or not (value is None or orders_payload.fits(value, _COUNT)):
        raise ProtocolError(Reject.BAD_FIELD, "event")
    return SaidEvent(word=word, value=None if value is None else _int(value))


def read_part(body: bytes) -> Part:
    """Read a PART.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, BAD_FIELD.
    """
    fields = read_map(body, "part")
    question, digest = fields.get(2), fields.get(3)
    signed = [value if isinstance(value := fields.get(key), bytes) else b"" for key in (4, 5, 6)]
    if question not in (PART_BIND, PART_RECORD) or not orders_payload.fits(digest, _HASH):
        raise ProtocolError(Reject.BAD_FIELD, "part")
    is_whole = bool(signed[2]) if question == PART_RECORD else bool(signed[0]) and len(signed[1]) == 64  # noqa: PLR2004 - r‖s
    if not is_whole:
        raise ProtocolError(Reject.BAD_FIELD, "part: nothing signed")
    return Part(
        question=_int(question),
        digest=_bytes(digest),
        protected=signed[0],
        signature=signed[1],
        message=signed[2],
    )


def _inputs(value: object) -> Inputs | None:
    if not orders_payload.fits(value, _INPUTS):
        return None
    supply, ignition, crank, engine, accel, button = _list(value)
    return Inputs(
        supply_mv=None if supply is None else _int(supply),
        ignition=_level(ignition),
        crank=_level(crank),
        engine=_level(engine),
        accel=accel if isinstance(accel, str) else None,
        button=_level(button),
    )


def _benches(value: object) -> tuple[Bench, ...]:
    if not orders_payload.fits(value, _BENCHES):
        return ()
    return tuple(
        Bench(
            cmd_id=cmd_id,
            held_s=held,
            crank_s=crank,
            starts=starts,
            engine_s=engine,
            is_contact_open_seen=is_open,
        )
        for cmd_id, held, crank, starts, engine, is_open in (_row(row) for row in _list(value))
    )


def _row(value: object) -> list[Any]:
    return _list(value)


def _level(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def code_name(number: int) -> str:
    """Return the name of a signed code; one of a newer microcontroller is named by its number."""
    names: tuple[str, ...] = CODES
    return names[number] if 0 <= number < len(names) else f"CODE_{number}"


def read_map(body: bytes, what: str) -> dict[int, object]:
    """Read a body that is a map with integer keys.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, BAD_FIELD.
    """
    if len(body) > MCU_BODY_BYTES_MAX:
        raise ProtocolError(Reject.TOO_LARGE, f"{what} of {len(body)} B")
    try:
        value = strict_cbor.loads(body, MCU_BODY_BYTES_MAX)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(Reject.BAD_FIELD, f"{what}: a map is expected")
    return value


def write_map(fields: Mapping[int, object]) -> bytes:
    """Return the encoding of a body that is a map."""
    return bytes(strict_cbor.dumps(dict(fields)))


def write_document(kind: int, document: bytes) -> bytes:
    """Return the body of AUTHORITY: one document."""
    return bytes(strict_cbor.dumps([kind, document]))


def _counters(value: object) -> dict[str, int]:
    """Return the microcontroller's counters as far as they can stand among the box's own."""
    if not isinstance(value, dict):
        return {}
    found = {
        name: count
        for name, count in value.items()
        if orders_payload.fits(name, ("text", 1, 40))
        and name.replace("_", "").isalnum()
        and orders_payload.fits(count, _COUNT)
    }
    return dict(list(found.items())[:COUNTERS_MAX])


def _int(value: object) -> int:
    assert isinstance(value, int), "its form was checked"
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes), "its form was checked"
    return value


def _list(value: object) -> list[object]:
    assert isinstance(value, list), "its form was checked"
    return value
