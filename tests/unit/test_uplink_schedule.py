"""What is sent when: order, window, sending again, and silence behind the broker."""

from __future__ import annotations

import itertools

import pytest

from device.config import UplinkLimits
from device.delivery.index import SpoolEntry
from device.delivery.uplink import JITTER, SILENT_AFTER, Uplink
from device.state import BatchKey, ChainId, EntryState, SpoolClass
from tests.builders.engine import SECOND

CHAIN = ChainId(b"c" * 16)
LIMITS = UplinkLimits(
    window=4, receipt_wait_us=2 * SECOND, backoff_first_us=SECOND, backoff_max_us=60 * SECOND
)


def entry(seq: int, rank: SpoolClass = SpoolClass.BULK) -> SpoolEntry:
    return SpoolEntry(key=BatchKey(CHAIN, seq), digest=bytes(32), size=1, rank=rank, state=EntryState.PENDING)


def connected(*entries: SpoolEntry) -> Uplink:
    uplink = Uplink(LIMITS, seed=b"seed")
    uplink.offer(entries)
    uplink.connect()
    return uplink


def seqs(entries: list[SpoolEntry]) -> list[int]:
    return [item.key.seq for item in entries]


def test_nothing_is_sent_without_a_link() -> None:
    uplink = Uplink(LIMITS, seed=b"")
    uplink.offer([entry(1)])
    assert uplink.next_batches(0) == []


def test_first_the_batch_sealed_for_the_reconnect_then_alarms_then_the_rest_oldest_first() -> None:
    uplink = connected(entry(1), entry(2, SpoolClass.ALARM), entry(3, SpoolClass.FACTS))
    uplink.offer([entry(4)], is_first=True)
    assert seqs(uplink.next_batches(0)) == [4, 2, 1, 3]


def test_the_window_bounds_what_is_on_the_way_and_a_receipt_makes_room() -> None:
    entries = [entry(seq) for seq in range(1, 8)]
    uplink = connected(*entries)
    assert seqs(uplink.next_batches(0)) == [1, 2, 3, 4]
    assert uplink.next_batches(0) == []
    entries[0].state = EntryState.RECEIPTED
    uplink.settle(entries[0])
    assert seqs(uplink.next_batches(0)) == [5]


def test_a_puback_frees_nothing_and_an_unanswered_batch_is_sent_again_later_each_time() -> None:
    uplink = connected(entry(1))
    sent_us, now_us = [], 0
    while len(sent_us) < 5:
        for item in uplink.next_batches(now_us):
            sent_us.append(now_us)
            uplink.note_puback(item.key, now_us)
        now_us += SECOND // 10
    pauses = [later - earlier for earlier, later in itertools.pairwise(sent_us)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= LIMITS.receipt_wait_us


def test_pauses_double_up_to_the_longest_within_their_jitter_and_differ_between_boxes() -> None:
    key = BatchKey(CHAIN, 1)
    uplink = Uplink(LIMITS, seed=b"one box")
    for tries, expected in ((1, 1), (2, 2), (5, 16), (40, 60)):
        pause = uplink.pause_us(key, tries)
        assert abs(pause - expected * SECOND) <= JITTER * expected * SECOND
    assert uplink.pause_us(key, 1) != Uplink(LIMITS, seed=b"another").pause_us(key, 1)


def test_one_batch_that_never_gets_a_receipt_does_not_hold_up_the_others() -> None:
    poison, others = entry(1), [entry(seq) for seq in range(2, 40)]
    uplink = connected(poison, *others)
    done: list[int] = []
    for now_s in range(60):
        for item in uplink.next_batches(now_s * SECOND):
            uplink.note_puback(item.key, now_s * SECOND)
            if item is not poison:
                item.state = EntryState.RECEIPTED
                uplink.note_receipt()
                uplink.settle(item)
                done.append(item.key.seq)
    assert done == list(range(2, 40))
    assert poison.tries > 2


def test_with_nobody_behind_the_broker_one_batch_at_a_time_is_offered_and_a_receipt_ends_that() -> None:
    uplink = connected(*(entry(seq) for seq in range(1, 60)))
    sent = 0
    for now_s in range(3_600):
        batches = uplink.next_batches(now_s * SECOND)
        sent += len(batches)
        for item in batches:
            uplink.note_puback(item.key, now_s * SECOND)
    assert sent < LIMITS.window + SILENT_AFTER + 3_600 / 40
    uplink.note_receipt()
    assert len(uplink.next_batches(3_600 * SECOND)) >= LIMITS.window - 1


def test_after_a_lost_link_what_has_no_puback_is_sent_again_at_once_and_the_rest_waits() -> None:
    uplink = connected(entry(1), entry(2))
    uplink.next_batches(0)
    uplink.note_puback(BatchKey(CHAIN, 1), 0)
    uplink.lose_link()
    uplink.connect()
    assert seqs(uplink.next_batches(0)) == [2]


def test_a_batch_that_could_not_be_handed_over_is_tried_again_after_a_pause() -> None:
    uplink = connected(entry(1))
    uplink.next_batches(0)
    uplink.note_failure(BatchKey(CHAIN, 1), 0)
    assert uplink.next_batches(0) == []
    assert seqs(uplink.next_batches(2 * SECOND)) == [1]


@pytest.mark.parametrize(("tries", "is_hurried"), [(1, True), (20, False)])
def test_a_wanted_batch_is_hurried_a_few_times_only(tries: int, *, is_hurried: bool) -> None:
    wanted = entry(1)
    uplink = connected(wanted)
    uplink.next_batches(0)
    wanted.tries = tries
    uplink.note_failure(wanted.key, 0)
    wanted.due_us = 50 * SECOND
    uplink.hurry([wanted], 0)
    assert (seqs(uplink.next_batches(2 * SECOND)) == [1]) == is_hurried
