"""Whether a loan, as its lender's system says it stands now, allows an order (§4.4 step 1).

Rules (README §1.6, §1.7, §1.13; C-03, P-06 … P-14): days past due by the stricter of contract and pack;
something due, also after what is on its way; no payment since the order's basis; no block; notices; papers;
the order's terms within the pack. A WARN has the same chain with its own days and one notice on its way; a
RENEW needs no new notice but the same loan. Everything is judged again at each question: screen, review, go.

Pure: facts, records, pack and time are arguments. It verifies no signature.

Example:
    nos = judge(case)
    told(nos), earliest(nos)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.gate import blocks, hours, notices
from backend.gate.pack import DAY_S, DEFAULT, EPISODE_S_MAX, Action, Pack
from backend.gate.rules import No, Rule
from protocol.limits import FACTS_AGE_S_MAX
from protocol.loan_facts import Block, BlockEnd, LoanFacts, LoanRecord, Notice, NoticeType, Payment
from protocol.orders import OrderType

CLOCK_AHEAD_S_MAX = 60  # a loan system's clock may be a minute ahead of the gate's


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that eligibility is judged by.

    Attributes:
        order: fields of the order's payload.
        facts: what the loan system says now.
        basis: what it said when the order was made.
        records: notices, blocks and payments the gate knows, with those of the basis.
        pack: in force for the car's place.
        opinion_until_s: how long counsel's opinion on this pack and place holds; None without one.
        persons: maker and checker.
        now_s: POSIX seconds by the gate's clock.
        is_go: whether this is the go token's question.
    """

    order: Mapping[int, object]
    facts: LoanFacts
    basis: LoanFacts
    records: Sequence[LoanRecord]
    pack: Pack
    opinion_until_s: int | None
    persons: frozenset[str]
    now_s: int
    is_go: bool = False

    @property
    def type(self) -> OrderType:
        """What the order asks for."""
        return OrderType(_uint(self.order, 3))

    @property
    def notices(self) -> list[Notice]:
        """The notices of the order's episode."""
        known = [record.body for record in self.records if isinstance(record.body, Notice)]
        return notices.of_episode(known, _octets(self.order, 24))


def judge(case: Case) -> list[No]:
    """Return everything that speaks against an order; nothing is eligibility."""
    found = [
        *_facts_nos(case),
        *_action_nos(case),
        *_days_nos(case),
        *_money_nos(case),
        *_block_nos(case),
        *_notice_nos(case),
        *_paper_nos(case),
        *_term_nos(case),
        *_hour_nos(case),
    ]
    return sorted(found, key=lambda no: no.rule)


def _facts_nos(case: Case) -> list[No]:
    """The answer is of now, by both clocks, and of no older account than the basis."""
    age = case.now_s - case.facts.as_of_s
    nos = []
    if age > FACTS_AGE_S_MAX:
        nos.append(No(rule=Rule.FACTS, detail=f"loan facts of {age} s ago, at most {FACTS_AGE_S_MAX} s"))
    if age < -CLOCK_AHEAD_S_MAX:
        nos.append(No(rule=Rule.CLOCK, detail=f"loan facts {-age} s ahead of the gate's clock"))
    if case.facts.revision < case.basis.revision:
        nos.append(No(rule=Rule.FACTS, detail="the account is older than the one in the basis"))
    written_s = _uint(case.order, 10)
    if not -CLOCK_AHEAD_S_MAX <= written_s - case.basis.as_of_s <= FACTS_AGE_S_MAX:
        nos.append(
            No(rule=Rule.BASIS, detail="the order was not written within 15 minutes of its basis' loan facts")
        )
    return nos


