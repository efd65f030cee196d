"""What must hold in a simulated world, whatever went wrong in it: pure questions about plain values.

Rules: a checker gets what the car said and what the server shows, and returns the problems it found, in
words; no problem is an empty list. It shares no code with the product: cantools decodes the car's frames
here, the product's own decoder did there.

Example:
    >>> said = [Sample(t_us=0, value=1.0), Sample(t_us=100, value=2.0), Sample(t_us=200, value=3.0)]
    >>> misses(said, [Sample(t_us=110, value=2.0)], tolerance=0.01, lag_us=50)
    []
    >>> misses(said, [Sample(t_us=110, value=2.5)], tolerance=0.01, lag_us=50)
    ['2.5 at 110 us was never said']
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.bus_traffic import BUS_NAME, EXTENDED, demo_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from simulators.bus_traffic import CanFrame
    from simulators.car import NmeaBurst

PROBLEMS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value at an instant, microseconds of UTC."""

    t_us: int
    value: float


def said_by_signal(frames: Iterable[CanFrame], *, utc_start_us: int) -> dict[str, list[Sample]]:
    """Return what the car said, by `bus.Message.Signal`, decoded by cantools; choices as numbers."""
    said: dict[str, list[Sample]] = defaultdict(list)
    for frame in frames:
        message = demo_database().get_message_by_frame_id(
            frame.can_id & ~EXTENDED, force_extended_id=bool(frame.can_id & EXTENDED)
        )
        values = message.decode(frame.data, decode_choices=False)
        assert isinstance(values, dict)
        for name, value in values.items():
            assert isinstance(value, int | float)
            said[f"{BUS_NAME}.{message.name}.{name}"].append(
                Sample(t_us=utc_start_us + frame.t_us, value=float(value))
            )
    return dict(said)


def said_places(bursts: Iterable[NmeaBurst]) -> list[tuple[float, float]]:
    """Return the places (latitude, longitude, degrees) that a receiver said in its RMC lines."""
    places = []
    for burst in bursts:
        for line in burst.lines:
            fields = line.decode("ascii").split(",")
            if fields[0].endswith("RMC") and fields[2] == "A":
                places.append((_degrees(fields[3], fields[4]), _degrees(fields[5], fields[6])))
    return places


def _degrees(text: str, letter: str) -> float:
    """Return what `ddmm.mmmmm` and a hemisphere say. Source: NMEA 0183, RMC."""
    whole, minutes = divmod(float(text), 100)
    return (whole + minutes / 60) * (-1 if letter in "SW" else 1)


def misses(said: Sequence[Sample], stored: Sequence[Sample], *, tolerance: float, lag_us: int) -> list[str]:
    """Return the stored samples that the car did not say, in its order.

    Stored samples must be a subsequence of what was said: each within `tolerance` of a later one than the
    sample before it, no more than `lag_us` away from it in time.

    Args:
        said: everything the car said, in the order of time.
        stored: what came out at the other end, in the order of time.
        tolerance: greatest difference of two equal values; half a step of the signal, or 0.
        lag_us: greatest difference of their times, either way.
    """
    problems, at = [], 0
    for sample in stored:
        while at < len(said) and said[at].t_us < sample.t_us - lag_us:
            at += 1
        here = at
        while here < len(said) and said[here].t_us <= sample.t_us + lag_us:
            if abs(said[here].value - sample.value) <= tolerance:
                break
            here += 1
        else:
            problems.append(f"{sample.value} at {sample.t_us} us was never said")
            continue
        at = here + 1
    return problems


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """What a checker wants to know of one stored batch.

    Attributes:
        chain: its chain, in hex.
        seq: its number in it.
        boot: life of the agent, in hex.
        result: the server's verdict on it.
        received: frames that the agent counted while it was open.
        decoded: those it decoded.
        dropped: those it dropped, by cause.
        fixes: how many fixes it has.
        lost_before: frames that never reached the agent's counting, as it noticed itself.
        gaps: gaps it declares, as (boot in which it began, cause).
        losses: ranges (first, last) of numbers that it declares lost.
        bytes_stored: of its sections.
        head: SHA-256 of its signed header, in hex.
    """

    chain: str
    seq: int
    boot: str
    result: str
    received: int
    decoded: int
    dropped: Mapping[str, int]
    fixes: int = 0
    lost_before: int = 0
    gaps: tuple[tuple[str, str], ...] = ()
    losses: tuple[tuple[int, int], ...] = ()
    bytes_stored: int = 0
    head: str = ""


def chain_problems(batches: Iterable[StoredBatch]) -> list[str]:
    """Return what is wrong with the chains: a number stored twice, or missing and not declared lost."""
    by_chain: dict[str, list[StoredBatch]] = defaultdict(list)
    for batch in batches:
        by_chain[batch.chain].append(batch)
    problems = []
    for chain, members in by_chain.items():
        numbers = [batch.seq for batch in members]
        repeated = {seq for seq in numbers if numbers.count(seq) > 1}
        declared = {
            seq for batch in members for first, last in batch.losses for seq in range(first, last + 1)
        }
        missing = set(range(1, max(numbers) + 1)) - set(numbers) - declared
        problems += [f"chain {chain[:8]}: {seq} is stored twice" for seq in sorted(repeated)]
        problems += [f"chain {chain[:8]}: {seq} is missing and not declared lost" for seq in sorted(missing)]
    return problems


def accounting_problems(batches: Iterable[StoredBatch]) -> list[str]:
    """Return the batches in which a frame is neither decoded nor counted as dropped."""
    return [
        f"batch {batch.seq}: {batch.received} came, {batch.decoded} decoded, {dict(batch.dropped)} dropped"
        for batch in batches
        if batch.received != batch.decoded + sum(batch.dropped.values())
    ]


def in_words(problems: Sequence[str]) -> str:
    """Return the first few problems in one line."""
    more = len(problems) - PROBLEMS_SHOWN
    return "; ".join(problems[:PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
