"""A box whose power can go at each effect of an update, and within each: board, link, record, agent.

The board is written file by file, as over raw REPL, so a cut leaves some of each image. Whatever the agent
that starts finds is noted: that is what must always be one release.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from device.update.forms import Car, Health, McuResult, Record, Slot, Stage, read_record, write_record
from device.update.transaction import (
    AgentEnded,
    Boot,
    Clean,
    Fetched,
    Keep,
    Look,
    McuWritten,
    Point,
    StartAgent,
    StopAgent,
    Transaction,
    WriteMcu,
)

if TYPE_CHECKING:
    from device.update.transaction import Effect, Event

FILES = 3  # of an image; a cut may leave any number of them written
FREE = Car(is_ignition_on=False, is_moving=False, supply_mv=12_600, is_order_open=False, is_mcu_up=True)
IDS = frozenset({"can0:130", "can0:1A0"})
OLD, NEW = 1, 2


class PowerCutError(Exception):
    """The supply went."""


def image(release: int) -> str:
    return f"{release:064x}"


@dataclass
class UpdateWorld:
    """What survives a power cut, and how this box's new release behaves.

    Attributes:
        cut_at: step at which the power goes; None never.
        writes_fail: how many times the board cannot be written.
        is_new_dead: the new agent ends at once.
        is_new_sick: the new agent has no receipts.
        is_locked: the board holds a lock.
    """

    cut_at: int | None = None
    writes_fail: int = 0
    is_new_dead: bool = False
    is_new_sick: bool = False
    is_locked: bool = False
    is_same_image: bool = False
    car: Car = FREE
    disk: bytes = field(default_factory=lambda: write_record(Record(confirmed=OLD, measurement=image(OLD))))
    board: list[int] = field(default_factory=lambda: [OLD] * FILES)
    link: int = OLD
    kept: set[int] = field(default_factory=lambda: {OLD})
    started: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    steps: int = 0
    now_s: int = 0
    is_agent_on: bool = False

    @property
    def record(self) -> Record:
        return read_record(self.disk)

    def slot(self) -> Slot:
        return Slot(release=NEW, mcu=NEW, measurement=image(OLD if self.is_same_image else NEW), floor=NEW)

    def live(self, *, looks: int = 40, look_s: int = 60) -> None:
        """Let the keeper live until the power goes or so many looks are over; start again after a cut."""
        for _ in range(20):
            try:
                self._life(looks, look_s)
            except PowerCutError:
                self.cut_at, self.is_agent_on = None, False
            else:
                return
        raise AssertionError("it never came to rest")

    def _life(self, looks: int, look_s: int) -> None:
        keeper = Transaction(self.record)
        self._do(keeper, Boot())
        if self.record.stage is Stage.IDLE and not self.record.failed and self.record.confirmed == OLD:
            self.kept.add(NEW)
            self._do(keeper, Fetched(self.slot()))
        for _ in range(looks):
            self.now_s += look_s
            if self.is_agent_on and self.is_new_dead and self.link == NEW:
                self.is_agent_on = False
                self._do(keeper, AgentEnded())
            self._do(keeper, Look(self.car if self.is_agent_on else None, self.health()))

    def health(self) -> Health | None:
        if not self.is_agent_on or (self.is_new_dead and self.link == NEW):
            return None
        is_whole = len(set(self.board)) == 1
        said = image(OLD if self.is_same_image else self.board[0]) if is_whole else None
        is_sick = self.is_new_sick and self.link == NEW
        return Health(
            firmware=said, is_read_back=is_whole, has_fix=True, is_receipted=not is_sick, ids=IDS, awake_s=100
        )

    def _do(self, keeper: Transaction, event: Event) -> None:
        waiting = list(keeper.handle(event, self.now_s))
        while waiting:
            effect = waiting.pop(0)
            answer = self._carry_out(effect)
            if answer is not None:
                assert not waiting, "an image is the last thing of a list"
                waiting = list(keeper.handle(answer, self.now_s))

    def _step(self) -> None:
        self.steps += 1
        if self.cut_at is not None and self.steps == self.cut_at:
            raise PowerCutError

    def _carry_out(self, effect: Effect) -> McuWritten | None:
        self._step()
        match effect:
            case Keep(record=record):
                assert read_record(write_record(record)) == record
                self.disk = write_record(record)
            case Point(release=release):
                assert release in self.kept, "only what lies here whole is pointed to"
                self.link = release
            case WriteMcu(release=release):
                assert not self.is_agent_on, "nobody else holds the line"
                assert release in self.kept
                return McuWritten(self._write(release))
            case StartAgent():
                self.is_agent_on = True
                self.started.append((self.link, tuple(self.board)))
            case StopAgent():
                self.is_agent_on = False
            case Clean(keep=keep):
                self.kept = set(keep)
        self._step()
        return None

    def _write(self, release: int) -> McuResult:
        if self.is_locked:
            return McuResult.LOCKED
        for number in range(FILES):
            self._step()
            if self.writes_fail and number == 1:
                self.writes_fail -= 1
                return McuResult.FAILED
            self.board[number] = OLD if self.is_same_image else release
        return McuResult.DONE


def with_car(world: UpdateWorld, **changes: object) -> UpdateWorld:
    world.car = replace(world.car, **changes)  # type: ignore[arg-type]
    return world
