"""`python -m simulators.order_lives`: one life by its seed, or many, with a report.

Example:
    $ python -m simulators.order_lives --seed 1092
    $ python -m simulators.order_lives --lives 10000 --jobs 2 --report docs/reports/order-lives.md
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simulators.order_lives.kinds import KINDS
from simulators.order_lives.life import Report, live, try_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REPORT_EVERY_S = 60


@dataclass(slots=True)
class Tally:
    """What many lives were. Attributes: failures (seed, text), lives and simulated s by kind, sums."""

    failures: list[str] = field(default_factory=list)
    lives: Counter[str] = field(default_factory=Counter)
    simulated_s: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    locked: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    replays: int = 0

    def add(self, found: Report | str) -> None:
        """Count a life or a failure."""
        if isinstance(found, str):
            self.failures.append(found)
            return
        self.lives[found.kind] += 1
        self.simulated_s += found.simulated_s
        self.faults += found.faults
        self.seen += found.seen
        self.orders += found.orders
        self.locked[found.kind] += found.seen["locked"]
        self.replays += found.replays


def lives_of(seeds: Iterable[int], jobs: int) -> Iterator[Report | str]:
    """Live many lives; the order of answers is the seeds'."""
    if jobs == 1:
        yield from map(try_live, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(try_live, seeds, chunksize=4)


def write_report(path: Path, tally: Tally, first: int, wanted: int, seconds: float) -> None:
    """Write what was found, dated."""
    done = tally.lives.total() + len(tally.failures)
    rows = "\n".join(
        f"| {kind} | {tally.lives[kind]} | {tally.locked[kind]} |" for kind in KINDS if tally.lives[kind]
    )
    failures = "\n".join(f"- {text}" for text in tally.failures) or "None."
    timed = tally.seen["releases timed"] or 1
    mean_s = tally.seen["release s x10"] / 10 / timed
    path.write_text(
        f"""# Seeded lives of orders

Written by `make deep` on {dt.datetime.now(dt.UTC).date()}: {done} of {wanted} lives,
seeds {first} to {first + done - 1}, {tally.simulated_s / 86_400:.0f} simulated days in
{seconds / 60:.0f} minutes. One life again: `tbox sim life --seed N`.

**{len(tally.failures)} lives failed.**

{failures}

| kind of life | lives | locks |
|---|---|---|
{rows}

{_table("Faults that happened", tally.faults)}
{_table("Orders signed", tally.orders)}
{_table("What the checkers saw", tally.seen)}
{tally.replays} replays of accepted messages changed nothing. An UNLOCK without faults was answered after
{mean_s:.1f} s on average, counted in steps of 1 s.
""",
        "utf-8",
    )


def _table(title: str, counts: Counter[str]) -> str:
    rows = "\n".join(f"| {name} | {count} |" for name, count in sorted(counts.items()) if " x10" not in name)
    return f"| {title} | |\n|---|---|\n{rows}\n"


def run_many(first: int, lives: int, *, jobs: int, minutes: float | None, report: Path | None) -> Tally:
    """Live many lives, as long as there is time; write the report now and then."""
    begun = written = time.monotonic()
    tally = Tally()
    for found in lives_of(range(first, first + lives), jobs):
        tally.add(found)
        if isinstance(found, str):
            print(found, file=sys.stderr, flush=True)  # noqa: T201 - a command's output
        now = time.monotonic()
        if report is not None and now - written > REPORT_EVERY_S:
            written = now
            write_report(report, tally, first, lives, now - begun)
        if minutes is not None and now - begun > 60 * minutes:
            break
    if report is not None:
        write_report(report, tally, first, lives, time.monotonic() - begun)
    return tally


def main() -> int:
    """Run the command; 1 when a life failed."""
    parser = argparse.ArgumentParser(prog="python -m simulators.order_lives", description=__doc__)
    parser.add_argument("--seed", type=int, help="one life, and what it was as JSON")
    parser.add_argument("--lives", type=int, default=200, help="how many (200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--minutes", type=float, help="end after so long")
    parser.add_argument("--report", type=Path, help="file to write")
    asked = parser.parse_args()
    if asked.seed is not None:
        print(json.dumps(asdict(live(asked.seed)), indent=2))  # noqa: T201 - a command's output
        return 0
    tally = run_many(asked.first, asked.lives, jobs=asked.jobs, minutes=asked.minutes, report=asked.report)
    print(f"{tally.lives.total()} lives, {len(tally.failures)} failed")  # noqa: T201 - a command's output
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
