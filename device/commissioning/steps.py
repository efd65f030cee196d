"""The steps of an installation: which one is under way, what it waits for, and how it ends.

Rules:
- One step at a time. A step ends by what was seen since it began, by its time, or by an answer; PASS never
  comes from a command alone, but for CONSENT, which is an answer.
- The car is asked only at a bit rate that a listening proved, and never while the bus is in doubt.
- The relay is tried only after supply, ignition and crank wires passed. BIND needs all three relay proofs, a
  VIN and the consent. Whoever repeats a step repeats what rests on it.
- The coil is the microcontroller's: a BENCH or BIND order is carried to it and its disposition awaited.

It reads no command (`desk`) and has no clock.

Example: see `tests/unit/test_commissioning_steps.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from device.car_questions import Question
from device.commissioning import answers, bus
from device.commissioning.progress import fresh
from device.commissioning.relay import FreeWatch, HeldWatch, RunningWatch
from device.commissioning.sight import Outcome, Sight
from device.commissioning.wires import AttitudeWatch, CrankWatch, IgnitionWatch, SupplyWatch
from device.effects import AskCar, HearBus
from protocol.install_vocabulary import (
    MAY_BE_LATER,
    MAY_BE_SKIPPED,
    RELAY_PROOF,
    Need,
    Step,
    StepState,
)
from protocol.limits import INSTALL_IDS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from device.commissioning.progress import Progress
    from device.commissioning.sight import Watch
    from device.effects import Effect
    from device.events import BusHeard, CarAnswered
    from protocol.install_report import StepRow

SECOND_US = 1_000_000
DONE_WAIT_US = 3 * SECOND_US  # after "done" the wire has had its time
LATER_US = 20 * SECOND_US  # a modem or a receiver that has nothing by then stands under a roof
STEP_US: Final[Mapping[Step, int]] = {
    Step.SUPPLY: 10 * SECOND_US,
    Step.ATTITUDE: 20 * SECOND_US,
    Step.CAN_BITRATE: 60 * SECOND_US,
    Step.NETWORK: LATER_US,
    Step.FIX: LATER_US,
    Step.RELAY_HELD: 300 * SECOND_US,
    Step.RELAY_FREE: 300 * SECOND_US,
    Step.RELAY_RUNNING: 300 * SECOND_US,
    Step.CONSENT: 1_800 * SECOND_US,
    Step.BIND: 1_800 * SECOND_US,
    Step.RECORD: 1_800 * SECOND_US,
}
"""How long a step may take; others a minute and a half."""
STEP_OTHERS_US = 90 * SECOND_US

WIRES: Final = (Step.SUPPLY, Step.IGNITION_WIRE, Step.CRANK_WIRE)
BEFORE_BIND: Final = (*WIRES, *RELAY_PROOF, Step.CONSENT)
_WATCHES: Final[Mapping[Step, Callable[[], Watch]]] = {
    Step.SUPPLY: SupplyWatch,
    Step.IGNITION_WIRE: IgnitionWatch,
    Step.CRANK_WIRE: CrankWatch,
    Step.ATTITUDE: AttitudeWatch,
    Step.RELAY_HELD: HeldWatch,
    Step.RELAY_FREE: FreeWatch,
    Step.RELAY_RUNNING: RunningWatch,
}
_QUESTIONS: Final[Mapping[Step, tuple[Question, ...]]] = {
    Step.VIN_OBD: (Question.VIN_OBD,),
    Step.VIN_UDS: (Question.VIN_UDS,),
    Step.DTC_BEFORE: (Question.CODES, Question.CODES_PENDING, Question.CODES_UDS),
    Step.DTC_AFTER: (Question.CODES, Question.CODES_PENDING, Question.CODES_UDS),
    Step.ODOMETER: (Question.ODOMETER,),
}
_RESTS_ON: Final[Mapping[Step, tuple[Step, ...]]] = {
    **dict.fromkeys(WIRES, (*RELAY_PROOF,)),
    Step.CAN_BITRATE: (
        Step.PROFILE,
        Step.VIN_OBD,
        Step.VIN_UDS,
        Step.DTC_BEFORE,
        Step.ODOMETER,
        Step.DTC_AFTER,
    ),
    Step.RELAY_HELD: (Step.RELAY_FREE, Step.RELAY_RUNNING),
}
_WAITING_WORDS: Final = frozenset({"WAIT", "WAIT_COIL", "PERMISSION", "BINDING"})


@dataclass(slots=True, kw_only=True)
class Under:
    """The step under way.

    Attributes:
        step: which.
        began_us, until_us: of the box's own count.
        watch: what looks at the wires; None where nothing is looked at.
        asks: what the fitter shall do, or what is waited for.
        need: what the box waits for from outside, with its bytes.
        order: hash of the order handed on.
        wants_challenge: a challenge is to be asked for.
    """

    step: Step
    began_us: int
    until_us: int
    watch: Watch | None = None
    asks: str = "WAIT"
    need: tuple[Need, tuple[bytes, ...]] | None = None
    order: bytes | None = None
    wants_challenge: bool = False


class Steps:
    """The steps of one job.

    Args:
        progress: how far they have come; changed here.
        known: the identifiers that this car's table has.
        profile: name of that table's profile, None without one.
    """

    def __init__(self, progress: Progress, *, known: frozenset[int], profile: str | None) -> None:
        self.progress = progress
        self.under: Under | None = None
        self._known = known
        self._profile = profile
        self.ticket_vin: str | None = None

    # --- begin, leave out, repeat ---

    def begin(  # noqa: PLR0911 - one return a kind of step
        self, step: Step, now_us: int, *, is_connected: bool
    ) -> list[Effect]:
        """Begin a step; one that is over already stays as it is."""
        if self.progress.steps[step].state is StepState.PASS:
            return []
        make = _WATCHES.get(step)
        self.under = under = Under(
            step=step,
            began_us=now_us,
            until_us=now_us + STEP_US.get(step, STEP_OTHERS_US),
            watch=None if make is None else make(),
        )
        self._show(StepState.RUNNING)
        if step in RELAY_PROOF and not self.progress.has_passed(*WIRES):
            return self.end(Outcome.fail("WIRES_FIRST", expected=" ".join(WIRES)), now_us)
        under.wants_challenge = step is Step.BIND
        match step:
            case Step.CAN_BITRATE:
                return [HearBus()]
            case Step.PROFILE:
                return self._judge_profile(now_us)
            case Step.CONSENT:
                under.asks = "CONSENT"
                self._show(StepState.ASKING)
            case Step.NETWORK if is_connected:
                return self.end(Outcome.passed(expected="connected", measured="connected"), now_us)
            case Step.BIND:
                return self._check_bind(now_us)
            case _:
                return self._ask_car(step, now_us)
        return []

    def _ask_car(self, step: Step, now_us: int) -> list[Effect]:
        questions = _QUESTIONS.get(step)
        if questions is None:
            return []
        bitrate = self.progress.bitrate
        if bitrate is None or not self.progress.has_passed(Step.CAN_BITRATE):
            return self.end(Outcome.fail("BITRATE_FIRST", expected="a proved bit rate"), now_us)
        return [AskCar(questions=questions, bitrate=bitrate)]

    def _judge_profile(self, now_us: int) -> list[Effect]:
        if not self.progress.has_passed(Step.CAN_BITRATE):
            return self.end(Outcome.fail("BITRATE_FIRST", expected="a proved bit rate"), now_us)
        outcome = bus.judge_profile(self.progress.ids, self._known)
        if outcome.state is StepState.PASS and self._profile is not None:
            self.progress.facts["profile"] = self._profile
        return self.end(outcome, now_us)

    def _check_bind(self, now_us: int) -> list[Effect]:
        lacking = [step for step in BEFORE_BIND if not self.progress.has_passed(step)]
        if lacking or "vin" not in self.progress.facts:
            return self.end(Outcome.fail("BIND_NOT_PROVED", measured=" ".join(lacking) or "no VIN"), now_us)
        if self.under is not None:
            self.under.asks = "BINDING"
        return []

    def skip(self, step: Step) -> bool:
        """Leave a step out; False when it may not be."""
        row = self.progress.steps[step]
        if row.state is StepState.PASS:
            return False
        if step in MAY_BE_LATER:
            state, code = StepState.LATER, "NO_NETWORK" if step is Step.NETWORK else "NO_FIX"
        elif step in MAY_BE_SKIPPED:
            state, code = StepState.SKIPPED, row.code
        else:
            return False
        if self.under is not None and self.under.step is step:
            self.under = None
        self.progress.steps[step] = replace(row, state=state, code=code)
        return True

    def forget(self, step: Step) -> None:
        """Set a step back, and what rests on it."""
        rests = {step, *_RESTS_ON.get(step, ())}
        rests |= {on for other in list(rests) for on in _RESTS_ON.get(other, ())}
        for other in (*rests, Step.RECORD):
            self.progress.steps[other] = fresh(other)
        if self.under is not None and self.under.step in (*rests, Step.RECORD):
            self.under = None
        if step is Step.CAN_BITRATE:
            self.progress.bitrate, self.progress.ids = None, frozenset()

    # --- what is seen and said ---

    def look(self, sight: Sight) -> list[Effect]:
        """Take the wires as they are now."""
        under = self.under
        if under is None or under.watch is None:
            return []
        outcome = under.watch.look(sight)
        if outcome is not None:
            if under.step is Step.SUPPLY and outcome.state is StepState.PASS:
                self.progress.facts["supply_mv"] = outcome.measured
            return self.end(outcome, sight.t_us)
        if isinstance(under.watch, HeldWatch | RunningWatch) and under.order is None:
            under.wants_challenge = under.watch.is_ready and under.need is None
        is_waiting = under.watch.asks in _WAITING_WORDS
        under.asks = under.watch.asks
        self._show(StepState.RUNNING if is_waiting else StepState.ASKING)
        return []

    def advance(self, now_us: int, *, is_connected: bool, has_fix: bool) -> list[Effect]:
        """Let time pass."""
        under = self.under
        if under is None:
            return []
        if under.step is Step.NETWORK and is_connected:
            return self.end(Outcome.passed(expected="connected", measured="connected"), now_us)
        if under.step is Step.FIX and has_fix:
            return self.end(Outcome.passed(expected="fix", measured="fix"), now_us)
        if now_us < under.until_us:
            return []
        if under.step in MAY_BE_LATER:
            code = "NO_NETWORK" if under.step is Step.NETWORK else "NO_FIX"
            return self.end(Outcome(state=StepState.LATER, code=code), now_us)
        outcome = Outcome.fail("NOT_DONE") if under.watch is None else under.watch.late()
        if under.step in _QUESTIONS or under.step is Step.CAN_BITRATE:
            outcome = Outcome.fail("CAN_SILENT" if under.step is Step.CAN_BITRATE else "CAR_NO_ANSWER")
        return self.end(outcome, now_us)

    def hear_bus(self, event: BusHeard, now_us: int) -> list[Effect]:
        """Take what each bit rate gave."""
        if self.under is None or self.under.step is not Step.CAN_BITRATE:
            return []
        outcome, found = bus.judge(event.heard), bus.proved(event.heard)
        if outcome.state is StepState.PASS and found is not None:
            self.progress.bitrate = found.bitrate
            self.progress.ids = frozenset(sorted(found.ids)[:INSTALL_IDS_MAX])
            self.progress.facts["can_bitrate"] = str(found.bitrate)
        return self.end(outcome, now_us)

    def hear_car(self, event: CarAnswered, now_us: int) -> list[Effect]:
        """Take what the car answered to the step under way."""
        under = self.under
        asked = None if under is None else _QUESTIONS.get(under.step)
        if under is None or asked is None or {question for question, _ in event.answers} != set(asked):
            return []
        outcome = answers.judge(under.step, event, self.progress.facts, ticket_vin=self.ticket_vin)
        return self.end(outcome, now_us)

    def hear_done(self, now_us: int) -> None:
        """The fitter says that it is done: the wire gets a moment more."""
        if self.under is not None:
            self.under.until_us = min(self.under.until_us, now_us + DONE_WAIT_US)

    def hear_disposition(self, cmd_hash: bytes, *, is_taken: bool, code: str, now_us: int) -> list[Effect]:
        """The microcontroller answered an order that was handed on."""
        under = self.under
        if under is None or under.order != cmd_hash or is_taken:
            return []
        finding = "BIND_REFUSED" if under.step is Step.BIND else "BENCH_REFUSED"
        return self.end(Outcome.fail(finding, expected="taken", measured=code), now_us)

    def hear_engine_stopped(self, now_us: int) -> list[Effect]:
        """The microcontroller let the relay go because the engine stopped under it."""
        if self.under is None or self.under.step not in RELAY_PROOF:
            return []
        found = Outcome.fail("RELAY_STOPS_ENGINE", expected="engine runs on", measured="engine stopped")
        return self.end(found, now_us)

    def hand_on(self, payload: bytes) -> bytes:
        """Note the order that is handed on, and return its hash."""
        under = self.under
        assert under is not None, "only a step waits for an order"
        under.order, under.need = hashlib.sha256(payload).digest(), None
        if isinstance(under.watch, RunningWatch):
            under.watch.is_handed_on = True
        return under.order

    # --- end ---

    def end(self, outcome: Outcome, now_us: int) -> list[Effect]:
        """End the step under way."""
        under, self.under = self.under, None
        assert under is not None, "a step ends once"
        self.progress.steps[under.step] = replace(
            fresh(under.step),
            state=outcome.state,
            code=outcome.code,
            expected=outcome.expected,
            measured=outcome.measured,
            unit=outcome.unit,
            took_ms=max(0, now_us - under.began_us) // 1_000,
        )
        return []

    def give_up(self) -> None:
        """Leave the step under way as if it had not begun."""
        if self.under is not None:
            self.progress.steps[self.under.step] = fresh(self.under.step)
            self.under = None

    @property
    def rows(self) -> tuple[StepRow, ...]:
        """Every step as a report shows it."""
        return tuple(self.progress.steps.values())

    def _show(self, state: StepState) -> None:
        if self.under is not None:
            row = self.progress.steps[self.under.step]
            if row.state is not state:
                self.progress.steps[self.under.step] = replace(fresh(row.step), state=state)
