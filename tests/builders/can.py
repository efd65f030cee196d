"""Frames, and what cantools says about them: the oracle of the decoder's tests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cantools
import numpy as np
from cantools.database.can import Message, Signal

from device.acquisition.flat import FlatDecoder
from device.acquisition.lot import EXTENDED, FD_BYTES, FrameLot
from protocol.signals import physical

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable
    from pathlib import Path

    from cantools.database.can import Database

    from device.acquisition.decode import Decoded
    from device.acquisition.table import DecodeTable

Values = dict[str, int | float]


def can_id(message: Message) -> int:
    return message.frame_id | (EXTENDED if message.is_extended_frame else 0)


def frames_for(
    database: Database, rng: random.Random, count: int, *, messages: Iterable[Message] | None = None
) -> list[tuple[int, int, bytes]]:
    """Return random payloads for random messages, in which selectors mostly take values the DBC names.

    The time of a frame is its number, so that a decoded row leads back to its frame.
    """
    candidates = [message for message in (messages or database.messages) if message.length <= FD_BYTES]
    # Of messages with the same identifier cantools keeps the last one.
    candidates = list({can_id(message): message for message in candidates}.values())
    frames = []
    for number in range(count if candidates else 0):
        message = rng.choice(candidates)
        payload = bytearray(rng.randbytes(message.length))
        for signal in message.signals:
            named = _named(message, signal)
            if named and rng.random() < 0.9:
                _place(payload, signal, rng.choice(named))
        frames.append((number, can_id(message), bytes(payload)))
    return frames


def with_odd_lengths(
    frames: list[tuple[int, int, bytes]], rng: random.Random
) -> list[tuple[int, int, bytes]]:
    """Return the frames, some of them cut and some longer than their message."""
    odd = []
    for number, identifier, payload in frames:
        length = rng.choice([len(payload), rng.randrange(len(payload) + 1), min(FD_BYTES, len(payload) + 5)])
        longer = payload + rng.randbytes(FD_BYTES)
        odd.append((number, identifier, longer[:length]))
    return odd


def dbc_files(test_data: Path) -> list[Path]:
    """Return every DBC, KCD and SYM file of the recordings."""
    suffixes = {".dbc", ".kcd", ".sym"}
    return sorted(path for path in test_data.rglob("*") if path.suffix.lower() in suffixes)


def lot_of(frames: Iterable[tuple[int, int, bytes]], bus: str = "can0") -> FrameLot:
    return FrameLot.of(bus, frames)


def values_by_frame(table: DecodeTable, decoded: Decoded) -> dict[int, Values]:
    """Return each row's physical values as Python numbers, by the frame number in `t_us`."""
    values: dict[int, Values] = defaultdict(dict)
    for group in decoded.groups:
        definition = table.groups[group.index].definition(group.index, "can0", table.dbc_hash, {})
        assert group.raw.shape == (len(definition.columns), len(group.t_us))
        for column, raw in zip(definition.columns, group.raw, strict=True):
            for number, value in zip(group.t_us.tolist(), physical(column, raw).tolist(), strict=True):
                assert column.signal not in values[number], "a signal stands in one group only"
                values[number][column.signal] = value
    return values


def flat_values_by_frame(
    table: DecodeTable, lot: FrameLot, *, keeps_short: bool = False
) -> dict[int, Values]:
    """Return the same from the decoder that makes one lane a value."""
    decoder = FlatDecoder(table, keeps_short=keeps_short)
    lanes = decoder.decode(lot)
    values: dict[int, Values] = defaultdict(dict)
    numbers = decoder.numbers(lanes)
    for frame, column, value in zip(lanes.frame.tolist(), lanes.column.tolist(), numbers, strict=True):
        name = decoder.columns[column].signal
        assert name not in values[frame], "a name is there once in a frame"
        values[frame][name] = value
    return values


