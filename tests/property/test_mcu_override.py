"""The emergency start: it needs nobody, never locks out for good, and cannot be guessed (O-01 to O-05)."""

import hashlib
import hmac
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.mcu import floors
from device.mcu.override import (
    MALFORMED,
    NONE_LEFT,
    NOT_NEEDED,
    OPENED,
    WAIT,
    WRONG,
    Hand,
    Override,
)
from protocol import orders_override

numbers = st.integers(1, 16)
KEY, EPISODE, OTHER = bytes(range(32)), b"e" * 16, b"f" * 16
DAY = 86_400


def locked(codes: int = 3, window_s: int = DAY, pack_s: int = 0) -> Any:
    override = Override(floors, KEY)
    override.begin(EPISODE, codes, window_s, pack_s)
    return override


def again(override: Any) -> Any:
    return Override(floors, KEY, kept=override.dump())


def digits(number: int, episode: bytes = EPISODE) -> str:
    found = orders_override.code(KEY, episode, number)
    assert isinstance(found, str)
    return found


CODES = {digits(n) for n in range(1, 17)}


def wrong(number: int) -> str:
    """Return well-formed digits that are no code."""
    text = f"{number % 10**8:08d}"
    text += orders_override.check_digit(text)
    assert text not in CODES
    return text


@given(key=st.binary(min_size=32, max_size=32), episode=st.binary(min_size=16, max_size=16), n=numbers)
def test_a_code_is_the_hmac_of_its_episode_and_number(key: bytes, episode: bytes, n: int) -> None:
    mac = hmac.new(key, b"EOC1" + episode + bytes([n]), hashlib.sha256).digest()
    found = orders_override.code(key, episode, n)
    assert found[:8] == f"{int.from_bytes(mac[:8], 'big') % 10**8:08d}"
    assert orders_override.is_well_formed(found)


@given(text=st.from_regex(r"[0-9]{8}", fullmatch=True), at=st.integers(0, 8), other=st.sampled_from("0174"))
def test_one_wrong_digit_or_a_swap_of_neighbours_is_seen(text: str, at: int, other: str) -> None:
    good = text + orders_override.check_digit(text)
    slipped = good[:at] + other + good[at + 1 :]
    assert orders_override.is_well_formed(slipped) == (slipped == good)
    swapped = good[: at - 1] + good[at] + good[at - 1] + good[at + 1 :] if at else good
    assert orders_override.is_well_formed(swapped) == (swapped == good)


def test_the_check_digit_is_the_published_example() -> None:
    assert orders_override.check_digit("572") == "4"
    assert not any(orders_override.is_well_formed(text) for text in ("", "572", "5724", "00000000a", None, 5))
    assert not orders_override.is_well_formed("\u0660" * 9), "digits of another script"


def test_by_hand_once_an_episode_for_a_day_over_resets() -> None:
    override = locked()
    assert (override.used, override.left) == (0, 4)
    assert override.by_hand(100)
    assert (override.used, override.left) == (1, 3)
    assert not override.by_hand(101), "open"
    assert again(override).left_s(100 + DAY - 1) == 1
    assert again(override).left_s(100 + DAY) == 0
    assert not again(override).by_hand(100 + DAY), "used"
    override.begin(EPISODE, 3, DAY, 0)
    assert not override.by_hand(100 + DAY), "another LOCK of the episode gives nothing back"
    override.begin(OTHER, 3, DAY, 0)
    assert override.by_hand(100 + DAY)


def test_without_a_lock_there_is_nothing_to_override() -> None:
    override = Override(floors, KEY)
    assert not override.by_hand(5)
    assert override.by_code(digits(1), 5) == NONE_LEFT
    assert (override.used, override.left, override.left_s(5)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("window_s", "pack_s", "expected"),
    [(DAY, 0, DAY), (DAY, 2 * DAY, 2 * DAY), (3 * DAY, 2 * DAY, 3 * DAY), (1, 0, DAY), (0, 60, DAY)],
)
def test_the_window_is_the_longest_of_floor_order_and_pack(window_s: int, pack_s: int, expected: int) -> None:
    override = locked(window_s=window_s, pack_s=pack_s)
    override.by_hand(7)
    assert override.left_s(7) == expected
    assert override.left_s(7 + expected - 1) == 1
    assert override.left_s(7 + expected) == 0


