"""The agent's desk for orders: what comes from the backend and from the microcontroller, and where it goes.

Rules (README §1.8, §2.7, §2.9; C-01, C-05):
- The agent is a courier. It hands on every order that decodes and every document as it came; it answers
  nothing itself. What it thinks of an order is for display.
- Whoever restarts, an order is neither lost nor acted on twice: intent is journalled before a restricting
  order is handed on, an order is handed on until a disposition names it, and the microcontroller answers
  repeats with what it said before.
- UNLOCK, CANCEL and DECOMMISSION wait for no disk, no delegation of another order and no queue.
- A challenge and a go request travel on as they came. A go request is sent again while its token is out and
  could still be fresh; the token is handed on at once.
- A restricting order lets the microcontroller's first question for the time be answered, half a minute at
  most.
- The microcontroller's nonce goes into a time request of the agent; only a token with that nonce goes back.

It has no port and no clock (`device.tbox` drives it), and it locks nothing.

Example: see `tests/unit/test_orders_desk.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from device.effects import PublishMessage, Report, ReportLevel, SendMcu
from device.orders.answers import Answers
from device.orders.arrivals import Arrivals
from device.orders.inbox import Known, early_reasons, read_order
from device.orders.interlock import why_waiting
from device.orders.journal import JournalWriter
from device.orders.link import LinkKind, read_link_code, read_status, write_map
from device.orders.relay import GoRelay, TimeRelay
from device.orders.resend import Resend
from device.orders.supply import Supply
from device.orders.wake import plan
from protocol.authority_bundle import decode_challenge_question, unverified_fields
from protocol.errors import ProtocolError, Reject
from protocol.topics import Down, Up

if TYPE_CHECKING:
    from device.config import EngineConfig
    from device.effects import Effect
    from device.order_state import JournalChange, JournalImage
    from device.orders.arrivals import Waiting
    from device.orders.facts import FactsKeeper
    from device.orders.link import Status
    from protocol.clock import Instant
    from protocol.envelope import Signer
    from protocol.receipts import Receipt

SECOND_US = 1_000_000
WORDS_CHARS_MAX = 200  # a text in a batch's health has at most 256 bytes
FACTS_EVERY_US = 900_000  # once a second, with the tick
ACK_AGAIN_US = 30 * SECOND_US  # an acknowledgement may get lost, and nobody would ask for it
HELLO_EVERY_US = 10 * SECOND_US  # while no status comes
STATUS_AGE_US_MAX = 15 * SECOND_US  # a status is due each second; without one nobody knows the car's state

DOWN_KINDS = frozenset({Down.ORDER, Down.GO, Down.AUTHORITY, Down.CHALLENGE})
"""Kinds that are the desk's alone; receipts and time it shares."""


