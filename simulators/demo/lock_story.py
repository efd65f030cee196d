"""The lock story: a loan falls behind, and everyone does their part until the car starts again.

Rules: people act by `tbox lender`, the driver by the key, the loan system by its clerk. Each check is made
where the story stands, on the simulated car and on what the microcontroller has signed. First a payment
overtakes a lock and nothing happens to the car; then the payment bounces, and the car is locked, started by
its driver's emergency start, and unlocked.

Example:
    LockStory(world, report).tell()
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.orders import Code, State
from simulators.demo.lock_attacks import LockAttacks
from simulators.demo.lock_looking import GO_REQUEST, Eyes
from simulators.demo.lock_proofs import LockProofs, check_inclusion
from simulators.demo.lock_world import DAYS_BEHIND, DUE_MINOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.demo.lock_world import LockWorld
    from simulators.demo.report import Report

NOTICE_AGE_S: Final = 120  # the demonstration's pack asks for a minute
GAP_S: Final = 5.5  # between the two people's signatures, as the demonstration's pack asks
SPEED_KMH: Final = 25.0
REFUSED: Final = 7  # exit code of `tbox lender`: this tool refuses
PEOPLE_S_MAX, CAR_S_MAX, PARKED_S_MAX = 20.0, 20.0, 45.0
LIE_S: Final = 9.0  # longer than the demonstration's floors
BUTTON_S: Final = 3.0
WARNING_S: Final = 3.0  # a warning of the demonstration sounds for two seconds
STATUS_S: Final = 4.0  # the microcontroller says how it stands each second
STOOD_MPS: Final = 0.01
SPEED_NOISE_MM_S: Final = 833  # 3 km/h: what a standing receiver may say


@dataclass(slots=True)
class LockStory:
    """The story, told once."""

    world: LockWorld
    report: Report
    began_us: int = field(default_factory=lambda: time.time_ns() // 1_000)
    _bases: int = 0

    @property
    def eyes(self) -> Eyes:
        """What one sees of the car."""
        return Eyes(self.world)

    def tell(self) -> None:
        """Tell it from beginning to end."""
        attacks = LockAttacks(self.world, self.report, self.eyes)
        self._fall_behind()
        self._set_off()
        first = self._order_a_lock("order", is_first=True)
        self._warn(first)
        self._pay_in_time(first)
        attacks.forge()
        attacks.sign_twice()
        attacks.replay(first, "replay_ignored", "an order that is over, replayed, does nothing")
        self._bounce()
        self._set_off()
        second = self._order_a_lock("second order", is_first=False)
        self._say_why(second)
        self._lock(second)
        self._start_in_an_emergency(second)
        self._unlock(second)
        attacks.replay(second, "released_stays_released", "the lock itself, replayed after its release")
        LockProofs(self.world, self.report, self.eyes, self.began_us).run(first, second)

    # --- the loan ---

    def _fall_behind(self) -> None:
        world = self.world
        self.report.say(f"the loan is {DAYS_BEHIND} days behind; notices are served by two channels")
        world.clerk("open", due_minor=DUE_MINOR, days=DAYS_BEHIND)
        served = world.clerk("serve_notices", episode=world.episode.hex(), age_s=NOTICE_AGE_S)
        with self.report.check("notices_served", "the gate takes signed notices, each once") as found:
            answers = [world.tell_gate("notices", base64.b64decode(at)) for at in served["records"]]
            found.is_right(all(at["is_new"] for at in answers), f"{len(answers)} records of the loan system")
            again = world.tell_gate("notices", base64.b64decode(served["records"][0]))
            found.is_right(not again["is_new"], "the same one again changes nothing")

    def _bounce(self) -> None:
        self.report.say("the payment bounces: the loan is behind again")
        self.world.clerk("due", due_minor=DUE_MINOR, days=DAYS_BEHIND)
        time.sleep(1.1)  # records of the loan are dated to the second

    # --- the car ---

    def _set_off(self) -> None:
        driver = self.world.driver
        if not driver.try_to_start():
            raise TimeoutError("the engine does not start, and nothing holds it")
        driver.drive(SPEED_KMH)

    def _stop(self) -> None:
        self.world.driver.drive(0)
        state = self.world.car.car.vehicle
        if not self.world.wait_for(lambda: state.state.speed_mps < STOOD_MPS, CAR_S_MAX):
            raise TimeoutError("the car does not stop")

    # --- people ---

    def _order_a_lock(self, name: str, *, is_first: bool) -> str:
        """Let maker, checker, log and gate do their part; return the order's id."""
        world, officers = self.world, self.world.officers
        self.report.say(f"{name}: the maker signs a LOCK on {officers.of('maker').name}'s machine")
        self._bases += 1
        basis = officers.of("maker") / f"case-{self._bases}.basis"
        basis.write_bytes(base64.b64decode(world.clerk("basis")["basis"]))
        words = ("request", "lock", world.box.device, "--basis", str(basis), "--warn-lead-s", "0")
        cmd_id = str(officers.sign_as("maker", *words)["order"])
        asked = time.monotonic()
        self._wait(lambda: len(world.order(cmd_id)["gate"]) > 0, "the gate has screened it")
        if is_first:
            self._maker_is_not_checker(cmd_id)
            self._shown_decoded(cmd_id)
        time.sleep(max(0.0, asked + GAP_S - time.monotonic()))
        self.report.say("the checker, another person with another key, signs")
        officers.sign_as("checker", "approve", cmd_id, "--reason-code", "FILE")
        self._wait(lambda: world.order(cmd_id)["stage"] in ("QUEUED", "SENT", "ANSWERED"), "the gate signs")
        if is_first:
            self._logged_and_gated(cmd_id)
        self._wait(lambda: State.ACCEPTED_PENDING in self.eyes.states(cmd_id), "the car accepts it")
        return cmd_id

    def _maker_is_not_checker(self, cmd_id: str) -> None:
        with self.report.check("maker_cannot_approve", "the maker cannot approve their own order") as found:
            words = ("approve", cmd_id, "--reason-code", "FILE", "--yes")
            secret = ("--passphrase-file", str(self.world.officers.of("maker") / "pass"))
            done = self.world.officers.try_to("maker", *words, *secret)
            found.is_right(done.exit_code == REFUSED, f"exit code {done.exit_code}")
            parts = self.world.order(cmd_id)["parts"]
            found.is_right(len(parts) == 1, f"the order still has {len(parts)} signature")

    def _shown_decoded(self, cmd_id: str) -> None:
        with self.report.check("checker_sees", "the checker sees the order decoded before signing") as found:
            shown = self.world.officers.run("checker", "show", cmd_id)
            text = json.dumps(shown, ensure_ascii=False)
            found.is_right("P-maker" in text and "LOCK" in text, "a LOCK by P-maker")
            found.is_right(self.world.papers.vin in text, f"for the pinned car {self.world.papers.vin[-4:]}")
            state = self.world.officers.run("checker", "status", self.world.box.device)
            reported = state["reported"]["state"]
            found.is_right(reported == "UNKNOWN", f"the car's state is {reported}: it has signed none yet")

    def _logged_and_gated(self, cmd_id: str) -> None:
        order = self.world.order(cmd_id)
        title = "the two-signed order stands in the log before the gate signs"
        with self.report.check("logged_before_gate", title) as found:
            check_inclusion(self.world, order, found)
            stages = [at["stage"] for at in order["stages"]]
            before = stages.index("AWAITING_LOG") < stages.index("AWAITING_GATE") < stages.index("QUEUED")
            found.is_right(before, "log first, then the gate")
            roles = [part["role"] for part in order["parts"]]
            found.is_right(roles == ["MAKER", "CHECKER", "GATE"], "signed by " + ", ".join(roles))
            persons = {part["person"] for part in order["parts"]}
            found.is_right(len(persons) == len(roles), f"{len(persons)} different people and machines")
        with self.report.check("gate_asked_again", "the gate asks the loan system again") as found:
            purposes = self.world.clerk("questions")["purposes"]
            found.is_right(purposes.count("SCREEN") >= 1, "once at the maker's request")
            found.is_right(purposes.count("REVIEW") >= 1, "again before its signature")

    # --- a payment in time ---

    def _warn(self, cmd_id: str) -> None:
        """Two stops on the way: each time the key comes on, the car warns."""
        self.report.say("the driver stops twice on the way; the car warns each time the key comes on")
        with self.report.check("waits_aloud", "the car, still moving, says why it waits") as found:
            waits = self.eyes.wait_reason(STATUS_S)
            found.is_right(waits == "NOT_WARNED", f"before the warnings: {waits}")
            found.is_right(self.world.driver.engine_runs, "and the engine runs on")
        with self.report.check("warned", "the warning is heard on two ignition cycles") as found:
            before = self.world.mcu.plays
            for number in (1, 2):
                self._stop()
                self.world.driver.switch_off()
                time.sleep(WARNING_S / 2)
                self.world.driver.switch_on()
                self.world.wait_for(lambda wanted=before + number: self.world.mcu.plays >= wanted, CAR_S_MAX)  # type: ignore[misc] # bound early
                time.sleep(WARNING_S)
            heard = self.world.mcu.plays - before
            found.is_right(heard == 2, f"{heard} times")  # noqa: PLR2004 - as often as the title says
            found.is_right(State.WARNING in self.eyes.states(cmd_id), "signed as WARNING")

    def _pay_in_time(self, cmd_id: str) -> None:
        """Park with a lying bus, pay, and let the truth come out: there is no go token."""
        driver = self.world.driver
        self.report.say("the car is parked; its ignition wire stays on while everything else says parked")
        driver.fake_parking()
        asked = self.eyes.count_said(GO_REQUEST)
        with self.report.check(
            "lying_linux", "a Linux side that says parked cannot lock: the wire is on"
        ) as found:
            time.sleep(LIE_S)
            facts = self.eyes.facts()
            found.is_right(facts[10] is False, "Linux says: ignition off")
            found.is_right(facts[2][0] < SPEED_NOISE_MM_S, f"and standing, {facts[2][0]} mm/s")
            waits = self.eyes.status().waits_for
            found.is_right(waits == "IGN_ON", f"the microcontroller waits for {waits}")
            found.is_right(self.eyes.count_said(GO_REQUEST) == asked, "it asked for no go token")
            found.is_right(State.ARMED not in self.eyes.states(cmd_id), "it did not arm")
        self.report.say("a payment is posted; then the wire goes off")
        self.world.clerk("pay", amount_minor=DUE_MINOR, is_posted=True)
        driver.switch_off()
        with self.report.check(
            "payment_in_time", "a payment before arming: no go token, the order ends"
        ) as found:
            self._wait(lambda: State.CANCELLED in self.eyes.states(cmd_id), "the order ends", PARKED_S_MAX)
            states = self.eyes.states(cmd_id)
            found.is_right(State.LOCKED not in states, " → ".join(state.name for state in states))
            code = self.eyes.last_code(cmd_id)
            found.is_right(code is Code.NO_GO, f"because of {code.name if code else None}")
            found.is_right(driver.try_to_start(), "the engine starts")
            driver.park()

    # --- the lock ---

    def _say_why(self, cmd_id: str) -> None:
        with self.report.check("moving_waits", "accepted while moving, the lock waits and says why") as found:
            moving = self.world.car.car.vehicle.state.speed_mps
            found.is_right(moving > 1, f"at {moving * 3.6:.0f} km/h")
            waits = self.eyes.wait_reason(STATUS_S)
            found.is_right(waits in ("ENGINE_RUNNING", "IN_MOTION", "IGN_ON"), f"waits for {waits}")
            found.is_right(self.world.driver.engine_runs, "the engine runs on")
            found.is_right(not self.world.mcu.board.car.is_contact_open, "the relay is at rest")
            found.is_right(State.ARMED not in self.eyes.states(cmd_id), "not armed")

    def _lock(self, cmd_id: str) -> None:
        driver = self.world.driver
        self._stop()
        self.report.say("parked, and off long enough: the car asks for its go token")
        driver.park()
        driver.get_out()
        with self.report.check(
            "go_and_locked", "parked, it fetches a go token and inhibits the next start"
        ) as found:
            self._wait(lambda: State.LOCKED in self.eyes.states(cmd_id), "LOCKED", PARKED_S_MAX)
            states = self.eyes.states(cmd_id)
            found.is_right(states[-2:] == [State.ARMED, State.LOCKED], " → ".join(at.name for at in states))
            purposes = self.world.clerk("questions")["purposes"]
            found.is_right(purposes[-1] == "GO", "the gate asked the loan system a third time")
        with self.report.check("crank_inhibited", "a crank does not start the engine") as found:
            starts = self.world.mcu.board.car.starts
            runs = driver.try_to_start()
            found.is_right(not runs, "the starter did not turn it")
            found.is_right(self.world.mcu.board.car.starts == starts, f"{starts} starts as before")
            driver.switch_off()

    def _start_in_an_emergency(self, cmd_id: str) -> None:
        driver = self.world.driver
        self.report.say("the driver holds the emergency button")
        driver.press_button(BUTTON_S)
        with self.report.check("emergency_start", "the emergency start needs nobody") as found:
            found.is_right(driver.try_to_start(), "the engine runs")
            driver.park()
            self._wait(lambda: State.OVERRIDDEN in self.eyes.states(cmd_id), "OVERRIDDEN")
            found.is_right(self.eyes.of(cmd_id)[-1].overrides_used == 1, "signed as OVERRIDDEN")

    def _unlock(self, cmd_id: str) -> None:
        world = self.world
        self.report.say("one signature unlocks")
        with self.report.check("one_signature_unlocks", "one signature of the lender unlocks") as found:
            unlock = str(world.officers.sign_as("checker", "unlock", world.box.device)["order"])
            self._wait(lambda: State.RELEASED in self.eyes.states(cmd_id), "RELEASED")
            parts = world.order(unlock)["parts"]
            found.is_right(len(parts) == 1, f"signed by {parts[0]['role']}")
            found.is_right(self.eyes.states(unlock) == [State.DONE], "UNLOCK: DONE")
            status = world.officers.run("maker", "status", world.box.device)["reported"]
            found.is_right(status["state"] == "RELEASED", f"the maker's own tool verified {status['state']}")
        with self.report.check("cranks_again", "the engine cranks and runs") as found:
            found.is_right(world.driver.try_to_start(), "the engine runs")
            world.driver.park()

    # --- shared ---

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float = PEOPLE_S_MAX) -> None:
        """Wait until something happens that should.

        Raises:
            TimeoutError: it does not.
        """
        if not self.world.wait_for(condition, seconds):
            status = self.eyes.status()
            where = f"the car is {status.state.name} and waits for {status.waits_for}"
            raise TimeoutError(f"not in {seconds:.0f} s: {what}; {where}")
