"""The update's decisions: events in, effects out, the record between them.

Rules:
- Intent is kept before it is acted on: each effect that changes board or link follows a `Keep`. Whoever
  starts after a power cut goes on from the record, so that agent and image are always of one release once
  the agent runs: both new, or both old.
- It begins only in a car that is parked, supplied and free of orders, and never in one that is locked.
- An image that three attempts do not write, a release that three starts do not bring up, one that is not
  healthy at rest within ten minutes, lacks frames once awake, or drains: back, both together, once the car
  lets it. A release that failed is not tried again.
- The relay is not touched: while nobody runs, its contact is closed by itself and the car starts.

It has no port, no clock and no file.

Example:
    >>> transaction = Transaction(Record(confirmed=1))
    >>> transaction.handle(Boot(), now_s=0)
    [Point(release=1), StartAgent(), Clean(keep=(1,))]
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from device.update.forms import Health, McuResult, Outcome, Record, Slot, Stage
from device.update.health import drains, lacks_at_rest, lacks_awake, may_go_back, why_waiting
from protocol.limits import UPDATE_BOOTS_MAX, UPDATE_MCU_TRIES_MAX, UPDATE_REST_HEALTH_S_MAX

if TYPE_CHECKING:
    from device.update.forms import Car, Wait

MCU_AGAIN_S = 600  # a board that would not take its old image is asked again so often


@dataclass(frozen=True, slots=True)
class Boot:
    """The keeper has started."""


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """The agent's process ended by itself."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A release lies here whole and durable."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Look:
    """What the running agent last said of car and health; None when it says nothing fresh."""

    car: Car | None
    health: Health | None


@dataclass(frozen=True, slots=True)
class McuWritten:
    """What came of `WriteMcu`."""

    result: McuResult


