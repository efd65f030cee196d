"""Pieces for tests of the agent shell: a settable system clock, devices on pseudo-terminals, inboxes."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import queue
import select
import socket
import threading
import time
import tty
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device.adapters.durable_file import write_durably
from simulators.pki import Credential

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.pki import CertificateAuthority

T = TypeVar("T")
E = TypeVar("E")

SECOND = 1_000_000
TODAY_US = 1_795_500_000_000_000  # 2026-11-24, an arbitrary day on which every clock below is right
WAIT_S = 10.0  # for another thread to do something; a healthy run never waits this long


@dataclass
class OperatingSystemTime:
    """What the operating system says about time, as the test wants it."""

    boottime: int = 0
    realtime: int = TODAY_US
    kernel_error: int | None = None

    def boottime_us(self) -> int:
        return self.boottime

    def realtime_us(self) -> int:
        return self.realtime

    def kernel_error_us(self) -> int | None:
        return self.kernel_error

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.boottime += round(seconds * SECOND)
        self.realtime += round(seconds * SECOND)


class Inbox(Generic[T]):
    """Takes what another thread hands over; a test waits for what it expects."""

    def __init__(self, *, has_room: bool = True) -> None:
        self.has_room = has_room
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()

    def put(self, item: T) -> bool:
        if self.has_room:
            self._queue.put(item)
        return self.has_room

    def next(self) -> T:
        """Return the next item, or fail after ten seconds."""
        return self._queue.get(timeout=WAIT_S)

    def until(self, kind: type[E], accept: Callable[[E], bool] = lambda _: True) -> E:
        """Return the next item of `kind` that `accept` accepts, leaving out what comes before."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            item = self.next()
            if isinstance(item, kind) and accept(item):
                return item
        raise TimeoutError(f"no {kind.__name__} within {WAIT_S} s")

    def drain(self) -> list[T]:
        """Return what is there now."""
        items = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        return items


@dataclass
class PtyDevice:
    """A device at the far end of a serial line: the test writes what the device says."""

    path: str = ""
    _far: int = -1
    _near: int = -1
    heard: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> Self:
        self._far, self._near = os.openpty()
        tty.setraw(self._near)
        self.path = os.ttyname(self._near)
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def say(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._far, data) :]

    def unplug(self) -> None:
        """Vanish: the other side gets an input/output error."""
        for end in (self._far, self._near):
            if end >= 0:
                os.close(end)
        self._far = self._near = -1


class SlcanDevice(PtyDevice):
    """An slcan adapter: it remembers the commands it was given and sends the frames the test asks for."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._stop_out, self._stop_in = os.pipe()
        self._opened = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        if self._far >= 0:
            os.write(self._stop_in, b"x")
            self._listener.join()
            os.close(self._stop_in)
            os.close(self._stop_out)
        super().unplug()

    def wait_until_open(self) -> None:
        assert self._opened.wait(WAIT_S), "the channel was never opened"

    def send(self, can_id: int, data: bytes, *, extended: bool = False) -> None:
        head = f"T{can_id:08X}" if extended else f"t{can_id:03X}"
        self.say(f"{head}{len(data)}{data.hex().upper()}\r".encode())

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._far, self._stop_out], [], [])
            if self._stop_out in ready:
                return
            try:
                self.heard += os.read(self._far, 1024)
            except OSError:  # nobody has the near end open
                return
            if b"O\r" in self.heard or b"L\r" in self.heard:
                self._opened.set()


def dated_server_certificate(
    authority: CertificateAuthority, *, start: dt.timedelta, end: dt.timedelta, address: str = "127.0.0.1"
) -> Credential:
    """Issue a broker certificate that is valid from now + `start` to now + `end`."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )
    stem = authority.folder / f"dated-{certificate.serial_number:x}"
    cert_file, key_file = stem.with_suffix(".pem"), stem.with_suffix(".key")
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_durably(
        key_file,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        mode=0o600,
    )
    return Credential(cert=cert_file, key=key_file, serial=certificate.serial_number)


class StallingProxy:
    """A TCP path to the broker that can go silent without closing, as a radio link does in a tunnel."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._is_silent = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self._server, *(end for pair in self._pairs for end in pair)]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def go_silent(self) -> None:
        """Swallow every byte from now on, and keep the connections open."""
        self._is_silent.set()

    def _start(self, run: Callable[..., None], *values: object) -> None:
        thread = threading.Thread(target=run, args=values, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((near, far))
                self._start(self._pass_on, near, far)
                self._start(self._pass_on, far, near)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not self._is_silent.is_set():
                    target.sendall(data)
