"""The CAN adapter against python-can's real drivers: slcan on a pseudo-terminal, and the virtual bus."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import can
import numpy as np
import pytest

from device.acquisition.lot import EXTENDED, FrameFlag, FrameLot
from device.adapters.can_bus import BusState, CanReader, CanSettings, lot_of
from device.adapters.system_clock import SystemClock
from tests.builders.agent import TODAY_US, Inbox, SlcanDevice

CHANNELS = (f"can-test-{number}" for number in count())


def slcan(device: SlcanDevice, **more: object) -> CanSettings:
    return CanSettings(bus="can0", interface="slcan", channel=device.path, bitrate=500_000, **more)  # type: ignore[arg-type]


@pytest.fixture
def device() -> Iterator[SlcanDevice]:
    with SlcanDevice() as made:
        yield made


@pytest.fixture
def inbox() -> Inbox[FrameLot | BusState]:
    return Inbox()


@pytest.fixture
def reader(device: SlcanDevice, inbox: Inbox[FrameLot | BusState]) -> Iterator[CanReader]:
    made = CanReader(slcan(device), SystemClock(), inbox.put)
    made.start()
    device.wait_until_open()
    yield made
    made.stop()


def frames_of(inbox: Inbox[FrameLot | BusState], number: int) -> FrameLot:
    """Wait for `number` frames and return them as one lot."""
    lots: list[FrameLot] = []
    while sum(lot.size for lot in lots) < number:
        lots.append(inbox.until(FrameLot))
    return FrameLot(
        bus=lots[0].bus,
        t_us=np.concatenate([lot.t_us for lot in lots]),
        can_id=np.concatenate([lot.can_id for lot in lots]),
        flags=np.concatenate([lot.flags for lot in lots]),
        length=np.concatenate([lot.length for lot in lots]),
        data=np.concatenate([lot.data for lot in lots]),
    )


def test_frames_arrive_in_order_with_their_identifier_and_bytes(
    device: SlcanDevice, inbox: Inbox[FrameLot | BusState], reader: CanReader
) -> None:
    del reader
    for number in range(500):
        device.send(0x123, number.to_bytes(2, "big"))
    lot = frames_of(inbox, 500)
    assert set(lot.can_id.tolist()) == {0x123}
    assert lot.length.tolist() == [2] * 500
    assert (lot.data[:, 0].astype(int) * 256 + lot.data[:, 1]).tolist() == list(range(500))
    assert (np.diff(lot.t_us) >= 0).all()


def test_standard_and_extended_identifiers_stay_apart(
    device: SlcanDevice, inbox: Inbox[FrameLot | BusState], reader: CanReader
) -> None:
    del reader
    device.send(0x123, b"\x01")
    device.send(0x123, b"\x02", extended=True)
    assert frames_of(inbox, 2).can_id.tolist() == [0x123, 0x123 | EXTENDED]


def test_a_car_bus_is_opened_silent_by_default(device: SlcanDevice, reader: CanReader) -> None:
    del reader
    assert b"L\r" in device.heard
    assert b"t" not in device.heard


def test_a_bus_may_be_opened_to_talk_when_the_settings_say_so(device: SlcanDevice) -> None:
    reader = CanReader(slcan(device, listen_only=False), SystemClock(), Inbox[FrameLot | BusState]().put)
    reader.start()
    device.wait_until_open()
    reader.stop()
    assert b"L\r" not in device.heard


def test_remote_frames_are_flagged(
    device: SlcanDevice, inbox: Inbox[FrameLot | BusState], reader: CanReader
) -> None:
    del reader
    device.say(b"r1230\r")
    assert frames_of(inbox, 1).flags.tolist() == [FrameFlag.REMOTE]


def test_garbled_lines_are_counted_and_the_next_frame_is_read(
    device: SlcanDevice, inbox: Inbox[FrameLot | BusState], reader: CanReader
) -> None:
    device.say(b"tXYZ1\r" + b"t12")
    device.say(b"\r")
    device.send(0x7, b"\x09")
    assert frames_of(inbox, 1).can_id.tolist() == [0x7]
    assert reader.malformed == 2


def test_a_device_that_only_talks_rubbish_is_a_bus_that_is_down(
    device: SlcanDevice, inbox: Inbox[FrameLot | BusState], reader: CanReader
) -> None:
    del reader
    device.say(b"t!!!\r" * 200)
    state = inbox.until(BusState, lambda change: not change.is_up)
    assert "unreadable" in str(state.reason)


def test_line_noise_that_the_driver_cannot_survive_reopens_the_bus(
    device: SlcanDevice, inbox: Inbox[FrameLot | BusState], reader: CanReader
) -> None:
    del reader
    assert inbox.until(BusState).is_up
    device.say(b"\xff\xfe\r")
    assert not inbox.until(BusState).is_up
    assert inbox.until(BusState).is_up
    device.send(0x42, b"\x01")
    assert frames_of(inbox, 1).can_id.tolist() == [0x42]


def test_a_bus_that_vanishes_is_told_once_and_read_again_when_it_is_back(
    inbox: Inbox[FrameLot | BusState], tmp_path: Path
) -> None:
    port = tmp_path / "ttyCAN"
    with SlcanDevice() as first, SlcanDevice() as again:
        port.symlink_to(first.path)
        reader = CanReader(
            CanSettings(bus="can0", interface="slcan", channel=str(port)), SystemClock(), inbox.put
        )
        reader.start()
        assert inbox.until(BusState).is_up
        first.unplug()
        assert not inbox.until(BusState).is_up
        port.unlink()
        port.symlink_to(again.path)
        assert inbox.until(BusState).is_up
        again.send(0x42, b"\x01")
        assert frames_of(inbox, 1).can_id.tolist() == [0x42]
        reader.stop()


def test_a_missing_bus_is_told_and_does_not_stop_the_agent(inbox: Inbox[FrameLot | BusState]) -> None:
    settings = CanSettings(bus="can0", interface="slcan", channel="/dev/does-not-exist")
    reader = CanReader(settings, SystemClock(), inbox.put)
    reader.start()
    state = inbox.until(BusState)
    reader.stop()
    assert not state.is_up
    assert state.reason is not None


def test_an_unknown_driver_is_told_too(inbox: Inbox[FrameLot | BusState]) -> None:
    reader = CanReader(CanSettings(bus="can0", interface="no-such", channel="x"), SystemClock(), inbox.put)
    reader.start()
    state = inbox.until(BusState)
    reader.stop()
    assert not state.is_up


def test_frames_that_find_no_room_are_counted(device: SlcanDevice) -> None:
    full: Inbox[FrameLot | BusState] = Inbox(has_room=False)
    reader = CanReader(slcan(device), SystemClock(), full.put)
    reader.start()
    device.wait_until_open()
    for _ in range(40):
        device.send(0x1, b"\x01")
    dropped = 0
    while dropped < 40:
        dropped += reader.take_dropped()
    reader.stop()
    assert dropped == 40
    assert reader.take_dropped() == 0


def test_a_stop_hands_over_what_was_received(inbox: Inbox[FrameLot | BusState]) -> None:
    channel = next(CHANNELS)
    with can.Bus(interface="virtual", channel=channel) as sender:
        reader = CanReader(
            CanSettings(bus="can0", interface="virtual", channel=channel), SystemClock(), inbox.put
        )
        reader.start()
        inbox.until(BusState)
        sender.send(can.Message(arbitration_id=0x10, data=b"\x01", is_extended_id=False))
        lot = inbox.until(FrameLot)
        reader.stop()
    assert lot.can_id.tolist() == [0x10]


def test_can_fd_frames_widen_the_lot_and_are_flagged() -> None:
    rows = [
        can.Message(timestamp=1.0, arbitration_id=1, data=bytes(range(64)), is_fd=True, is_extended_id=False),
        can.Message(timestamp=1.0, arbitration_id=2, data=b"\x01", is_extended_id=False),
        can.Message(timestamp=1.0, arbitration_id=3, is_error_frame=True),
    ]
    lot = lot_of("can0", rows, mono_us=5, wall_us=1_000_000)
    assert lot.data.shape == (3, 64)
    assert lot.flags.tolist() == [FrameFlag.FD, 0, FrameFlag.ERROR]
    assert lot.data[0].tolist() == list(range(64))


def stamped(*ages_us: int) -> list[can.Message]:
    return [can.Message(timestamp=(TODAY_US - age) / 1e6, arbitration_id=1) for age in ages_us]


def test_driver_stamps_become_monotonic_time() -> None:
    lot = lot_of("can0", stamped(20_000, 10_000, 0), mono_us=7_000_000, wall_us=TODAY_US)
    assert lot.t_us.tolist() == pytest.approx([6_980_000, 6_990_000, 7_000_000], abs=1)


@pytest.mark.parametrize("age", [-3_600_000_000, 3_600_000_000, 50 * 365 * 86_400_000_000])
def test_a_stamp_of_another_clock_becomes_the_time_of_reading(age: int) -> None:
    lot = lot_of("can0", stamped(age), mono_us=7_000_000, wall_us=TODAY_US)
    assert lot.t_us.tolist() == [7_000_000]


def test_stamps_that_step_back_never_make_time_run_backwards() -> None:
    lot = lot_of("can0", stamped(10_000, 1_000_000, 5_000), mono_us=7_000_000, wall_us=TODAY_US)
    assert (np.diff(lot.t_us) >= 0).all()


def test_a_frame_from_before_the_boot_is_stamped_with_its_start() -> None:
    assert lot_of("can0", stamped(2_000_000), mono_us=1_000, wall_us=TODAY_US).t_us.tolist() == [0]