def _action_nos(case: Case) -> list[No]:
    pack, nos = case.pack, []
    if not pack.is_in_force(case.now_s):
        nos.append(No(rule=Rule.PACK, detail=f"pack {pack.jur} version {pack.version} is not in force"))
    if pack.jur not in (DEFAULT, case.order.get(18)):
        nos.append(No(rule=Rule.PACK, detail=f"pack {pack.jur} is not the order's"))
    action = pack.warn if case.type is OrderType.WARN else pack.lock
    if action is Action.NEVER:
        nos.append(No(rule=Rule.ACTION, detail=f"{case.type.name} is not allowed in {case.order.get(18)}"))
    elif action is Action.COUNSEL and (case.opinion_until_s is None or case.now_s >= case.opinion_until_s):
        state = "none is loaded" if case.opinion_until_s is None else "it is over"
        nos.append(
            No(
                rule=Rule.COUNSEL,
                detail=f"{case.type.name} in {case.order.get(18)} needs counsel's signed opinion: {state}",
            )
        )
    return nos


def _days_nos(case: Case) -> list[No]:
    """The lower of the contract's count and the calendar's reaches the higher of the two thresholds."""
    facts, pack = case.facts, case.pack
    asked = pack.warn_days if case.type is OrderType.WARN else pack.days(facts.interval)
    needed = asked if case.type is OrderType.WARN else max(asked, facts.contract_days)
    if facts.due_since_s is None:
        return [No(rule=Rule.DAYS, detail="nothing is past due")]
    by_calendar = max(0, case.now_s - facts.due_since_s) // DAY_S
    days = min(facts.days_past_due, by_calendar)
    if days >= needed:
        return []
    lacking = needed - facts.days_past_due
    return [
        No(
            rule=Rule.DAYS,
            detail=f"{days} days past due, {needed} are needed",
            earliest_s=max(facts.due_since_s + needed * DAY_S, facts.as_of_s + max(0, lacking) * DAY_S),
        )
    ]


def _money_nos(case: Case) -> list[No]:
    """Something is due, nothing is on its way, nothing has come since the maker looked."""
    facts, pack, nos = case.facts, case.pack, []
    coming = sum(amount for amount, _ in facts.pending)
    if facts.due_minor - coming < max(1, pack.due_min_minor):
        nos.append(No(rule=Rule.CURRENT, detail="nothing is due once the payments on their way are counted"))
    fresh = [at for amount, at in facts.pending if amount > 0 and at > case.now_s - pack.pending_s]
    if fresh:
        nos.append(
            No(
                rule=Rule.PAYMENT,
                detail="a payment has arrived and is not posted yet",
                earliest_s=max(fresh) + pack.pending_s,
            )
        )
    paid_since = (
        facts.last_payment_s != case.basis.last_payment_s
        or facts.due_minor < case.basis.due_minor
        or any(
            isinstance(record.body, Payment) and record.body.received_s >= case.basis.as_of_s
            for record in case.records
        )
    )
    if paid_since:
        nos.append(No(rule=Rule.PAYMENT, detail="a payment has come since the order was made"))
    return nos


def _block_nos(case: Case) -> list[No]:
    known = [record.body for record in case.records]
    found = blocks.in_force(
        [body for body in known if isinstance(body, Block)],
        [body for body in known if isinstance(body, BlockEnd)],
        now_s=case.now_s,
        signers=case.persons,
    )
    nos = [
        No(
            rule=Rule.BLOCK,
            detail=f"{block.flag.name} of {block.owner}",
            earliest_s=blocks.ends_at([block]),
        )
        for block in found
    ]
    recorded = {block.flag for block in found}
    nos += [
        No(rule=Rule.BLOCK, detail=f"{flag.name}, by the loan facts")
        for flag in sorted(case.facts.flags - recorded)
    ]
    return nos


def _notice_nos(case: Case) -> list[No]:
    """First and final notice, each long enough ago on enough channels, in an episode that is not over."""
    pack, now_s = case.pack, case.now_s
    begun_s = notices.begun_at(case.notices, pack, now_s=now_s)
    if begun_s is None:
        return [
            No(rule=Rule.NOTICE, detail="no notice of this episode was delivered or served"),
        ]
    nos = []
    if now_s >= begun_s + EPISODE_S_MAX:
        nos.append(No(rule=Rule.EPISODE, detail="the episode began more than 30 days ago"))
    if case.type is not OrderType.LOCK:
        return nos
    first_days = pack.first_days(case.facts.interval)
    if first_days:
        nos += _notice_no(case, NoticeType.FIRST, 1, first_days * DAY_S)
    return nos + _notice_no(case, NoticeType.FINAL, pack.channels_min, pack.final_s)


