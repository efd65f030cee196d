"""Frames and payloads that stand apart: a lost record costs its own frame, and none gets other bytes."""

from __future__ import annotations

import pytest

from device.adapters.log_errors import LogErrors
from device.adapters.mf4_pairs import Pairs

FRAMES = 40
STEP = 4 + 1  # bytes of a payload in its stream, with its length


def pairs() -> Pairs:
    return Pairs(LogErrors(), length_of=lambda _, record: len(record))


def fed(found: Pairs, events: list[tuple[str, int]]) -> list[int]:
    """Feed frames and payloads by number; return which frames found their own payload."""
    for kind, number in events:
        if kind == "frame":
            found.frame(number * STEP, (number, 1, bytes([number])))
        else:
            found.payload(bytes([number]))
    found.finish()
    settled = found.take()
    assert all(record == payload for _, _, record, payload in settled), "a frame has another's payload"
    return [place for place, *_ in settled]


def in_step() -> list[tuple[str, int]]:
    return [(kind, number) for number in range(FRAMES) for kind in ("frame", "payload")]


@pytest.mark.parametrize("lost", [20, FRAMES - 2])
@pytest.mark.parametrize("kind", ["frame", "payload"])
def test_one_lost_record_costs_the_frame_it_belonged_to(kind: str, lost: int) -> None:
    found = pairs()
    events = in_step()
    events.remove((kind, lost))
    assert fed(found, events) == [number for number in range(FRAMES) if number != lost]
    assert found.errors.count == 1


@pytest.mark.parametrize("count", [2, 3, 4, 9, 10])
@pytest.mark.parametrize("first", [30, 31])
def test_some_lost_records_in_a_row_give_no_frame_a_strange_payload(first: int, count: int) -> None:
    found = pairs()
    events = in_step()
    del events[first : first + count]
    kept = fed(found, events)
    assert FRAMES - len(kept) <= count // 2 + 2
    assert found.errors.count


def test_a_stream_that_stops_to_go_in_step_gives_no_frame_a_strange_payload() -> None:
    found = pairs()
    last = FRAMES - 2
    gathered = [("frame", last), ("frame", last + 1), ("payload", last), ("payload", last + 1)]
    assert fed(found, [*in_step()[: 2 * last], *gathered]) == list(range(last))
    assert found.errors.count


def test_a_whole_stream_costs_nothing_whatever_its_order() -> None:
    gathered = [("frame", number) for number in range(FRAMES)] + [("payload", n) for n in range(FRAMES)]
    for events in (in_step(), gathered, gathered[FRAMES:] + gathered[:FRAMES]):
        found = pairs()
        assert len(fed(found, events)) == FRAMES
        assert found.errors.count == 0


def test_a_payload_lost_from_a_gathered_stream_casts_doubt_on_all_its_frames() -> None:
    found = pairs()
    for number in range(FRAMES):
        found.frame(number * STEP, (number, 1, b"\0"))
    for _ in range(FRAMES - 1):
        found.payload(b"\0")
    found.finish()
    assert len(found.take()) == FRAMES - 1
    assert found.errors.count == FRAMES
    assert "may be those of others" in found.errors.first[1]
