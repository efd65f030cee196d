"""Dispositions on their way from the microcontroller to the backend's receipt.

Rules:
- On the journal before DISPOSITION_ACK: what the microcontroller may forget, the disk has. Numbers are
  acknowledged without a hole; a hole is asked for, and passed over only when the microcontroller has said a
  few times that it no longer has it (an earlier life of the agent had acknowledged it).
- Sent at once, and again with growing pauses until a receipt of stream DISPOSITION names it and its hash; the
  PUBACK frees nothing.
- Two dispositions of one number that differ are both kept and sent, and reported: somebody's storage went
  back in time.
- Receipted ones stay for a while, so that a restored backend can want them again.

It verifies no signature: the backend has D1's key, the agent does not need it.

Example:
    >>> Answers(UplinkLimits()).unreceipted
    0
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from device.config import UplinkLimits
from device.effects import PublishMessage, Report, ReportLevel
from device.order_state import Answered
from protocol.authority_bundle import unverified_fields
from protocol.limits import DISPOSITION_WINDOW, DISPOSITIONS_KEPT_MAX, DISPOSITIONS_PENDING_MAX
from protocol.topics import Up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.effects import Effect
    from protocol.receipts import Receipt

__all__ = ["Answers", "Heard", "UplinkLimits"]

HOLE_TRIES = 3  # questions for a hole before it is taken for acknowledged long ago: a frame may be lost


@dataclass(slots=True, kw_only=True)
class _Entry:
    answered: Answered
    is_kept: bool
    due_us: int = 0
    tries: int = 0
    is_on_way: bool = False


class Heard(NamedTuple):
    """What a disposition means for the journal and the log."""

    answered: Answered | None
    effects: list[Effect]


class Confirmed(NamedTuple):
    """What a receipt changes: digests that the backend has, has lost again, and refuses."""

    receipted: tuple[bytes, ...]
    reopened: tuple[bytes, ...]
    refused: tuple[bytes, ...]


class Answers:
    """All dispositions that the box holds.

    Args:
        limits: pauses between sending and sending again.
        kept: what the journal held at start, in the order in which it was stored.
    """

    def __init__(self, limits: UplinkLimits, kept: Iterable[Answered] = ()) -> None:
        self._limits = limits
        self._entries = {answered.digest: _Entry(answered=answered, is_kept=True) for answered in kept}
        self._passed: dict[bytes, int] = {}
        self._hole: tuple[bytes, int, int] | None = None  # epoch, number missing, times asked
        self.newest: Answered | None = max(
            (entry.answered for entry in self._entries.values()), key=lambda item: item.seq, default=None
        )
        if self._entries:  # of several epochs, the one stored last
            last_epoch = next(reversed(self._entries.values())).answered.epoch
            self.newest = max(self._of(last_epoch), key=lambda item: item.seq)
        self.counts: Counter[str] = Counter()

    @property
    def unreceipted(self) -> int:
        """Dispositions that the backend is not known to have."""
        return sum(
            not entry.answered.is_receipted and not entry.answered.is_refused
            for entry in self._entries.values()
        )

    def take(self, body: bytes) -> Heard:
        """Take a disposition from the link.

        Returns:
            The disposition when it is new, to be kept; and what to report.

        Raises:
            ProtocolError: it is not of the form of one.
        """
        fields = unverified_fields("disposition", body)
        digest = hashlib.sha256(body).digest()
        known = self._entries.get(digest)
        if known is not None:
            known.due_us, known.is_on_way = 0, False
            if known.answered.is_receipted:  # said again because somebody asks again
                known.answered = replace(known.answered, is_receipted=False)
            self.counts["dispositions_repeated"] += 1
            return Heard(None, [])
        if self.unreceipted >= DISPOSITIONS_PENDING_MAX:
            self.counts["dispositions_not_taken"] += 1
            return Heard(None, [])
        answered = Answered(
            epoch=fields[6], seq=fields[7], digest=digest, cmd_hash=fields[4], message=bytes(body)
        )
        effects = self._doubts(answered)
        self._entries[digest] = _Entry(answered=answered, is_kept=False)
        self.counts["dispositions_taken"] += 1
        if self.newest is None or self.newest.epoch != answered.epoch or answered.seq > self.newest.seq:
            self.newest = answered
        return Heard(answered, effects)

    def _doubts(self, answered: Answered) -> list[Effect]:
        twins = [item for item in self._of(answered.epoch) if item.seq == answered.seq]
        if not twins:
            return []
        self.counts["dispositions_conflicting"] += 1
        fields: dict[str, int | float | str | None] = {
            "epoch": answered.epoch.hex(),
            "disp_seq": answered.seq,
        }
        return [Report(level=ReportLevel.ERROR, phrase="two dispositions have one number", fields=fields)]

    def has(self, epoch: bytes, seq: int) -> bool:
        """Return whether a disposition of this number is here, durable or not."""
        return any(item.seq == seq for item in self._of(epoch))

    def note_kept(self, digests: Iterable[bytes]) -> None:
        """The journal has these."""
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is not None:
                entry.is_kept = True

    # --- towards the microcontroller ---

    def acknowledge(self, epoch: bytes) -> int:
        """Return up to which number of an epoch everything is durable here; 0 for nothing."""
        kept = {
            entry.answered.seq
            for entry in self._entries.values()
            if entry.is_kept and entry.answered.epoch == epoch
        }
        upto = max(self._passed.get(epoch, 0), min(kept, default=1) - 1 if self._is_old(epoch) else 0)
        while upto + 1 in kept:
            upto += 1
        return upto

    def hole(self, epoch: bytes) -> int | None:
        """Return the number to ask for when one is missing below what is there, None when nothing is.

        After a few questions in vain the hole is passed over and counted.
        """
        upto = self.acknowledge(epoch)
        above = sorted(item.seq for item in self._of(epoch) if item.seq > upto + 1)
        is_stored = any(item.seq == upto + 1 for item in self._of(epoch))
        if not above or is_stored:  # the next one is here and only waits for the disk
            return None
        tries = self._hole[2] + 1 if self._hole is not None and self._hole[:2] == (epoch, upto + 1) else 1
        self._hole = (epoch, upto + 1, tries)
        if tries <= HOLE_TRIES:
            self.counts["dispositions_asked_again"] += 1
            return upto + 1
        self._passed[epoch] = above[0] - 1
        self.counts["dispositions_passed_over"] += above[0] - 1 - upto
        return None

    def _is_old(self, epoch: bytes) -> bool:
        """The lowest number held of an epoch is receipted: what was below it was receipted and forgotten."""
        lowest = min(self._of(epoch), key=lambda item: item.seq, default=None)
        return lowest is not None and lowest.is_receipted

    # --- towards the backend ---

    def lose_link(self) -> None:
        """The uplink is gone: all of them are due again."""
        for entry in self._entries.values():
            entry.due_us, entry.is_on_way = 0, False

    def next_to_send(self, now_us: int) -> list[Effect]:
        """Return what to publish now, oldest first, at most a window at a time."""
        effects: list[Effect] = []
        on_way = 0
        for entry in self._entries.values():
            answered = entry.answered
            if answered.is_receipted or answered.is_refused:
                continue
            if entry.due_us > now_us:
                on_way += entry.is_on_way
                continue
            if on_way >= DISPOSITION_WINDOW:
                break
            entry.tries += 1
            entry.is_on_way = True
            entry.due_us = now_us + self._pause_us(entry)
            on_way += 1
            effects.append(PublishMessage(kind=Up.DISPOSITION, payload=answered.message))
        self.counts["dispositions_sent"] += len(effects)
        return effects

    def take_receipt(self, receipt: Receipt) -> Confirmed:
        """Believe a verified receipt as far as our own hashes agree.

        Returns:
            What changed; digests as the journal knows them.
        """
        held = self._of(receipt.chain)
        covered: set[bytes] = set()
        points = [
            (1, receipt.upto, receipt.hash),
            *((have.first, have.last, have.hash) for have in receipt.have),
        ]
        is_believed = False
        for first, last, digest in points:
            if digest is not None and any(item.seq == last and item.digest == digest for item in held):
                is_believed = True
                covered |= {
                    item.digest for item in held if first <= item.seq <= last and self._is_one(item, held)
                }
                covered.add(digest)
        refused = {
            item.digest
            for item in held
            for seq, _ in receipt.refused
            if item.seq == seq and item.digest not in covered
        }
        wanted = {
            item.digest
            for item in held
            for first, last in receipt.want
            if first <= item.seq <= last and item.is_receipted and item.digest not in covered
        }
        receipted = tuple(item.digest for item in held if item.digest in covered and not item.is_receipted)
        if not is_believed and receipt.upto > 0:
            self.counts["disposition_receipts_foreign"] += 1
        self._mark(receipted, is_receipted=True)
        self._mark(wanted, is_receipted=False)
        for digest in refused:
            self._entries[digest].answered = replace(self._entries[digest].answered, is_refused=True)
        self.counts["dispositions_receipted"] += len(receipted)
        self.counts["dispositions_refused"] += len(refused)
        return Confirmed(receipted, tuple(sorted(wanted)), tuple(sorted(refused)))

    def forget(self) -> tuple[bytes, ...]:
        """Return digests of receipted ones that are kept no longer, oldest first."""
        receipted = [entry.answered.digest for entry in self._entries.values() if entry.answered.is_receipted]
        old = receipted[: max(0, len(receipted) - DISPOSITIONS_KEPT_MAX)]
        for digest in old:
            del self._entries[digest]
        return tuple(old)

    def _is_one(self, item: Answered, held: list[Answered]) -> bool:
        """No other disposition has this number: a receipt of the number then is one of this hash."""
        return sum(other.seq == item.seq for other in held) == 1

    def _mark(self, digests: Iterable[bytes], *, is_receipted: bool) -> None:
        for digest in digests:
            entry = self._entries[digest]
            entry.answered = replace(entry.answered, is_receipted=is_receipted)
            entry.due_us, entry.is_on_way, entry.tries = 0, False, 0

    def _of(self, epoch: bytes) -> list[Answered]:
        return [entry.answered for entry in self._entries.values() if entry.answered.epoch == epoch]

    def _pause_us(self, entry: _Entry) -> int:
        """Return the pause after this try, doubled and spread over the upper half by the digest."""
        first, most = self._limits.backoff_first_us, self._limits.backoff_max_us
        pause = min(first << min(entry.tries - 1, 30), most)
        spread = int.from_bytes(entry.answered.digest[:4]) / 2**32
        return max(self._limits.receipt_wait_us, int(pause * (0.5 + 0.5 * spread)))
