"""The real firmware on the real MicroPython, against simulated hardware: does the engine start?

An image of the demo's floors runs as a process; what it sees are pins, registers and bytes of its line.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.mcu import pins
from device.mcu.floors_demo import CONTACT_S_MAX, DRIVE_CYCLE_S
from firmware_tools.image import Floors, build
from protocol.mcu_link import encode_frame
from protocol.orders import State
from simulators.mcu_board import McuBoard
from tests.builders.mcu_process import Kept, ProcessBox

# What the firmware does when its flash holds a file of this name: nothing, for ever.
HANGS = """
from device.mcu import main
work = main.work
def hung(board, brain, frames):
    work(board, brain, frames)
    while board.blob_read("hang"):
        pass
main.work = hung
main.main()
"""
FAILS = """
from device.mcu import main
work = main.work
def failing(board, brain, frames):
    work(board, brain, frames)
    if board.blob_read("hang"):
        raise KeyError("a bug")
main.work = failing
main.main()
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("mcu") / "image", Floors.DEMO).folder


@pytest.fixture(scope="module")
def kept(image: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """What a bound and a locked car keep."""
    found = {}
    with ProcessBox(image, tmp_path_factory.mktemp("flash")) as box:
        box.commission()
        found["bound"] = box.keep()
        box.lock_it()
        found["locked"] = box.keep()
    return found


@pytest.fixture
def car(image: Path, kept: dict[str, Kept], tmp_path: Path) -> Iterator[Callable[..., ProcessBox]]:
    boxes = []

    def make(state: str, **options: object) -> ProcessBox:
        folder = tmp_path / f"flash{len(boxes)}"
        box = ProcessBox(image, folder, kept=kept[state], **options)  # type: ignore[arg-type]
        boxes.append(box)
        box.run(DRIVE_CYCLE_S + 1)  # after a reset a drive cycle has to end anew
        return box

    yield make
    for box in boxes:
        box.hardware.close()


def whole_story(image: Path, folder: Path) -> list[tuple[int, bytes]]:
    with ProcessBox(image, folder) as box:
        box.commission()
        assert box.tries_to_start()
        box.lock_it()
        assert not box.tries_to_start()
        assert box.state is State.LOCKED
        box.press_button(3)
        assert box.state is State.OVERRIDDEN
        assert box.tries_to_start()
        box.send_order(box.unlock())
        box.run(1.5)
        assert box.tries_to_start()
        states = [found.state for found in box.chain]
        assert states[1:-1] == [
            State.ACCEPTED_PENDING, State.WARNING, State.ARMED, State.LOCKED, State.OVERRIDDEN,
            State.RELEASED,
        ]  # fmt: skip
        assert all(found.is_demo for found in box.chain)
        assert box.hardware.resets == []
        return box.received


@pytest.mark.slow
def test_a_car_is_bound_locked_started_in_an_emergency_and_unlocked_and_the_run_repeats(
    image: Path, tmp_path: Path
) -> None:
    assert whole_story(image, tmp_path / "one") == whole_story(image, tmp_path / "two")


def test_a_locked_car_starts_in_an_emergency_and_after_one_signature(car: Callable[..., ProcessBox]) -> None:
    box = car("locked")
    assert not box.tries_to_start()
    box.press_button(3)
    assert box.state is State.OVERRIDDEN
    assert box.tries_to_start()
    box.send_order(box.unlock())
    box.run(1.5)
    assert box.state is State.RELEASED
    assert box.tries_to_start()


def test_a_lock_outlives_a_power_cut_and_the_time_without_power_counts(
    car: Callable[..., ProcessBox],
) -> None:
    box = car("locked")
    before = box.brain.tick
    box.power_back(CONTACT_S_MAX // 2)
    box.run(DRIVE_CYCLE_S + 1)
    assert before + CONTACT_S_MAX // 2 <= box.brain.tick <= before + CONTACT_S_MAX // 2 + DRIVE_CYCLE_S + 5
    assert not box.tries_to_start()
    box.power_back(CONTACT_S_MAX // 2)
    box.run(2)
    assert box.last.state is State.RELEASED
    assert box.tries_to_start(), "nobody was heard for longer than a lock may stand"


def test_a_coin_cell_that_ran_out_costs_the_lease_a_day_and_three_end_it(
    car: Callable[..., ProcessBox],
) -> None:
    box = car("locked")
    for _ in range(3):
        assert box.state is State.LOCKED
        box.hardware.cut_power()
        box.hardware.clock.lose()
        box.power_back(60)
        box.run(2)
    assert box.last.state is State.LEASE_EXPIRED
    assert box.tries_to_start()


@pytest.mark.parametrize("program", [HANGS, FAILS], ids=["hangs", "fails"])
def test_firmware_that_stops_while_it_holds_the_starter_lets_it_go(
    car: Callable[..., ProcessBox], program: str
) -> None:
    box = car("locked", program=program, hang_s=0.3)
    body = box.hardware.car
    body.crank()
    box.run(0.5)
    assert body.is_contact_open
    assert not body.engine_runs
    (box.hardware.state / "hang").write_bytes(b"1")
    began = box.hardware.now_us
    while not box.hardware.resets and box.hardware.now_us - began < 5_000_000:
        box.run(0.05)
    assert box.hardware.now_us - began <= 1_000 * (pins.WATCHDOG_MS + 200)
    assert not body.coil
    box.hardware.run(3)
    assert body.engine_runs, "the driver still held the key, and the car starts"


def test_three_resets_by_the_watchdog_put_the_lock_out_of_service(car: Callable[..., ProcessBox]) -> None:
    box = car("locked")
    for _ in range(3):
        box.hardware.press_reset()
        box.run(2)
    assert box.last.state is State.FAULT_RELEASED
    assert box.status[4] == 2
    assert box.tries_to_start()


def test_a_welded_contact_is_found_at_the_next_crank_and_ends_the_lock(
    car: Callable[..., ProcessBox],
) -> None:
    box = car("locked")
    box.hardware.car.faults.is_contact_welded = True
    assert box.tries_to_start(4), "nobody can keep this car from starting"
    assert box.last.state is State.FAULT_RELEASED


def test_a_brown_out_never_keeps_the_coil(car: Callable[..., ProcessBox]) -> None:
    box = car("locked")
    box.hardware.car.battery_mv = box.hardware.car.crank_mv = 8_500
    box.hardware.car.crank()
    box.run(1)
    assert not box.hardware.car.coil


def test_a_dead_accelerometer_arms_nothing(car: Callable[..., ProcessBox]) -> None:
    box = car("bound")
    box.hardware.car.faults.is_accelerometer_dead = True
    with pytest.raises(AssertionError):
        box.arm_it()
    assert State.ARMED not in [found.state for found in box.chain]
    assert box.tries_to_start()


def test_an_accelerometer_that_says_the_same_for_ever_has_failed(car: Callable[..., ProcessBox]) -> None:
    box = car("bound")
    box.hardware.accelerometer.is_frozen = True
    with pytest.raises(AssertionError):
        box.arm_it()
    assert State.ARMED not in [found.state for found in box.chain]


def test_a_car_that_rolls_is_not_armed(car: Callable[..., ProcessBox]) -> None:
    box = car("bound")
    box.hardware.car.is_moving = True
    with pytest.raises(AssertionError):
        box.arm_it()
    assert State.ARMED not in [found.state for found in box.chain]


def test_noise_on_the_line_costs_no_frame_that_is_whole(car: Callable[..., ProcessBox]) -> None:
    box = car("locked")
    noise = random.Random(4)
    for _ in range(20):
        box.hardware.write_line(noise.randbytes(60) + b"\0")
        box.run(0.1)
    unlock = bytearray(encode_frame(2, box.unlock()))
    damaged = bytearray(unlock)
    damaged[40] ^= 1
    box.hardware.write_line(bytes(damaged))
    box.run(1)
    assert box.state is State.LOCKED
    box.hardware.write_line(bytes(unlock))
    box.run(1.2)
    assert box.state is State.RELEASED
    bad = {name: count for name, count in box.status[12].items() if name.startswith("link_bad_")}
    assert sum(bad.values()) >= 21
    assert bad["link_bad_crc"] >= 1


def test_a_new_board_makes_its_own_key_and_keeps_it(image: Path, tmp_path: Path) -> None:
    seen = []
    for seed in (1, 2):
        with McuBoard(image, tmp_path / f"flash{seed}", seed=seed) as board:
            board.power_on()
            board.run(1)
            first = (board.state / "key").read_bytes()
            board.cut_power()
            board.power_on()
            board.run(1)
            assert (board.state / "key").read_bytes() == first
            seen.append(first)
    assert seen[0] != seen[1]


def test_a_key_that_is_lost_takes_the_lock_with_it(car: Callable[..., ProcessBox]) -> None:
    box = car("locked")
    (box.hardware.state / "key").write_bytes(b"torn")
    box.power_back()
    box.run(2)
    assert box.status[4] == 2
    assert box.tries_to_start()


def test_power_cuts_at_any_byte_of_a_release_leave_a_legal_car(car: Callable[..., ProcessBox]) -> None:
    cut_releases(car, range(3))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_power_cuts_in_a_release_leave_a_legal_car(car: Callable[..., ProcessBox]) -> None:
    states = cut_releases(car, range(100, 130))
    assert {State.LOCKED, State.RELEASED} <= states, "both sides of the write must have been met"


def cut_releases(car: Callable[..., ProcessBox], seeds: range) -> set[State]:
    """Cut the power at a drawn byte of a slot or a drawn call while an UNLOCK is taken."""
    met = set()
    for seed in seeds:
        draw = random.Random(seed)
        box = car("locked")
        assert box.state is State.LOCKED
        if draw.random() < 0.5:
            box.hardware.fram.cut_after = draw.randrange(15_000)
        else:
            box.hardware.cut_at_call = box.hardware.calls + draw.randrange(3_000)
        box.send_order(box.unlock())
        box.run(3)
        box.power_back(draw.randrange(1, 100))
        box.run(DRIVE_CYCLE_S + 1)
        # FAULT_RELEASED: it was let go, and the power went before the record said so.
        assert box.state in {State.LOCKED, State.RELEASED, State.FAULT_RELEASED}
        met.add(box.state)
        chain = box.chain
        for earlier, later in itertools.pairwise(chain):
            assert (later.sequence, later.previous) == (earlier.sequence + 1, earlier.digest), seed
        assert box.tries_to_start() is (box.state is not State.LOCKED), seed
        box.hardware.close()
    return met
