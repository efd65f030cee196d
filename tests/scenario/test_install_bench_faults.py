"""Each fault of the fitter's bench, seen with the box's own watches, ends in the one right sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.car_questions import Heard, Question
from device.commissioning import answers
from device.commissioning.bus import judge
from device.commissioning.relay import HeldWatch, RunningWatch
from device.commissioning.sight import Sight
from device.commissioning.wires import CrankWatch, IgnitionWatch, SupplyWatch
from device.events import CarAnswered
from protocol.install_vocabulary import Step, StepState
from protocol.install_words import FINDINGS
from simulators.bus_traffic import CanFrame
from simulators.install_bench_bus import BenchAdapter
from simulators.install_bench_ecu import TO_ALL, TO_US, BenchEcu, CarFacts, Stranger
from simulators.install_bench_faults import BenchFault
from simulators.install_bench_wires import BenchBody

if TYPE_CHECKING:
    from device.commissioning.sight import Outcome, Watch

VIN = "LSVAA4182E2123456"
LOOK_US = 250_000
LOOKS_MAX = 60


class Fitter:
    """Does what a watch asks, on a body in virtual time."""

    def __init__(self, *wrong: BenchFault) -> None:
        self.body = BenchBody(wrong=frozenset(wrong))
        self.now_us = 0

    def sight(self) -> Sight:
        body = self.body
        body.advance(self.now_us)
        return Sight(
            t_us=self.now_us,
            supply_mv=body.box_mv,
            ignition=body.is_ignition_wire_live,
            crank=body.is_crank_wire_live,
            engine=body.engine_runs,
            accel="still",
            is_coil_on=body.coil,
            is_contact_open=body.relay_sense[1],
        )

    def act(self, asks: str) -> None:
        body = self.body
        match asks:
            case "KEY_OFF":
                body.turn_off()
            case "KEY_ON":
                body.turn_on()
            case "CRANK_ONCE" | "CRANK_HELD" | "START_ENGINE":
                body.crank()
            case "PERMISSION":
                body.let_go()
                body.coil = True
            case _:
                body.let_go()

    def end_of(self, watch: Watch) -> Outcome:
        for _ in range(LOOKS_MAX):
            outcome = watch.look(self.sight())
            if outcome is not None:
                self.body.let_go()
                return outcome
            if self.now_us % (8 * LOOK_US) == 0:
                self.act(watch.asks)
            elif watch.asks == "CRANK_HELD" and self.now_us % (8 * LOOK_US) == 4 * LOOK_US:
                self.body.let_go()
            self.now_us += LOOK_US
        return watch.late()

    def finding(self) -> str:
        """Return the code of the first of the steps at the wires that fails; empty when all pass."""
        steps: tuple[type[Watch], ...] = (SupplyWatch, IgnitionWatch, CrankWatch)
        for step in steps:
            outcome = self.end_of(step())
            if outcome.state is not StepState.PASS:
                return outcome.code
        self.body.turn_off()
        self.now_us += LOOK_US
        held = self.end_of(HeldWatch())
        if held.state is not StepState.PASS:
            return held.code
        self.body.coil = False
        self.body.turn_off()
        self.now_us += 4 * LOOK_US
        self.body.advance(self.now_us)
        return self.end_of(RunningWatch()).code


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ((), ""),
        ((BenchFault.SWAPPED_WIRES,), "WIRES_SWAPPED"),
        ((BenchFault.CRANK_ON_ACCESSORY,), "CRANK_ON_ACCESSORY"),
        ((BenchFault.CONSTANT_IGNITION,), "IGNITION_CONSTANT"),
        ((BenchFault.SWITCHED_SUPPLY,), "SUPPLY_SWITCHED"),
        ((BenchFault.WEAK_BATTERY,), "BATTERY_WEAK"),
        ((BenchFault.COIL_OPEN,), "COIL_OPEN"),
        ((BenchFault.RELAY_BRIDGED,), "RELAY_BRIDGED"),
        ((BenchFault.RELAY_IN_IGNITION_LINE,), "RELAY_STOPS_ENGINE"),
    ],
)
def test_a_mistake_at_the_wires_ends_in_its_own_sentence(wrong: tuple[BenchFault, ...], code: str) -> None:
    assert Fitter(*wrong).finding() == code
    assert not code or FINDINGS[code].en.endswith(".")


def heard(*wrong: BenchFault) -> Outcome:
    """Return how CAN_BITRATE ends: each rate tried on an adapter, with some of a bus's frames."""
    rates = []
    for command, bitrate in (("S6", 500_000), ("S5", 250_000), ("S4", 125_000)):
        adapter = BenchAdapter(bus_bitrate=250_000 if BenchFault.WRONG_BITRATE in wrong else 500_000)
        adapter.hear(f"C\r{command}\rL\r".encode())
        stranger = Stranger()
        lengths: dict[int, set[int]] = {}
        frames = 0
        for at in range(40):
            said = [CanFrame(t_us=at, can_id=0x100 + at % 4, data=bytes(8))]
            if BenchFault.TWO_TALKERS in wrong:
                said.append(CanFrame(t_us=at, can_id=0x100 + at % 4, data=bytes(7)))
            if BenchFault.OTHER_TRACKER in wrong:
                said += stranger.due(at * 250_000)
            for frame in said if BenchFault.CAN_SILENT not in wrong else ():
                adapter.say(frame)
                came = adapter.pending()
                adapter.wrote(len(came))
                if came:
                    frames += 1
                    lengths.setdefault(frame.can_id, set()).add(len(frame.data))
        conflicts = frozenset(can_id for can_id, seen in lengths.items() if len(seen) > 1)
        rates.append(
            Heard(bitrate=bitrate, frames=frames, errors=0, ids=frozenset(lengths), conflicts=conflicts)
        )
    return judge(tuple(rates))


