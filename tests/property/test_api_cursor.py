"""Paging cursors: what is encoded reads back, and nothing else is accepted."""

import base64
import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backend.api.paging import CursorKey, PageRequest, decode_cursor, encode_cursor
from backend.api.problems import BAD_CURSOR, ProblemError
from protocol.limits import TIME_US_MAX

KEYS: st.SearchStrategy[CursorKey] = st.lists(
    st.text(max_size=20) | st.integers(-TIME_US_MAX, TIME_US_MAX), max_size=4
)


@given(st.text(max_size=20), KEYS)
def test_a_cursor_reads_back_as_it_was_written(scope: str, key: CursorKey) -> None:
    assert decode_cursor(scope, encode_cursor(scope, key)) == key


@given(KEYS, st.data())
def test_a_changed_character_is_refused(key: CursorKey, data: st.DataObject) -> None:
    cursor = encode_cursor("devices", key)
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=."))
    assume(other != cursor[place])
    with pytest.raises(ProblemError):
        decode_cursor("devices", cursor[:place] + other + cursor[place + 1 :])


@given(KEYS, st.integers(0, 60))
def test_a_cut_cursor_is_refused(key: CursorKey, length: int) -> None:
    cursor = encode_cursor("devices", key)
    with pytest.raises(ProblemError):
        decode_cursor("devices", cursor[: min(length, len(cursor) - 1)])


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ProblemError) as refused:
        decode_cursor("devices", text)
    assert refused.value.kind is BAD_CURSOR


@given(KEYS)
def test_a_cursor_of_another_list_is_refused(key: CursorKey) -> None:
    with pytest.raises(ProblemError):
        decode_cursor("devices", encode_cursor("api-keys", key))


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"null",
        b"[null]",
        b"[1.5]",
        b"[true]",
        b"[[1]]",
        b"[99999999999999999999]",
        b"[1, 2]",
        b"nan",
        b'["\\ud800"]',
    ],
)
def test_a_home_made_cursor_with_a_right_check_sum_still_has_to_be_a_key(text: bytes) -> None:
    check = hashlib.sha256(b"devices\0" + text).digest()[:8]
    cursor = base64.urlsafe_b64encode(check + text).rstrip(b"=").decode()
    with pytest.raises(ProblemError):
        decode_cursor("devices", cursor)


def test_a_key_of_another_shape_than_the_lists_is_refused() -> None:
    paging = PageRequest(cursor=encode_cursor("devices", [5]), limit=10)
    with pytest.raises(ProblemError):
        paging.after_text("devices")
    assert paging.after_number("devices") == 5


def test_the_one_row_too_many_makes_the_cursor() -> None:
    paging = PageRequest(cursor=None, limit=2)
    full = paging.page([1, 2, 3], scope="s", key=lambda row: [row], show=str)
    assert full.items == ["1", "2"]
    assert PageRequest(cursor=full.next_cursor, limit=2).after_number("s") == 2
    last = paging.page([1, 2], scope="s", key=lambda row: [row], show=str)
    assert last.next_cursor is None
