"""Whether a lock was accepted or in force in the interval of an evidence file: yes, no, or not to be told.

Rules:
- Yes where a disposition that certainly lies in the interval says so, or one before it was still the last
  word on its lock when the interval began.
- No only where one epoch was certainly the car's from the interval's begin to its end and all its numbers are
  here: an epoch that is over never comes back, so no other one can have accepted anything in between. The
  manifest's list of epochs proves nothing, since who exports writes it.
- An epoch spans the begin if one of its dispositions lies before, if a batch sealed before names one, or if
  batches without a hole lead from no disposition, before, to one of it. It spans the end if one lies after,
  or a batch begun after names one as the newest.
- No also where batches without a hole say all through that there was no disposition yet.
- Else unverifiable, with what is missing. A gap is never a no.

This module finds nothing that is wrong: see `evidence_dispositions`.

Example:
    >>> from protocol.evidence_file import read_file
    >>> from protocol.vectors.evidence import example_file
    >>> answer_absence(Ledger(file=read_file(example_file())), [], {}).answer
    <Answer.UNVERIFIABLE: 'UNVERIFIABLE'>
"""

from collections.abc import Mapping, Sequence

from protocol.dispositions import Disposition
from protocol.evidence_dispositions import NOT_ACCEPTED, DispositionChain, is_of_no_order
from protocol.evidence_heads import Heads
from protocol.evidence_ledger import Ledger
from protocol.evidence_orders import ReadOrder
from protocol.evidence_report import Absence, Answer, Code, Weight, iso
from protocol.orders import OrderType, State

_SECOND_US = 1_000_000
_TOLD_MAX = 3  # epochs whose reason is told; more is no sentence any more
_IN_FORCE = frozenset({State.ACCEPTED_PENDING, State.WARNING, State.ARMED, State.LOCKED, State.OVERRIDDEN})

Orders = Mapping[bytes, ReadOrder]
"""Orders of the file by cmd_hash."""


def answer_absence(ledger: Ledger, chains: Sequence[DispositionChain], orders: Orders) -> Absence:
    """Return whether a lock was accepted or in force in the interval of the file."""
    question = _Question(ledger, chains, orders)
    span = f"between {iso(ledger.manifest.from_us)} and {iso(ledger.manifest.to_us)}"
    lock = question.lock()
    if lock is not None:
        text = f"A lock was accepted or in force {span}: order {lock.cmd_id.hex()}."
        return Absence(answer=Answer.LOCK, text=text)
    why = question.doubt()
    if why is not None:
        text = f"Whether a lock was accepted {span} cannot be told: {why}."
        return Absence(answer=Answer.UNVERIFIABLE, text=text)
    return Absence(
        answer=Answer.NO_LOCK,
        text=f"No lock was accepted {span}: the car's dispositions have no gap and none says so.",
    )


