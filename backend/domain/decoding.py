"""Rows of a stored batch, put together from its signals section and its chain's dictionary.

Rules:
- Rows are raw integers with the definition that says what they mean; nothing is scaled here.
- A group without a definition is named, not guessed.
- Rows must lie in the batch's own interval, with a minute of slack: a time far outside would put rows where
  no search for the batch finds them. A batch that breaks this, or whose columns are not those announced, is
  unreadable; its signed bytes stay what they are.

Example:
    >>> decoded = decode_groups(header, data, dictionary={1: wheels})
    >>> [(at.definition.message, at.t_us.size) for at in decoded.groups], decoded.missing
    ([('WHEELS', 3)], frozenset())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from protocol.errors import ProtocolError, Reject
from protocol.limits import BATCH_AGE_US_MAX
from protocol.signals import decode_signals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from protocol.dictionary import GroupDef


class HasInterval(Protocol):
    """What says when a batch was recorded: its header, or the row that was made of it."""

    @property
    def mono_start_us(self) -> int:
        """Monotonic µs of the batch's boot at its start."""

    @property
    def mono_end_us(self) -> int:
        """The same at its end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedGroup:
    """Rows of one group: `t_us` of shape (n,), `raw` of shape (columns, n)."""

    definition: GroupDef
    t_us: NDArray[np.int64]
    raw: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedBatch:
    """All groups that have a definition, and the ids of those that have none."""

    groups: tuple[DecodedGroup, ...]
    missing: frozenset[int]


def decode_groups(
    batch: HasInterval,
    data: bytes,
    *,
    dictionary: Mapping[int, GroupDef],
    only: Collection[int] | None = None,
) -> DecodedBatch:
    """Return the rows of a batch.

    Args:
        batch: Its verified header, or its row.
        data: Its signals section without salt.
        dictionary: Definitions of its chain by group id.
        only: Group ids wanted; the others are not even decompressed. None wants all.

    Raises:
        ProtocolError: The section cannot be read, or does not fit its header or dictionary.
    """
    groups: list[DecodedGroup] = []
    missing: set[int] = set()
    for rows in decode_signals(data, only=only):
        definition = dictionary.get(rows.gid)
        if definition is None:
            missing.add(rows.gid)
            continue
        if rows.raw.shape[0] != len(definition.columns):
            raise ProtocolError(
                Reject.BAD_FIELD,
                f"group {rows.gid} has {rows.raw.shape[0]} columns, {len(definition.columns)} announced",
            )
        if rows.t_us.size:
            check_times(batch, least_us=int(rows.t_us.min()), most_us=int(rows.t_us.max()))
            groups.append(DecodedGroup(definition=definition, t_us=rows.t_us, raw=rows.raw))
    return DecodedBatch(groups=tuple(groups), missing=frozenset(missing))


def check_times(batch: HasInterval, *, least_us: int, most_us: int) -> None:
    """Refuse rows outside their batch's interval.

    Raises:
        ProtocolError: BAD_FIELD when a row's monotonic time is more than a minute outside.
    """
    begins_us = batch.mono_start_us - BATCH_AGE_US_MAX
    ends_us = batch.mono_end_us + BATCH_AGE_US_MAX
    if least_us < begins_us or most_us > ends_us:
        raise ProtocolError(Reject.BAD_FIELD, "rows lie outside the batch's interval")
