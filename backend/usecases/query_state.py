"""A caller reads what is known of a box now: latest values, roll-ups, and how fresh it all is.

Every value carries its unit, its time, where that time comes from and its age: a number without its age
would pass for live.

Example:
    >>> for value in read_latest(session, org_id=org, device_id=device):
    ...     print(value.signal.name, value.value, value.utc_us)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backend.domain.rollup import MINUTE_US, MinuteValues, values_of
from backend.store.batch_queue import count_waiting
from backend.store.batches import DecodeState
from backend.store.chains import list_chains
from backend.store.dictionaries import DeviceSignal, list_signals
from backend.store.latest import load_latest
from backend.store.rollups import page_of_rollups
from protocol.dictionary import RawType, physical

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlmodel import Session

    from backend.domain.batch_time import TimeSource
    from backend.domain.rollup import MinutePart


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentValue:
    """One signal's latest value."""

    signal: DeviceSignal
    value: int | float | None
    utc_us: int
    source: TimeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """When a box was last heard, and how many of its batches are in which state."""

    last_received_us: int | None
    states: Mapping[DecodeState, int]


def read_latest(session: Session, *, org_id: str, device_id: str) -> list[CurrentValue]:
    """Return the latest value of every signal, by name; of signals with one name, the latest."""
    signals = {
        signal.signal_ref: signal for signal in list_signals(session, org_id=org_id, device_id=device_id)
    }
    found: dict[str, CurrentValue] = {}
    for latest in load_latest(session, org_id=org_id, signal_refs=signals):
        signal = signals[latest.signal_ref]
        if not isinstance(signal.column.raw_type, RawType):
            continue
        number = physical(signal.column, np.array([latest.raw], dtype=np.int64)).tolist()[0]
        value = CurrentValue(
            signal=signal,
            value=number if not isinstance(number, float) or np.isfinite(number) else None,
            utc_us=latest.utc_us,
            source=latest.time_source,
        )
        known = found.get(signal.name)
        if known is None or known.utc_us < value.utc_us:
            found[signal.name] = value
    return [found[name] for name in sorted(found)]


def latest_utc_us(session: Session, *, org_id: str, device_id: str) -> int | None:
    """Return the time of a box's latest value, UTC in µs, or None when it has none."""
    refs = [signal.signal_ref for signal in list_signals(session, org_id=org_id, device_id=device_id)]
    return max((at.utc_us for at in load_latest(session, org_id=org_id, signal_refs=refs)), default=None)


def read_freshness(session: Session, *, org_id: str, device_id: str) -> Freshness:
    """Return when a box was last heard, and what waits."""
    chains = list_chains(session, org_id=org_id, device_id=device_id)
    waiting = count_waiting(session, chain_refs=[chain.chain_ref for chain in chains])
    stored = sum(chain.state.stored.total for chain in chains)
    return Freshness(
        last_received_us=max((chain.last_received_us for chain in chains), default=None),
        states=waiting | {DecodeState.DONE: stored - sum(waiting.values())},
    )


def read_rollups(
    session: Session,
    *,
    org_id: str,
    device_id: str,
    from_us: int,
    to_us: int,
    signals: Collection[str] | None,
    after: tuple[int, int] | None,
    limit: int,
) -> list[tuple[DeviceSignal, MinuteValues]]:
    """Return the minutes that begin in [from_us, to_us), by minute and signal.

    Args:
        session: Any session.
        org_id: Whose box it must be.
        device_id: Which box.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded.
        signals: Names wanted; None for all.
        after: (minute, signal_ref) of the last row seen.
        limit: At most this many.
    """
    known = {
        signal.signal_ref: signal
        for signal in list_signals(session, org_id=org_id, device_id=device_id)
        if isinstance(signal.column.raw_type, RawType)  # a type of a later version has no value for us
        and (signals is None or signal.name in signals or signal.full_name in signals)
    }
    rows = page_of_rollups(
        session,
        org_id=org_id,
        columns={signal_ref: signal.column for signal_ref, signal in known.items()},
        from_minute=-(-from_us // MINUTE_US),
        to_minute=-(-to_us // MINUTE_US),
        after=after,
        limit=limit,
    )
    parts: dict[int, list[MinutePart]] = {}
    for signal_ref, part in rows:
        parts.setdefault(signal_ref, []).append(part)
    shown = {ref: iter(values_of(known[ref].column, minutes)) for ref, minutes in parts.items()}
    return [(known[signal_ref], next(shown[signal_ref])) for signal_ref, _ in rows]
