"""Frames to decode, with the table for us and the database for cantools, both from the same DBC.

Rules:
- Frames are those that cantools itself decodes: messages whose layout it accepts, and selector values that
  the DBC names. How many messages are left out for that is said.
- Random frames are drawn uniformly from all messages, the hardest case for a decoder that works by group;
  payload bits are uniform too.
- Recorded frames are a recording's own, in its own order, without those its DBC does not know.

It decodes nothing.

Example:
    >>> given = random_frames("demo", demo_dbc(), count=100)
    >>> len(given.frames), given.table.messages[0].name
    (100, 'EngineStatus')
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cantools

from device.acquisition.lot import EXTENDED, FD_BYTES, FrameLot
from device.adapters.log_files import LogReader
from device.dbc_compiler import compile_dbc
from device.dbc_file import load_database, read_dbc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cantools.database.can import Database
    from cantools.database.can import Message as DbcMessage

    from device.acquisition.table import DecodeTable

TRIES_MAX = 2_000  # payloads tried for a message until its selectors have values that the DBC names
FD_MESSAGES = 40
FD_SIGNALS = 9
FD_MESSAGE_BYTES = 32
STANDARD_ID_MAX = 0x7FF

Frame = tuple[int, int, bytes]
"""Time in µs, identifier with bit 31 set for 29-bit ones, payload."""


@dataclass(frozen=True, kw_only=True)
class CanInput:
    """Frames of one bus and what both decoders need.

    Attributes:
        name: As the table of results shows it.
        table: Compiled, for us.
        database: Loaded, for cantools.
        frames: In order of reception.
        messages_left_out: Messages of the DBC that cantools refuses to decode.
    """

    name: str
    table: DecodeTable
    database: Database
    frames: tuple[Frame, ...]
    messages_left_out: int = 0

    @cached_property
    def lot(self) -> FrameLot:
        """All frames as the adapters hand them over."""
        return FrameLot.of("can0", self.frames)

    @cached_property
    def pairs(self) -> list[tuple[int, bytes]]:
        """All frames as `decode_message` takes them."""
        return [(can_id & ~EXTENDED, payload) for _, can_id, payload in self.frames]

    def first(self, count: int) -> CanInput:
        """Return the same with the first `count` frames."""
        return CanInput(name=self.name, table=self.table, database=self.database, frames=self.frames[:count])


def random_frames(name: str, dbc: Path, *, count: int, seed: int = 1) -> CanInput:
    """Return random valid frames of a DBC, identifiers uniform.

    Args:
        name: How results call it.
        dbc: The file.
        count: Frames.
        seed: Of identifiers and payloads.
    """
    table, database = _load(dbc)
    rng = random.Random(seed)  # noqa: S311 - the same frames on every machine
    messages = [
        message for message in _unique(database) if _is_sound(message) and _payload(message, rng) is not None
    ]
    frames: list[Frame] = []
    while len(frames) < count:
        message = rng.choice(messages)
        payload = _payload(message, rng)
        if payload is not None:
            frames.append((len(frames) * 1_000, _key(message), payload))
    left_out = len(database.messages) - len(messages)
    return CanInput(
        name=name, table=table, database=database, frames=tuple(frames), messages_left_out=left_out
    )


def recorded_frames(name: str, log: Path, dbc: Path, *, count: int, bus: str | None = None) -> CanInput:
    """Return a recording's frames that cantools decodes by this DBC, in their own order.

    Args:
        name: How results call it.
        log: The recording.
        dbc: Its DBC.
        count: At most so many frames.
        bus: Of this bus only; None for any.
    """
    table, database = _load(dbc)
    known = {_key(message) for message in _unique(database) if _is_sound(message)}
    frames: list[Frame] = []
    for frame in _frames_of(log, bus):
        _, can_id, payload = frame
        if can_id in known and _decodes(database, can_id, payload):
            frames.append(frame)
            if len(frames) == count:
                break
    return CanInput(name=name, table=table, database=database, frames=tuple(frames))


def fd_dbc() -> str:
    """Return a DBC of CAN FD messages of 32 bytes with nine signals each, of both byte orders.

    No recording at hand has such a DBC; the shape is that of the CAN FD cars of opendbc (32 bytes, 8.6
    signals a message).
    """
    lines = ['VERSION ""', "NS_ :", "BS_:", "BU_: ECU", ""]
    for number in range(FD_MESSAGES):
        lines.append(f"BO_ {0x100 + number} Fd{number}: {FD_MESSAGE_BYTES} ECU")
        for at in range(FD_SIGNALS):
            bits = (16, 12, 8)[at % 3]
            first = at * 28
            is_big = (number + at) % 2 == 1
            start = 8 * (first // 8) + 7 - first % 8 if is_big else first
            order, sign = ("0" if is_big else "1"), "-" if at % 4 == 0 else "+"
            factor, offset = (("0.01", "0"), ("1", "0"), ("0.5", "-40"))[at % 3]
            lines.append(f' SG_ S{at} : {start}|{bits}@{order}{sign} ({factor},{offset}) [0|0] "" ECU')
        lines.append("")
    return "\n".join([*lines, ""])


def _load(dbc: Path) -> tuple[DecodeTable, Database]:
    database, _ = load_database(dbc, read_dbc(dbc))
    return compile_dbc(dbc).table, database


def _unique(database: Database) -> list[DbcMessage]:
    """Return one message an identifier, the one that cantools keeps, of those that have signals."""
    last = {_key(message): message for message in database.messages}
    return [message for message in last.values() if message.signals and message.length <= FD_BYTES]


def _key(message: DbcMessage) -> int:
    return message.frame_id | (EXTENDED if message.is_extended_frame else 0)


def _is_sound(message: DbcMessage) -> bool:
    """Whether `decode_message` finds the message by its number, and cantools accepts its layout."""
    if message.is_extended_frame and message.frame_id <= STANDARD_ID_MAX:
        return False
    try:
        message.refresh(strict=True)
    except cantools.Error:
        message.refresh(strict=False)
        return False
    return True


def _payload(message: DbcMessage, rng: random.Random) -> bytes | None:
    """Return a random payload that cantools decodes, or None when there is hardly one."""
    for _ in range(TRIES_MAX):
        payload = rng.randbytes(message.length)
        try:
            message.decode(payload, decode_choices=False)
        except cantools.database.DecodeError:
            continue
        return payload
    return None


def _decodes(database: Database, can_id: int, payload: bytes) -> bool:
    try:
        database.decode_message(can_id & ~EXTENDED, payload, decode_choices=False)
    except cantools.database.DecodeError:
        return False
    return True


def _frames_of(log: Path, bus: str | None) -> Iterator[Frame]:
    for lot in LogReader(log).lots():
        if bus is not None and lot.bus != bus:
            continue
        rows = zip(lot.t_us.tolist(), lot.can_id.tolist(), lot.length.tolist(), lot.data, strict=True)
        for t_us, can_id, length, data in rows:
            yield t_us, can_id, data[:length].tobytes()
