"""The car's bus tried and the car asked: python-can at a bit rate, can-isotp and udsoncan above it.

Rules:
- `hear` opens each rate listen-only and sends nothing, not even an acknowledge bit. A driver that cannot be
  told to stay silent is opened at its own rate only, as the system set it.
- `ask` opens at the proved rate and sends one request at a time to the engine's controller, never to all;
  11-bit addresses first, 29-bit ones where nobody answers. Every bus is closed again before it returns.
- What is not answered within its time, or refused, is None. A controller that asks for patience (0x78) gets
  it, for five seconds in all.

It decides nothing: see `device.commissioning`.

Example:
    heard = hear(settings, clock, stop=stopping)
    answers = ask(settings, (Question.VIN_OBD,), bitrate=500_000, stop=stopping)

Source: ISO 15765-2:2016, ISO 15765-4:2021 §10 (addresses, padding), ISO 14229-1:2020 §8.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import isotp
from udsoncan.client import Client
from udsoncan.connections import PythonIsoTpConnection
from udsoncan.exceptions import (
    InvalidResponseException,
    NegativeResponseException,
    TimeoutException,
    UnexpectedResponseException,
)
from udsoncan.Request import Request
from udsoncan.services.ReadDataByIdentifier import ReadDataByIdentifier
from udsoncan.services.ReadDTCInformation import ReadDTCInformation

from device.adapters.can_bus import LISTEN_ONLY
from device.adapters.python_can import can
from device.car_questions import Heard, Question
from device.commissioning.bus import FRAMES_MIN

if TYPE_CHECKING:
    import threading

    from udsoncan import ClientConfig

    from device.adapters.can_bus import CanSettings, Clock

_log = logging.getLogger(__name__)

BITRATES: Final = (500_000, 250_000, 125_000, 1_000_000, 100_000)
"""Rates of passenger cars, the usual first."""

HEAR_US: Final = 1_200_000  # each rate: what a bus says at least, it says each second
ENOUGH_FRAMES: Final = 200  # two nodes with one identifier show within so many
FALSE_STARTS_MAX: Final = 64  # lines that did not read, before a rate is given up
ANSWER_S, PATIENCE_S = 1.0, 5.0
PATIENCES_MAX = 5  # answers that ask for patience, each within ANSWER_S
_WAIT_S = 0.02
_PENDING = 0x78
_NEGATIVE = 0x7F
_LONG_TESTER, _LONG_ENGINE = 0xF1, 0x10

_PARAMS: Final = {"stmin": 0, "blocksize": 0, "tx_padding": 0x55, "rx_consecutive_frame_timeout": 1_000}
_UDS_TIMES: Final[ClientConfig] = {"request_timeout": PATIENCE_S, "p2_timeout": ANSWER_S}
_NOT_ANSWERED: Final = (
    TimeoutException,
    NegativeResponseException,
    InvalidResponseException,
    UnexpectedResponseException,
    ValueError,
)
_ADDRESSES: Final = (
    isotp.Address(isotp.AddressingMode.Normal_11bits, txid=0x7E0, rxid=0x7E8),
    isotp.Address(
        isotp.AddressingMode.NormalFixed_29bits, target_address=_LONG_ENGINE, source_address=_LONG_TESTER
    ),
)


def hear(settings: CanSettings, clock: Clock, *, stop: threading.Event) -> tuple[Heard, ...]:
    """Return what each bit rate gives, in the order tried; a rate that cannot be opened gives nothing.

    Args:
        settings: the bus; its own rate is tried first.
        clock: the agent's.
        stop: ends the trial early.
    """
    can_try = settings.interface in LISTEN_ONLY
    others = BITRATES if can_try else ()
    rates = tuple(
        dict.fromkeys((settings.bitrate or 0, *others) if settings.bitrate or not can_try else others)
    )
    found = []
    for rate in rates:
        if stop.is_set():
            break
        found.append(_hear_one(replace(settings, bitrate=rate or None, listen_only=True), clock, rate, stop))
    return tuple(found)


def _hear_one(settings: CanSettings, clock: Clock, rate: int, stop: threading.Event) -> Heard:
    frames = errors = 0
    lengths: dict[int, int] = {}
    conflicts: set[int] = set()
    try:
        with can.Bus(**settings.keywords()) as bus:  # type: ignore[arg-type] # each driver its own
            until = clock.mono_us() + HEAR_US
            while clock.mono_us() < until and frames < ENOUGH_FRAMES and not stop.is_set():
                try:
                    message = bus.recv(_WAIT_S)
                except (ValueError, IndexError, KeyError):  # a line that is not a frame
                    errors += 1
                    if errors >= FALSE_STARTS_MAX and frames < FRAMES_MIN:
                        break
                    continue
                if message is None:
                    continue
                if message.is_error_frame:
                    errors += 1
                elif not message.is_remote_frame:
                    frames += 1
                    can_id = message.arbitration_id | (0x8000_0000 if message.is_extended_id else 0)
                    if lengths.setdefault(can_id, message.dlc) != message.dlc:
                        conflicts.add(can_id)
    except (can.CanError, OSError, ValueError, TypeError, ImportError) as failure:
        _log.warning("bus not tried: bus=%s bitrate=%d reason=%s", settings.bus, rate, failure)
    return Heard(
        bitrate=rate,
        frames=frames,
        errors=errors,
        ids=frozenset(lengths),
        conflicts=frozenset(conflicts),
    )


def ask(
    settings: CanSettings, questions: tuple[Question, ...], *, bitrate: int, stop: threading.Event
) -> tuple[tuple[Question, bytes | None], ...]:
    """Return the car's whole answers, one for each question in its order.

    Args:
        settings: the bus.
        questions: what to ask.
        bitrate: proved by `hear`; 0 where the system set it.
        stop: ends the asking early; what was not asked is None.
    """
    answers: dict[Question, bytes | None] = dict.fromkeys(questions)
    speaking = replace(settings, bitrate=bitrate or settings.bitrate, listen_only=False)
    try:
        with can.Bus(**speaking.keywords()) as bus:  # type: ignore[arg-type] # each driver its own
            for address in _ADDRESSES:
                _ask_at(bus, address, answers, stop)
                if any(answers.values()):
                    break
    except (can.CanError, OSError, ValueError, TypeError, ImportError) as failure:
        _log.warning("car not asked: bus=%s reason=%s", settings.bus, failure)
    return tuple(answers.items())


def _ask_at(
    bus: can.BusABC, address: isotp.Address, answers: dict[Question, bytes | None], stop: threading.Event
) -> None:
    stack = isotp.CanStack(bus=bus, address=address, params=dict(_PARAMS))
    line = PythonIsoTpConnection(stack)
    line.open()
    try:
        for question in answers:
            if not stop.is_set():
                answers[question] = _uds(line, question) if question.is_uds else _obd(line, question)
    finally:
        line.close()


def _obd(line: PythonIsoTpConnection, question: Question) -> bytes | None:
    """Ask what is older than UDS, and has no client: one request, one answer."""
    line.empty_rxqueue()
    line.send(question.request)
    for _ in range(PATIENCES_MAX):
        try:
            answer = line.wait_frame(timeout=ANSWER_S, exception=True)
        except TimeoutException:
            return None
        if answer is None:
            return None
        if answer[:1] == bytes([_NEGATIVE]):
            if answer[2:3] == bytes([_PENDING]):
                continue
            return None
        if answer[0] == question.request[0] + 0x40:
            return bytes(answer)
    return None


def _uds(line: PythonIsoTpConnection, question: Question) -> bytes | None:
    client = Client(line, config=_UDS_TIMES)  # the line is open and stays so
    data = question.request
    if question is Question.VIN_UDS:
        request = Request(service=ReadDataByIdentifier, data=data[1:])
    else:
        request = Request(service=ReadDTCInformation, subfunction=data[1], data=data[2:])
    try:
        response = client.send_request(request)
    except _NOT_ANSWERED as refused:
        _log.info("car did not answer: question=%s reason=%s", question.value, type(refused).__name__)
        return None
    return None if response is None else response.original_payload