def test_another_lock_of_the_episode_never_shortens() -> None:
    override = locked(codes=5, window_s=2 * DAY)
    override.begin(EPISODE, 3, DAY, 0)
    override.by_hand(0)
    assert (override.left_s(0), override.left) == (2 * DAY, 5)


def test_another_episode_begins_anew() -> None:
    override = locked(codes=5, window_s=3 * DAY)
    for n in range(5):
        override.by_code(wrong(n), 1)
    assert override.by_hand(1)
    override.begin(OTHER, 3, DAY, 0)
    assert (override.used, override.left, override.left_s(1), override.wait_s(1)) == (0, 4, 0, 0)
    assert override.by_code(digits(1, OTHER), 1) == OPENED
    assert override.left_s(1) == DAY


def test_nothing_is_spent_until_the_last_second_of_a_window() -> None:
    override = locked()
    override.by_code(digits(1), 0)
    assert not override.by_hand(1)
    assert not override.by_hand(DAY - 1)
    assert override.by_code(digits(2), DAY - 1) == NOT_NEEDED
    assert override.left == 3
    assert (override.left_s(DAY - 1), override.left_s(DAY), override.left_s(DAY + 50)) == (1, 0, 0)
    assert override.by_hand(DAY)
    assert (override.wait_s(DAY), locked().wait_s(5)) == (0, 0)


def test_a_wait_that_is_over_is_over() -> None:
    override = locked()
    for n in range(5):
        override.by_code(wrong(n), 1)
    assert [override.wait_s(tick) for tick in (900, 901, 902, 5_000)] == [1, 0, 0, 0]


def test_a_count_that_went_back_never_makes_the_window_longer_than_it_is() -> None:
    override = locked()
    override.by_hand(1_000_000)
    assert override.left_s(5) == DAY


def test_only_the_next_unused_code_is_right() -> None:
    override = locked()
    assert override.by_code(digits(2), 1) == WRONG
    assert override.by_code(digits(1, OTHER), 2) == WRONG
    assert override.by_code(digits(1), 3) == OPENED
    assert override.left_s(3) == DAY
    after = 3 + DAY
    assert override.by_code(digits(1), after) == WRONG
    assert again(override).by_code(digits(2), after + 1) == OPENED
    after += 1 + DAY
    assert override.left == 3, "the record, not this object, knows the second"
    override = locked(codes=0)
    for number in (1, 2, 3):
        assert override.by_code(digits(number), number * 10 * DAY) == OPENED
    assert override.by_code(digits(4), 50 * DAY) == NONE_LEFT
    assert override.left == 1, "by hand"
    assert override.used == 3


def test_an_open_window_spends_neither_code_nor_try() -> None:
    override = locked()
    override.by_hand(0)
    before = override.dump()
    assert override.by_code(digits(1), 1) == NOT_NEEDED
    assert override.by_code(wrong(5), 1) == NOT_NEEDED
    assert override.dump() == before


def test_a_typing_slip_is_no_try() -> None:
    override = locked()
    good = digits(1)
    for _ in range(100):
        assert override.by_code(good[:-1] + str((int(good[-1]) + 1) % 10), 1) == MALFORMED
    assert override.by_code(good, 1) == OPENED


def test_five_tries_are_free_and_then_one_each_quarter_of_an_hour_for_ever() -> None:
    override = locked()
    assert [override.by_code(wrong(n), 10) for n in range(7)] == [WRONG] * 5 + [WAIT] * 2
    assert override.wait_s(10) == 900
    assert override.by_code(digits(1), 10 + 899) == WAIT
    assert override.wait_s(10 + 899) == 1
    assert override.by_code(wrong(8), 10 + 900) == WRONG
    assert override.by_code(digits(1), 10 + 901) == WAIT
    assert again(override).by_code(digits(1), 10 + 1_800) == OPENED


