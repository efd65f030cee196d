"""A4: a list of python-can's messages to arrays of all signals, against cantools.

Compared: `lot_of` (columns out of `can.Message` objects, as the bus reader does it) and `FlatDecoder.decode`,
with one `decode_message(message.arbitration_id, message.data, decode_choices=False)` a message. The messages
are built beforehand, the same objects for both sides; values are compared as in A1.

Source of the goals: design goal A4; baseline cantools with bitstruct's C part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import can

from benchmarks.bench import Bench
from benchmarks.can_inputs import random_frames, recorded_frames
from benchmarks.decode_arrays import check_values
from benchmarks.harness import round_robin
from benchmarks.recordings import TOYOTA_DBC, TOYOTA_LOG, AbsentError, demo_dbc
from benchmarks.result import LeftOut, Row, at_least, spread_of
from device.acquisition.flat import FlatDecoder
from device.acquisition.lot import CLASSIC_BYTES, EXTENDED
from device.adapters.can_bus import lot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Setting
    from benchmarks.can_inputs import CanInput
    from benchmarks.result import Line

FRAMES = 1_000
GOAL = at_least(5, "cantools' rate")
VW_MQB = "dbc/opendbc/vw_mqb.dbc"


def run(setting: Setting) -> Iterator[Line]:
    """Measure the demonstration car, a large DBC and a recorded drive."""
    count = setting.size(FRAMES, 20)
    given: list[CanInput | LeftOut] = [random_frames("demo car", demo_dbc(), count=count)]
    sources: dict[str, Callable[[], CanInput]] = {
        "vw_mqb": lambda: random_frames("vw_mqb", setting.recordings.path(VW_MQB), count=count),
        "real drive": lambda: recorded_frames(
            "real drive",
            setting.recordings.path(TOYOTA_LOG),
            setting.recordings.path(TOYOTA_DBC),
            count=count,
        ),
    }
    for name, source in sources.items():
        try:
            given.append(source())
        except AbsentError as absent:
            given.append(LeftOut(id="A4", case=name, why=str(absent)))
    for item in given:
        yield item if isinstance(item, LeftOut) else _row(item, setting)


def messages_of(given: CanInput) -> list[can.Message]:
    """Return the frames as python-can hands them over, in its wall-clock seconds."""
    return [
        can.Message(
            timestamp=t_us / 1e6,
            arbitration_id=can_id & ~EXTENDED,
            is_extended_id=bool(can_id & EXTENDED),
            is_fd=len(payload) > CLASSIC_BYTES,
            data=payload,
        )
        for t_us, can_id, payload in given.frames
    ]


def _row(given: CanInput, setting: Setting) -> Row:
    check_values(given)
    messages = messages_of(given)
    decoder, decode = FlatDecoder(given.table), given.database.decode_message
    last_us = given.frames[-1][0]
    timings = round_robin(
        {
            "ours": lambda: decoder.decode(lot_of("can0", messages, mono_us=last_us, wall_us=last_us)),
            "theirs": lambda: [
                decode(message.arbitration_id, message.data, decode_choices=False)  # type: ignore[arg-type]
                for message in messages
            ],
            "lot": lambda: lot_of("can0", messages, mono_us=last_us, wall_us=last_us),
        },
        rounds=setting.rounds,
    )
    ours, theirs, lot = (timings[name].a(len(messages)) for name in ("ours", "theirs", "lot"))
    return Row(
        id="A4",
        case=f"{given.name}, {len(messages)} messages",
        goal=GOAL,
        measured=f"{ours.median_s * 1e6:.2f} µs/message",
        baseline=f"{theirs.median_s * 1e6:.2f} µs/message",
        ratio=theirs.median_s / ours.median_s,
        spread=spread_of(ours, theirs),
        note=f"of ours, {lot.median_s * 1e6:.2f} µs turn the message objects into columns",
    )


BENCH = Bench(ids=("A4",), title="can.Message objects to arrays, against cantools", run=run)
