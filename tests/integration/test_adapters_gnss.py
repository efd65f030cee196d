"""The GNSS adapter on a pseudo-terminal."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.adapters.gnss import GnssLine, GnssReader, GnssSettings, ReceiverState
from device.adapters.system_clock import SystemClock
from protocol.limits import NMEA_LINE_BYTES_MAX
from tests.builders.agent import Inbox, PtyDevice

RMC = b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n"


@pytest.fixture
def receiver() -> Iterator[PtyDevice]:
    with PtyDevice() as made:
        yield made


@pytest.fixture
def inbox() -> Inbox[GnssLine | ReceiverState]:
    return Inbox()


@pytest.fixture
def reader(receiver: PtyDevice, inbox: Inbox[GnssLine | ReceiverState]) -> Iterator[GnssReader]:
    made = GnssReader(GnssSettings(port=receiver.path), SystemClock(), inbox.put)
    made.start()
    assert inbox.until(ReceiverState).is_up
    yield made
    made.stop()


def test_lines_arrive_whole_however_they_were_torn(
    receiver: PtyDevice, inbox: Inbox[GnssLine | ReceiverState], reader: GnssReader
) -> None:
    del reader
    receiver.say(RMC[:10])
    receiver.say(RMC[10:] + RMC[:30])
    receiver.say(RMC[30:])
    first, second = inbox.until(GnssLine), inbox.until(GnssLine)
    assert first.data == second.data == RMC
    assert first.t_us <= second.t_us


def test_bytes_without_line_ends_are_cut_and_passed_on(
    receiver: PtyDevice, inbox: Inbox[GnssLine | ReceiverState], reader: GnssReader
) -> None:
    del reader
    receiver.say(b"\xb5\x62" * NMEA_LINE_BYTES_MAX)
    assert len(inbox.until(GnssLine).data) <= NMEA_LINE_BYTES_MAX


def test_a_receiver_that_vanishes_is_told_once_and_read_again_when_it_is_back(
    inbox: Inbox[GnssLine | ReceiverState], tmp_path: Path
) -> None:
    port = tmp_path / "ttyGNSS"
    with PtyDevice() as first, PtyDevice() as again:
        port.symlink_to(first.path)
        reader = GnssReader(GnssSettings(port=str(port)), SystemClock(), inbox.put)
        reader.start()
        assert inbox.until(ReceiverState).is_up
        first.unplug()
        assert not inbox.until(ReceiverState).is_up
        port.unlink()
        port.symlink_to(again.path)
        assert inbox.until(ReceiverState).is_up
        again.say(RMC)
        assert inbox.until(GnssLine).data == RMC
        reader.stop()


def test_a_missing_port_is_told_and_does_not_stop_the_agent(inbox: Inbox[GnssLine | ReceiverState]) -> None:
    reader = GnssReader(GnssSettings(port="/dev/does-not-exist"), SystemClock(), inbox.put)
    reader.start()
    state = inbox.until(ReceiverState)
    reader.stop()
    assert not state.is_up
    assert "does-not-exist" in str(state.reason)


def test_lines_that_find_no_room_are_counted(receiver: PtyDevice) -> None:
    is_open = threading.Event()
    refused = threading.Semaphore(0)

    def refuse(item: GnssLine | ReceiverState) -> bool:
        if isinstance(item, ReceiverState):
            is_open.set()  # what is sent before this, the driver throws away as it opens the port
        else:
            refused.release()
        return False

    reader = GnssReader(GnssSettings(port=receiver.path), SystemClock(), refuse)
    reader.start()
    assert is_open.wait(10)
    receiver.say(RMC * 3)
    assert all(refused.acquire(timeout=10) for _ in range(3))
    reader.stop()
    assert reader.take_dropped() == 3