@dataclass(frozen=True)
class Oracle:
    """cantools' values of a frame, as numbers.

    Where cantools can decode a whole message it does. Where signals overlap or do not fit (it then raises or
    shifts values), or a selector has a value that it does not know (it then gives nothing), each signal is
    decoded by cantools alone in a message of its own.
    """

    database: Database

    def values(self, identifier: int, payload: bytes) -> Values:
        message = self.message(identifier)
        if is_sound(message):
            try:
                return dict(message.decode(payload, decode_choices=False, scaling=True))
            except cantools.database.DecodeError:
                pass
        values: Values = {}
        self._add(message, payload, None, None, values)
        return values

    def message(self, identifier: int) -> Message:
        return self.database.get_message_by_frame_id(
            identifier & ~EXTENDED, force_extended_id=bool(identifier & EXTENDED)
        )

    def _add(
        self, message: Message, payload: bytes, parent: str | None, selected: int | None, values: Values
    ) -> None:
        for signal in message.signals:
            if signal.multiplexer_signal != parent:
                continue
            if parent is not None and selected not in (signal.multiplexer_ids or []):
                continue
            if not fits(message, signal):
                continue
            values[signal.name] = decode_alone(message, signal, payload, scaling=True)
            if signal.is_multiplexer:
                raw = decode_alone(message, signal, payload, scaling=False)
                self._add(message, payload, signal.name, int(raw), values)


def is_sound(message: Message) -> bool:
    """Say whether cantools accepts the layout, so that its own decoding of the whole message can be
    trusted."""
    try:
        message.refresh(strict=True)
    except cantools.Error:
        message.refresh(strict=False)
        return False
    return True


def fits(message: Message, signal: Signal) -> bool:
    start = signal.start
    if signal.byte_order == "big_endian":
        start = 8 * (start // 8) + 7 - start % 8
    return start + signal.length <= 8 * message.length and signal.length <= 64


def decode_alone(message: Message, signal: Signal, payload: bytes, *, scaling: bool) -> Any:
    alone = Signal(
        name=signal.name,
        start=signal.start,
        length=signal.length,
        byte_order=signal.byte_order,
        is_signed=signal.is_signed,
        conversion=signal.conversion,
    )
    holder = Message(frame_id=1, name="Alone", length=message.length, signals=[alone], strict=True)
    return holder.decode(payload, decode_choices=False, scaling=scaling)[signal.name]


def same(ours: Values, theirs: Values) -> bool:
    """Say whether two frames have the same signals, values bit for bit (NaN included) and types."""
    if ours.keys() != theirs.keys():
        return False
    return all(
        type(ours[name]) is type(theirs[name]) and _bits(ours[name]) == _bits(theirs[name]) for name in ours
    )


def _bits(value: float) -> object:
    return value if isinstance(value, int) else np.float64(value).tobytes()


def _named(message: Message, signal: Signal) -> list[int]:
    if not signal.is_multiplexer:
        return []
    ids: set[int] = set()
    for other in message.signals:
        if other.multiplexer_signal == signal.name:
            ids.update(other.multiplexer_ids or [])
    return sorted(ids)


def _place(payload: bytearray, signal: Signal, value: int) -> None:
    """Write an unsigned value into a signal's bits."""
    for bit in range(signal.length):
        is_set = value >> bit & 1
        if signal.byte_order == "big_endian":
            last = 8 * (signal.start // 8) + 7 - signal.start % 8 + signal.length - 1
            position = last - bit
            byte, shift = position // 8, 7 - position % 8
        else:
            byte, shift = divmod(signal.start + bit, 8)
        if byte < len(payload):
            payload[byte] = payload[byte] & ~(1 << shift) | is_set << shift


def dbc_text(*messages: str) -> str:
    """Return a DBC of the given `BO_` blocks (and lines that follow them)."""
    return "\n".join(['VERSION ""', "NS_ :", "BS_:", "BU_: ECU", "", *messages, ""])
