"""The bridge's loop: gather a group, commit it, acknowledge, answer; project in between.

Rules:
- A group is closed at 100 messages or 50 ms after its first. PUBACK goes out after the commit, receipts too.
- The database away: the group is kept and tried again, nothing is acknowledged, the line fills and the
  broker waits.
- A message that breaks the program is our mistake. Its group is taken in one by one, and the one that
  breaks again is acknowledged without a receipt and counted: one box must not stop all others. This module is
  the process's one place that catches everything.
- Derived tables come second: they are brought up to date when no message waits, and at least once a second.
  Neither they nor the search for holes nor making partitions, however they break, end what takes batches in.

Example:
    pump = Pump(database=database, signer=signer, link=link, clock=utc_us)
    pump.run()      # until pump.stop() is called from a signal handler or another thread
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import OperationalError

from backend.usecases.dispatch_orders import dispatch_orders
from backend.usecases.find_holes import find_holes
from backend.usecases.ingest import Inbound, Taken, ingest
from backend.usecases.keep_partitions import keep_partitions
from backend.usecases.project import project
from backend.usecases.set_aside_batch import set_aside_next
from protocol.limits import GROUP_COMMIT_MESSAGES_MAX, GROUP_COMMIT_WAIT_MS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backend.bridge.link import BrokerLink, Received
    from backend.store.database import Database
    from protocol.envelope import Signer

LOG = logging.getLogger(__name__)

IDLE_WAIT_S: Final = 0.2  # how soon the loop notices that it is to stop
PROJECT_EVERY_S: Final = 1.0  # derived tables are at most this much behind under steady load, and a group
DISPATCH_EVERY_S: Final = 0.5  # orders wait no longer for their way down; a release goes first
HOLES_EVERY_S: Final = 60.0  # a hole counts after minutes, so a minute more is nothing
HEALTH_EVERY_S: Final = 60.0
PARTITIONS_EVERY_S: Final = 3_600.0  # months are made a quarter ahead
CHORE_RETRY_S: Final = 60.0  # the same mistake waits there again; its trace need not fill the log
RETRY_FIRST_S: Final = 0.1
RETRY_LONGEST_S: Final = 5.0

FAILED: Final = "FAILED"


@dataclass(slots=True, kw_only=True)
class Health:
    """Counters since the start, logged when they changed."""

    received: int = 0
    groups: int = 0
    answered: int = 0
    unanswered: int = 0
    projected: int = 0
    retries: int = 0
    chores_failed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """Return all counters as one line of `name=value`."""
        fixed = {
            "received": self.received,
            "groups": self.groups,
            "answered": self.answered,
            "unanswered": self.unanswered,
            "projected": self.projected,
            "retries": self.retries,
            "chores_failed": self.chores_failed,
        }
        return " ".join(f"{name}={count}" for name, count in {**fixed, **self._sorted()}.items())

    def _sorted(self) -> Mapping[str, int]:
        return dict(sorted(self.outcomes.items()))


class Pump:
    """The loop over one line and one database.

    Args:
        database: Where to.
        signer: The receipt key.
        link: The line, not started.
        clock: UTC in µs.
        is_projecting: False leaves the derived tables to another process.
    """

    def __init__(
        self,
        *,
        database: Database,
        signer: Signer,
        link: BrokerLink,
        clock: Callable[[], int],
        is_projecting: bool = True,
    ) -> None:
        self.health = Health()
        self._database = database
        self._signer = signer
        self._link = link
        self._clock = clock
        self._is_projecting = is_projecting
        self._stopping = threading.Event()
        self._is_database_down = False
        self._is_projection_stuck = False
        self._next_dispatch_s = 0.0
        self._next_projection_s = self._next_holes_s = self._next_health_s = self._next_partitions_s = 0.0
        self._said = ""

    def stop(self) -> None:
        """Ask the loop to end after the group it is at; from any thread or signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Take messages in until `stop`."""
        self._link.start()
        try:
            while not self._stopping.is_set():
                assert not self._link.is_broken, "the line's thread ended by itself"
                group = self._gather()
                if group:
                    self._take(group)
                self._catch_up(is_idle=not group)
        finally:
            self._link.stop()
            self._say_health()

    def _gather(self) -> list[Received]:
        """Wait for a first message, then briefly for others."""
        first = self._link.receive(timeout_s=IDLE_WAIT_S)
        if first is None:
            return []
        group = [first]
        until_s = time.monotonic() + GROUP_COMMIT_WAIT_MS_MAX / 1_000
        while len(group) < GROUP_COMMIT_MESSAGES_MAX:
            more = self._link.receive(timeout_s=until_s - time.monotonic())
            if more is None:
                break
            group.append(more)
        return group

    def _take(self, group: list[Received]) -> None:
        """Commit a group, whole if possible, then acknowledge and answer."""
        self.health.received += len(group)
        try:
            taken = self._ingest(group)
        except Exception:
            LOG.exception("group failed, taking its %d messages one by one", len(group))
            for message in group:
                self._take_alone(message)
            return
        if taken is not None:
            self._finish(group, taken)

    def _take_alone(self, message: Received) -> None:
        try:
            taken = self._ingest([message])
        except Exception:
            LOG.exception("message failed topic=%r bytes=%d", message.topic, len(message.payload))
            self.health.outcomes[FAILED] += 1
            self._link.ack(message)
            return
        if taken is not None:
            self._finish([message], taken)

    def _ingest(self, group: list[Received]) -> Taken | None:
        """Commit, trying again while the database does not answer; None when asked to stop meanwhile."""
        messages = [Inbound(topic=message.topic, payload=message.payload) for message in group]
        wait_s = RETRY_FIRST_S
        while True:
            try:
                taken = ingest(self._database, messages, signer=self._signer, now_us=self._clock())
            except OperationalError as down:
                self._database_is(down=True, cause=down)
                self.health.retries += 1
                if self._stopping.wait(wait_s):
                    return None
                wait_s = min(2 * wait_s, RETRY_LONGEST_S)
            else:
                self._database_is(down=False)
                return taken

    def _finish(self, group: list[Received], taken: Taken) -> None:
        """Acknowledge what is committed, and publish the answers."""
        self.health.groups += 1
        self.health.outcomes.update(taken.outcomes)
        for message in group:
            self._link.ack(message)
        for answer in taken.answers:
            if self._link.publish(answer.topic, answer.payload):
                self.health.answered += 1
            else:
                self.health.unanswered += 1  # the box sends again, and is answered then

    def _catch_up(self, *, is_idle: bool) -> None:
        """Do what is due beside the messages."""
        now_s = time.monotonic()
        if now_s >= self._next_dispatch_s:
            self._next_dispatch_s = now_s + DISPATCH_EVERY_S
            self._chore(self._dispatch)
        is_early = is_idle and not self._is_projection_stuck
        if self._is_projecting and (is_early or now_s >= self._next_projection_s):
            is_done = self._chore(self._project)
            self._next_projection_s = time.monotonic() + (PROJECT_EVERY_S if is_done else CHORE_RETRY_S)
            self._is_projection_stuck = not is_done
        if now_s >= self._next_holes_s:
            self._next_holes_s = now_s + HOLES_EVERY_S
            self._chore(lambda: find_holes(self._database, now_us=self._clock()))
        if now_s >= self._next_partitions_s:
            self._next_partitions_s = now_s + PARTITIONS_EVERY_S
            self._chore(self._keep_partitions)
        if now_s >= self._next_health_s:
            self._next_health_s = now_s + HEALTH_EVERY_S
            self._say_health()

    def _chore(self, work: Callable[[], object]) -> bool:
        """Do work beside the messages; whatever breaks it, messages are taken in. False when it broke."""
        try:
            work()
        except OperationalError as down:
            self._database_is(down=True, cause=down)
        except Exception:
            LOG.exception("work beside the messages failed")
            self.health.chores_failed += 1
            return False
        return True

    def _dispatch(self) -> None:
        """Publish what is due to boxes: orders, go tokens, documents, questions."""
        sent = dispatch_orders(self._database, self._link.publish, now_us=self._clock())
        self.health.outcomes.update(sent)

    def _project(self) -> None:
        """Bring derived tables up to date until a message waits."""
        while not self._stopping.is_set():
            try:
                count = project(self._database, now_us=self._clock())
            except OperationalError as down:
                self._database_is(down=True, cause=down)
                return
            except Exception:
                LOG.exception("projection failed, taking batches one by one")
                count = self._project_alone()
            self.health.projected += count
            if count == 0 or self._link.waiting or time.monotonic() >= self._next_dispatch_s:
                return  # a backlog of tables never keeps a release waiting

    def _project_alone(self) -> int:
        """Project one batch; one that breaks the program is set aside with an event, so that others go on."""
        try:
            return project(self._database, now_us=self._clock(), limit=1)
        except OperationalError as down:
            self._database_is(down=True, cause=down)
            return 0
        except Exception:
            LOG.exception("a batch cannot be projected and is set aside")
            return set_aside_next(self._database, now_us=self._clock())

    def _keep_partitions(self) -> None:
        """Make months ahead; where that fails, rows go to the default partition until the next hour."""
        try:
            made = keep_partitions(self._database, now_us=self._clock())
        except OperationalError as failed:
            LOG.warning("partitions not made, trying again in an hour cause=%s", failed.orig)
            return
        if made:
            LOG.info("partitions made names=%s", ",".join(made))

    def _database_is(self, *, down: bool, cause: OperationalError | None = None) -> None:
        """Log the change, not the condition."""
        if down and not self._is_database_down:
            LOG.warning("database lost cause=%s", cause.orig if cause is not None else "")
        elif not down and self._is_database_down:
            LOG.info("database answers again")
        self._is_database_down = down

    def _say_health(self) -> None:
        contended = sum(self._database.contended.values())
        line = f"{self.health.line()} contended={contended}"
        if line != self._said:
            self._said = line
            LOG.info("bridge health %s waiting=%d", line, self._link.waiting)
