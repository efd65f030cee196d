"""How a ratio is measured so that it can be believed.

Rules:
- Candidates run round-robin in one process: each once to warm up, then in turn for several rounds, garbage
  collection off. A slow spell then hits all alike. The median counts; best and worst are kept beside it.
- What only computes is timed in CPU seconds of its thread (`CPU`), which others on the machine do not
  lengthen as they do the wall's. What waits for a disk or a server is timed by the wall (`WALL`).
- A call too short for the clock is repeated within one timing, as often for every round.
- Ratios are made of medians of one run only.
- A candidate whose values are wrong is not timed: `require_same` breaks the bench.

It knows no candidate and no goal.

Example:
    >>> timings = round_robin({"sum": lambda: sum(range(100)), "len": lambda: len("a")}, rounds=3)
    >>> sorted(timings)
    ['len', 'sum']
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUNDS = 7  # odd, so that the median is a round that happened
CPU = time.thread_time
WALL = time.perf_counter
TIMING_S_MIN = 0.01  # a thousand times the clock's and the scheduler's grain
REPEATS_MAX = 10_000  # a bound on what a candidate faster than the clock may ask for


class BenchBrokenError(RuntimeError):
    """A candidate gave wrong values, so that its time would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds a call of one candidate, over all rounds."""

    median_s: float
    best_s: float
    worst_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Return what some rounds come to; there is at least one."""
        return cls(median_s=statistics.median(seconds), best_s=min(seconds), worst_s=max(seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """Best and worst round over the median: how far one could be wrong."""
        return self.best_s / self.median_s, self.worst_s / self.median_s

    def a(self, count: int) -> Timing:
        """Return the same for one of the `count` items that a call handles."""
        return Timing(
            median_s=self.median_s / count, best_s=self.best_s / count, worst_s=self.worst_s / count
        )


def round_robin(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    repeats: int | None = None,
    clock: Callable[[], float] = CPU,
) -> dict[str, Timing]:
    """Time all candidates in turn.

    Args:
        candidates: Name and call; what a call returns is dropped.
        rounds: How often each is timed, after one call that is not.
        repeats: Calls within one timing; None finds out how many make `TIMING_S_MIN`, for each by itself.
        clock: `CPU` or `WALL`, seconds.

    Returns:
        Seconds a call, by name.
    """
    calls = {name: repeats or _repeats(call, clock) for name, call in candidates.items()}
    if repeats is not None:
        for call in candidates.values():
            call()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in candidates.items():
                times = range(calls[name])
                start = clock()
                for _ in times:
                    call()
                taken[name].append((clock() - start) / calls[name])
    finally:
        gc.enable()
    return {name: Timing.of(seconds) for name, seconds in taken.items()}


def require_same(what: str, ours: object, theirs: object) -> None:
    """Check that two candidates mean the same.

    Raises:
        BenchBrokenError: they differ.
    """
    if ours != theirs:
        raise BenchBrokenError(
            f"{what}: values differ, so times mean nothing: {ours!r:.200} / {theirs!r:.200}"
        )


def _repeats(call: Callable[[], object], clock: Callable[[], float]) -> int:
    """Warm a candidate up, and return how many calls fill a timing."""
    call()
    start = clock()
    call()
    once_s = max(clock() - start, TIMING_S_MIN / REPEATS_MAX)
    return max(1, round(TIMING_S_MIN / once_s))
