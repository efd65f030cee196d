r"""The engine's controller at the diagnostic plug: OBD-II and UDS over ISO-TP, in frames and time only.

Rules: it answers 0x7DF (all) and 0x7E0 (itself) on 0x7E8. Services 01, 03, 07, 09 of SAE J1979 and 10, 19 02,
22, 3E of ISO 14229; whatever else gets the negative answer of the standard, and none at all when everyone was
asked. An answer longer than a frame waits for the flow control of its asker for a second and obeys its block
size and separation time. It never speaks unasked. Requests are single frames: a longer one is not taken.

Example:
    >>> ecu = BenchEcu(facts=CarFacts(vin="LSVAA4182E2123456", odometer_km=48_210.5, codes=("P0420",)))
    >>> [(hex(f.can_id), f.data.hex()) for f in ecu.hear(0x7DF, bytes.fromhex("0103"), now_us=0)]
    [('0x7e8', '0443010420aaaaaa')]

Source: ISO 15765-2:2016 §9; SAE J1979:2017; ISO 14229-1:2020 §§ 9.2, 11.2, 11.3.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from simulators.bus_traffic import CanFrame
from simulators.install_bench_faults import BenchFault

if TYPE_CHECKING:
    from collections.abc import Callable

TO_ALL, TO_US, FROM_US = 0x7DF, 0x7E0, 0x7E8
PADDING: Final = 0xAA
FLOW_WAIT_US: Final = 1_000_000  # N_Bs of ISO 15765-2
FRAME_GAP_US: Final = 1_000  # a controller's own pace when its asker names none
NOT_SUPPORTED, OUT_OF_RANGE = 0x11, 0x31
SESSION_TIMES: Final = bytes.fromhex("003201f4")  # P2 50 ms, P2* 5 s
LETTERS: Final = "PCBU"
PAIR, BY_MASK = 2, 2  # an identifier's octets; reportDTCByStatusMask
VIN_DID: Final = 0xF190
OTHER_VIN: Final = "LSVAA4182E2999999"  # of the car that the second controller came from
PIDS: Final = (0x01, 0x0C, 0x0D, 0x42, 0xA6)


@dataclass(slots=True, kw_only=True)
class CarFacts:
    """What the controller knows.

    Attributes:
        vin: 17 characters.
        odometer_km: as the instrument shows it.
        codes: stored fault codes.
        pending: codes seen once.
        rpm, speed_kmh, supply_v: now.
    """

    vin: str
    odometer_km: float
    codes: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    rpm: float = 0.0
    speed_kmh: float = 0.0
    supply_v: float = 12.6


@dataclass(slots=True, kw_only=True)
class BenchEcu:
    """The controller.

    Attributes:
        facts: what it says.
        wrong: faults of the bench.
        asked: requests that it took, by service, for a checker.
    """

    facts: CarFacts
    wrong: frozenset[BenchFault] = frozenset()
    asked: dict[int, int] = field(default_factory=dict)
    _rest: bytes = b""
    _serial: int = 1
    _block: int = 0
    _gap_us: int = 0
    _next_us: int | None = None
    _until_us: int = 0

    def hear(self, can_id: int, data: bytes, *, now_us: int) -> list[CanFrame]:
        """Take what somebody else sent, and return what is said at once.

        Args:
            can_id: arbitration id.
            data: up to 8 bytes, ISO-TP's own octet included.
            now_us: microseconds of the world.
        """
        if can_id not in (TO_ALL, TO_US) or not data:
            return []
        if data[0] >> 4 == 3 and can_id == TO_US:  # noqa: PLR2004 - flow control
            self._flow(data, now_us)
            return self.due(now_us)
        size = data[0] & 0x0F
        if data[0] >> 4 or not 1 <= size < len(data):
            return []
        request = data[1 : 1 + size]
        self.asked[request[0]] = self.asked.get(request[0], 0) + 1
        answer = self.answer(request, is_for_all=can_id == TO_ALL)
        return [] if answer is None else self._say(answer, now_us)

    def due(self, now_us: int) -> list[CanFrame]:
        """Return the consecutive frames whose time has come."""
        frames: list[CanFrame] = []
        if self._rest and self._next_us is None and now_us > self._until_us:
            self._rest = b""  # nobody wanted the rest
        while self._rest and self._next_us is not None and self._next_us <= now_us:
            part, self._rest = self._rest[:7], self._rest[7:]
            frames.append(_frame(self._next_us, bytes([0x20 | self._serial]) + part))
            self._serial = (self._serial + 1) & 0x0F
            self._next_us += self._gap_us
            if self._block:
                self._block -= 1
                if not self._block:
                    self._next_us, self._until_us = None, now_us + FLOW_WAIT_US
        return frames

    def answer(self, request: bytes, *, is_for_all: bool = False) -> bytes | None:
        """Return the answer to a request, None when there is none."""
        try:
            return self._positive(request)
        except _RefusedError as refused:
            return None if is_for_all else bytes([0x7F, request[0], refused.code])

    def _positive(self, request: bytes) -> bytes | None:
        """Return the positive answer; the table is what this controller can."""
        service, rest = request[0], request[1:]
        forms: dict[int, tuple[bool, Callable[[], bytes | None]]] = {
            0x01: (bool(rest), lambda: self._current(rest)),
            0x03: (not rest, lambda: bytes([0x43]) + _codes(self.facts.codes)),
            0x07: (not rest, lambda: bytes([0x47]) + _codes(self.facts.pending)),
            0x09: (len(rest) == 1, lambda: self._vehicle(rest[0])),
            0x10: (rest in (b"\x01", b"\x03"), lambda: b"\x50" + rest + SESSION_TIMES),
            0x19: (
                len(rest) == PAIR and rest[0] == BY_MASK,
                lambda: b"\x59\x02\xff" + self._by_status(rest[1]),
            ),
            0x22: (len(rest) == PAIR, lambda: self._data(int.from_bytes(rest, "big"))),
            0x3E: (rest in (b"\0", b"\x80"), lambda: None if rest == b"\x80" else b"\x7e\0"),
        }
        is_known, make = forms.get(service, (False, lambda: None))
        if not is_known:
            raise _RefusedError(NOT_SUPPORTED)
        return make()

    def _current(self, pids: bytes) -> bytes:
        found = b"".join(bytes([pid]) + value for pid in pids if (value := self._pid(pid)))
        if not found:
            raise _RefusedError(OUT_OF_RANGE)
        return bytes([0x41]) + found

    def _pid(self, pid: int) -> bytes:
        facts = self.facts
        if pid % 0x20 == 0:
            return _supported(pid, PIDS)
        values = {
            0x01: bytes([(0x80 if facts.codes else 0) | len(facts.codes), 0x07, 0xE5, 0x00]),
            0x0C: round(facts.rpm * 4).to_bytes(2, "big"),
            0x0D: bytes([min(255, round(facts.speed_kmh))]),
            0x42: round(facts.supply_v * 1_000).to_bytes(2, "big"),
            0xA6: round(facts.odometer_km * 10).to_bytes(4, "big"),
        }
        return values.get(pid, b"")

    def _vehicle(self, kind: int) -> bytes:
        if kind == 0:
            return bytes([0x49, 0x00]) + _supported(0, (0x02,))
        if kind != 2 or BenchFault.VIN_UNREADABLE in self.wrong:  # noqa: PLR2004 - InfoType VIN
            raise _RefusedError(OUT_OF_RANGE)
        return bytes([0x49, 0x02, 0x01]) + self.facts.vin.encode("ascii")

    def _data(self, did: int) -> bytes:
        if did != VIN_DID or BenchFault.VIN_UNREADABLE in self.wrong:
            raise _RefusedError(OUT_OF_RANGE)
        vin = OTHER_VIN if BenchFault.VIN_DIFFERS in self.wrong else self.facts.vin
        return bytes([0x62, 0xF1, 0x90]) + vin.encode("ascii")

    def _by_status(self, mask: int) -> bytes:
        rows = [(code, 0x08) for code in self.facts.codes] + [(code, 0x04) for code in self.facts.pending]
        return b"".join(_code(code) + bytes([0, status]) for code, status in rows if status & mask)

    def _say(self, answer: bytes, now_us: int) -> list[CanFrame]:
        if len(answer) <= 7:  # noqa: PLR2004 - what a single frame holds
            return [_frame(now_us, bytes([len(answer)]) + answer)]
        self._rest, self._serial = answer[6:], 1
        self._next_us, self._until_us = None, now_us + FLOW_WAIT_US
        return [_frame(now_us, (0x1000 | len(answer)).to_bytes(2, "big") + answer[:6])]

    def _flow(self, data: bytes, now_us: int) -> None:
        if not self._rest or data[0] & 0x0F == 1:
            self._until_us = now_us + FLOW_WAIT_US
            return
        if data[0] & 0x0F:
            self._rest = b""  # the asker has no room
            return
        block, gap = (data[1], data[2]) if len(data) > 2 else (0, 0)  # noqa: PLR2004 - flow control's octets
        fine = range(0xF1, 0xFA)  # hundreds of microseconds
        self._block = block
        self._gap_us = max(FRAME_GAP_US, (gap - 0xF0) * 100 if gap in fine else min(gap, 0x7F) * 1_000)
        self._next_us = now_us


class Stranger:
    """Another maker's tracker on the same plug: asks for speed and VIN, once a second."""

    def __init__(self) -> None:
        self._next_us = 0
        self._questions = deque([b"\x02\x01\x0d", b"\x02\x09\x02", b"\x02\x01\x0c"])

    def due(self, now_us: int) -> list[CanFrame]:
        """Return what it asks now."""
        if now_us < self._next_us:
            return []
        self._next_us = now_us + 1_000_000
        self._questions.rotate(-1)
        return [CanFrame(t_us=now_us, can_id=TO_US, data=self._questions[0].ljust(8, b"\x55"))]


class _RefusedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _frame(t_us: int, data: bytes) -> CanFrame:
    return CanFrame(t_us=t_us, can_id=FROM_US, data=data.ljust(8, bytes([PADDING])))


def _code(code: str) -> bytes:
    """Return a fault code as its two bytes: `P0420` is 04 20, `U0100` is C1 00."""
    return (LETTERS.index(code[0]) << 14 | int(code[1:], 16)).to_bytes(2, "big")


def _codes(codes: tuple[str, ...]) -> bytes:
    return bytes([len(codes)]) + b"".join(_code(code) for code in codes)


def _supported(base: int, pids: tuple[int, ...]) -> bytes:
    """Return which of the 32 numbers after `base` there are; the last bit says that more follow."""
    bits = sum(1 << (32 - (pid - base)) for pid in pids if 0 < pid - base <= 32)  # noqa: PLR2004 - four bytes
    return (bits | any(pid > base + 32 for pid in pids)).to_bytes(4, "big")