def test_ticks_lost_with_the_power_cost_one_wait_and_never_more() -> None:
    override = locked()
    for n in range(5):
        override.by_code(wrong(n), 10**9)
    assert again(override).wait_s(50) == 900
    assert override.wait_s(50) == 900
    assert override.by_code(digits(1), 50 + 900) == OPENED


def test_a_year_of_guessing_has_the_odds_that_were_calculated() -> None:
    override = locked()
    tries = 0
    for tick in range(0, 365 * DAY, 450):
        override = again(override)
        tries += override.by_code(wrong(tick), tick) == WRONG
    assert 365 * 96 <= tries <= 365 * 96 + 5, "five at once, then one each quarter of an hour"
    assert tries / 10**8 < 3.6e-4
    assert 96 / 10**8 < 1e-6


guesses = st.lists(
    st.tuples(st.integers(0, 3_000), st.integers(0, 10**8 - 1), st.booleans()), min_size=1, max_size=60
)


@given(history=guesses)
def test_whatever_was_tried_the_right_code_works_within_a_quarter_of_an_hour(
    history: list[tuple[int, int, bool]],
) -> None:
    override, tick, tried = locked(), 0, []
    for wait_s, number, is_reset in history:
        tick += wait_s
        if is_reset:
            override = again(override)
        if override.by_code(wrong(number), tick) == WRONG:
            tried.append(tick)
    assert all(later - earlier >= 900 for earlier, later in pairwise(tried[4:]))
    assert override.by_code(digits(1), tick + 900) == OPENED


def test_the_button_is_held_five_seconds() -> None:
    hand = Hand(floors)
    ignition = pressed = True
    assert [hand.feed(now_s, pressed, ignition) for now_s in range(8)] == [False] * 5 + [True, False, False]
    assert not hand.feed(8, not pressed, ignition)
    assert [hand.feed(now_s, pressed, ignition) for now_s in (20, 24)] == [False, False]
    assert hand.feed(25, pressed, ignition)
    hand.feed(26, not pressed, ignition)
    assert not hand.feed(40, pressed, ignition)
    assert not hand.feed(3, pressed, ignition), "a count that went back starts again"
    assert hand.feed(8, pressed, ignition)


@pytest.mark.parametrize(("spacing", "expected"), [(7, True), (8, False), (1, True)])
def test_three_ignition_ons_within_fifteen_seconds_are_the_sign(*, spacing: int, expected: bool) -> None:
    hand = Hand(floors)
    pressed = False
    signs = []
    for n in range(3):
        hand.feed(100 + n * spacing, pressed, False)  # noqa: FBT003 - a wire
        signs.append(hand.feed(100 + n * spacing, pressed, True))  # noqa: FBT003 - a wire
    assert signs == [False, False, expected]


@pytest.mark.parametrize(
    ("ons", "expected"),
    [((100, 107, 115), True), ((100, 107, 116), False), ((100, 100, 100), True), ((100, 101, 100), False)],
)
def test_the_fifteen_seconds_have_edges(*, ons: tuple[int, ...], expected: bool) -> None:
    hand = Hand(floors)
    signs = [[hand.feed(now_s, None, wire) for wire in (False, True)][1] for now_s in ons]
    assert signs == [False, False, expected]


def test_two_ignition_ons_are_not_three_and_an_unsensed_wire_is_no_off() -> None:
    hand = Hand(floors)
    wires = [True, False, True, None, True, False, True]
    assert [hand.feed(now_s, None, wire) for now_s, wire in enumerate(wires)] == [False] * 7
    assert [hand.feed(7, None, wire) for wire in (False, True)] == [False, True]
    assert [hand.feed(8, None, wire) for wire in (False, True)] == [False, False], "a new sign begins"
