"""Frames to raw signal rows (signatures first; the executor follows)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from device.acquisition.lot import FrameLot
    from device.acquisition.table import DecodeTable
    from protocol.batch import DropCause


class DecodedGroup(NamedTuple):
    """Rows of one group: `index` into `DecodeTable.groups`, `t_us` int64 (n,), `raw` int64 (n_columns, n)."""

    index: int
    t_us: NDArray[np.int64]
    raw: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeCounts:
    """Where each frame of a lot went: `received == decoded + sum(drops.values())`.

    `drops` uses DropCause UNKNOWN_ID, SHORT, ERROR_FRAME, REMOTE_FRAME and names only causes above zero.
    `unknown_selector` frames are decoded (their base group is there), so it is no drop.
    """

    received: int
    decoded: int
    drops: Mapping[DropCause, int]
    unknown_selector: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One lot, decoded: each group that occurred, once, in order of its index."""

    groups: tuple[DecodedGroup, ...]
    counts: DecodeCounts


class Decoder:
    """`Decoder(table).decode(lot)`; holds no state between lots."""

    def __init__(self, table: DecodeTable) -> None: ...

    def decode(self, lot: FrameLot) -> Decoded:
        """Decode one lot."""
        raise NotImplementedError
