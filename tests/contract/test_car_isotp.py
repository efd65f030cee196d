"""The car is heard without a dominant bit, and asked over ISO-TP as real cars answered."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any

import can
import pytest

from device.adapters.can_bus import CanSettings
from device.adapters.car_isotp import ask, hear
from device.car_questions import Question
from device.commissioning.bus import judge
from device.commissioning.diagnosis import codes_of, odometer_km_of, vin_of
from protocol.install_vocabulary import StepState
from tests.builders.car_on_pty import CLOCK, IDS, VIN, CarOnPty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Recorded with another offset than the definition that came along has.
OTHER_REVISION = {"SHRTFT1", "SHRTFT2", "LONGFT1", "LONGFT2", "F150_OAR"}
HEX = re.compile(r"[0-9A-F]{3}([0-9A-F]{2}){2,8}")
NEVER = threading.Event()


@pytest.mark.slow
@pytest.mark.parametrize("bitrate", [500_000, 250_000])
def test_the_rate_is_found_without_a_frame_or_an_acknowledge_bit(bitrate: int) -> None:
    with CarOnPty(bitrate=bitrate) as car:
        heard = hear(car.settings, CLOCK, stop=NEVER)
    outcome = judge(heard)
    assert (outcome.state, outcome.measured) == (StepState.PASS, str(bitrate))
    found = next(rate for rate in heard if rate.bitrate == bitrate)
    assert found.ids == frozenset(IDS)
    assert car.adapter.counters.received == 0
    assert car.adapter.disturbed == 0
    assert car.ecu.asked == {}
    commands = {line[:1] for line in car.lines}
    assert b"L" in commands, "it was told to listen"
    assert not commands & {b"O", b"t", b"T", b"r", b"R"}, "nothing opened it to speak, nothing was sent"


@pytest.mark.slow
def test_a_silent_bus_is_silent_at_every_rate_and_an_abort_ends_the_trial() -> None:
    with CarOnPty(bitrate=500_000, says=False) as car:
        stop = threading.Event()
        stop.set()
        assert hear(car.settings, CLOCK, stop=stop) == ()
        heard = hear(car.settings, CLOCK, stop=NEVER)
    assert judge(heard).code == "CAN_SILENT"
    assert len(heard) == 5
    assert car.adapter.counters.received == 0


def test_the_car_answers_at_the_proved_rate_and_the_bus_is_closed_again() -> None:
    with CarOnPty(bitrate=250_000) as car:
        answers = dict(ask(car.settings, tuple(Question), bitrate=250_000, stop=NEVER))
    assert vin_of(answers[Question.VIN_OBD] or b"") == VIN
    assert vin_of(answers[Question.VIN_UDS] or b"") == VIN
    assert codes_of(answers[Question.CODES] or b"") == ("P0420", "U0100")
    assert codes_of(answers[Question.CODES_PENDING] or b"") == ()
    assert codes_of(answers[Question.CODES_UDS] or b"") == ("P0420-00", "U0100-00")
    assert odometer_km_of(answers[Question.ODOMETER] or b"") == 48_210.5
    assert car.adapter.disturbed == 0
    assert not car.adapter.is_open


class GoldenEcu:
    """Answers every request with frames that a real car sent, behind flow control as they were."""

    def __init__(self, channel: str) -> None:
        self.frames: list[bytes] = []
        self._bus = can.Bus(interface="virtual", channel=channel)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            message = self._bus.recv(0.01)
            if message is None or message.arbitration_id != 0x7E0:
                continue
            is_flow = message.data[0] >> 4 == 3
            for data in self.frames[1:] if is_flow else self.frames[:1]:
                self._bus.send(can.Message(arbitration_id=0x7E8, data=data, is_extended_id=False))

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._bus.shutdown()


@pytest.fixture
def golden() -> Iterator[GoldenEcu]:
    ecu = GoldenEcu("golden")
    yield ecu
    ecu.end()


def value_of(body: bytes, form: dict[str, Any]) -> float:
    """Return a signal that fills its answer: big-endian, then scale and offset."""
    raw = int.from_bytes(body, "big", signed=form.get("sign", False))
    return float(raw * form.get("mul", 1) / form.get("div", 1) + form.get("add", 0))


def whole(frames: list[bytes]) -> bytes:
    """Return the message of ISO-TP frames, put together by hand."""
    if frames[0][0] >> 4 == 0:
        return frames[0][1 : 1 + frames[0][0]]
    size = int.from_bytes(frames[0][:2], "big") & 0xFFF
    return (frames[0][2:] + b"".join(frame[1:] for frame in frames[1:]))[:size]


def cases(folder: Path, car: str, year: str, defined: str) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """Yield command, test case and the definition's signals of an engine controller's services 01 and 22."""
    commands = json.loads((folder / defined / "signalset.json").read_text("utf-8"))["commands"]
    by_command = {(c["hdr"], *next(iter(c["cmd"].items()))): c["signals"] for c in commands}
    for entry in json.loads((folder / car / f"{year}.json").read_text("utf-8")):
        name = entry["command_id"].split("|")[0]
        head, _, request = name.rpartition(".")
        signals = by_command.get((head[:3], request[:2], request[2:]))
        if signals is not None and head in ("7E0", "7E0.7E8", "7E4.7EC"):
            for case in entry["test_cases"][:3]:
                yield request, case, signals


@pytest.mark.data
@pytest.mark.parametrize(
    ("car", "year", "defined"),
    [
        ("ford_f150", "2016", "saej1979"),
        pytest.param("ford_f150", "2016", "ford_f150", marks=pytest.mark.slow),
        pytest.param("ford_f150", "2010", "ford_f150", marks=pytest.mark.slow),
        pytest.param("hyundai_ioniq5", "2022", "hyundai_ioniq5", marks=pytest.mark.slow),
    ],
)
def test_what_real_cars_answered_comes_through_whole_and_decodes_to_its_value(
    test_data: Path, golden: GoldenEcu, car: str, year: str, defined: str
) -> None:
    settings = CanSettings(bus="can0", interface="virtual", channel="golden")
    asked = compared = 0
    for request, case, signals in cases(test_data / "golden" / "obdb", car, year, defined):
        lines = [line.replace(" ", "") for line in case["response"].splitlines()]
        if not all(HEX.fullmatch(line) for line in lines):
            continue  # the recorder's own words
        if len(lines) > 1 and lines[0][3] != "1":
            continue  # several answers of other requests as well
        golden.frames = [bytes.fromhex(line[3:]) for line in lines]
        question = Question.ODOMETER if request[:2] == "01" else Question.VIN_UDS
        [(_, payload)] = ask(settings, (question,), bitrate=0, stop=NEVER)
        assert payload == whole(golden.frames), (request, case["response"])
        asked += 1
        body = payload[len(request) // 2 :]
        for signal in signals:
            expected, form = case["expected_values"].get(signal["id"]), signal["fmt"]
            is_number = isinstance(expected, int | float) and "map" not in form
            is_bounded = expected in (form.get("min"), form.get("max"))  # upstream cuts to the range
            is_same = signal["id"] not in OTHER_REVISION
            if is_number and is_same and form["len"] == 8 * len(body) and not is_bounded:
                assert value_of(body, form) == pytest.approx(expected, rel=1e-3, abs=1e-3), signal["id"]
                compared += 1
    assert asked >= 20
    assert compared >= 10 or car == "hyundai_ioniq5"  # whose answers hold many signals each