@dataclass(frozen=True, slots=True)
class Told:
    """The backend has taken so many outcomes."""

    count: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Write the record durably before anything that follows."""

    record: Record


@dataclass(frozen=True, slots=True)
class Point:
    """Let `current` be this release, atomically."""

    release: int


@dataclass(frozen=True, slots=True)
class WriteMcu:
    """Write the image of this release to the board; answer with `McuWritten`."""

    release: int


@dataclass(frozen=True, slots=True)
class StartAgent:
    """Run the agent of `current`."""


@dataclass(frozen=True, slots=True)
class StopAgent:
    """End the agent in good order."""


@dataclass(frozen=True, slots=True)
class Clean:
    """Remove the folders of all other releases."""

    keep: tuple[int, ...]


Event = Boot | AgentEnded | Fetched | Look | McuWritten | Told
Effect = Keep | Point | WriteMcu | StartAgent | StopAgent | Clean


class Transaction:
    """One life of the keeper.

    Args:
        record: what stood on disk.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.waits: list[Wait] = []
        self.counts: Counter[str] = Counter()
        self._well_s: int | None = None
        self._mcu_again_s: int | None = None

    def handle(self, event: Event, now_s: int) -> list[Effect]:
        """Return what to do, in order.

        Args:
            event: what happened.
            now_s: monotonic seconds.
        """
        match event:
            case Boot():
                return self._start(now_s)
            case AgentEnded():
                self.counts["update_agent_ends"] += 1
                return self._start(now_s)
            case Fetched(slot=slot):
                return self._take(slot)
            case Look(car=car, health=health):
                return self._look(car, health, now_s)
            case McuWritten(result=result):
                return self._written(result, now_s)
            case Told(count=count):
                return [self._keep(untold=self.record.untold[count:])]
            case _:
                assert_never(event)

    # --- Starting ---

    def _start(self, now_s: int) -> list[Effect]:
        record = self.record
        match record.stage:
            case Stage.IDLE:  # a cut may have left the folder of a release that is over
                return [*self._run(now_s), Clean((record.confirmed,))]
            case Stage.STAGED:
                return self._run(now_s)
            case Stage.MCU_NEW | Stage.MCU_OLD:
                return self._write_again()
            case Stage.TRIAL if record.boots >= UPDATE_BOOTS_MAX:
                return self._back(Outcome.NOT_STARTING)
            case Stage.TRIAL:
                return [self._keep(boots=record.boots + 1), *self._run(now_s)]
            case _:
                assert_never(record.stage)

    def _run(self, now_s: int) -> list[Effect]:
        self._well_s = now_s
        return [Point(self.record.running), StartAgent()]

    # --- Beginning ---

    def _take(self, slot: Slot) -> list[Effect]:
        if self.record.stage not in (Stage.IDLE, Stage.STAGED):
            return []
        return [self._keep(stage=Stage.STAGED, new=slot, tries=0)]

    def _begin(self, car: Car | None, health: Health | None, now_s: int) -> list[Effect]:
        new = self.record.new
        assert new is not None, "a staged release has its slot"
        self.waits = why_waiting(car)
        if self.waits or health is None:
            return []
        self.counts["update_begun"] += 1
        if new.measurement == self.record.measurement:  # the board has this image already
            kept = self._keep(stage=Stage.TRIAL, baseline=health, boots=1, is_rested=False, doomed=None)
            return [StopAgent(), kept, *self._run(now_s)]
        kept = self._keep(stage=Stage.MCU_NEW, baseline=health, tries=1, is_rested=False, doomed=None)
        return [StopAgent(), kept, WriteMcu(new.release)]

    # --- The image ---

    def _write_again(self) -> list[Effect]:
        record = self.record
        if record.stage is Stage.MCU_NEW:
            if record.tries >= UPDATE_MCU_TRIES_MAX:
                return self._back(Outcome.MCU_NOT_WRITTEN)
            assert record.new is not None, "an image is written of a release"
            return [self._keep(tries=record.tries + 1), WriteMcu(record.new.release)]
        return [self._keep(tries=record.tries + 1), WriteMcu(record.confirmed)]

    def _written(self, result: McuResult, now_s: int) -> list[Effect]:
        self.counts[f"update_mcu_{result}"] += 1
        match self.record.stage:
            case Stage.MCU_NEW:
                return self._new_written(result, now_s)
            case Stage.MCU_OLD:
                return self._old_written(result, now_s)
            case _:
                return []  # an answer that nobody waits for

    def _new_written(self, result: McuResult, now_s: int) -> list[Effect]:
        match result:
            case McuResult.DONE:
                return [self._keep(stage=Stage.TRIAL, boots=1, tries=0), *self._run(now_s)]
            case McuResult.LOCKED if self.record.tries == 1:  # it never began: everything is as it was
                return [self._keep(stage=Stage.STAGED, tries=0, baseline=None), *self._run(now_s)]
            case McuResult.LOCKED:
                return self._run_and_wait(now_s)
            case McuResult.FAILED:
                return self._write_again()
            case _:
                assert_never(result)

    def _old_written(self, result: McuResult, now_s: int) -> list[Effect]:
        match result:
            case McuResult.DONE:
                return self._is_back(now_s)
            case McuResult.LOCKED:  # the new image holds a lock: its own agent serves it until it is over
                return [self._keep(stage=Stage.TRIAL, boots=1, tries=0), *self._run(now_s)]
            case McuResult.FAILED if self.record.tries >= UPDATE_MCU_TRIES_MAX:
                return self._run_and_wait(now_s)
            case McuResult.FAILED:
                return self._write_again()
            case _:
                assert_never(result)

    def _run_and_wait(self, now_s: int) -> list[Effect]:
        """Let the old agent run beside a board that would not take an image, which is asked again later."""
        self._mcu_again_s = now_s + MCU_AGAIN_S
        return self._run(now_s)

    # --- Trial ---

    def _look(self, car: Car | None, health: Health | None, now_s: int) -> list[Effect]:
        match self.record.stage:
            case Stage.IDLE:
                self.waits = []
                return []
            case Stage.STAGED:
                return self._begin(car, health, now_s)
            case Stage.MCU_NEW | Stage.MCU_OLD:
                is_due = self._mcu_again_s is not None and now_s >= self._mcu_again_s
                if is_due and may_go_back(car):
                    self._mcu_again_s = None
                    return [StopAgent(), self._keep(tries=0), *self._write_again()]
                return []
            case Stage.TRIAL:
                return self._judge(car, health, now_s)
            case _:
                assert_never(self.record.stage)

    def _judge(self, car: Car | None, health: Health | None, now_s: int) -> list[Effect]:
        record = self.record
        assert record.new is not None, "a trial is of a release"
        effects: list[Effect] = []
        if record.doomed is None and (verdict := self._verdict(health, now_s)) is not None:
            if verdict is Outcome.CONFIRMED:
                return self._confirm()
            effects.append(self._keep(doomed=verdict))
        elif (
            record.doomed is None and not record.is_rested and health is not None and self._is_rested(health)
        ):
            effects.append(self._keep(is_rested=True, boots=0))
        if self.record.doomed is not None and may_go_back(car):
            return [*effects, StopAgent(), *self._back(self.record.doomed)]
        return effects

    def _verdict(self, health: Health | None, now_s: int) -> Outcome | None:
        record = self.record
        before = record.baseline or Health()
        if health is not None and self._is_rested(health):
            self._well_s = now_s
            frames = lacks_awake(before, health)
            if frames:
                return Outcome.NOT_HEALTHY
            if drains(before, health):
                return Outcome.DRAINS
            return None if frames is None else Outcome.CONFIRMED
        well_s = now_s if self._well_s is None else self._well_s
        return Outcome.NOT_HEALTHY if now_s - well_s >= UPDATE_REST_HEALTH_S_MAX else None

    def _is_rested(self, health: Health) -> bool:
        record = self.record
        assert record.new is not None, "a trial is of a release"
        return not lacks_at_rest(record.baseline or Health(), health, image=record.new.measurement)

    def _confirm(self) -> list[Effect]:
        record, new = self.record, self.record.new
        assert new is not None, "a trial is of a release"
        self.counts["update_confirmed"] += 1
        noted = replace(
            record,
            confirmed=new.release,
            mcu=new.mcu,
            measurement=new.measurement,
            floor=max(record.floor, new.floor),
            stage=Stage.IDLE,
            new=None,
            boots=0,
            tries=0,
        ).ended(new.release, Outcome.CONFIRMED)
        self.record = noted
        return [Keep(noted), Clean((new.release,))]

    # --- Back ---

    def _back(self, why: Outcome) -> list[Effect]:
        record = self.record
        assert record.new is not None, "one goes back from a release"
        self.counts["update_rolled_back"] += 1
        kept = self._keep(stage=Stage.MCU_OLD, doomed=why, tries=1)
        if record.new.measurement == record.measurement:  # the image never changed
            return [kept, *self._is_back(None)]
        return [kept, WriteMcu(record.confirmed)]

    def _is_back(self, now_s: int | None) -> list[Effect]:
        record = self.record
        assert record.new is not None, "one goes back from a release"
        why = record.doomed or Outcome.NOT_HEALTHY
        ended = replace(
            record, stage=Stage.IDLE, new=None, tries=0, boots=0, doomed=None, baseline=None
        ).ended(record.new.release, why)
        self.record = ended
        self._well_s = now_s
        return [Keep(ended), Point(ended.confirmed), StartAgent()]

    def _keep(self, **changes: object) -> Keep:
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]
        return Keep(self.record)
