"""The gpsd client against a server on loopback that behaves, or does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from device.acquisition.gnss import GnssForm
from device.adapters.gnss import GnssLine, ReceiverState
from device.adapters.gpsd_client import GpsdClient, GpsdSettings
from device.adapters.system_clock import SystemClock
from tests.builders.agent import Inbox
from tests.builders.gnss import GREETING, FakeGpsd, tpv

Messages = Inbox[GnssLine | ReceiverState]


@contextmanager
def running(
    port: int, inbox: Messages, *, device: str | None = None, ask_after_s: float = 30.0
) -> Iterator[GpsdClient]:
    client = GpsdClient(
        GpsdSettings(port=port, device=device),
        SystemClock(),
        inbox.put,
        ask_after_s=ask_after_s,
        answer_wait_s=0.1,
    )
    client.start()
    try:
        yield client
    finally:
        client.stop()


def test_it_asks_for_its_device_and_passes_on_every_line() -> None:
    inbox = Messages()
    with FakeGpsd() as gpsd, running(gpsd.port, inbox, device="/dev/ttyUSB1"):
        caller = gpsd.answer()
        assert caller.asked() == b'?WATCH={"enable":true,"json":true,"device":"/dev/ttyUSB1"}\n'
        assert inbox.until(ReceiverState).is_up
        caller.say(tpv(0)[:20])
        caller.say(tpv(0)[20:] + tpv(1))
        greeting, first, second = (inbox.until(GnssLine) for _ in range(3))
        assert (greeting.data, first.data, second.data) == (GREETING, tpv(0), tpv(1))
        assert first.form is GnssForm.GPSD
        assert first.t_us <= second.t_us
        caller.hang_up()


def test_without_a_device_it_asks_for_all() -> None:
    inbox = Messages()
    with FakeGpsd() as gpsd, running(gpsd.port, inbox):
        caller = gpsd.answer()
        assert caller.asked() == b'?WATCH={"enable":true,"json":true}\n'
        caller.hang_up()


def test_a_gpsd_that_hangs_up_is_told_once_and_called_again() -> None:
    inbox = Messages()
    with FakeGpsd() as gpsd, running(gpsd.port, inbox):
        first = gpsd.answer()
        first.asked()
        assert inbox.until(ReceiverState).is_up
        first.hang_up()
        down = inbox.until(ReceiverState)
        assert not down.is_up
        assert "closed" in str(down.reason)
        again = gpsd.answer()
        assert inbox.until(ReceiverState).is_up
        again.hang_up()


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        GREETING.replace(b'"proto_major":3', b'"proto_major":4'),
        b"[]\n",
        b"x" * 70_000,
    ],
    ids=["another service", "another protocol", "no object", "no line"],
)
def test_another_service_on_the_port_is_told_and_asked_nothing(greeting: bytes) -> None:
    inbox = Messages()
    with FakeGpsd(greeting) as gpsd, running(gpsd.port, inbox):
        caller = gpsd.answer()
        down = inbox.until(ReceiverState)
        assert not down.is_up
        assert "gpsd" in str(down.reason)
        caller.hang_up()


def test_no_gpsd_at_all_is_told_and_does_not_stop_the_agent() -> None:
    inbox = Messages()
    with FakeGpsd() as gpsd:
        port = gpsd.port
    with running(port, inbox) as client:
        assert not inbox.until(ReceiverState).is_up
        assert client.is_alive


def test_a_quiet_gpsd_is_asked_and_stays_when_it_answers() -> None:
    inbox = Messages()
    with FakeGpsd() as gpsd, running(gpsd.port, inbox, ask_after_s=0.05):
        caller = gpsd.answer()
        caller.asked()
        assert caller.asked() == b"?DEVICES;\n"
        caller.say(b'{"class":"DEVICES","devices":[]}\r\n')
        assert b"DEVICES" in inbox.until(GnssLine, lambda line: b"DEVICES" in line.data).data
        caller.hang_up()


def test_a_gpsd_that_hangs_is_left() -> None:
    inbox = Messages()
    with FakeGpsd() as gpsd, running(gpsd.port, inbox, ask_after_s=0.05):
        caller = gpsd.answer()
        assert inbox.until(ReceiverState).is_up
        down = inbox.until(ReceiverState)
        assert (down.is_up, down.reason) == (False, "gpsd does not answer")
        caller.hang_up()


def test_lines_that_find_no_room_are_counted() -> None:
    inbox = Messages(has_room=False)
    with FakeGpsd() as gpsd, running(gpsd.port, inbox) as client:
        caller = gpsd.answer()
        caller.asked()
        caller.say(tpv(0) + tpv(1))
        caller.hang_up()
        gpsd.answer().hang_up()  # it has read all of the first call
        assert client.take_dropped() >= 3
