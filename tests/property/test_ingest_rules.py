"""The rules of a chain, over orders, repeats and losses nobody thought of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.coverage import Ranges
from backend.domain.filled import Filled
from backend.domain.ingest import ChainState, Verdict
from backend.domain.receipting import build_receipt, hash_points
from protocol import limits
from protocol.batch import Loss, LossCause, OpenedBatch, SectionState
from protocol.envelope import read_sign1
from protocol.receipts import decode_receipt, encode_receipt
from tests.builders.ingest import Box, MadeBatch

numbers = st.sets(st.integers(1, 60), max_size=40)
pairs = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda p: (p[0], p[0] + p[1])), max_size=12
)


def members(ranges: Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def opened(batch: MadeBatch) -> OpenedBatch:
    sign1 = read_sign1(batch.sign1, max_bytes=limits.HEADER_BYTES_MAX)
    return OpenedBatch(
        header=batch.header,
        sign1=sign1,
        head_hash=batch.hash,
        sections=batch.sections,
        states=dict.fromkeys(batch.sections, SectionState.PRESENT),
    )


CHAIN = [opened(batch) for batch in Box().chain().many(12)]
HASHES = {batch.header.seq: batch.head_hash for batch in CHAIN}


@given(pairs)
def test_ranges_are_what_a_set_would_be(given_pairs: list[tuple[int, int]]) -> None:
    ranges = Ranges.of(given_pairs)
    truth = {number for first, last in given_pairs for number in range(first, last + 1)}
    assert members(ranges) == truth
    assert ranges.total == len(truth)
    assert ranges.last == max(truth, default=0)
    assert all(
        before[1] + 1 < after[0] for before, after in zip(ranges.pairs, ranges.pairs[1:], strict=False)
    )
    assert all((number in ranges) == (number in truth) for number in range(70))


@given(pairs, pairs)
def test_union_difference_and_holes_are_those_of_sets(
    one: list[tuple[int, int]], two: list[tuple[int, int]]
) -> None:
    a, b = Ranges.of(one), Ranges.of(two)
    assert members(a.union(b)) == members(a) | members(b)
    assert members(a.minus(b)) == members(a) - members(b)
    assert members(Ranges.of(a.holes(1, 70))) == set(range(1, 71)) - members(a)


@given(pairs, st.integers(1, 70), st.integers(0, 9))
def test_a_range_added_and_ranges_looked_up_are_those_of_a_set(
    given_pairs: list[tuple[int, int]], first: int, more: int
) -> None:
    ranges = Ranges.of(given_pairs)
    truth = members(ranges)
    assert ranges.add(first, first + more) == Ranges.of([*given_pairs, (first, first + more)])
    assert ranges.next_from(first) == min((n for n in truth if n >= first), default=None)
    assert ranges.last_until(first) == max((n for n in truth if n <= first), default=0)
    assert ranges.above(first) == tuple(pair for pair in ranges if pair[0] > first)
    assert members(Ranges.of(ranges.holes(first, first + more))) == {*range(first, first + more + 1)} - truth


@pytest.mark.parametrize("pair", [(0, 1), (3, 2)])
def test_what_is_no_range_is_not_added(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a range"):
        Ranges.of([(1, 9)]).add(*pair)


@given(numbers)
def test_adding_one_by_one_is_adding_at_once(given_numbers: set[int]) -> None:
    grown = Ranges()
    for number in given_numbers:
        grown = grown.add(number)
    assert grown == Ranges.of((number, number) for number in given_numbers)


@given(numbers, pairs)
def test_upto_is_the_highest_stored_number_with_nothing_missing_below(
    stored: set[int], lost_pairs: list[tuple[int, int]]
) -> None:
    lost = Ranges.of(lost_pairs).minus(Ranges.of([(max(stored, default=0) + 1, 100)]))
    filled = stored | members(lost)
    whole = [number for number in stored if filled >= set(range(1, number))]
    assert Filled.of(Ranges.of((n, n) for n in stored), lost, Ranges()).upto == max(whole, default=0)


@given(st.lists(st.sampled_from(CHAIN), max_size=30))
def test_any_order_with_any_repeats_stores_each_batch_once(arrivals: list[OpenedBatch]) -> None:
    state = ChainState()
    verdicts = [state.take(batch).verdict for batch in arrivals]
    distinct = {batch.header.seq for batch in arrivals}
    assert verdicts.count(Verdict.STORE) == len(distinct)
    assert verdicts.count(Verdict.DUPLICATE) == len(arrivals) - len(distinct)
    assert members(state.stored) == distinct
    assert {seq: link.head_hash for seq, link in state.links.items()} == {
        seq: HASHES[seq] for seq in distinct
    }


@given(st.permutations(CHAIN))
def test_every_order_of_a_whole_chain_ends_alike(arrivals: list[OpenedBatch]) -> None:
    state = ChainState()
    for batch in arrivals:
        assert state.take(batch).verdict is Verdict.STORE
    assert (state.upto, state.holes, state.refused) == (12, (), {})


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=30))
def test_of_two_stories_no_number_is_ever_stored_with_both(arrivals: list[tuple[int, bool]]) -> None:
    other = Box().chain()
    shared, ours = [], {batch.header.seq: batch for batch in CHAIN}
    theirs = {}
    for seq in range(1, 13):
        made = opened(other.next(speeds=[seq] if seq > 5 else (1000, 1010, 1020)))
        theirs[seq] = made
        shared += [seq] if made.head_hash == HASHES[seq] else []
    assert shared == [1, 2, 3, 4, 5], "the stories part after the fifth batch"
    state = ChainState()
    for seq, is_ours in arrivals:
        state.take((ours if is_ours else theirs)[seq])
    for seq, link in state.links.items():
        below = state.links.get(seq - 1)
        assert below is None or below.head_hash == link.prev, "what is stored hangs together"


@given(numbers, pairs)
def test_a_receipt_says_nothing_false_and_forgets_nothing_within_its_limits(
    stored: set[int], lost_pairs: list[tuple[int, int]]
) -> None:
    lost = Ranges.of(lost_pairs).minus(Ranges.of([(max(stored, default=0) + 1, 100)]))
    state = ChainState(stored=Ranges.of((n, n) for n in stored), lost=lost)
    hashes = {number: bytes([number]) * 32 for number in stored}
    assert set(hash_points(state, touched=stored)) <= stored
    batch = CHAIN[0].header
    receipt = build_receipt(state, device=batch.device, chain=batch.chain, hashes=hashes, issued_us=1)
    assert decode_receipt(encode_receipt(receipt)) == receipt
    said = {n for n in stored if n <= receipt.upto} | {
        n for have in receipt.have for n in range(have.first, have.last + 1)
    }
    wanted = {n for first, last in receipt.want for n in range(first, last + 1)}
    assert said <= stored
    assert not wanted & (stored | members(lost))
    if len(receipt.have) < limits.RECEIPT_HAVE_MAX:
        assert said == stored
    if len(receipt.want) < limits.RECEIPT_WANT_MAX:
        assert wanted == set(range(1, max(stored, default=0) + 1)) - stored - members(lost)


@given(st.integers(2, 12), st.data())
def test_declared_losses_let_upto_go_on(seq: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, seq - 1))
    last = data.draw(st.integers(first, seq - 1))
    chain = Box().chain()
    batches = [opened(batch) for batch in chain.many(seq - 1)]
    final = opened(chain.next(losses=(Loss(first=first, last=last, cause=LossCause.QUOTA),)))
    state = ChainState()
    for batch in [*batches[: first - 1], *batches[last:], final]:
        state.take(batch)
    assert state.upto == seq
    assert state.holes == ()
