"""AGENT: the box's agent as a real process at one full 500 kbit/s bus: processor, memory, cold start.

Compared: `tbox agent run` with the demonstration car's table and profile, reading 4,500 frames a second (what
a 500 kbit/s bus carries at most, 111 bits a frame of eight bytes) for some seconds. The frames are the
simulated drive's own, one after the other at that pace, by slcan over a pseudo-terminal: a serial adapter,
not SocketCAN. There is no broker: batches are decoded, sampled, signed and spooled, not sent.
- Processor: seconds of user and system time over the seconds of the feed. Beside it the same feed read by
  python-can alone (`can.Bus.recv` in a loop): what receiving takes before we have done anything.
- Memory: resident at the end.
- Cold start: from the start of the process to its line "agent started".
Every frame fed must be accounted for in the signed headers, or the bench is broken.

The process sees only what the `device` extra installs (`benchmarks.bare_install`), as in a car.

Source of the goals: the design's memory budget; 4,500 frames a second: CAN bus arithmetic of ISO 11898-1.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import sqlite3
import subprocess
import sys
import termios
import threading
import time
import tty
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.bare_install import python_text
from benchmarks.batch_inputs import UTC_START_US
from benchmarks.bench import Bench
from benchmarks.harness import require_same
from benchmarks.recordings import demo_dbc
from benchmarks.result import Row, at_most
from device.adapters.durable_file import write_durably
from device.adapters.key_store import KeyName
from device.agent.home import AgentHome, Trust
from device.dbc_compiler import compile_dbc
from protocol.batch import DropCause, decode_header, disassemble
from protocol.envelope import read_sign1
from protocol.ids import cose_key_bytes, device_id
from protocol.limits import HEADER_BYTES_MAX
from simulators import drive_cycles
from simulators.bus_traffic import BUS_NAME, CanFrame
from simulators.car import Car
from simulators.ecu import SlcanAdapter
from simulators.pki import CertificateAuthority
from simulators.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from benchmarks.bench import Setting
    from benchmarks.result import Line

FRAMES_PER_S = 4_500
SECONDS = 15
WARM_S = 3  # start-up is measured apart: threads, first batch, first growth of memory
RSS_MB_MAX = 80
DRIVE_S = 40  # of the car's time: getting in, starting and driving off
SLICE_S = 0.01  # frames of a slice leave together, as a USB adapter sends them
OPEN_S_MAX = 30.0
SETTLE_S = 0.2  # longer than the reader keeps frames before it hands them over
D2_SCALAR = 5  # a private key known to everyone, for benchmarks only
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

AGENT = "from tbox.cli import main; main()"
# Receives until its input ends; then says how much processor it took.
RECEIVER = """
import time, can
bus = can.Bus(interface="slcan", channel=sys.argv[1], bitrate=500_000, sleep_after_open=0.05, timeout=0.02)
print("receiving", flush=True)
frames, start = 0, time.process_time()
while (message := bus.recv(2.0)) is not None:
    frames += 1
