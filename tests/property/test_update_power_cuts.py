"""Wherever the power goes in an update: what starts is one release whole, and it comes to an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from device.update.forms import Outcome, Stage
from tests.builders.update_world import FILES, NEW, OLD, UpdateWorld

STEPS = 60  # more than any run of one update takes


def is_a_pair(world: UpdateWorld, release: int, board: tuple[int, ...]) -> bool:
    return board == ((OLD if world.is_same_image else release),) * FILES


def assert_whole(world: UpdateWorld, *, is_board_broken: bool = False) -> None:
    record = world.record
    assert record.stage in (Stage.IDLE, Stage.MCU_OLD if is_board_broken else Stage.IDLE)
    assert world.is_agent_on
    assert world.link == record.confirmed
    if not is_board_broken:
        assert all(is_a_pair(world, *started) for started in world.started), world.started
        assert is_a_pair(world, world.link, tuple(world.board))


@given(cut_at=st.integers(1, STEPS), is_same_image=st.booleans())
def test_a_good_release_survives_a_cut_anywhere(*, cut_at: int, is_same_image: bool) -> None:
    world = UpdateWorld(cut_at=cut_at, is_same_image=is_same_image)
    world.live()
    assert_whole(world)
    assert world.record.confirmed == NEW
    assert world.record.floor == NEW
    assert world.record.untold == ((NEW, Outcome.CONFIRMED),)
    assert world.kept == {NEW}


@given(
    cut_at=st.integers(1, 2 * STEPS),
    is_new_dead=st.booleans(),
    writes_fail=st.integers(0, 4),
    is_same_image=st.booleans(),
)
def test_a_bad_release_goes_back_whole_wherever_the_power_goes(
    *, cut_at: int, is_new_dead: bool, writes_fail: int, is_same_image: bool
) -> None:
    world = UpdateWorld(
        cut_at=cut_at,
        is_new_dead=is_new_dead,
        is_new_sick=not is_new_dead,
        writes_fail=writes_fail,
        is_same_image=is_same_image,
    )
    world.live()
    assert_whole(world)
    assert (world.record.confirmed, world.record.floor) == (OLD, 0)
    assert [release for release, _ in world.record.failed] == [NEW]
    assert OLD in world.kept


@given(cut_at=st.integers(1, STEPS))
def test_a_board_that_cannot_be_written_at_all_leaves_the_old_agent_running(cut_at: int) -> None:
    world = UpdateWorld(cut_at=cut_at, writes_fail=1_000)
    world.live()
    assert_whole(world, is_board_broken=True)
    assert world.link == OLD


@given(cut_at=st.integers(1, STEPS))
def test_a_locked_board_is_never_written(cut_at: int) -> None:
    world = UpdateWorld(cut_at=cut_at, is_locked=True)
    world.live()
    assert world.board == [OLD] * FILES
    assert (world.link, world.record.stage) == (OLD, Stage.STAGED)
    assert not world.record.failed
