"""A GNSS receiver behind gpsd: one thread keeps the connection and hands over lines of JSON.

Rules:
- gpsd runs on this machine. Its stream is neither signed nor encrypted, so an address that is not loopback is
  refused in the settings: whoever holds the wire could put the car anywhere.
- The receiver is up when gpsd has greeted (VERSION of protocol 3) and was asked to report. What it says is
  passed on as it came; judging it is the engine's work.
- gpsd is silent while it has no receiver, so silence says nothing about the connection: after `ASK_AFTER_S`
  it is asked for its devices, and a gpsd that does not answer is left and called again.
- Down and up are each told once; the wait between calls grows. A full queue drops the line and counts it.

It starts no gpsd, configures no receiver and asks for no raw data.

Example:
    client = GpsdClient(GpsdSettings.from_url("gpsd://127.0.0.1:2947/dev/ttyUSB1"), clock, inbox.put)
    client.start()
    ...
    client.stop()

Source: gpsd_json(5).
"""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from device.acquisition.gnss import GnssForm
from device.adapters.back_off import BackOff
from device.adapters.gnss import READ_WAIT_S, REOPEN_FIRST_S, GnssLine, ReceiverState
from device.adapters.owner_thread import OwnerThread
from protocol.limits import DEVICE_REOPEN_WAIT_S_MAX, GPSD_LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.adapters.gnss import Clock

_log = logging.getLogger(__name__)

GPSD_PORT: Final = 2947  # IANA: gpsd
PROTOCOL_MAJOR: Final = 3
CONNECT_WAIT_S = 5.0
GREETING_WAIT_S = 5.0  # gpsd greets at once; another service on the port never does
ASK_AFTER_S = 30.0  # a receiver reports each second; half a minute of nothing is worth a question
ANSWER_WAIT_S = 10.0  # on the same machine, even a busy one
RECEIVE_BYTES = 16_384
SECOND_US = 1_000_000