bus.shutdown()
print("took", time.process_time() - start, frames, flush=True)
"""

SETTINGS = """\
schema = 1
[broker]
host = "127.0.0.1"
port = 9
[vehicle]
profile = "car.toml"
[[can]]
bus = "{bus}"
interface = "slcan"
channel = "{channel}"
bitrate = 500000
table = "tables/{bus}.table"
"""


def run(setting: Setting) -> Iterator[Line]:
    """Start the agent, feed it, stop it, count."""
    seconds = setting.size(SECONDS, 1)
    warm = setting.size(WARM_S, 1)
    slices = _slices((seconds + warm) * FRAMES_PER_S)
    with SlcanFeed() as feed:
        home = make_home(setting.folder / "box", channel=feed.path)
        agent = Process(
            "agent",
            [sys.executable, "-c", python_text("device", AGENT), "agent", "run", "--home", str(home.root)],
            log=setting.folder / "agent.log",
        )
        start = time.monotonic()
        with agent:
            agent.wait_for_line("agent started")
            cold_s = time.monotonic() - start
            feed.wait_until_open()
            feed.play(slices[: warm * round(1 / SLICE_S)])
            before_s, early_mb = _cpu_s(agent.pid), _rss_mb(agent.pid)
            taken_s = feed.play(slices[warm * round(1 / SLICE_S) :])
            share = (_cpu_s(agent.pid) - before_s) / taken_s
            rss_mb = _rss_mb(agent.pid)
            feed.wait_until_read()
    received, dropped = _frames_in(home)
    require_same("frames fed, and frames that signed headers account for", feed.sent, received + dropped)
    alone = _receiving_alone(setting, slices[: seconds * round(1 / SLICE_S)])
    case = f"{FRAMES_PER_S} frames/s by slcan for {seconds} s"
    yield Row(
        id="AGENT",
        case=f"processor, {case}",
        goal=at_most(1, "one core"),
        measured=f"{share:.0%} of one core",
        baseline="100% of one core",
        ratio=share,
        limit=f"receiving alone {alone:.0%}",
        note=(
            f"{feed.sent} frames fed, {received} received, {dropped} dropped, all of it in signed headers; "
            f"the limit is python-can's slcan reader by itself, in another process"
        ),
    )
    yield Row(
        id="AGENT",
        case=f"memory after {case}",
        goal=at_most(1, f"{RSS_MB_MAX} MB"),
        measured=f"{rss_mb:.1f} MB resident",
        baseline=f"{RSS_MB_MAX} MB",
        ratio=rss_mb / RSS_MB_MAX,
        note=f"{early_mb:.1f} MB {seconds} s earlier, so {rss_mb - early_mb:+.1f} MB since",
    )
    yield Row(
        id="AGENT",
        case="cold start, to `agent started`",
        goal=None,
        measured=f"{cold_s:.2f} s",
        baseline="none",
        ratio=cold_s,
        note="no goal is set; on a busy machine this is the wall's time, not the processor's",
    )


def _slices(frames: int) -> list[bytes]:
    """Return the drive's frames as slcan lines, over and over, as many as leave within each slice of time."""
    car = Car(seed=1, legs=drive_cycles.city(1, DRIVE_S), utc_start_us=UTC_START_US)
    adapter = SlcanAdapter()
    adapter.hear(b"S6\rO\r")
    drive: list[bytes] = []
    for item in car.until(DRIVE_S * 1_000_000):
        if isinstance(item, CanFrame) and adapter.say(item):
            drive.append(adapter.pending())
            adapter.wrote(len(drive[-1]))
    lines = list(itertools.islice(itertools.cycle(drive), frames))
    a_slice = round(FRAMES_PER_S * SLICE_S)
    return [b"".join(lines[at : at + a_slice]) for at in range(0, len(lines), a_slice)]


@dataclass
class SlcanFeed:
    """The adapter's end of a serial line: answers the driver's commands, then plays frames at their pace."""

    sent: int = 0
    path: str = ""
    _adapter: SlcanAdapter = field(default_factory=SlcanAdapter)
    _far: int = -1
    _near: int = -1

    def __enter__(self) -> Self:
        """Open the line."""
        self._far, self._near = os.openpty()
        tty.setraw(self._far)
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        self.path = os.ttyname(self._near)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        os.close(self._far)
        os.close(self._near)

    def wait_until_open(self) -> None:
        """Answer commands until the driver has opened the channel.

        Raises:
            TimeoutError: it did not.
        """
        deadline = time.monotonic() + OPEN_S_MAX
        while not self._adapter.is_open:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody opened the CAN channel within {OPEN_S_MAX} s")
            self._answer()
            time.sleep(SLICE_S)

    def play(self, slices: Sequence[bytes]) -> float:
        """Write each slice at its time, later when the line is full; return the seconds it took."""
        start = time.monotonic()
        for number, lines in enumerate(slices, start=1):
            self._answer()
            self._write(lines)
            self.sent += lines.count(b"\r")
            left_s = start + number * SLICE_S - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)
        return time.monotonic() - start

    def wait_until_read(self) -> None:
        """Wait until nothing is left in the line, and a hand-over longer."""
        unread = 1
        deadline = time.monotonic() + OPEN_S_MAX
        while unread and time.monotonic() < deadline:
            time.sleep(SETTLE_S)
            unread = int.from_bytes(fcntl.ioctl(self._near, termios.FIONREAD, bytes(4)), sys.byteorder)

    def _answer(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._write(self._adapter.hear(os.read(self._far, 4096)))

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._far, data) :]
            except BlockingIOError:
                time.sleep(SLICE_S / 10)


