"""The account of a replay: what became of every frame, for people and as one JSON object.

Rules: numbers of frames, samples and batches come from the signed headers (`ReplayTally`), so that what is
said is what anyone can verify later. They must add up, or the command ends with an assertion.

Example:
    report(outcome, drive, timeline, found, [], as_json=True)
"""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from device.agent.process import Exit, print_json

if TYPE_CHECKING:
    from device.agent.replay import Outcome
    from device.agent.replay_log import DriveLog, Survey, Timeline


def _account(
    outcome: Outcome, drive: DriveLog, timeline: Timeline, found: Survey, doubts: list[str]
) -> dict[str, object]:
    tally = outcome.tally
    return {
        "ok": _code(outcome) is Exit.DONE,
        "bus": found.bus,
        "format": None if drive.log.format is None else drive.log.format.value,
        "utc_start": utc_text(timeline.utc_us),
        "utc_source": timeline.utc_source,
        "nmea_source": timeline.nmea_source or None,
        "frames_read": outcome.frames_read,
        "frames_decoded": tally.decoded,
        "frames_dropped": tally.frame_drops,
        "drops": dict(sorted(tally.drops.items())),
        "samples": tally.samples,
        "rows": tally.rows,
        "fixes": tally.fixes,
        "nmea_lines": drive.nmea_lines,
        "log_errors": drive.log_errors.count,
        "first_log_errors": list(drive.log_errors.first),
        "log_errors_by_cause": {
            cause.value: {"count": places.count, "first": places.first}
            for cause, places in drive.log_errors.by_cause.items()
        },
        "warnings": [*doubts, *drive.log.notes],
        "batches_sealed": tally.batches,
        "batches_receipted": outcome.receipted,
        "batches_pending": outcome.pending,
        "is_complete": outcome.is_complete,
        "seconds": round(outcome.seconds, 3),
    }


def report(
    outcome: Outcome,
    drive: DriveLog,
    timeline: Timeline,
    found: Survey,
    doubts: list[str],
    *,
    as_json: bool,
) -> None:
    """Print the account.

    Args:
        outcome: how the replay ended.
        drive: what was read.
        timeline: how its times were placed.
        found: what the survey saw.
        doubts: what a person may not have meant.
        as_json: one JSON object instead of words.
    """
    account = _account(outcome, drive, timeline, found, doubts)
    if as_json:
        print_json(account)
        return
    tally = outcome.tally
    lost = "".join(f" + {count} {cause}" for cause, count in tally.frame_drops.items())
    sys.stdout.write(f"frames:   {outcome.frames_read} read = {tally.decoded} decoded{lost}\n")
    sys.stdout.write(f"samples:  {tally.samples} in {tally.rows} rows, {tally.fixes} fixes\n")
    sys.stdout.write(
        f"batches:  {tally.batches} sealed, {outcome.receipted} receipted, {outcome.pending} pending "
        f"({outcome.seconds:.1f} s)\n"
    )
    for cause, count in drive.log_errors.by_cause.items():
        sys.stdout.write(f"log:      {count.count} x {cause.value.replace('_', ' ')}, first: {count.first}\n")
    for note in drive.log.notes:
        sys.stdout.write(f"log:      {note}\n")


def leave(outcome: Outcome) -> NoReturn:
    """End the command with the code and the sentence that fit the outcome."""
    tally = outcome.tally
    if outcome.is_stored:
        assert tally.is_balanced, "every frame is decoded or dropped by a named cause"
        assert tally.received == outcome.frames_read, "every frame that was read reached the engine"
    if not outcome.is_complete:
        sys.stderr.write(
            "stopped before the end of the log; what was read is stored. Run it again for the whole.\n"
        )
    elif not outcome.is_stored:
        sys.stderr.write("the disk did not take the last batches. Check its space, then run it again.\n")
    elif outcome.pending:
        sys.stderr.write(
            f"{outcome.pending} batches are stored and have no receipt yet. Check broker and bridge; "
            "`tbox agent run` or the next replay sends them.\n"
        )
    raise typer.Exit(_code(outcome))


def _code(outcome: Outcome) -> Exit:
    if outcome.is_interrupted:
        return Exit.INTERRUPTED
    return Exit.DONE if outcome.is_complete and outcome.is_stored and not outcome.pending else Exit.NOT_NOW


def utc_text(utc_us: int) -> str:
    """Return µs since 1970 as people write them."""
    moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=utc_us)
    return moment.isoformat().replace("+00:00", "Z")