class OrdersDesk:
    """One life of the agent's side of orders.

    Args:
        config: whose box it is, and its limits.
        signer: holds the agent's key, for time requests.
        image: what the order journal held at start.
        facts: what bus and receiver say.
    """

    def __init__(
        self, config: EngineConfig, *, signer: Signer, image: JournalImage, facts: FactsKeeper
    ) -> None:
        self._config = config
        self.facts = facts
        self._journal = JournalWriter(retry_us=config.spool.retry_us)
        self._arrivals = Arrivals(image.arrivals)
        self._answers = Answers(config.uplink, image.answers)
        self._supply = Supply()
        self._go = GoRelay()
        self._resend = Resend()
        self._times = TimeRelay(config.device, signer)
        self._known = Known()
        self._order_head = image.order_head
        self._disposition_head = image.disposition_head
        self._told: dict[int, object] = {}
        self._facts_us: int | None = None
        self._hello_us: int | None = None
        self._status_us: int | None = None
        self._asked_hole_us: int | None = None
        self._acked_us: int | None = None
        self._now_us = 0
        self._is_mcu_up = False
        self._is_connected = False
        self.counts: Counter[str] = Counter()

    # --- what others read ---

    @property
    def heads(self) -> tuple[bytes | None, bytes | None]:
        """cmd_hash of the newest order seen, and hash of the newest disposition: for the next batch."""
        return self._order_head, self._disposition_head

    @property
    def is_drained(self) -> bool:
        """Everything that came is durable."""
        return self._journal.waiting == 0

    @property
    def status(self) -> Status | None:
        """The microcontroller's last word, None when it is too old to be true."""
        heard_us = self._status_us
        is_fresh = heard_us is not None and self._now_us - heard_us <= STATUS_AGE_US_MAX
        return self._known.status if is_fresh and self._is_mcu_up else None

    def metrics(self) -> dict[str, int]:
        """Return counters and levels by name."""
        status = self.status
        wake = plan(is_open=self._is_open, supply_ok=True)
        levels = {
            "mcu_up": int(self._is_mcu_up),
            "orders_waiting": len(self._arrivals),
            "dispositions_unreceipted": self._answers.unreceipted,
            "journal_waiting": self._journal.waiting,
            "wake_within_s": wake.answer_within_s or wake.wake_every_s or 0,
        }
        theirs = {} if status is None else {f"mcu_{name}": count for name, count in status.counters.items()}
        ways = (self._arrivals, self._answers, self._supply, self._go, self._times, self._resend)
        for part in (self._journal, *ways, self):
            levels |= part.counts
        return levels | theirs

    def words(self) -> dict[str, str]:
        """Return what a person reads: the lock's state, why it waits, what the early look at orders found."""
        status = self.status
        waiting = self._arrivals.ordered
        said = {
            "lock_state": "UNKNOWN" if status is None else status.state.name,
            "lock_mode": "UNKNOWN" if status is None else status.mode.name,
            "lock_order": "" if status is None or status.open_cmd_id is None else status.open_cmd_id.hex(),
            "lock_waits_for": " ".join(why_waiting(status, self._told, is_uplink_up=self._is_connected)),
            "lock_image": "" if status is None else "demo" if status.is_demo else "production",
            "orders_early_reasons": " ".join(reason for order in waiting for reason in order.reasons),
        }
        return {name: text[:WORDS_CHARS_MAX] for name, text in said.items()}

    # --- what the shell says ---

    def note_mcu(self, *, is_up: bool) -> list[Effect]:
        """The line came up or went down."""
        self._is_mcu_up = is_up
        self._status_us = self._hello_us = None
        self._arrivals.present_again()
        self._resend.forget()
        self._times.restart()
        return []

    def connect(self) -> None:
        """The uplink is up."""
        self._is_connected = True
        self._supply.connect()
        self._answers.lose_link()
        self._go.connect()
        self._times.forget()

    def lose_link(self) -> None:
        """The uplink is down."""
        self._is_connected = False
        self._answers.lose_link()

    def note_written(self, number: int) -> list[Effect]:
        """A change of the journal is durable: what waited for it goes on."""
        change, effects = self._journal.note_written(number)
        if change is not None:
            self._arrivals.note_kept(arrival.digest for arrival in change.add)
            self._answers.note_kept(answered.digest for answered in change.answer)
            effects += self._acknowledge(change)
        return effects

    def note_failed(self, number: int, detail: str, now: Instant) -> list[Effect]:
        """The disk refused a change."""
        return self._journal.note_failed(number, detail, now.mono_us)

    def _acknowledge(self, change: JournalChange) -> list[Effect]:
        epochs = {answered.epoch for answered in change.answer}
        status = self._known.status
        if status is None or status.epoch not in epochs:
            return []
        return self._acknowledge_upto(status.epoch)

    def _acknowledge_upto(self, epoch: bytes) -> list[Effect]:
        upto = self._answers.acknowledge(epoch)
        return [SendMcu(kind=LinkKind.DISPOSITION_ACK, body=write_map({1: upto}))] if upto else []

    # --- what the backend says ---

    def take(self, kind: Down, payload: bytes, now: Instant) -> list[Effect]:
        """Take a message of one of the desk's kinds.

        Raises:
            ProtocolError: it is not of its form; whoever asked asks again.
        """
        match kind:
            case Down.ORDER:
                return self._take_order(payload, now)
            case Down.GO:
                fields = unverified_fields("go", payload)
                self._go.take(fields[4])
                return self._hand_on(LinkKind.GO, payload)
            case Down.AUTHORITY:
                effects = self._supply.take(payload, self._known)
                if effects:
                    self._arrivals.present_again()
                return self._resend.remember(effects)
            case Down.CHALLENGE:
                question = decode_challenge_question(payload)
                status = self._known.status
                if status is not None and question.mcu_id != status.mcu_id:
                    raise ProtocolError(Reject.WRONG_DEVICE, "a question for another microcontroller")
                return self._hand_on(LinkKind.CHALLENGE_QUESTION, payload)
            case _:
                raise AssertionError(kind)

    def _hand_on(self, kind: LinkKind, body: bytes, *, is_urgent: bool = False) -> list[Effect]:
        return self._resend.remember([SendMcu(kind=kind, body=body, is_urgent=is_urgent)])

    def _take_order(self, payload: bytes, now: Instant) -> list[Effect]:
        incoming = read_order(payload)
        self._order_head = incoming.arrival.cmd_hash
        known = self._arrivals.find(incoming.arrival.digest)
        if known is not None:
            self.counts["orders_repeated"] += 1
            if not known.is_on_way:
                known.due_us = now.mono_us
            return []
        waiting, crowded = self._arrivals.add(incoming.arrival)
        waiting.reasons = early_reasons(incoming, self._known, now)
        self.counts["orders_taken"] += 1
        self.counts["orders_doubted"] += bool(waiting.reasons)
        return [
            self._journal.write(
                add=(incoming.arrival,), remove=crowded, order_head=incoming.arrival.cmd_hash
            ),
            Report(
                level=ReportLevel.INFO,
                phrase="order arrived",
                fields={
                    "cmd_id": incoming.arrival.cmd_id.hex(),
                    "type": incoming.arrival.order_type,
                    "reasons": ",".join(waiting.reasons) or None,
                },
            ),
        ]

    def take_receipt(self, receipt: Receipt) -> list[Effect]:
        """Take a verified receipt of stream DISPOSITION."""
        if receipt.device != self._config.device:
            self.counts["disposition_receipts_foreign"] += 1
            return []
        self.counts["disposition_receipts_taken"] += 1
        confirmed = self._answers.take_receipt(receipt)
        if not any(confirmed):
            return []
        return [
            self._journal.write(
                receipted=confirmed.receipted,
                reopened=confirmed.reopened,
                refused=confirmed.refused,
                forget=self._answers.forget(),
            )
        ]

    def take_time(self, payload: bytes) -> list[Effect] | None:
        """Hand on a time token that answers the microcontroller's nonce; None when it answers another."""
        if not self._times.answers(payload):
            return None
        return self._hand_on(LinkKind.TIME, payload)

    # --- what the microcontroller says ---

    def take_mcu(self, kind: int, body: bytes, now: Instant) -> list[Effect]:  # noqa: PLR0911 - one a kind
        """Take a message from the link.

        Raises:
            ProtocolError: it is not of its form.
        """
        match kind:
            case LinkKind.STATUS:
                return self._take_status(read_status(body), now)
            case LinkKind.DISPOSITION:
                return self._take_disposition(body)
            case LinkKind.CHALLENGE:
                fields = unverified_fields("challenge", body)
                self._known.challenge = (fields[4], fields[5])
                self.counts["challenges_relayed"] += 1
                return [PublishMessage(kind=Up.CHALLENGE, payload=body)]
            case LinkKind.GO_REQUEST:
                fields = unverified_fields("go-request", body)
                return (
                    self._go.ask(fields[4], body, now.mono_us)
                    if self._is_connected
                    else self._go.keep(fields[4], body, now.mono_us)
                )
            case LinkKind.LINK_CODE:
                return self._take_link_code(body, now)
            case LinkKind.EVENT:
                self.counts["mcu_events"] += 1
                return []
            case LinkKind.PART:
                self.counts["mcu_parts"] += 1  # an installation takes it
                return []
            case _:
                self.counts["mcu_messages_unknown"] += 1
                return []

    def _take_status(self, status: Status, now: Instant) -> list[Effect]:
        before, self._known.status = self._known.status, status
        is_first = self._status_us is None
        self._status_us = now.mono_us
        effects: list[Effect] = []
        if before is None or (before.state, before.wait, before.mode) != (
            status.state,
            status.wait,
            status.mode,
        ):
            fields: dict[str, int | float | str | None] = {
                "state": status.state.name,
                "mode": status.mode.name,
                "waits_for": status.wait,
            }
            effects.append(Report(level=ReportLevel.INFO, phrase="lock state", fields=fields))
        is_due = self._acked_us is None or now.mono_us - self._acked_us >= ACK_AGAIN_US
        if is_first or is_due or before is None or before.epoch != status.epoch:
            self._acked_us = now.mono_us
            effects += self._acknowledge_upto(status.epoch)
        effects += self._ask_hole(status, now)
        return effects + self._resend.remember(self._supply.supply(status.wants, now.mono_us))

    def _ask_hole(self, status: Status, now: Instant) -> list[Effect]:
        """Ask for dispositions that are missing: below what is here, or up to what the status names."""
        if status.last is None:
            return []
        rest_us = 2 * SECOND_US
        if self._asked_hole_us is not None and now.mono_us - self._asked_hole_us < rest_us:
            return []
        missing = self._answers.hole(status.epoch)
        upto = self._answers.acknowledge(status.epoch)
        if missing is None and upto < status.last[0] and not self._answers.has(status.epoch, upto + 1):
            missing = upto + 1
        if missing is None:
            return []
        self._asked_hole_us = now.mono_us
        return [SendMcu(kind=LinkKind.DISPOSITION_GET, body=write_map({1: missing}))]

    def _take_disposition(self, body: bytes) -> list[Effect]:
        heard = self._answers.take(body)
        cmd_hash = unverified_fields("disposition", body)[4]
        done = self._arrivals.settle(cmd_hash)
        effects = list(heard.effects)
        if heard.answered is not None:
            newest = self._answers.newest
            self._disposition_head = self._disposition_head if newest is None else newest.digest
            effects.append(
                self._journal.write(
                    answer=(heard.answered,), remove=done, disposition_head=self._disposition_head
                )
            )
        elif done:
            effects.append(self._journal.write(remove=done))
        if heard.answered is None:
            status = self._known.status
            effects += [] if status is None else self._acknowledge_upto(status.epoch)
        return effects

    def _take_link_code(self, body: bytes, now: Instant) -> list[Effect]:
        said = read_link_code(body)
        self.counts[f"link_code_{said.code.lower()}"] += 1
        if self._resend.note(said.code, said.digest, now_us=now.mono_us):
            return []
        done = self._arrivals.note_link_code(said.code, said.digest, now.mono_us)
        report = Report(
            level=ReportLevel.WARNING,
            phrase="message not answered by the microcontroller",
            fields={"code": said.code, "detail": said.detail},
        )
        return [report, *([self._journal.write(remove=done)] if done else [])]

    # --- moving on ---

    def advance(self, now: Instant) -> list[Effect]:
        """Do what is due: hand on orders, send dispositions, ask, tell facts."""
        self._now_us = now.mono_us
        effects = self._journal.again(now.mono_us)
        if self._is_mcu_up:
            holds = self._is_connected and self._times.is_waiting(now.mono_us)
            due = self._arrivals.next_to_present(now.mono_us, only_releasing=holds)
            effects += [self._present(waiting) for waiting in due]
            effects += self._resend.due(now.mono_us)
            effects += self._greet(now)
        if self._is_connected:
            effects += self._answers.next_to_send(now.mono_us)
            effects += self._supply.questions(self.status, now_us=now.mono_us)
            effects += self._go.again(now.mono_us)
            effects += self._times.ask(self.status, is_open=self._is_open, now_us=now.mono_us)
        return effects

    def tick(self, now: Instant) -> list[Effect]:
        """A second passed: tell the facts."""
        if not self._is_mcu_up or (
            self._facts_us is not None and now.mono_us - self._facts_us < FACTS_EVERY_US
        ):
            return []
        self._facts_us = now.mono_us
        self._told = self.facts.body(self._supply.zones, self._supply.calendar, now, now_us=now.mono_us)
        return self._hand_on(LinkKind.FACTS, write_map(self._told))

    def _greet(self, now: Instant) -> list[Effect]:
        """Say hello until a status comes, and again when it stays away."""
        heard_us = self._status_us
        is_heard = heard_us is not None and now.mono_us - heard_us <= STATUS_AGE_US_MAX
        is_asked = self._hello_us is not None and now.mono_us - self._hello_us < HELLO_EVERY_US
        if is_heard or is_asked:
            return []
        self._hello_us = now.mono_us
        return self._hand_on(LinkKind.HELLO, write_map({1: 1}))

    def _present(self, waiting: Waiting) -> Effect:
        self.counts["orders_handed_on"] += 1
        return SendMcu(kind=LinkKind.ORDER, body=waiting.arrival.message, is_urgent=waiting.is_releasing)

    @property
    def _is_open(self) -> bool:
        """Whether the box must answer within a minute: also while an order waits for its first answer."""
        status = self.status
        is_open = status is not None and status.is_open
        return is_open or len(self._arrivals) > 0
