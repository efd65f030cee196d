"""What `tbox decode` says at the end: a summary for people, and the same as one JSON object.

Rules:
- Everything that cost a frame is named with its number; what was only odd is a warning.
- The JSON has all of it, the text the first few of each kind.

Example:
    >>> sys.stdout.write(summary_text(account))                                         # doctest: +SKIP
    drive.log (candump): 49741 frames, 45000 decoded (90.5 %), 300000 values to drive.csv
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from device.acquisition.lot import EXTENDED
from device.adapters.log_files import LogClock
from device.decode_run import utc_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.decode_run import DecodeAccount
    from protocol.batch import DropCause

# Lines of a kind in the text summary; --json has them all.
_SHOWN_MAX = 5
# C0 but line ends, C1, what changes the direction of writing, and halves of characters (names of undecodable
# bytes), which no stream can write.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def summary(account: DecodeAccount) -> dict[str, object]:
    """Return everything as JSON has it."""
    reader = account.reader
    errors = reader.errors
    return {
        "dbc": str(account.dbc),
        "dbc_sha256": account.dbc_hash.hex(),
        "log": str(reader.path),
        "format": None if reader.format is None else reader.format.value,
        "clock": None if reader.clock is None else reader.clock.value,
        "out": str(account.out),
        "rows": account.rows,
        "frames": account.frames,
        "decoded": account.decoded,
        "drops": {cause.name.lower(): count for cause, count in sorted(account.drops.items())},
        "unknown_selector": account.unknown_selector,
        "unknown_ids": {_id_text(can_id): count for can_id, count in account.unknown_ids.most_common()},
        "rounded_values": account.rounded,
        "first_time_s": None if account.first_us is None else account.first_us / 1e6,
        "last_time_s": None if account.last_us is None else account.last_us / 1e6,
        "shift_s": account.shift_us / 1e6,
        "log_errors": {
            "count": errors.count,
            "first": errors.first,
            "by_cause": {
                cause.value: {"count": found.count, "first": found.first}
                for cause, found in errors.by_cause.items()
            },
            "is_torn": errors.is_torn,
        },
        "log_notes": reader.notes,
        "dbc_warnings": list(account.dbc_warnings),
    }


def summary_text(account: DecodeAccount) -> str:
    """Return what people want to know."""
    frames, reader = account.frames, account.reader
    share = f" ({100 * account.decoded / frames:.1f} %)" if frames else ""
    form = f" ({reader.format.value})" if reader.format is not None else ""
    counted = f"{frames} frames, {account.decoded} decoded{share}, {account.rows} values"
    lines = [f"{reader.path}{form}: {counted} to {account.out}"]
    if (when := _when(account)) is not None:
        lines.append(f"  {when}")
    lines += [f"  {count} frames: {cause_text(cause)}" for cause, count in sorted(account.drops.items())]
    if account.unknown_ids:
        top = account.unknown_ids.most_common(_SHOWN_MAX)
        listed = ", ".join(f"{_id_text(can_id)} ({count})" for can_id, count in top)
        rest = len(account.unknown_ids) - len(top)
        lines.append(f"  unknown identifiers: {listed}" + (f" and {rest} more" if rest else ""))
    if account.unknown_selector:
        lines.append(
            f"  {account.unknown_selector} frames have a multiplexer value that the DBC does not name"
        )
    if account.rounded:
        lines.append(
            f"  {account.rounded} integers beyond 2**53 are rounded; .csv and .jsonl keep them exact"
        )
    return "\n".join(lines) + "\n"


def warnings(account: DecodeAccount) -> Iterator[str]:
    """Yield what was odd, one sentence each."""
    found = account.dbc_warnings
    yield from (f"DBC: {sentence}" for sentence in found[:_SHOWN_MAX])
    if len(found) > _SHOWN_MAX:
        yield f"DBC: {len(found) - _SHOWN_MAX} more, see --json"
    for cause, count in account.reader.errors.by_cause.items():
        name = cause.value.replace("_", " ")
        yield f"log: {count.count} x {name}, first: {count.first}"
    if account.reader.errors.is_torn:
        yield "log: it ends in the middle of something; all before is decoded"
    yield from (f"log: {note}" for note in account.reader.notes)


def cause_text(cause: DropCause) -> str:
    """Return why frames were dropped, in words."""
    return cause.name.lower().replace("_", " ")


def for_terminal(text: str) -> str:
    r"""Return a text with nothing a terminal would obey: control characters as Python writes them.

    Example:
        >>> for_terminal("drive\x1b[2J.log: 4 frames")
        'drive\\x1b[2J.log: 4 frames'
    """
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _when(account: DecodeAccount) -> str | None:
    """Return from when to when, and whose word that is."""
    clock = account.reader.clock
    if account.first_us is None or account.last_us is None or clock is None:
        return None
    if account.shift_us:
        return f"{utc_text(account.first_us)} to {utc_text(account.last_us)} (as --start says)"
    if clock is LogClock.RELATIVE:
        return f"{account.first_us / 1e6:.6f} s to {account.last_us / 1e6:.6f} s ({clock.value})"
    return f"{utc_text(account.first_us)} to {utc_text(account.last_us)} ({clock.value})"


def _id_text(can_id: int) -> str:
    """Return an identifier as people write it: 0x123, and 8 digits for an extended one."""
    return f"0x{can_id & ~EXTENDED:08X}" if can_id & EXTENDED else f"0x{can_id:03X}"
