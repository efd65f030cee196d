"""NMEA sentences, reports of gpsd, and gpsd's own account of a recording (`.chk`)."""

from __future__ import annotations

import datetime as dt
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 10.0
GREETING = b'{"class":"VERSION","release":"3.22","rev":"3.22","proto_major":3,"proto_minor":14}\r\n'


def nmea(content: str) -> bytes:
    """Return a whole sentence of what stands between `$` and `*`."""
    checksum = 0
    for byte in content.encode():
        checksum ^= byte
    return f"${content}*{checksum:02X}\r\n".encode()


def report(kind: str, **values: object) -> bytes:
    """Return a line of gpsd."""
    return json.dumps({"class": kind} | values, separators=(",", ":")).encode() + b"\r\n"


def tpv(second: int = 0, **values: object) -> bytes:
    """Return a TPV of a 3D fix in the given second of an hour of 2026; a value of None leaves its key out."""
    said: dict[str, object] = {
        "device": "/dev/ttyUSB1",
        "mode": 3,
        "time": f"2026-11-24T10:{second // 60:02d}:{second % 60:02d}.000Z",
        "lat": 53.4506707,
        "lon": -2.24026,
        "altMSL": 36.3,
        "speed": 1.5,
        "track": 77.52,
    }
    said |= values
    return report("TPV", **{key: value for key, value in said.items() if value is not None})


def utc_us(text: str | None) -> int | None:
    """Return the µs of gpsd's time, None without one."""
    if text is None:
        return None
    instant = dt.datetime.fromisoformat(text)
    return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A recording and what gpsd said while it read it.

    Attributes:
        lines: Of the recording, with their ends.
        reports: TPV reports, each with the number of lines that gpsd had read by then.
        lost: Sentences of the account that are not in the recording (gpsd's own, of binary protocols).
    """

    lines: list[bytes]
    reports: list[tuple[int, dict[str, Any]]]
    lost: int

    @classmethod
    def read(cls, log: Path) -> Account:
        """Read a `.log` and its `.log.chk`, which repeats the sentences it heard between its reports."""
        lines = log.read_bytes().splitlines(keepends=True)
        bare = [line.strip() for line in lines]
        heard, lost = 0, 0
        reports: list[tuple[int, dict[str, Any]]] = []
        for said in log.with_name(log.name + ".chk").read_bytes().splitlines():
            if said.startswith(b'{"class":"TPV"'):
                reports.append((heard, json.loads(said)))
            elif said.strip() and not said.startswith(b"{"):
                try:
                    heard = bare.index(said.strip(), heard) + 1
                except ValueError:
                    lost += 1
        return cls(lines=lines, reports=reports, lost=lost)


class FakeGpsd:
    """A server on loopback that greets as gpsd does, or as a test wants; one caller at a time."""

    def __init__(self, greeting: bytes = GREETING) -> None:
        self._greeting = greeting
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(WAIT_S)
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def answer(self) -> Caller:
        """Take the next call and greet."""
        link, _ = self._listening.accept()
        link.settimeout(WAIT_S)
        link.sendall(self._greeting)
        return Caller(link)


class Caller:
    """The connection of one client, as gpsd sees it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._file = link.makefile("rb")

    def asked(self) -> bytes:
        """Return the next line that the client sends."""
        return self._file.readline()

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._link.sendall(data)

    def hang_up(self) -> None:
        """Close the connection."""
        self._file.close()
        self._link.close()
