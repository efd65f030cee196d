"""B1: bytes of a 60 s batch, against Sparkplug-like protobuf + zstd, and against xz -9e.

Compared: the section `signals` (`encode_signals`, all groups) with
- one Sparkplug-like payload of the same samples to the microsecond, zstd level 3 as ours
  (`benchmarks.sparkplug`; the note says what Sparkplug's own milliseconds would take);
- xz -9e over the same delta byte planes, all in one stream: what a slow compressor without our need to read
  one group alone would reach.
Left out on every side: names (dictionary, birth message), header and signature; the note says what those add
to our batch. Sizes are exact, not times. Both forms are decoded back and compared first.

Source of the goals: design goal B1.
"""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from benchmarks.batch_inputs import UTC_START_US, BatchInput, inputs, series_of
from benchmarks.bench import Bench
from benchmarks.harness import require_same
from benchmarks.result import LeftOut, Row, at_least, at_most
from benchmarks.sparkplug import decode_metrics, encode_payload
from protocol.compression import LEVEL, compress
from protocol.planes import encode_planes
from protocol.signals import decode_signals, encode_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Setting
    from benchmarks.result import Line

SMALLER = at_least(5, "smaller than Sparkplug-like + zstd")
NEAR_XZ = at_most(1.25, "the size of xz -9e")


def run(setting: Setting) -> Iterator[Line]:
    """Measure every input."""
    for given in inputs(setting):
        if isinstance(given, BatchInput):
            yield from _rows(given)
        else:
            name, why = given
            yield LeftOut(id="B1", case=name, why=why)


def _rows(given: BatchInput) -> Iterator[Row]:
    ours = encode_signals(given.groups)
    _check_ours(given, ours)
    series = series_of(given)
    plain = encode_payload(series, utc_start_us=UTC_START_US)
    _check_theirs(given, plain)
    theirs = _zstd_bytes(plain)
    in_ms = _zstd_bytes(encode_payload(series, utc_start_us=UTC_START_US, times_in_us=False))
    planes = b"".join(encode_planes(np.vstack((group.t_us, group.raw))) for group in given.groups)
    xz = len(lzma.compress(planes, preset=9 | lzma.PRESET_EXTREME))
    times = sum(len(compress(encode_planes(group.t_us[None, :]))) for group in given.groups)
    samples = given.samples
    case = f"{given.name}, {samples} samples"
    yield Row(
        id="B1",
        case=case,
        is_exact=True,
        goal=SMALLER,
        measured=_size(len(ours), samples),
        baseline=_size(theirs, samples),
        ratio=theirs / len(ours),
        note=(
            f"{len(given.groups)} groups; of ours {times} B are times, which hardly repeat; "
            f"Sparkplug in its own milliseconds {_size(in_ms, samples)}"
        ),
    )
    yield Row(
        id="B1",
        case=case,
        is_exact=True,
        goal=NEAR_XZ,
        measured=_size(len(ours), samples),
        baseline=_size(xz, samples),
        ratio=len(ours) / xz,
        note=(
            f"one zstd frame for all groups would be {_zstd_bytes(planes)} B; one for each costs more, and "
            f"lets a signal be read without the others"
        ),
    )


def _zstd_bytes(data: bytes) -> int:
    return len(zstandard.ZstdCompressor(level=LEVEL).compress(data))


def _size(size: int, samples: int) -> str:
    return f"{size} B, {size / samples:.2f} B/sample"


def _check_ours(given: BatchInput, data: bytes) -> None:
    for mine, other in zip(decode_signals(data), given.groups, strict=True):
        require_same(given.name, mine.gid, other.gid)
        require_same(given.name, mine.t_us.tolist(), other.t_us.tolist())
        require_same(given.name, mine.raw.tolist(), other.raw.tolist())


def _check_theirs(given: BatchInput, data: bytes) -> None:
    """Compare the samples of each series, values by repr so that NaN equals itself."""
    found: dict[int, list[tuple[int, str]]] = {}
    for t_us, alias, value in decode_metrics(data):
        found.setdefault(alias, []).append((t_us - UTC_START_US, repr(value)))
    for alias, one in enumerate(series_of(given)):
        mine = sorted(zip(one.t_us, map(repr, one.values), strict=True))
        require_same(one.name, sorted(found[alias]), mine)


BENCH = Bench(ids=("B1",), title="bytes of a batch, against Sparkplug-like + zstd and xz -9e", run=run)
