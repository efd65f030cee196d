"""The anchor: a small file beside the spool that knows the chain's head when the spool is lost or exchanged.

Rules:
- It is written after the spool's own commit, so it is never ahead of the spool it stands beside. An anchor
  that *is* ahead tells that the spool was replaced by an older image.
- It is replaced as a whole, durably. Losing it costs only the early warning: receipts tell the same later.
- `is_suspect` asks the next start to read the whole spool before trusting it.

It reads no database; `origin_after` compares what the spool holds with what the anchor remembers.

Example:
    >>> read_anchor(Path("/nonexistent/anchor.json")) is None
    True
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.adapters.durable_file import write_durably
from device.state import BatchKey, ChainId, ChainRecord, SpoolImage
from protocol.batch import ChainHead, Origin, OriginKind

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What is remembered outside the spool.

    Attributes:
        chain: The chain that grew last.
        seq: Its last known seq, 0 when it had no batch yet.
        digest: Digest at `seq`, None for seq 0.
        is_suspect: SQLite reported damage; check everything at the next start.
    """

    chain: ChainId
    seq: int
    digest: bytes | None
    is_suspect: bool = False

    @property
    def head(self) -> ChainHead | None:
        """The same as a chain head, None while the chain was empty."""
        if self.digest is None:
            return None
        return ChainHead(chain=self.chain, seq=self.seq, hash=self.digest)


def read_anchor(path: Path) -> Anchor | None:
    """Return the anchor, None when there is none or it cannot be read."""
    try:
        fields = json.loads(path.read_bytes())
        digest = fields["digest"]
        return Anchor(
            chain=ChainId(bytes.fromhex(fields["chain"])),
            seq=int(fields["seq"]),
            digest=None if digest is None else bytes.fromhex(digest),
            is_suspect=bool(fields["is_suspect"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_anchor(path: Path, anchor: Anchor) -> None:
    """Replace the anchor.

    Raises:
        OSError: The disk refused; the old anchor still stands.
    """
    fields = {
        "version": VERSION,
        "chain": anchor.chain.hex(),
        "seq": anchor.seq,
        "digest": None if anchor.digest is None else anchor.digest.hex(),
        "is_suspect": anchor.is_suspect,
    }
    write_durably(path, json.dumps(fields).encode(), mode=0o600)


def origin_after(image: SpoolImage | None, anchor: Anchor | None, *, was_damaged: bool) -> Origin | None:
    """Return the origin of the chain that must begin now, None when the one in the spool goes on."""
    if image is None:
        if anchor is None and not was_damaged:
            return Origin(kind=OriginKind.FIRST, last_head=None)
        return Origin(kind=OriginKind.STORAGE_LOST, last_head=None if anchor is None else anchor.head)
    if anchor is None or not _is_older(image, anchor):
        return None
    return Origin(kind=OriginKind.CONFLICT, last_head=anchor.head)


def _is_older(image: SpoolImage, anchor: Anchor) -> bool:
    """Whether the anchor knows more than the spool it stands beside."""
    known = {chain.chain: chain for chain in (*image.ended, image.chain)}
    chain = known.get(anchor.chain)
    if chain is None:
        return True
    if anchor.seq > chain.last_seq:
        return True
    digests = {entry.key: entry.digest for entry in image.index}
    own = digests.get(BatchKey(anchor.chain, anchor.seq))
    return own is not None and own != anchor.digest


def anchor_of(chain: ChainRecord) -> Anchor:
    """Return the anchor that fits a chain."""
    return Anchor(chain=chain.chain, seq=chain.last_seq, digest=chain.last_digest)