def _notice_no(case: Case, kind: NoticeType, channels: int, age_s: int) -> list[No]:
    since = notices.counted_since(case.notices, kind, case.pack, now_s=case.now_s)
    complete_s = notices.complete_at(since, channels)
    name = kind.name.lower()
    if complete_s is None:
        return [No(rule=Rule.NOTICE, detail=f"{name} notice counts on {len(since)} of {channels} channels")]
    end_s = complete_s + age_s
    if case.now_s < end_s:
        detail = f"{name} notice is {case.now_s - complete_s} s old, {age_s} s are needed"
        return [No(rule=Rule.NOTICE, detail=detail, earliest_s=end_s)]
    if kind is NoticeType.FINAL and _uint(case.order, 11) < end_s:
        return [No(rule=Rule.TERMS, detail="the order may begin before the notice has run")]
    return []


def _paper_nos(case: Case) -> list[No]:
    missing = sorted(case.pack.papers - case.facts.papers) if case.type is not OrderType.WARN else []
    return [No(rule=Rule.PAPERS, detail=f"the file lacks {paper.name}") for paper in missing]


def _term_nos(case: Case) -> list[No]:
    order, pack, nos = case.order, case.pack, []
    if case.now_s >= _uint(order, 12):
        nos.append(No(rule=Rule.LIFE, detail="the order is over"))
    if _uint(order, 10) > case.now_s + CLOCK_AHEAD_S_MAX:
        nos.append(No(rule=Rule.CLOCK, detail="the order was written after now"))
    hold, warning, override = order.get(15), order.get(20), order.get(23)
    if isinstance(hold, int) and hold > pack.hold_s_max:
        nos.append(No(rule=Rule.TERMS, detail=f"lease of {hold} s, at most {pack.hold_s_max} s"))
    if case.type is OrderType.LOCK and isinstance(warning, Mapping) and warning[1] < pack.lead_s:
        nos.append(No(rule=Rule.TERMS, detail=f"warned {warning[1]} s ahead, at least {pack.lead_s} s"))
    if isinstance(override, Mapping) and override[2] < pack.override_s:
        nos.append(
            No(rule=Rule.TERMS, detail=f"emergency window of {override[2]} s, at least {pack.override_s} s")
        )
    return nos


def _hour_nos(case: Case) -> list[No]:
    """A LOCK's go token is of the place's hours; before, some of them must lie in the order's life."""
    if case.type is not OrderType.LOCK:
        return []
    offset = case.facts.utc_offset_min
    if case.pack.zone.offset_min is None and offset is None:
        return [No(rule=Rule.HOURS, detail="the local time of the place is not known")]
    if case.is_go:
        if hours.may_lock(case.pack, case.now_s, facts_offset_min=offset):
            return []
        opens_s = hours.next_lock_s(case.pack, case.now_s, facts_offset_min=offset)
        return [No(rule=Rule.HOURS, detail="outside the hours of a business day", earliest_s=opens_s)]
    begins_s = max(case.now_s, _uint(case.order, 11))
    opens_s = hours.next_lock_s(case.pack, begins_s, facts_offset_min=offset)
    if opens_s is not None and opens_s < _uint(case.order, 12):
        return []
    detail = "no hour of a business day lies within the order's life"
    return [No(rule=Rule.HOURS, detail=detail, earliest_s=opens_s)]


def _uint(order: Mapping[int, object], key: int) -> int:
    value = order[key]
    assert isinstance(value, int), "the order was read by its form"
    return value


def _octets(order: Mapping[int, object], key: int) -> bytes:
    value = order[key]
    assert isinstance(value, bytes), "the order was read by its form"
    return value
