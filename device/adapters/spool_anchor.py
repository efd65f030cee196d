"""The anchor: a small file beside the spool that knows the chain's head when the spool is lost or exchanged.

Rules:
- It is written after the spool's own commit, so it is never ahead of the spool it stands beside. An anchor
  that *is* ahead tells that the spool was replaced by an older image.
- It is replaced as a whole, durably. Losing it costs only the early warning: receipts tell the same later.
- `is_suspect` asks the next start to read the whole spool before trusting it.

It reads no database; `origin_after` compares what the spool holds with what the anchor remembers.

Example:
    >>> from pathlib import Path
    >>> AnchorKeeper(Path("/nonexistent/anchor.json")).read() is None
    True
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from device.adapters.durable_file import write_durably
from device.state import BatchKey, ChainId, ChainRecord, SpoolImage
from protocol.batch import ChainHead, Origin, OriginKind

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)

VERSION = 1
LAG_MAX = 64  # batches stored in one rush before the anchor is written although more are waiting


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


class AnchorKeeper:
    """Keeps the anchor's file close behind the spool.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._anchor: Anchor | None = None
        self._lag = 0

    def read(self) -> Anchor | None:
        """Return what the file remembers, None when there is none or it cannot be read."""
        try:
            fields = json.loads(self._path.read_bytes())
            digest = fields["digest"]
            return Anchor(
                chain=ChainId(bytes.fromhex(fields["chain"])),
                seq=int(fields["seq"]),
                digest=None if digest is None else bytes.fromhex(digest),
                is_suspect=bool(fields["is_suspect"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note_chain(self, chain: ChainRecord) -> None:
        """This chain grows now; the file must say so at once."""
        self._anchor = Anchor(chain=chain.chain, seq=chain.last_seq, digest=chain.last_digest)
        self._lag = LAG_MAX

    def note_stored(self, key: BatchKey, digest: bytes) -> None:
        """A batch was stored; one of an older chain does not concern the anchor."""
        if self._anchor is not None and key.chain == self._anchor.chain:
            self._anchor = replace(self._anchor, seq=key.seq, digest=digest)
            self._lag += 1

    def suspect(self) -> None:
        """SQLite reported damage: let the next start examine everything."""
        if self._anchor is not None:
            self._anchor = replace(self._anchor, is_suspect=True)
            self._lag = LAG_MAX

    def write_if_due(self, *, is_idle: bool) -> None:
        """Write when there is time, or when the file is too far behind."""
        if self._lag >= LAG_MAX or (self._lag and is_idle):
            self.write()

    def write(self) -> None:
        """Replace the file. A disk that refuses costs the early warning, the spool itself is whole."""
        if self._anchor is None or not self._lag:
            return
        fields = {
            "version": VERSION,
            "chain": self._anchor.chain.hex(),
            "seq": self._anchor.seq,
            "digest": None if self._anchor.digest is None else self._anchor.digest.hex(),
            "is_suspect": self._anchor.is_suspect,
        }
        try:
            write_durably(self._path, json.dumps(fields).encode(), mode=0o600)
            self._lag = 0
        except OSError as error:
            _log.warning("anchor not written path=%s error=%s", self._path, error)


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
