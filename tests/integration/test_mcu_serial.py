"""The line to the microcontroller on a pseudo-terminal: both ways, urgent ones first, lines that break."""

import os
import queue
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.adapters.mcu_serial import McuFrame, McuSerial, McuSettings, McuState
from device.orders.link import LinkKind
from protocol.limits import MCU_FRAMES_MAX
from protocol.mcu_link import Decoder, encode_frame


class Line:
    """The microcontroller's end of a pseudo-terminal, and the agent's thread on the other."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.heard: queue.Queue[McuFrame | McuState] = queue.Queue()
        self.decoder = Decoder()
        self.master = -1
        self.plug_in()
        self.serial = McuSerial(McuSettings(port=str(link)), self._hear)

    def _hear(self, item: McuFrame | McuState) -> bool:
        self.heard.put(item)
        return True

    def plug_in(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(slave)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(slave))
        self.slave = slave

    def pull_out(self) -> None:
        self.link.unlink()
        os.close(self.slave)
        os.close(self.master)

    def next(self) -> McuFrame | McuState:
        return self.heard.get(timeout=10)

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    def read(self, count: int) -> list[tuple[int, bytes]]:
        frames: list[tuple[int, bytes]] = []
        while len(frames) < count:
            frames += self.decoder.feed(os.read(self.master, 4_096))
        return frames


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path / "mcu")
    yield made
    if made.serial.is_alive:
        made.serial.stop()


def test_frames_travel_both_ways_and_garbled_ones_are_counted(line: Line) -> None:
    line.serial.start()
    assert line.next() == McuState(is_up=True)
    line.say(b"noise\0" + encode_frame(0x81, b"status"))
    assert line.next() == McuFrame(kind=0x81, body=b"status")
    assert line.serial.send(LinkKind.HELLO, b"hello")
    assert line.read(1) == [(1, b"hello")]
    line.serial.stop()
    counts = line.serial.counts()
    assert (counts["mcu_frames_in"], counts["mcu_frames_out"], counts["mcu_frames_garbled"]) == (1, 1, 1)


def test_urgent_frames_leave_first_and_old_facts_make_way(line: Line) -> None:
    line.serial.send(LinkKind.FACTS, b"old")
    line.serial.send(LinkKind.ORDER, b"lock")
    line.serial.send(LinkKind.FACTS, b"new")
    line.serial.send(LinkKind.ORDER, b"unlock", is_urgent=True)
    line.serial.start()
    assert line.read(3) == [
        (LinkKind.ORDER, b"unlock"),
        (LinkKind.ORDER, b"lock"),
        (LinkKind.FACTS, b"new"),
    ]


def test_what_finds_no_room_is_said_and_counted(line: Line) -> None:
    assert all(line.serial.send(LinkKind.ORDER, b"o") for _ in range(MCU_FRAMES_MAX))
    assert not line.serial.send(LinkKind.ORDER, b"o")
    assert line.serial.send(LinkKind.ORDER, b"unlock", is_urgent=True)
    assert line.serial.counts()["mcu_frames_not_sent"] == 1


def test_a_line_that_breaks_is_told_once_and_opened_again(line: Line) -> None:
    line.serial.start()
    assert line.next() == McuState(is_up=True)
    line.pull_out()
    down = line.next()
    assert isinstance(down, McuState)
    assert not down.is_up
    assert down.reason
    line.plug_in()
    assert line.next() == McuState(is_up=True)
    line.say(encode_frame(0x81, b"again"))
    assert line.next() == McuFrame(kind=0x81, body=b"again")
