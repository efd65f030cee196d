"""A real gpsd between a receiver and us: on recordings by gpsfake, and on a live line."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device.acquisition.gpsd import GpsdReader
from device.acquisition.nmea import NmeaReader
from device.adapters.gnss import GnssLine, ReceiverState
from device.adapters.gpsd_client import GpsdClient, GpsdSettings
from device.adapters.system_clock import SystemClock
from simulators import drive_cycles
from simulators.gnss_receiver import GnssReceiver
from simulators.vehicle import Vehicle
from simulators.virtual_clock import SECOND_US
from tests.builders.agent import Inbox, PtyDevice
from tests.builders.sim import UTC_START_US
from tests.conftest import need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.fixes import Fix

pytestmark = pytest.mark.real

PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))

# gpsd moves dates before its own release by whole turns of the week number, those of old recordings too.
ROLLOVER_US = 1_024 * 7 * 86_400 * SECOND_US

# Values that gpsd computes are apart by its rounding to float; those it passes on, by ours.
NEAR = {"lat_e7": 2, "lon_e7": 2, "alt_mm": 1, "speed_mm_s": 1, "course_cdeg": 1}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and what it starts, until the end of the test, with /usr/sbin in its path."""
    found = shutil.which(command[0], path=PATH)
    assert found is not None
    running = subprocess.Popen(
        [found, *command[1:]],
        env=os.environ | {"PATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        for signal_ in (signal.SIGTERM, signal.SIGKILL):  # gpsfake may wait for its gpsd for ever
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal_)
            with suppress(subprocess.TimeoutExpired):
                running.wait(2)


@contextmanager
def listening(port: int) -> Iterator[Inbox[GnssLine | ReceiverState]]:
    """Let a client listen at gpsd on this port."""
    inbox = Inbox[GnssLine | ReceiverState]()
    client = GpsdClient(GpsdSettings(port=port), SystemClock(), inbox.put)
    client.start()
    try:
        yield inbox
    finally:
        client.stop()


def hear(inbox: Inbox[GnssLine | ReceiverState], count: int) -> list[Fix]:
    """Return the fixes of what gpsd says, until there are so many instants."""
    reader = GpsdReader()
    fixes: list[Fix] = []
    while len({fix.utc_us for fix in fixes}) < count:
        line = inbox.until(GnssLine)
        fixes += reader.feed(line.data, line.t_us)
    assert (reader.counts.garbled, reader.counts.unknown) == (0, 0)
    return fixes


def agree(ours: Fix, theirs: Fix) -> bool:
    """Whether two fixes of one instant say the same, what gpsd does not say yet apart."""
    values = [(getattr(ours, name), getattr(theirs, name), near) for name, near in NEAR.items()]
    return ours.mode == theirs.mode and all(
        one is not None and abs(one - other) <= near for one, other, near in values if other is not None
    )


@pytest.mark.data
@pytest.mark.parametrize("name", ["gpsd/nmea-rtk.log", "gpsd/bu353s4.log", "gpsd/quectelLC79D-1.log"])
def test_a_recording_played_to_gpsd_gives_the_fixes_that_its_sentences_give(
    test_data: Path, name: str
) -> None:
    need("gpsd", "gpsfake")  # which plays the recording again and again: how it begins may be missed
    log = test_data / "gnss" / name
    sentences = NmeaReader()
    said = [fix for fix in sentences.feed(log.read_bytes(), 0) + sentences.flush() if fix.utc_us is not None]
    by_time = {fix.utc_us % ROLLOVER_US: fix for fix in said if fix.utc_us is not None}
    port = free_port()
    with program("gpsfake", "-c", "0.01", "-P", str(port), str(log)), listening(port) as inbox:
        heard = hear(inbox, len(said) // 2)
    timed = [fix for fix in heard if fix.utc_us is not None]
    for fix in timed[1:]:  # gpsd's first instant may lack what came before it knew the receiver
        assert fix.utc_us is not None
        ours = by_time[fix.utc_us % ROLLOVER_US]
        assert agree(ours, fix), (ours, fix)


def test_a_live_receiver_behind_gpsd_is_read_where_the_car_is() -> None:
    need("gpsd")
    port = free_port()
    vehicle = Vehicle(seed=3, legs=drive_cycles.city(3, 120))
    receiver = GnssReceiver(seed=3)
    with PtyDevice() as line:
        Path(line.path).chmod(0o666)  # gpsd gives up root before it opens it
        with program("gpsd", "-N", "-n", "-b", "-S", str(port), line.path), listening(port) as inbox:
            assert inbox.until(ReceiverState, lambda state: state.is_up).is_up
            sentences, heard = NmeaReader(), GpsdReader()
            said: list[Fix] = []
            told: list[Fix] = []
            for second in range(12):
                vehicle.run_until(second * SECOND_US)
                utc_us = UTC_START_US + second * SECOND_US
                burst = b"".join(receiver.burst(vehicle.state, second * SECOND_US, utc_us=utc_us))
                said += sentences.feed(burst, second)
                line.say(burst)
                if second >= 4:  # it has a fix by now: wait until gpsd has said so before the next second
                    wanted = f'"time":"{utc_text(utc_us)}"'.encode()
                    while wanted not in (one := inbox.until(GnssLine)).data:
                        told += heard.feed(one.data, one.t_us)
                    told += heard.feed(one.data, one.t_us)
    by_time = {fix.utc_us: fix for fix in said if fix.utc_us is not None}
    timed = [fix for fix in told if fix.utc_us is not None]
    assert len(timed) > 5
    assert all(agree(by_time[fix.utc_us], fix) for fix in timed[1:] if fix.utc_us in by_time)


def utc_text(utc_us: int) -> str:
    """Return UTC as gpsd writes it."""
    return dt.datetime.fromtimestamp(utc_us / 1e6, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
