"""The simulated CAN adapter is one that python-can's own slcan driver opens, hears and speaks to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import can
import pytest
import serial

from simulators.bus_traffic import EXTENDED, CanFrame
from simulators.car import CarOnPorts
from simulators.ecu import QUEUE_FRAMES_MAX, SlcanAdapter, slcan_line
from simulators.pty_port import PtyPort
from tests.builders.sim import car

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The first second of the simulated drive is silent and reading must not wait for the wall clock.
SPEED = 8.0


@pytest.fixture
def driving(tmp_path: Path) -> Iterator[CarOnPorts]:
    with CarOnPorts(car(), can_link=tmp_path / "can0", nmea_link=tmp_path / "gnss0", speed=SPEED) as running:
        yield running


def open_bus(path: Path, *, listen_only: bool = True) -> can.BusABC:
    """Open the adapter as the agent does."""
    return can.Bus(
        interface="slcan", channel=str(path), bitrate=500_000, sleep_after_open=0.05, listen_only=listen_only
    )


def take(bus: can.BusABC, count: int) -> list[can.Message]:
    """Return the next `count` messages."""
    messages = []
    while len(messages) < count:
        message = bus.recv(timeout=5)
        assert message is not None, f"the bus fell silent after {len(messages)} frames"
        messages.append(message)
    return messages


def test_the_real_driver_hears_what_the_car_said_in_its_order(driving: CarOnPorts) -> None:
    with open_bus(driving.can.path) as bus:
        heard = take(bus, 3_000)
    driving.hang_up()  # a frame is in the journal a moment after it left
    said = list(driving.journal)[:3_000]
    assert [(m.arbitration_id | EXTENDED * m.is_extended_id, bytes(m.data)) for m in heard] == [
        (frame.can_id, frame.data) for frame in said
    ]
    assert any(m.is_extended_id for m in heard)


def test_frames_before_the_channel_opens_are_counted_as_unheard(driving: CarOnPorts) -> None:
    with open_bus(driving.can.path) as bus:
        take(bus, 500)
    with open_bus(driving.can.path) as bus:
        take(bus, 10)
    counters = driving.adapter.counters
    assert counters.sent == len(driving.journal)
    assert counters.sent >= 510


def test_nmea_lines_arrive_on_the_other_line(driving: CarOnPorts) -> None:
    with serial.Serial(str(driving.nmea.path), timeout=5) as line:
        heard = [line.readline() for _ in range(24)]
    assert all(sentence.startswith(b"$G") for sentence in heard[1:])
    said = [burst.lines for burst in driving.fixes]
    # A second is entered in the journal after it was written, so the last one heard may not be in it yet.
    begins = [at for at, sentence in enumerate(heard) if sentence[:6] == said[0][0][:6]]
    whole = heard[1 : begins[-1]]
    assert len(whole) > 6
    assert set(whole) <= {sentence for lines in said for sentence in lines}


def test_a_frame_from_the_other_side_is_taken_when_open_and_refused_when_listening() -> None:
    taken: list[CanFrame] = []
    adapter = SlcanAdapter(on_received=taken.append)
    assert adapter.hear(b"t7DF302010C\r") == b"\a"
    assert adapter.hear(b"S6\rO\rt7DF302010C\rT18DB33F1101\r") == b"\r\rz\rZ\r"
    assert adapter.hear(b"C\rL\rt7DF302010C\r") == b"\r\r\a"
    assert [(frame.can_id, frame.data) for frame in taken] == [
        (0x7DF, b"\x02\x01\x0c"),
        (0x18DB33F1 | EXTENDED, b"\x01"),
    ]


def test_the_driver_can_send_a_frame_to_the_car(driving: CarOnPorts) -> None:
    with open_bus(driving.can.path, listen_only=False) as bus:
        bus.send(can.Message(arbitration_id=0x7DF, data=[2, 1, 12], is_extended_id=False))
        take(bus, 100)
    assert driving.adapter.counters.received == 1


@pytest.mark.parametrize("junk", [b"q\r", b"t12\r", b"tXYZ0\r", b"t1239\r", b"t1232AA\r", b"x" * 500 + b"\r"])
def test_junk_is_answered_with_bell_and_changes_nothing(junk: bytes) -> None:
    adapter = SlcanAdapter()
    adapter.hear(b"O\r")
    assert adapter.hear(junk) == b"\a"
    assert adapter.is_open
    assert adapter.counters.received == 0


def test_version_and_serial_number_are_answered() -> None:
    assert SlcanAdapter().hear(b"V\rN\r\r") == b"V1013\rNSIM1\r\r"


def test_a_stuck_line_loses_the_oldest_frames_whole_and_counts_them() -> None:
    sent: list[CanFrame] = []
    adapter = SlcanAdapter(on_sent=sent.append)
    adapter.hear(b"O\r")
    frames = [CanFrame(t_us=i, can_id=i, data=bytes([i])) for i in range(QUEUE_FRAMES_MAX + 10)]
    adapter.say(frames[0])
    adapter.wrote(3)  # the first is half on the line when it sticks
    for frame in frames[1:]:
        adapter.say(frame)
    line = slcan_line(frames[0])[:3] + adapter.pending()
    adapter.wrote(len(adapter.pending()))
    assert line == b"".join(slcan_line(frame) for frame in sent)
    assert sent == [frames[0], *frames[11:]]
    assert adapter.counters.overrun == 10
    assert adapter.counters.sent == QUEUE_FRAMES_MAX


def test_closing_finishes_the_frame_on_the_line_and_loses_the_rest() -> None:
    adapter = SlcanAdapter()
    adapter.hear(b"O\r")
    for i in range(5):
        adapter.say(CanFrame(t_us=i, can_id=i, data=b""))
    adapter.wrote(2)
    adapter.hear(b"C\r")
    assert adapter.pending() == slcan_line(CanFrame(t_us=0, can_id=0, data=b""))[2:]
    assert adapter.counters.overrun == 5
    assert not adapter.say(CanFrame(t_us=9, can_id=9, data=b""))
    assert adapter.counters.unheard == 1


def test_each_opening_counts_what_it_sent() -> None:
    adapter = SlcanAdapter()
    adapter.hear(b"O\rO\r")
    frames = [CanFrame(t_us=i, can_id=i, data=b"") for i in range(5)]
    for frame in frames:
        adapter.say(frame)
    adapter.wrote(len(slcan_line(frames[0])) + 2)  # one whole, one half
    adapter.hear(b"C\rO\r")
    assert (adapter.counters.sent, adapter.counters.sent_this_opening) == (1, 0)
    adapter.say(frames[4])
    assert adapter.pending() == slcan_line(frames[1])[2:] + slcan_line(frames[4])
    adapter.wrote(len(adapter.pending()))
    assert (adapter.counters.sent, adapter.counters.sent_this_opening) == (2, 1)


def test_after_a_hang_up_the_next_program_hears_only_what_is_said_from_then_on(driving: CarOnPorts) -> None:
    with open_bus(driving.can.path) as bus:
        take(bus, 200)
        driving.hang_up()  # the program died without a word: the channel is still open
    with open_bus(driving.can.path) as bus:
        first = take(bus, 1)[0]
        take(bus, 99)
    opening = list(driving.journal)[-driving.adapter.counters.sent_this_opening :]
    assert (first.arbitration_id, bytes(first.data)) == (opening[0].can_id & ~EXTENDED, opening[0].data)


def test_a_port_takes_what_fits_and_never_blocks() -> None:
    with PtyPort() as port:
        written = [port.write(b"x" * 1000) for _ in range(20)]
        assert sum(written) < 20_000
        assert written[-1] == 0


def test_a_link_names_the_device_and_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "can0").symlink_to("/dev/stale")
    with PtyPort(tmp_path / "can0") as port:
        assert port.path.resolve() == port.device
    assert not (tmp_path / "can0").is_symlink()