def make_home(folder: Path, *, channel: str) -> AgentHome:
    """Return a home as an enrolment and an installer leave it, for the demonstration car."""
    home = AgentHome(folder)
    home.make()
    home.root.joinpath("keys").mkdir(mode=0o700)
    key = ec.derive_private_key(D2_SCALAR, ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_durably(home.keys.path(KeyName.D2), pem, mode=0o600)
    authority = CertificateAuthority.create(folder / "pki")
    own = authority.issue_client(device_id(key.public_key()))
    write_durably(home.keys.path(KeyName.TLS), own.key.read_bytes(), mode=0o600)
    home.write(home.certificate, own.cert.read_bytes())
    home.write(home.authority, authority.ca_file.read_bytes())
    home.write_trust(
        Trust(device=device_id(key.public_key()), receipt_keys=(cose_key_bytes(key.public_key()),))
    )
    home.write(home.tables / f"{BUS_NAME}.table", compile_dbc(demo_dbc()).table.to_bytes())
    profile = resources.files("dbc").joinpath("profiles", "demo.toml").read_text("utf-8")
    home.write(folder / "car.toml", profile)
    home.write(home.settings, SETTINGS.format(bus=BUS_NAME, channel=channel))
    return home


def _frames_in(home: AgentHome) -> tuple[int, int]:
    """Return how many frames the signed headers say were received, and how many lost before that."""
    with contextlib.closing(sqlite3.connect(f"file:{home.spool}?mode=ro", uri=True)) as spool:
        headers = [disassemble(payload)[0] for (payload,) in spool.execute("SELECT payload FROM body")]
    read = [decode_header(read_sign1(header, max_bytes=HEADER_BYTES_MAX).payload) for header in headers]
    received = sum(header.counts.frames_received for header in read)
    return received, sum(header.drops.get(DropCause.QUEUE, 0) for header in read)


def _receiving_alone(setting: Setting, slices: Sequence[bytes]) -> float:
    """Return the share of a core that python-can's reader takes for the same feed, decoding nothing."""
    with SlcanFeed() as feed:
        with subprocess.Popen(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", python_text("device", RECEIVER), feed.path],
            stdout=subprocess.PIPE,
            text=True,
            cwd=setting.folder,
        ) as receiver:
            assert receiver.stdout is not None, "it is a pipe"
            opener = threading.Thread(target=feed.wait_until_open)
            opener.start()
            require_same("the receiver's first word", receiver.stdout.readline().strip(), "receiving")
            opener.join()
            taken_s = feed.play(slices)
            _, cpu_s, frames = receiver.stdout.readline().split()
        require_same("frames fed and received", feed.sent, int(frames))
    return float(cpu_s) / taken_s


def _cpu_s(pid: int) -> float:
    """Return user and system seconds of a process so far (proc(5), fields 14 and 15)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a file of the kernel
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _rss_mb(pid: int) -> float:
    """Return resident memory in MB (proc(5), statm field 2)."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:  # noqa: PTH123 - a file of the kernel
        return int(statm.read().split()[1]) * PAGE / 1e6


BENCH = Bench(ids=("AGENT",), title="the agent at one full bus, as a process", run=run)
