"""The content of one batch, complete but not yet numbered or signed.

Rules:
- A draft belongs to no chain: the same draft could be sealed into any.
- Sections are held without their salt; `facts` is held decoded, because sealing adds the dictionary to it.

It does not encode or sign (`seal`) and does not collect (`batch_builder`).

Example:
    >>> Draft.__slots__[0]
    'boot'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.state import BatchKey, SpoolClass
    from protocol.batch import Counts
    from protocol.clock import ClockClass
    from protocol.facts import Facts
    from protocol.ids import BootId


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a header and its sections will say.

    Attributes:
        boot: The boot whose monotonic time the content has.
        mono_start_us: Monotonic start.
        mono_end_us: Monotonic end, not before the start.
        utc_start_us: UTC at the start, None when unknown.
        utc_end_us: UTC at the end, None when unknown.
        clock: Where UTC came from.
        clock_error_us: Bound of its error, None when unknown.
        counts: What it was made of.
        drops: What was left out, by DropCause.
        sections: Data by section id, without salt and without `facts`.
        facts: Dictionary, events and health.
        gids: Groups that `signals` uses.
        rank: Its class.
        room_bytes: Room left for more dictionary, before compression.
        policy: SHA-256 of the policy in force when it was recorded.
        profile: SHA-256 of the vehicle profile in force then.
        replaces: Batch of an ended chain that this is sealed anew from.
    """

    boot: BootId
    mono_start_us: int
    mono_end_us: int
    utc_start_us: int | None
    utc_end_us: int | None
    clock: ClockClass | int
    clock_error_us: int | None
    counts: Counts
    drops: Mapping[int, int]
    sections: Mapping[int, bytes] = field(default_factory=dict)
    facts: Facts
    gids: frozenset[int] = frozenset()
    rank: SpoolClass
    room_bytes: int = 0
    policy: bytes | None = None
    profile: bytes | None = None
    replaces: BatchKey | None = None
