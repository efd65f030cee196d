"""Logs for tests: frames as plain tuples, and logs of every form with known frames."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING

import can

from protocol.limits import LOT_FRAMES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from device.acquisition.lot import FrameLot

# Bus, time in µs, identifier (bit 31 for extended), flags, payload.
Frame = tuple[str, int, int, int, bytes]


def frames_of(lots: Iterable[FrameLot]) -> list[Frame]:
    """Return the frames of lots, and check that each lot is one that the decoder may be given."""
    frames: list[Frame] = []
    for lot in lots:
        assert 0 < lot.size <= LOT_FRAMES_MAX
        columns = zip(
            lot.t_us.tolist(),
            lot.can_id.tolist(),
            lot.flags.tolist(),
            lot.length.tolist(),
            lot.data,
            strict=True,
        )
        for t_us, can_id, flags, length, data in columns:
            assert not data[length:].any(), "payloads are zero padded"
            frames.append((lot.bus, t_us, can_id, flags, data[:length].tobytes()))
    return frames


def messages(count: int, *, seed: int = 1) -> list[can.Message]:
    """Return different messages, a millisecond apart from 2023-11-14 on, some of them extended."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        is_extended = rng.random() < 0.3
        made.append(
            can.Message(
                timestamp=1_700_000_000 + number / 1_000,
                arbitration_id=rng.randrange(1 << 29 if is_extended else 1 << 11),
                is_extended_id=is_extended,
                data=number.to_bytes(4, "big") + rng.randbytes(4),
                channel=0,
            )
        )
    return made


def log_bytes(form: str, made: list[can.Message], folder: Path) -> bytes:
    """Return a log of a form: a suffix of python-can's, or gvret, busmaster, terminal."""
    match form:
        case "gvret":
            return _gvret(made)
        case "busmaster":
            return _busmaster(made)
        case "terminal":
            return _terminal(made)
        case _:
            path = folder / f"written.{form}"
            with can.Logger(path) as logger:
                for message in made:
                    logger.on_message_received(message)
            return path.read_bytes()


def suffix_of(form: str) -> str:
    return {"gvret": ".csv", "busmaster": ".log", "terminal": ".txt"}.get(form, f".{form}")


def _gvret(made: list[can.Message]) -> bytes:
    lines = ["Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8"]
    for message in made:
        data = ",".join(f"{byte:02X}" for byte in message.data)
        t_us = round(message.timestamp * 1e6)
        extended = str(message.is_extended_id).lower()
        lines.append(f"{t_us},{message.arbitration_id:08X},{extended},Rx,0,{len(message.data)},{data},")
    return "\n".join([*lines, ""]).encode()


def _busmaster(made: list[can.Message]) -> bytes:
    lines = [
        "***BUSMASTER Ver 2.4.0***",
        "***START DATE AND TIME 14:11:2023 22:13:20:000***",
        "***HEX***",
        "***SYSTEM MODE***",
    ]
    for message in made:
        when = dt.datetime.fromtimestamp(round(message.timestamp, 3), dt.UTC)
        time = f"{when.hour}:{when.minute:02}:{when.second:02}:{when.microsecond // 1000:03}"
        kind = f"{message.arbitration_id:08X} {'x' if message.is_extended_id else 's'}"
        lines.append(f"{time} Rx 0 {kind} {len(message.data)} {message.data.hex(' ').upper()} ")
    return "\n".join([*lines, ""]).encode()


def _terminal(made: list[can.Message]) -> bytes:
    lines = []
    for message in made:
        digits = (
            f"{message.arbitration_id:08X}" if message.is_extended_id else f"{message.arbitration_id:03X}"
        )
        data = message.data.hex(" ").upper()
        lines.append(f" ({message.timestamp:.6f})  can0  {digits}   [{len(message.data)}]  {data}")
    return "\n".join([*lines, ""]).encode()
