"""Columns out of many stored batches at once: only the groups and columns wanted, in a few array operations.

Rules:
- It reads sections that `protocol.signals` has read before, when they were projected. Rules that only tell a
  well-formed section from an odd one are not asked again; every length is, so that bytes that changed on the
  disk end in an error and never in values of another column. Whoever wants proof verifies the batch.
- Frames of groups that are not wanted are not decompressed; planes of columns that are not wanted are not
  put together. The values are those of `decode_signals`, bit for bit.

It does not know what a column means, nor where sections come from.

Example:
    >>> frames = [frame for data in sections for frame in frames_of(data, only={1})]
    >>> decode_columns(frames, wanted=[0], columns=2).raw
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cbor2
import numpy as np
import zstandard

from protocol.errors import ProtocolError, Reject
from protocol.limits import SIGNALS_BYTES_MAX
from protocol.planes import block_bytes_max

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

_WORD_BYTES: Final = 8
_HEAD_BYTES: Final = 1 + _WORD_BYTES  # a column's width and first value, see `protocol.planes`
_ONE: Final = np.uint64(1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One group's rows in one batch, still compressed.

    Attributes:
        gid: which group.
        rows: how many.
        columns: how many signals, the time not counted.
        data: one zstd frame.
    """

    gid: int
    rows: int
    columns: int
    data: bytes

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all its columns, the time's too, when decoded."""
        return self.rows * (self.columns + 1) * _WORD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Rows of one group, batch after batch: `t_us` of shape (n,), `raw` of shape (wanted columns, n)."""

    t_us: NDArray[np.int64]
    raw: NDArray[np.int64]


def frames_of(data: bytes, *, only: Collection[int] | None) -> Iterator[Frame]:
    """Yield the frames of a signals section, those of the groups wanted.

    Args:
        data: the section's data without salt.
        only: group ids; None for all.

    Raises:
        ProtocolError: BAD_ENCODING when it is no such section any more, TOO_LARGE beyond all limits.
    """
    try:
        table, body = cbor2.loads(data)
        if not isinstance(body, bytes):
            raise ProtocolError(Reject.BAD_ENCODING, "signals: the body is no bytes")
        start = 0
        for gid, rows, columns, size in table:
            if rows and (only is None or gid in only):
                if not all(isinstance(value, int) and value >= 0 for value in (gid, rows, columns, size)):
                    raise ProtocolError(Reject.BAD_ENCODING, "signals: a table of something else")
                if (columns + 1) * rows * _WORD_BYTES > SIGNALS_BYTES_MAX:
                    raise ProtocolError(Reject.TOO_LARGE, f"group {gid}: {rows} rows of {columns} columns")
                yield Frame(gid, rows, columns, body[start : start + size])
            start += size
    except (cbor2.CBORDecodeError, TypeError, ValueError) as broken:
        raise ProtocolError(Reject.BAD_ENCODING, f"signals: {broken}") from broken


def decode_columns(frames: Sequence[Frame], *, wanted: Sequence[int], columns: int) -> Columns:
    """Return the wanted columns of frames of one group, one after the other.

    Args:
        frames: one or more, of one group, each with one row at least.
        wanted: places of the columns, from 0.
        columns: how many the group was announced with.

    Raises:
        ProtocolError: BAD_ENCODING when a frame is not what its table says.
    """
    columns += 1  # the time is the first
    decompress = zstandard.ZstdDecompressor().decompress
    blocks = [_content(frame, columns, decompress) for frame in frames]
    sizes = np.array([len(block) for block in blocks])
    rows = np.array([frame.rows for frame in frames])
    buffer = np.frombuffer(b"".join(blocks), dtype=np.uint8)
    begins = np.cumsum(sizes) - sizes

    heads_end = columns * _HEAD_BYTES
    if (sizes < heads_end).any():
        raise ProtocolError(Reject.BAD_ENCODING, "planes: shorter than its column heads")
    head_at = begins[:, None] + np.arange(columns) * _HEAD_BYTES
    widths = buffer[head_at].astype(np.int64)  # (frames, columns)
    if (widths > _WORD_BYTES).any() or (sizes != heads_end + widths.sum(axis=1) * (rows - 1)).any():
        raise ProtocolError(Reject.BAD_ENCODING, "planes: length does not fit columns, widths and rows")
    planes_at = begins[:, None] + heads_end + (np.cumsum(widths, axis=1) - widths) * (rows - 1)[:, None]

    places = [0, *(at + 1 for at in wanted)]
    firsts = buffer[head_at[:, places, None] + np.arange(1, _HEAD_BYTES)].view("<i8")[..., 0].T
    steps = _Steps(buffer, rows)
    decoded = np.stack(
        [steps.column(widths[:, place], planes_at[:, place], firsts[at]) for at, place in enumerate(places)]
    )
    return Columns(t_us=decoded[0], raw=decoded[1:])


def _content(frame: Frame, columns: int, decompress: Any) -> bytes:  # noqa: ANN401  # the library's own method
    """Return a frame's content, after checking that its size can be."""
    most = block_bytes_max(columns=columns, rows=frame.rows)
    try:
        if frame.columns + 1 != columns or not 0 < zstandard.frame_content_size(frame.data) <= most:
            raise ProtocolError(Reject.BAD_ENCODING, f"group {frame.gid}: not the columns and rows it states")
        content: bytes = decompress(frame.data)
    except zstandard.ZstdError as broken:
        raise ProtocolError(Reject.BAD_ENCODING, f"zstd: {broken}") from broken
    return content


class _Steps:
    """The differences of all frames as one array, and where each frame's begin."""

    def __init__(self, buffer: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        counts = rows - 1
        total = int(counts.sum())
        self._buffer = buffer
        self._rows = rows
        self._of_frame = np.repeat(np.arange(len(rows)), counts)  # which frame a difference is of
        self._within = np.arange(total) - (np.cumsum(counts) - counts)[self._of_frame]
        self._counts = counts[self._of_frame]
        self._starts = np.cumsum(rows) - rows  # where a frame's rows start in the result
        self._is_step = np.ones(int(rows.sum()), dtype=np.bool_)
        self._is_step[self._starts] = False

    def column(
        self, widths: NDArray[np.int64], planes_at: NDArray[np.int64], firsts: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return one column of all frames, given its width, its first plane's place and its first value."""
        zigzag = np.zeros(len(self._within), dtype=np.uint64)
        at = planes_at[self._of_frame] + self._within
        every_width = widths[self._of_frame]
        for plane in range(int(widths.max())):
            has_plane = widths > plane
            if has_plane.all():
                zigzag |= self._buffer[at].astype(np.uint64) << np.uint64(8 * plane)
            else:
                some = every_width > plane
                zigzag[some] |= self._buffer[at[some]].astype(np.uint64) << np.uint64(8 * plane)
            at += self._counts
        words = np.zeros(len(self._is_step), dtype=np.uint64)
        words[self._is_step] = (zigzag >> _ONE) ^ (~(zigzag & _ONE) + _ONE)
        summed = np.add.accumulate(words, dtype=np.uint64)  # over all frames; each is then moved to its first
        offsets = firsts.astype(np.int64).view(np.uint64) - summed[self._starts]
        return np.asarray(summed + np.repeat(offsets, self._rows)).view(np.int64)