@pytest.mark.parametrize(
    ("wrong", "code", "measured"),
    [
        ((), "", "500000"),
        ((BenchFault.WRONG_BITRATE,), "", "250000"),
        ((BenchFault.CAN_SILENT,), "CAN_SILENT", "0 frames, 0 errors"),
        ((BenchFault.TWO_TALKERS,), "TWO_TALKERS", "100 101 102 103"),
        ((BenchFault.OTHER_TRACKER,), "OTHER_TRACKER", "7E0"),
    ],
)
def test_what_is_wrong_on_the_bus_ends_in_its_own_sentence(
    wrong: tuple[BenchFault, ...], code: str, measured: str
) -> None:
    outcome = heard(*wrong)
    assert (outcome.code, outcome.measured) == (code, measured)


def asked(wrong: BenchFault | None, question: Question, request: str, facts: dict[str, str]) -> Outcome:
    ecu = BenchEcu(facts=CarFacts(vin=VIN, odometer_km=1.0), wrong=frozenset({wrong} if wrong else ()))
    answer = ecu.answer(bytes.fromhex(request))
    step = Step.VIN_OBD if question is Question.VIN_OBD else Step.VIN_UDS
    event = CarAnswered(answers=((question, None if answer is None or answer[0] == 0x7F else answer),))
    return answers.judge(step, event, facts, ticket_vin=None)


def test_two_vins_of_one_car_and_an_unreadable_one_end_in_their_own_sentences() -> None:
    facts: dict[str, str] = {}
    assert asked(BenchFault.VIN_DIFFERS, Question.VIN_OBD, "0902", facts).state is StepState.PASS
    assert asked(BenchFault.VIN_DIFFERS, Question.VIN_UDS, "22f190", facts).code == "VIN_UNEQUAL"
    assert asked(BenchFault.VIN_UNREADABLE, Question.VIN_OBD, "0902", {}).code == "CAR_NO_ANSWER"


def test_the_diagnostic_addresses_of_the_bench_are_those_that_a_tester_uses() -> None:
    assert (TO_ALL, TO_US) == (0x7DF, 0x7E0)
