"""B2: encoding a 60 s batch, against SenML in JSON + zstd.

Compared: `encode_signals` of prepared columns with `orjson.dumps` of prepared SenML records and zstd level 3,
the same level as ours. Records are built beforehand as ours are; SenML is helped by a base name and a base
time. Both are decoded back and compared before anything is timed.

Source of the goals: design goal B2; RFC 8428 (SenML: bn, bt, n, t, v).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import zstandard

from benchmarks.batch_inputs import UTC_START_US, BatchInput, inputs, series_of
from benchmarks.bench import Bench
from benchmarks.harness import require_same, round_robin
from benchmarks.result import LeftOut, Row, at_least, spread_of
from protocol.compression import LEVEL
from protocol.signals import decode_signals, encode_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Setting
    from benchmarks.harness import Timing
    from benchmarks.result import Line

GOAL = at_least(8, "faster than SenML + zstd")

Record = dict[str, str | int | float | None]


def run(setting: Setting) -> Iterator[Line]:
    """Measure every input."""
    for given in inputs(setting):
        if isinstance(given, BatchInput):
            yield _row(given, setting)
        else:
            name, why = given
            yield LeftOut(id="B2", case=name, why=why)


def senml_records(given: BatchInput) -> list[Record]:
    """Return the samples in order of time, with base name and base time in the first record."""
    samples = sorted(
        (
            (t_us, one.name, value)
            for one in series_of(given)
            for t_us, value in zip(one.t_us, one.values, strict=True)
        ),
        key=lambda sample: sample[:2],
    )
    records: list[Record] = [
        {"n": name.partition(".")[2], "t": t_us / 1e6, "v": value} for t_us, name, value in samples
    ]
    bus = samples[0][1].partition(".")[0]
    base: Record = {"bn": f"{bus}.", "bt": UTC_START_US / 1e6}
    records[0] = base | records[0]
    return records


def _row(given: BatchInput, setting: Setting) -> Row:
    records = senml_records(given)
    compressor = zstandard.ZstdCompressor(level=LEVEL)

    def theirs() -> bytes:
        return compressor.compress(orjson.dumps(records))

    def ours() -> bytes:
        return encode_signals(given.groups)

    for read, group in zip(decode_signals(ours()), given.groups, strict=True):
        require_same(given.name, read.raw.tolist(), group.raw.tolist())
    require_same(given.name, len(orjson.loads(zstandard.decompress(theirs()))), given.samples)
    timings = round_robin({"ours": ours, "theirs": theirs}, rounds=setting.rounds)
    mine, other, samples = timings["ours"], timings["theirs"], given.samples
    return Row(
        id="B2",
        case=f"{given.name}, {samples} samples",
        goal=GOAL,
        measured=_taken(mine, samples),
        baseline=_taken(other, samples),
        ratio=other.median_s / mine.median_s,
        spread=spread_of(mine, other),
        note=(
            f"{mine.median_s / len(given.groups) * 1e6:.0f} µs for each of {len(given.groups)} groups, about "
            f"20 of them whatever it holds; {len(ours())} B against {len(theirs())} B"
        ),
    )


def _taken(timing: Timing, samples: int) -> str:
    return f"{timing.median_s * 1e3:.2f} ms, {timing.median_s / samples * 1e6:.3f} µs/sample"


BENCH = Bench(ids=("B2",), title="encoding a batch, against SenML + zstd", run=run)
