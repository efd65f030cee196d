"""A1: frames to arrays of all signals, against cantools.

Compared: `FlatDecoder.decode` of a lot, which gives every signal of every frame as a physical value, with one
`Database.decode_message(decode_choices=False)` a frame. Both give the same numbers, compared value by value
(bits and type) before anything is timed. Prepared beforehand: the compiled table and the lot on our side, the
loaded database and a list of (identifier, payload) on the other.

The note says from how many frames on ours is faster, and what `Decoder.decode` takes: rows of raw integers by
group, which is what the box records.

Not compared: choice texts (we give numbers), frames that cantools refuses.

Source of the goals: design goal A1; baseline cantools, with bitstruct's C part as pip installs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.can_inputs import fd_dbc, random_frames, recorded_frames
from benchmarks.harness import require_same, round_robin
from benchmarks.recordings import TOYOTA_DBC, TOYOTA_LOG, AbsentError, demo_dbc
from benchmarks.result import LeftOut, Row, at_least, spread_of
from device.acquisition.decode import Decoder
from device.acquisition.flat import FlatDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Setting
    from benchmarks.can_inputs import CanInput
    from benchmarks.result import Goal, Line

DBCS = {
    "toyota_new_mc_pt": TOYOTA_DBC,
    "vw_mqb": "dbc/opendbc/vw_mqb.dbc",
    "tesla_model3_party": "dbc/opendbc/tesla_model3_party.dbc",
    "gm_global_a_lowspeed": "dbc/opendbc/gm_global_a_lowspeed_1818125.dbc",
}
NOT_IN_THE_RECORDINGS = ("hyundai_2015_ccan", "hyundai_canfd")

LARGE, SMALL = 1_000, 100
GOALS = {LARGE: at_least(10, "cantools' rate"), SMALL: at_least(5, "cantools' rate")}
CROSSINGS = (5, 10, 15, 20, 30, 50, 100)


def run(setting: Setting) -> Iterator[Line]:
    """Measure every input at both sizes."""
    for given in _inputs(setting):
        if isinstance(given, LeftOut):
            yield given
            continue
        check_values(given)
        crossing = _crossing(given, setting)
        for count, goal in GOALS.items():
            yield _row(given.first(setting.size(count, SMALL // 10)), goal, setting, crossing)


def _inputs(setting: Setting) -> Iterator[CanInput | LeftOut]:
    count = setting.size(LARGE, SMALL)
    yield random_frames("demo car", demo_dbc(), count=count)
    fd = setting.folder / "fd.dbc"
    fd.write_text(fd_dbc(), encoding="ascii")
    yield random_frames("CAN FD, 32 B", fd, count=count)
    for name, file in DBCS.items():
        try:
            yield random_frames(name, setting.recordings.path(file), count=count)
        except AbsentError as absent:
            yield LeftOut(id="A1", case=name, why=str(absent))
    try:
        log, dbc = setting.recordings.path(TOYOTA_LOG), setting.recordings.path(TOYOTA_DBC)
        yield recorded_frames("real drive", log, dbc, count=count)
    except AbsentError as absent:
        yield LeftOut(id="A1", case="real drive", why=str(absent))
    if not setting.is_tiny:
        for name in NOT_IN_THE_RECORDINGS:
            yield LeftOut(
                id="A1", case=name, why="the recordings have no such DBC; CAN FD is generated instead"
            )


def check_values(given: CanInput) -> None:
    """Compare every value of every frame, by repr: a float's repr is its bits, and NaN equals itself.

    Raises:
        BenchBrokenError: one differs.
    """
    decoder = FlatDecoder(given.table)
    lanes = decoder.decode(given.lot)
    ours: list[dict[str, str]] = [{} for _ in given.frames]
    numbers = decoder.numbers(lanes)
    for frame, column, value in zip(lanes.frame.tolist(), lanes.column.tolist(), numbers, strict=True):
        ours[frame][decoder.columns[column].signal] = repr(value)
    for pair, row in zip(given.pairs, ours, strict=True):
        values = given.database.decode_message(*pair, decode_choices=False)
        assert isinstance(values, dict), "no container is asked for"
        theirs = {name: repr(value) for name, value in values.items()}
        require_same(f"{given.name} 0x{pair[0]:x} {pair[1].hex()}", row, theirs)


def all_values(given: CanInput) -> Callable[[], object]:
    """Return our decoding to physical values."""
    decoder, lot = FlatDecoder(given.table), given.lot
    return lambda: decoder.decode(lot)


def raw_rows(given: CanInput) -> Callable[[], object]:
    """Return our decoding to raw integers by group, as the box records them."""
    decoder, lot = Decoder(given.table), given.lot
    return lambda: decoder.decode(lot).groups


def cantools_each(given: CanInput) -> Callable[[], object]:
    """Return cantools' decoding, frame by frame."""
    decode, pairs = given.database.decode_message, given.pairs
    return lambda: [decode(can_id, data, decode_choices=False) for can_id, data in pairs]


def _row(given: CanInput, goal: Goal, setting: Setting, crossing: str) -> Row:
    timings = round_robin(
        {"ours": all_values(given), "theirs": cantools_each(given), "rows": raw_rows(given)},
        rounds=setting.rounds,
    )
    count = len(given.frames)
    ours, theirs, rows = (timings[name].a(count) for name in ("ours", "theirs", "rows"))
    signals = sum(len(given.database.decode_message(*pair, decode_choices=False)) for pair in given.pairs)
    return Row(
        id="A1",
        case=f"{given.name}, {count} frames",
        goal=goal,
        measured=f"{ours.median_s * 1e6:.3f} µs/frame",
        baseline=f"{theirs.median_s * 1e6:.2f} µs/frame",
        ratio=theirs.median_s / ours.median_s,
        spread=spread_of(ours, theirs),
        note=f"{signals / count:.1f} signals a frame; {crossing}; raw rows {rows.median_s * 1e6:.3f} µs",
    )


def _crossing(given: CanInput, setting: Setting) -> str:
    """Return in words from how many frames on we are faster."""
    for count in CROSSINGS[: setting.size(len(CROSSINGS), 2)]:
        some = given.first(count)
        timings = round_robin({"ours": all_values(some), "theirs": cantools_each(some)}, rounds=3)
        if timings["ours"].median_s <= timings["theirs"].median_s:
            return f"faster from {count} frames on"
    return "slower on all sizes tried for the crossing"


BENCH = Bench(ids=("A1",), title="CAN frames to arrays, against cantools", run=run)