class _NotGpsdError(OSError):
    """Whoever answers is no gpsd that we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpsdSettings:
    """Where gpsd listens, and which of its receivers is meant.

    Attributes:
        host: a loopback address or `localhost`.
        port: TCP.
        device: path of the receiver as gpsd knows it, None for whichever reports first.
    """

    host: str = "127.0.0.1"
    port: int = GPSD_PORT
    device: str | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read `gpsd://host[:port][/device/path]`.

        Raises:
            ValueError: it is none, or not on this machine, or has credentials; the text says what to write,
                and no password.

        Example:
            >>> GpsdSettings.from_url("gpsd://127.0.0.1/dev/ttyUSB1")
            GpsdSettings(host='127.0.0.1', port=2947, device='/dev/ttyUSB1')
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError(
                "gpsd knows no user and no password: gpsd://127.0.0.1:2947/dev/ttyUSB1 is expected"
            )
        try:
            port = parts.port
        except ValueError as failure:
            raise ValueError(f"{url}: the port must be a number 1…65535") from failure
        if parts.scheme != "gpsd" or not parts.hostname or parts.query or parts.fragment or port == 0:
            raise ValueError(f"{url or 'empty'}: gpsd://127.0.0.1:2947/dev/ttyUSB1 is expected")
        if not _is_loopback(parts.hostname):
            raise ValueError(
                f"{parts.hostname} is not this machine: gpsd's stream is not signed, run it on the box"
            )
        device = parts.path if parts.path.strip("/") else None
        return cls(host=parts.hostname, port=port or GPSD_PORT, device=device)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class GpsdClient(OwnerThread):
    """The thread that owns the connection.

    Args:
        settings: which gpsd.
        clock: the agent's clock.
        put: takes a line or a state from this thread; False when it has no room.
        ask_after_s: silence after which gpsd is asked whether it is there.
        answer_wait_s: how long it may take to answer.
    """

    def __init__(
        self,
        settings: GpsdSettings,
        clock: Clock,
        put: Callable[[GnssLine | ReceiverState], bool],
        *,
        ask_after_s: float = ASK_AFTER_S,
        answer_wait_s: float = ANSWER_WAIT_S,
    ) -> None:
        super().__init__("gpsd")
        self._ask_after_s = ask_after_s
        self._answer_wait_s = answer_wait_s
        self.settings = settings
        self._clock = clock
        self._put = put
        self._back_off = BackOff(first_s=REOPEN_FIRST_S, longest_s=DEVICE_REOPEN_WAIT_S_MAX)
        self._is_down_told = False

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                address = (self.settings.host, self.settings.port)
                with socket.create_connection(address, timeout=CONNECT_WAIT_S) as link:
                    link.settimeout(READ_WAIT_S)
                    self._talk(link)
            except OSError as failure:
                self._went_down(str(failure))
                self._stopping.wait(self._back_off.next_s())

    def _talk(self, link: socket.socket) -> None:
        """Greet, ask for reports and pass them on until stopped.

        Raises:
            OSError: the connection ended, gpsd does not answer, or it is no gpsd.
        """
        is_greeted = False
        for line, t_us in self._lines(link):
            if not is_greeted:
                _check_greeting(line)
                link.sendall(_watch(self.settings.device))
                is_greeted = True
                self._came_up()
            self._hand_over(GnssLine(data=line, t_us=t_us, form=GnssForm.GPSD))

    def _lines(self, link: socket.socket) -> Iterator[tuple[bytes, int]]:
        """Yield whole lines and when their end was read; ask when it is quiet for long.

        Raises:
            OSError: as `_talk`.
        """
        pending, is_asked = b"", True  # the greeting comes unasked
        deadline = self._in(GREETING_WAIT_S)
        while not self._stopping.is_set():
            try:
                fresh = link.recv(RECEIVE_BYTES)
            except TimeoutError:
                if self._clock.mono_us() < deadline:
                    continue
                if is_asked:
                    raise _NotGpsdError("gpsd does not answer") from None
                link.sendall(b"?DEVICES;\n")
                is_asked, deadline = True, self._in(self._answer_wait_s)
                continue
            if not fresh:
                raise ConnectionResetError("gpsd closed the connection")
            now = self._clock.mono_us()
            *lines, pending = (pending + fresh).split(b"\n")
            for line in lines:
                yield line + b"\n", now
            if lines:
                is_asked, deadline = False, self._in(self._ask_after_s)
            if len(pending) > GPSD_LINE_BYTES_MAX:
                raise _NotGpsdError("a line without end: this is no gpsd")

    def _in(self, seconds: float) -> int:
        """Return the moment that is so many seconds away, µs."""
        return self._clock.mono_us() + round(seconds * SECOND_US)

    def _hand_over(self, line: GnssLine) -> None:
        if not self._put(line):
            self._drop(1)

    def _went_down(self, reason: str) -> None:
        if not self._is_down_told:
            _log.warning("receiver down: gpsd=%s:%d reason=%s", *self._where(), reason)
            self._is_down_told = self._put(ReceiverState(is_up=False, reason=reason))

    def _came_up(self) -> None:
        _log.info("receiver up: gpsd=%s:%d", *self._where())
        self._back_off.succeeded()
        self._put(ReceiverState(is_up=True))
        self._is_down_told = False

    def _where(self) -> tuple[str, int]:
        return self.settings.host, self.settings.port


def _check_greeting(line: bytes) -> None:
    """Check the first line of a connection.

    Raises:
        OSError: it is no greeting of a gpsd that speaks our protocol.
    """
    try:
        said = json.loads(line)
        is_known = said["class"] == "VERSION" and said["proto_major"] == PROTOCOL_MAJOR
    except (ValueError, LookupError, TypeError, RecursionError):
        is_known = False
    if not is_known:
        raise _NotGpsdError(f"no greeting of gpsd protocol {PROTOCOL_MAJOR}: {line[:80]!r}")


def _watch(device: str | None) -> bytes:
    """Return the request for reports, of one device or of all."""
    wish = {"enable": True, "json": True} | ({"device": device} if device is not None else {})
    return b"?WATCH=" + json.dumps(wish, separators=(",", ":")).encode() + b"\n"
