"""What a box's batches say about its car: which disposition was the newest when each was sealed.

Rules: a header's disposition head is the newest disposition that the box had, or null while it had none. A
batch that was sealed anew (`chain_rehomed`) has the times of the original and the head of the later sealing,
so it proves nothing about the time before. A time counts with its error, never without a bound.

This module reads no disposition: it only compares hashes.

Example:
    >>> from protocol.evidence_file import read_file
    >>> from protocol.vectors.evidence import example_file
    >>> Heads(Ledger(file=read_file(example_file()))).names_after({bytes(32)}, 0)
    False
"""

from collections import defaultdict
from collections.abc import Collection

from protocol.errors import ProtocolError
from protocol.evidence_chains import believed
from protocol.evidence_ledger import Ledger
from protocol.facts import decode_facts
from protocol.header import BatchHeader, Section
from protocol.limits import SALT_BYTES

REHOMED = "chain_rehomed"


class Heads:
    """The heads that the box signed.

    Args:
        ledger: with the batches that hold.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._headers = [batch.header for batch in ledger.batches.values()]

    def names_after(self, digests: Collection[bytes], end_us: int) -> bool:
        """Whether a batch begun at or after an instant names one of these dispositions as the newest."""
        return any(
            header.disposition_head in digests and self._is_after(header, end_us) for header in self._headers
        )

    def names_before(self, digests: Collection[bytes], begin_us: int) -> bool:
        """Whether a batch sealed at or before an instant names one of these dispositions as the newest."""
        return any(
            header.disposition_head in digests
            and self._is_before(header, begin_us)
            and self._is_first_sealing(header)
            for header in self._headers
        )

    def begins_with(self, digests: Collection[bytes], begin_us: int) -> bool:
        """Whether batches without a hole lead from no disposition, at an instant, to one of these."""
        return any(
            after is not None and after.disposition_head in digests for _, after in self._silences(begin_us)
        )

    def is_silent(self, begin_us: int, end_us: int) -> bool:
        """Whether batches without a hole say from one instant to another that there was no disposition."""
        return any(self._is_after(last, end_us) for last, _ in self._silences(begin_us))

    def others_within(
        self, own: Collection[bytes], known: Collection[bytes], interval: tuple[int, int]
    ) -> str | None:
        """Return what a batch of the interval says against a chain having been the current one, or None.

        Args:
            own: dispositions of the chain.
            known: all dispositions of the file.
            interval: begin and end, UTC µs.
        """
        begin_us, end_us = interval
        for header in self._headers:
            head = header.disposition_head
            if head is None or head in own:
                continue
            if self._is_before(header, begin_us) or self._is_after(header, end_us):
                continue
            name = f"batch {header.seq} of chain {header.chain.hex()}"
            if head not in known:
                return f"{name} names a disposition that is not in the file"
            if believed(self._ledger, header) is not None:
                return f"{name} names a disposition of another epoch"
        return None

    def _silences(self, begin_us: int) -> list[tuple[BatchHeader, BatchHeader | None]]:
        """Return, by chain, the last of a run of batches without a head from an instant on, and the next."""
        chains: dict[bytes, dict[int, BatchHeader]] = defaultdict(dict)
        for header in self._headers:
            chains[header.chain][header.seq] = header
        found: list[tuple[BatchHeader, BatchHeader | None]] = []
        for headers in chains.values():
            last = max(
                (
                    seq
                    for seq, header in headers.items()
                    if self._is_before(header, begin_us) and self._is_first_sealing(header)
                ),
                default=None,
            )
            if last is None or headers[last].disposition_head is not None:
                continue
            while last + 1 in headers and headers[last + 1].disposition_head is None:
                last += 1
            found.append((headers[last], headers.get(last + 1)))
        return found

    def _is_before(self, header: BatchHeader, instant_us: int) -> bool:
        """Whether a batch certainly ended at or before an instant."""
        time, error = believed(self._ledger, header), header.clock_error_us
        return time is not None and error is not None and time[1] + error <= instant_us

    def _is_after(self, header: BatchHeader, instant_us: int) -> bool:
        """Whether a batch certainly began at or after an instant."""
        time, error = believed(self._ledger, header), header.clock_error_us
        return time is not None and error is not None and time[0] - error >= instant_us

    def _is_first_sealing(self, header: BatchHeader) -> bool:
        """Whether a batch is the original, as far as its facts are here to say so."""
        if Section.FACTS not in header.sections:
            return True
        stored = self._ledger.sections.get((header.chain, header.seq, int(Section.FACTS)))
        if stored is None:
            return False
        try:
            facts = decode_facts(stored[SALT_BYTES:])
        except ProtocolError:
            return False
        return all(event.name != REHOMED for event in facts.events)
