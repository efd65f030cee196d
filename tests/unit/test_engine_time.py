"""Where the UTC of a batch comes from, and how a box without a clock gets one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.delivery.clock import UtcKeeper
from device.events import GnssReceived, Urgent
from protocol.clock import ClockClass, Instant
from protocol.signed_time import TimeToken, open_time_request, sign_time_token
from protocol.topics import Down
from tests.builders.engine import (
    BACKEND_KEY,
    DEVICE,
    DEVICE_KEYS,
    SECOND,
    STRANGER_KEY,
    TODAY_US,
    Box,
    Ledger,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.envelope import SoftwareSigner
    from protocol.header import BatchHeader


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path, has_clock=False)
    yield made
    made.spool.close()


def at(mono_us: int, utc_us: int | None = None, clock: ClockClass = ClockClass.NONE) -> Instant:
    return Instant(mono_us=mono_us, utc_us=utc_us, clock=clock, error_us=None)


def headers(ledger: Ledger) -> list[BatchHeader]:
    return [stored.opened.header for _, stored in sorted(ledger.batches.items())]


def answer(box: Box, utc_us: int, signer: SoftwareSigner = BACKEND_KEY) -> bytes:
    """The backend's answer to the newest question."""
    request = open_time_request(box.messages[-1].payload, DEVICE_KEYS.get, device=DEVICE)
    return sign_time_token(TimeToken(nonce=request.nonce, utc_us=utc_us), signer)


# --- the keeper ---


def test_three_fixes_that_agree_make_a_gnss_clock_and_one_wrong_date_does_not() -> None:
    keeper = UtcKeeper(floor_us=0)
    keeper.learn_fix(mono_us=0, utc_us=TODAY_US - 10**15)
    keeper.learn_fix(mono_us=SECOND, utc_us=TODAY_US)
    keeper.learn_fix(mono_us=2 * SECOND, utc_us=TODAY_US + SECOND)
    assert keeper.at(at(2 * SECOND)).clock == ClockClass.NONE
    keeper.learn_fix(mono_us=3 * SECOND, utc_us=TODAY_US + 2 * SECOND)
    now = keeper.at(at(5 * SECOND))
    assert (now.clock, now.utc_us) == (ClockClass.GNSS, TODAY_US + 4 * SECOND)


def test_gnss_beats_the_network_beats_the_battery_clock() -> None:
    keeper = UtcKeeper(floor_us=0)
    rtc = at(0, TODAY_US, ClockClass.RTC)
    assert keeper.at(rtc) == rtc
    keeper.learn_network(mono_us=0, utc_us=TODAY_US + 1, error_us=5)
    assert keeper.at(rtc).utc_us == TODAY_US + 1
    for second in range(3):
        keeper.learn_fix(mono_us=second, utc_us=TODAY_US + 2 + second)
    assert keeper.at(rtc).utc_us == TODAY_US + 2


def test_an_old_anchor_is_less_certain() -> None:
    keeper = UtcKeeper(floor_us=0)
    keeper.learn_network(mono_us=0, utc_us=TODAY_US, error_us=5)
    assert keeper.at(at(0)).error_us == 5
    assert keeper.at(at(3_600 * SECOND)).error_us == 5 + 360_000


@pytest.mark.parametrize("utc_us", [0, 946_684_800 * SECOND])
def test_a_date_before_the_floor_is_no_clock(utc_us: int) -> None:
    keeper = UtcKeeper(floor_us=1_262_304_000 * SECOND)
    for second in range(5):
        keeper.learn_fix(mono_us=second, utc_us=utc_us + second)
    keeper.learn_network(mono_us=0, utc_us=utc_us, error_us=1)
    assert keeper.at(at(9, utc_us, ClockClass.NETWORK)).utc_us is None


# --- signed time ---


def test_without_a_clock_time_is_asked_for_before_anything_is_sent(box: Box) -> None:
    box.frames([1])
    box.handle(Urgent(reason="waiting"))
    box.connect()
    assert len(box.messages) == 1
    assert not box.wire
    box.pass_time(1)
    box.receive(answer(box, TODAY_US), Down.TIME)
    [told] = box.set_clocks
    assert abs(told.utc_us - TODAY_US) <= told.error_us <= SECOND
    assert box.wire


def test_the_answer_dates_the_open_batch_and_later_ones(box: Box) -> None:
    ledger = Ledger()
    box.frames([1])
    box.connect()
    box.receive(answer(box, TODAY_US), Down.TIME)
    box.pass_time(5)
    box.handle(Urgent(reason="later"))
    box.drain(ledger)
    first, second = headers(ledger)
    assert first.clock == second.clock == ClockClass.NETWORK
    assert second.utc_end_us is not None
    assert abs(second.utc_end_us - (TODAY_US + 5 * SECOND)) <= SECOND


def test_without_an_answer_the_box_sends_after_a_moment_and_records_without_a_date(box: Box) -> None:
    ledger = Ledger()
    box.frames([1])
    box.connect()
    box.pass_time(4)
    box.drain(ledger)
    [header] = headers(ledger)
    assert (header.utc_start_us, header.clock, header.clock_error_us) == (None, ClockClass.NONE, None)


def test_a_forged_or_foreign_answer_sets_nothing_and_the_question_stays_open(box: Box) -> None:
    box.connect()
    true = answer(box, TODAY_US)
    for wrong in (
        answer(box, TODAY_US, STRANGER_KEY),
        sign_time_token(TimeToken(nonce=bytes(16), utc_us=TODAY_US), BACKEND_KEY),
        true[:-1],
    ):
        box.receive(wrong, Down.TIME)
    assert box.set_clocks == []
    assert box.engine.metrics()["times_rejected"] == 3
    box.receive(true, Down.TIME)
    assert len(box.set_clocks) == 1


def test_an_answer_counts_once(box: Box) -> None:
    box.connect()
    true = answer(box, TODAY_US)
    box.receive(true, Down.TIME)
    box.receive(true, Down.TIME)
    assert len(box.set_clocks) == 1
    assert box.engine.metrics()["times_unasked"] == 1


def test_questions_repeat_slowly_and_never_with_the_same_nonce(box: Box) -> None:
    box.connect()
    box.pass_time(100)
    nonces = {
        open_time_request(message.payload, DEVICE_KEYS.get, device=DEVICE).nonce for message in box.messages
    }
    assert len(nonces) == len(box.messages) == 4
    box.reboot()
    box.connect()
    newest = open_time_request(box.messages[-1].payload, DEVICE_KEYS.get, device=DEVICE)
    assert newest.nonce not in nonces


def test_a_box_with_a_clock_does_not_ask(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.connect()
    box.pass_time(60)
    assert box.messages == []
    box.spool.close()


def checksummed(body: str) -> bytes:
    value = 0
    for byte in body.encode():
        value ^= byte
    return f"${body}*{value:02X}\r\n".encode()


def test_fixes_discipline_the_engine_s_clock(box: Box) -> None:
    ledger = Ledger()
    for second in range(6):
        box.now_us = second * SECOND
        sentence = checksummed(f"GPRMC,12000{second}.00,A,4807.038,N,01131.000,E,022.4,084.4,241126,,,A")
        box.handle(GnssReceived(t_us=box.now_us, data=sentence))
    box.connect()
    assert box.messages == [], "the satellites told the time: nothing to ask"
    box.drain(ledger)
    [header] = headers(ledger)
    assert header.clock == ClockClass.GNSS
    assert header.counts.fixes == 5