class _Question:
    """One interval, and what the file has about it."""

    def __init__(self, ledger: Ledger, chains: Sequence[DispositionChain], orders: Orders) -> None:
        self._ledger = ledger
        self._chains = chains
        self._orders = orders
        self._heads = Heads(ledger)
        self._begin, self._end = ledger.manifest.from_us, ledger.manifest.to_us

    def lock(self) -> Disposition | None:
        """Return a disposition by which a lock certainly was accepted or in force in the interval."""
        for chain in self._chains:
            certain = [item for item in chain.items if self._lies(item) is True]
            if self._reaches(chain, self._begin):
                certain += [item for item, is_followed in self._before(chain) if not is_followed]
            for item in certain:
                if item.state in _IN_FORCE and self._is_lock(item):
                    return item
        return None

    def doubt(self) -> str | None:
        """Return what keeps absence from being proven, or None."""
        untrusted = self._untrusted()
        if untrusted is not None or self._is_before_the_first():
            return untrusted
        reasons = {chain.claim.chain: self._open_edge(chain) for chain in self._chains}
        spanning = [chain for chain in self._chains if reasons[chain.claim.chain] is None]
        if len(spanning) == 1:
            return self._other_word(spanning[0]) or self._unclear_step(spanning[0])
        if spanning:
            return f"{len(spanning)} epochs of the car seem to span the interval, and only one can"
        if len(reasons) == 1:
            return str(*reasons.values())
        told = [f"of epoch {epoch.hex()}, {why}" for epoch, why in list(reasons.items())[:_TOLD_MAX]]
        more = f"; and {len(reasons) - _TOLD_MAX} more" if len(reasons) > _TOLD_MAX else ""
        none = f"none of the {len(reasons)} epochs here is proven to span the interval"
        return f"{none}: {'; '.join(told)}{more}"

    def _untrusted(self) -> str | None:
        """Return why the file's dispositions prove nothing at all, or None."""
        found = {finding.code for finding in self._ledger.findings}
        if any(finding.weight is Weight.CONTRADICTION for finding in self._ledger.findings):
            return "the file is contradicted"
        if Code.MCU_UNTRUSTED in found:
            return "the box's microcontroller is not in the trust file"
        if Code.DEVICE_UNTRUSTED in found:
            return "the box is not in the trust file"
        return None if self._chains else "the file has no disposition of the car"

    # --- edges ---

    def _is_before_the_first(self) -> bool:
        """Whether the whole interval lies before the car's first disposition, by the box's own word."""
        is_later = all(
            chain.items and chain.items[0].sequence == 1 and self._is_after(chain.items[0], self._end)
            for chain in self._chains
        )
        return is_later and self._heads.is_silent(self._begin, self._end)

    def _open_edge(self, chain: DispositionChain) -> str | None:
        """Return why an epoch is not proven to span the interval with all its dispositions, or None."""
        if not chain.items or not chain.is_gapless or chain.claim.last < chain.claim.highest:
            return "dispositions are missing"
        first, last = chain.items[0], chain.items[-1]
        digests = {item.digest for item in chain.items}
        has_begun = any(self._is_before(item, self._begin) for item in chain.items) or (
            self._heads.names_before(digests, self._begin)
            or (first.sequence == 1 and self._heads.begins_with(digests, self._begin))
        )
        if not has_begun:
            return (
                "nothing shows that its epoch was the car's before the interval, and an earlier one may be"
                f" left out: disposition {first.sequence}, the first here, is not proven to lie before it"
            )
        if not self._reaches(chain, self._end):
            return f"nothing the box signed after it says that disposition {last.sequence} was still the last"
        return None

    def _reaches(self, chain: DispositionChain, instant_us: int) -> bool:
        """Whether an epoch's chain, as it is here, is proven to go on until an instant."""
        if not chain.is_gapless:
            return False
        return any(self._is_after(item, instant_us) for item in chain.items) or self._heads.names_after(
            {item.digest for item in chain.items}, instant_us
        )

    def _other_word(self, chain: DispositionChain) -> str | None:
        """Return what speaks against this epoch having been the only one in the interval, or None."""
        mcu_id = chain.items[0].mcu_id
        for other in self._chains:
            for item in () if other is chain else other.items:
                is_inside = self._lies(item)
                if is_inside or (is_inside is None and item.mcu_id != mcu_id):
                    return f"epoch {item.epoch.hex()} may have spoken in the interval too"
        own = {item.digest for item in chain.items}
        known = {item.digest for each in self._chains for item in each.items}
        return self._heads.others_within(own, known, (self._begin, self._end))

    # --- steps ---

    def _unclear_step(self, chain: DispositionChain) -> str | None:
        """Return which step of the epoch may be a lock's acceptance in the interval, or None."""
        for item in chain.items:
            if item.state in NOT_ACCEPTED or is_of_no_order(item) or self._lies(item) is False:
                continue
            order = self._orders.get(item.cmd_hash)
            if order is None:
                return f"disposition {item.sequence} is about an order that is not here"
            if order.type is OrderType.LOCK and item.state in _IN_FORCE:
                return f"the time of disposition {item.sequence}, about a lock, is not known well enough"
        for item, is_followed in self._before(chain):
            if is_followed and item.state in _IN_FORCE and self._is_lock(item):
                return f"how long disposition {item.sequence}, about a lock, held is not known well enough"
        return None

    def _before(self, chain: DispositionChain) -> list[tuple[Disposition, bool]]:
        """Return the last word on each order before the interval, and whether the next may lie there too."""
        last: dict[bytes, tuple[Disposition, bool]] = {}
        for item in chain.items:
            if self._is_before(item, self._begin):
                last[item.cmd_hash] = (item, False)
            elif item.cmd_hash in last and not self._is_after(item, self._begin):
                last[item.cmd_hash] = (last[item.cmd_hash][0], True)
        return list(last.values())

    def _is_lock(self, item: Disposition) -> bool:
        return item.cmd_hash in self._orders and self._orders[item.cmd_hash].type is OrderType.LOCK

    # --- time ---

    def _lies(self, item: Disposition) -> bool | None:
        """Whether a disposition lies in the interval; None when its time cannot tell."""
        if self._is_before(item, self._begin) or self._is_after(item, self._end):
            return False
        is_inside = self._is_after(item, self._begin) and self._is_before(item, self._end)
        return True if is_inside else None

    @staticmethod
    def _is_before(item: Disposition, instant_us: int) -> bool:
        """Whether a disposition certainly was made before an instant."""
        return item.latest_s is not None and item.latest_s * _SECOND_US < instant_us

    @staticmethod
    def _is_after(item: Disposition, instant_us: int) -> bool:
        """Whether a disposition certainly was made at or after an instant."""
        return item.earliest_s is not None and item.earliest_s * _SECOND_US >= instant_us
