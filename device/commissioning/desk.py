"""The box's desk for an installation: commands in, steps moved, reports out.

Rules:
- A command counts when its signature holds, it names this box and the open ticket, the key is the one the
  ticket names, the ticket's time is now, and its seq is above the last one. The same command again changes
  nothing. Whatever is refused is counted by its code and changes nothing.
- A clock that nobody vouches for decides nothing: then the time that the installer's phone wrote stands in.
  A ticket is permission to commission and never authority over a lock.
- A report follows each change and, while a job is open, every two seconds.
- Abort says ABORTED only when the coil is off; a job whose BIND was handed on can no longer be aborted.
- A ticket is void once its record was finished. No record says that a box was removed while it is bound.

It has no port and no clock (`device.tbox` drives it). Orders and documents go the agent's usual way to the
microcontroller (`device.orders.desk`): this desk never speaks for a signer.

Example: see `tests/unit/test_commissioning_desk.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from device.commissioning import answers
from device.commissioning.diagnosis import is_vin
from device.commissioning.papers import bind_payload, record_payload, with_part
from device.commissioning.progress import Progress
from device.commissioning.sight import Outcome, Sight
from device.commissioning.steps import Steps, Under
from device.effects import KeepProgress, LetCarGo, PublishMessage, Report, ReportLevel, SendMcu
from device.orders.link import LinkKind, Mode, code_name, read_map, read_part, write_map
from protocol import cose_sign
from protocol.authority_bundle import unverified_fields
from protocol.clock import ClockClass
from protocol.errors import ProtocolError, Reject
from protocol.ids import public_key_from_cose, thumbprint
from protocol.install_forms import open_command, open_work_ticket
from protocol.install_record import assemble_record, check_part, record_part
from protocol.install_report import InstallReport, sign_report
from protocol.install_vocabulary import Act, Need, Stage, Step, StepState, Verb
from protocol.install_words import CONSENT_VERSION
from protocol.limits import INSTALL_PHOTOS_MAX
from protocol.mcu_link import PART_BIND, PART_RECORD
from protocol.orders import Code, State
from protocol.topics import Down, Up

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.effects import Effect
    from device.events import BusHeard, CarAnswered
    from device.orders.link import Part, Status
    from protocol.clock import Instant
    from protocol.envelope import KeyLookup, Signer
    from protocol.ids import DeviceId
    from protocol.install_forms import InstallCommand, OpenedCommand, WorkTicket

SECOND_US = 1_000_000
REPORT_EVERY_US = 2 * SECOND_US
ASK_AGAIN_US = 5 * SECOND_US  # a challenge or a part that did not come
SHOW_S, SHOW_AGAIN_US = 30, 20 * SECOND_US
FINGER_S = 5
EARLY_S = 120  # clocks of an office and of a box differ by seconds
LED: Final = {"idle": 0, "work": 0b0101, "ask": 0b0001, "pass": 0b1111, "fail": 0b0011}
"""Word of a report to pattern of four quarters of a second, lowest bit first."""
ENGINE_STOPPED: Final = "BENCH_ENGINE_STOPPED"  # the microcontroller's word (SPEC §20.4)
SWAPS: Final = (Act.INSTALL, Act.SWAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallConfig:
    """What a box knows before an installation.

    Attributes:
        device: this box.
        policy_keys: COSE_Keys that sign work tickets, pinned at enrolment.
        known_ids: identifiers that the car's table has; bit 31 marks an extended one.
        profile: its name, None without one.
        facts: what else a report says of the box: label, ICCID, version.
    """

    device: DeviceId
    policy_keys: tuple[bytes, ...]
    known_ids: frozenset[int] = frozenset()
    profile: str | None = None
    facts: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """A command is not taken; `args[0]` is a key of `install_words.REFUSALS`."""


class InstallDesk:
    """One life of the box side of installations.

    Args:
        config: whose box it is.
        signer: D2, for reports and its part of the record.
        secret: of this box, for nonces.
        boot: of this start, so that no nonce comes twice.
        kept: progress as the last start left it.
        courier: hands an order or a bundle to the microcontroller's desk.
    """

    def __init__(
        self,
        config: InstallConfig,
        *,
        signer: Signer,
        secret: bytes,
        boot: bytes,
        kept: bytes,
        courier: Callable[[Down, bytes, Instant], list[Effect]],
    ) -> None:
        self._config = config
        self._signer = signer
        self._secret, self._boot, self._nonces = secret, boot, 0
        self._courier = courier
        keys = [public_key_from_cose(data) for data in config.policy_keys]
        self._policy: KeyLookup = {thumbprint(key): key for key in keys}.get
        self.progress = Progress.load(kept)
        self._steps = Steps(self.progress, known=config.known_ids, profile=config.profile)
        self._ticket: WorkTicket | None = None
        self._installer: KeyLookup = _nobody
        self._status: Status | None = None
        self._now: Instant | None = None
        self._is_connected = self._has_fix = False
        self._aborts = False
        self._nonce: bytes | None = None
        self._asked_us: int | None = None
        self._challenge: tuple[bytes, Any] | None = None
        self._bind: bytes | None = None
        self._part: Part | None = None
        self._told: InstallReport | None = None
        self._told_us = 0
        self._shown: tuple[str, int] | None = None
        self._kept = kept
        self._last_command = b""
        self.message = b""
        self.refusal: str | None = None
        self.counts: Counter[str] = Counter()
        if self.progress.is_damaged:
            self.counts["install_progress_damaged"] += 1
        if self.progress.ticket:
            self._open_kept()

    def _open_kept(self) -> None:
        """Take up the job that the last start left open; one under a key no longer pinned is over."""
        try:
            self._ticket = open_work_ticket(self.progress.ticket, self._policy)
        except ProtocolError:
            self.progress.stage, self.progress.ticket = Stage.IDLE, b""
            return
        self._steps.ticket_vin = self._ticket.vin
        self._installer = _lookup(self.progress.installer_key)

    # --- what others read ---

    @property
    def is_open(self) -> bool:
        """A job is under way: the shell ticks four times a second."""
        return self.progress.stage is Stage.OPEN

    @property
    def bitrate(self) -> int | None:
        """The proved bit rate."""
        return self.progress.bitrate

    # --- commands ---

    def take(self, payload: bytes, now: Instant) -> list[Effect]:
        """Take a command; `refusal` then says why it was not taken, or None."""
        self._now = now
        self.refusal = None
        digest = hashlib.sha256(payload).digest()
        if digest == self._last_command:
            self.counts["install_commands_repeated"] += 1
            return []
        try:
            opened = open_command(payload)
        except ProtocolError as error:
            return self._refuse("TAMPERED", error.code)
        try:
            effects = self._take(opened, now)
        except RefusedError as refused:
            return self._refuse(refused.args[0], opened.command.verb)
        except ProtocolError as error:
            return self._refuse("BAD_ARGUMENT", error.code)
        self._last_command = digest
        return effects + self._after(now)

    def _refuse(self, code: str, detail: str) -> list[Effect]:
        self.refusal = code
        self.counts[f"install_refused_{code.lower()}"] += 1
        fields: dict[str, int | float | str | None] = {"code": code, "detail": str(detail)}
        return [Report(level=ReportLevel.WARNING, phrase="install command refused", fields=fields)]

    def _take(self, opened: OpenedCommand, now: Instant) -> list[Effect]:
        command = opened.command
        if command.device != self._config.device:
            raise RefusedError("WRONG_BOX")
        last = self.progress.seqs.get(command.ticket_id, 0)
        if command.verb is Verb.BEGIN:
            ticket = self._check_ticket(opened, now)
        elif self._ticket is None:
            raise RefusedError("NO_JOB")
        elif command.ticket_id != self._ticket.ticket_id:
            raise RefusedError("TICKET_FOREIGN")
        else:
            ticket = self._ticket
        if opened.kid != ticket.installer:
            raise RefusedError("WRONG_INSTALLER")
        if command.seq <= last:
            raise RefusedError("STALE_SEQ")
        if command.verb not in (Verb.ABORT, Verb.FINGER):
            self._check_time(ticket, command, now)
        effects = self._obey(command, ticket, now)
        self.progress.note_seq(command.ticket_id, command.seq)
        self.counts["install_commands_taken"] += 1
        return effects

    def _check_ticket(self, opened: OpenedCommand, now: Instant) -> WorkTicket:
        argument = opened.command.argument
        if not isinstance(argument, bytes):
            raise RefusedError("BAD_ARGUMENT")
        ticket = open_work_ticket(argument, self._policy)
        if ticket.ticket_id != opened.command.ticket_id:
            raise RefusedError("TICKET_FOREIGN")
        if ticket.ticket_id in self.progress.used:
            raise RefusedError("TICKET_USED")
        label = dict(self._config.facts).get("label")
        if ticket.label is not None and label is not None and ticket.label != label:
            raise RefusedError("WRONG_BOX")
        self._check_time(ticket, opened.command, now)
        return ticket

    def _check_time(self, ticket: WorkTicket, command: InstallCommand, now: Instant) -> None:
        now_s = _seconds(now)
        at_s = command.sent_s if now_s is None else now_s
        if at_s + EARLY_S < ticket.nbf_s:
            raise RefusedError("TICKET_NOT_YET")
        if at_s >= ticket.exp_s:
            raise RefusedError("TICKET_EXPIRED")

    def _obey(self, command: InstallCommand, ticket: WorkTicket, now: Instant) -> list[Effect]:  # noqa: C901, PLR0911, PLR0912 - a line a verb
        if command.verb is Verb.BEGIN:
            return self._begin(command, ticket, now)
        if command.verb is Verb.FINGER:
            return [SendMcu(kind=LinkKind.INDICATE, body=write_map({1: 0b0101, 2: FINGER_S, 3: True}))]
        if not self.is_open:
            raise RefusedError("NO_JOB")
        argument = command.argument
        match command.verb:
            case Verb.RUN:
                return self._run(_step(argument), now)
            case Verb.ANSWER:
                return self._answer(argument, now)
            case Verb.REDO:
                return self._redo(_step(argument), now)
            case Verb.SKIP:
                if not self._steps.skip(_step(argument)):
                    raise RefusedError("NOT_SKIPPABLE")
            case Verb.PHOTO:
                self._photo(argument)
            case Verb.SUPPLY:
                return self._courier(Down.AUTHORITY, _bytes(argument), now)
            case Verb.BENCH:
                return self._hand_on(_bytes(argument), now, Need.BENCH)
            case Verb.BIND:
                return self._bind_order(_bytes(argument), now)
            case Verb.FINISH:
                return self._finish(argument, now)
            case Verb.ABORT:
                return self._abort()
            case _:
                raise AssertionError(command.verb)
        return []

    def _begin(self, command: InstallCommand, ticket: WorkTicket, now: Instant) -> list[Effect]:
        if self._ticket is not None and self.is_open and self._ticket.ticket_id != ticket.ticket_id:
            raise RefusedError("JOB_OPEN")
        if self.is_open:
            return []  # the same job: it goes on where it stands
        if self._status is None:
            raise RefusedError("NO_MCU")
        act = _act(ticket)
        if (act in SWAPS) != (self._status.mode is Mode.COMMISSIONING):
            raise RefusedError("ALREADY_BOUND" if act in SWAPS else "TICKET_ACT")
        argument = _bytes(command.argument)
        self.progress.new_job(argument, command.installer_key, _seconds(now))
        self._steps.under = None
        self._steps.ticket_vin = ticket.vin
        self._ticket, self._installer = ticket, _lookup(command.installer_key)
        self._aborts, self._challenge, self._bind = False, None, None
        self.progress.facts |= dict(self._config.facts)
        self._note_facts()
        self.counts["install_jobs_begun"] += 1
        return []

    def _run(self, step: Step, now: Instant) -> list[Effect]:
        under = self._steps.under
        if under is not None:
            if under.step is not step:
                raise RefusedError("STEP_BUSY")
            return []
        if self.progress.bind is not None and self.progress.bound is None and step is not Step.BIND:
            raise RefusedError("STEP_BUSY")
        if step is Step.RECORD:
            return self._begin_record(now)
        self._challenge = None
        effects = self._steps.begin(step, now.mono_us, is_connected=self._is_connected)
        if self._steps.under is not None:
            effects.append(SendMcu(kind=LinkKind.HELLO, body=write_map({1: 1})))
        return effects

    def _answer(self, argument: object, now: Instant) -> list[Effect]:
        name, _, value = _text(argument).partition("=")
        step, under = _step(name), self._steps.under
        if step in (Step.VIN_OBD, Step.VIN_UDS) and is_vin(value):
            self._vin_by_hand(step, value, now)
            return []
        if under is None or under.step is not step:
            raise RefusedError("NOT_ASKED")
        if step is Step.CONSENT:
            return self._consent(value, now)
        if value != "done":
            raise RefusedError("BAD_ARGUMENT")
        self._steps.hear_done(now.mono_us)
        return []

    def _vin_by_hand(self, step: Step, vin: str, now: Instant) -> None:
        """Take a VIN from a plate; only where the car itself told none."""
        if self._steps.under is not None and self._steps.under.step is not step:
            raise RefusedError("STEP_BUSY")
        if self.progress.steps[step].state is StepState.PASS:
            raise RefusedError("NOT_ASKED")
        if self._steps.under is None:
            self._steps.under = _by_hand(step, now.mono_us)
        outcome = answers.vin_by_hand(vin, self.progress.facts, ticket_vin=self._steps.ticket_vin)
        is_agreed = outcome.state is StepState.PASS
        self._steps.end(replace(outcome, state=StepState.SKIPPED) if is_agreed else outcome, now.mono_us)

    def _consent(self, value: str, now: Instant) -> list[Effect]:
        if value not in ("yes", "no"):
            raise RefusedError("BAD_ARGUMENT")
        if value == "no":
            return self._steps.end(
                Outcome.fail("CONSENT_REFUSED", expected="yes", measured="no"), now.mono_us
            )
        self.progress.consent = (CONSENT_VERSION, _seconds(now) or 0)
        return self._steps.end(Outcome.passed(expected="yes", measured="yes"), now.mono_us)

    def _redo(self, step: Step, now: Instant) -> list[Effect]:
        if self.progress.bind is not None and step not in (Step.NETWORK, Step.FIX, Step.RECORD):
            raise RefusedError("ALREADY_BOUND")
        under = self._steps.under
        if under is not None and under.step is not step:
            raise RefusedError("STEP_BUSY")
        self._steps.forget(step)
        if step in (Step.VIN_OBD, Step.VIN_UDS):
            for name in ("vin", "vin_source"):
                self.progress.facts.pop(name, None)
            for other in (Step.VIN_OBD, Step.VIN_UDS):
                self._steps.forget(other)
        if step is Step.CONSENT:
            self.progress.consent = None
        return self._run(step, now)

    def _photo(self, argument: object) -> None:
        digest = _bytes(argument)
        if len(digest) != hashlib.sha256().digest_size:
            raise RefusedError("BAD_ARGUMENT")
        if digest in self.progress.photos:
            return
        if len(self.progress.photos) >= INSTALL_PHOTOS_MAX:
            raise RefusedError("PHOTOS_FULL")
        self.progress.photos.append(digest)

    # --- orders ---

    def _hand_on(self, message: bytes, now: Instant, need: Need) -> list[Effect]:
        under = self._steps.under
        if under is None or under.need is None or under.need[0] is not need:
            raise RefusedError("NOT_ASKED")
        try:
            payload, _ = cose_sign.read_sign(message)
        except ValueError as error:
            raise ProtocolError(Reject.BAD_ENVELOPE, f"order: {error}") from error
        effects = self._courier(Down.ORDER, message, now)
        handed = self._steps.hand_on(payload)
        if need is Need.BIND:
            self.progress.bind = handed
        return effects

    def _bind_order(self, message: bytes, now: Instant) -> list[Effect]:
        part = self._part
        if self._bind is None or part is None:
            raise RefusedError("NOT_ASKED")
        return self._hand_on(with_part(message, self._bind, part), now, Need.BIND)

    # --- record ---

    def _begin_record(self, now: Instant) -> list[Effect]:
        status, ticket = self._status, self._ticket
        if status is None or ticket is None:
            raise RefusedError("NO_MCU")
        self._steps.begin(Step.RECORD, now.mono_us, is_connected=self._is_connected)
        self._note_facts()
        if _act(ticket) is Act.REMOVE and status.mode is Mode.ACTIVE:
            found = Outcome.fail("STILL_BOUND", expected="not active", measured=status.mode.name)
            return self._steps.end(found, now.mono_us)
        self.progress.attestation = b""
        kept = _being_signed(self.progress)
        self.progress.record = record_payload(
            kept,
            ticket,
            status,
            act=_act(ticket),
            device=self._config.device,
            box_kid=self._signer.kid,
            installer=ticket.installer,
            ended_s=_seconds(now),
        )
        self._asked_us = None
        return self._ask(now)

    def _finish(self, argument: object, now: Instant) -> list[Effect]:
        under, ticket = self._steps.under, self._ticket
        if argument is None:
            return self._run(Step.RECORD, now)
        is_asked = under is not None and under.need is not None and under.need[0] is Need.RECORD
        if not is_asked or ticket is None:
            raise RefusedError("NOT_ASKED")
        part, payload = _bytes(argument), self.progress.record
        try:
            kid = check_part(payload, part, self._installer)
        except ProtocolError as error:
            raise RefusedError("BAD_PART") from error
        if kid != ticket.installer:
            raise RefusedError("BAD_PART")
        self.progress.signed = assemble_record(payload, record_part(payload, self._signer), part)
        self._steps.end(
            Outcome.passed(expected="signed", measured="signed by box and installer"), now.mono_us
        )
        self.progress.stage = Stage.FINISHED
        self.progress.note_used(ticket.ticket_id)
        self.counts["install_jobs_finished"] += 1
        return [LetCarGo()]

    def _abort(self) -> list[Effect]:
        if self.progress.bind is not None:
            raise RefusedError("ALREADY_BOUND")
        self._aborts = True
        self._steps.give_up()
        return [LetCarGo()]

    # --- what the box sees ---

    def note_status(self, status: Status, now: Instant) -> list[Effect]:
        """Take a STATUS."""
        self._status = status
        if not self.is_open or status.inputs is None:
            return []
        inputs = status.inputs
        sight = Sight(
            t_us=now.mono_us,
            supply_mv=inputs.supply_mv,
            ignition=inputs.ignition,
            crank=inputs.crank,
            engine=inputs.engine,
            accel=inputs.accel,
            is_coil_on=status.is_coil_on,
            is_contact_open=status.is_relay_sensed,
            bench=status.benches[-1] if status.benches else None,
        )
        return self._steps.look(sight) + self._after(now)

    def note_line(self, *, is_up: bool) -> None:
        """The line to the microcontroller came up or went down."""
        if not is_up:
            self._status = None

    def note_uplink(self, *, is_connected: bool) -> None:
        """The broker is there, or not."""
        self._is_connected = is_connected

    def note_fix(self) -> None:
        """The receiver has a fix."""
        self._has_fix = True

    def take_mcu(self, kind: int, body: bytes, now: Instant) -> list[Effect]:
        """Take what the microcontroller says beside its STATUS.

        Raises:
            ProtocolError: it is not of its form.
        """
        if not self.is_open:
            return []
        match kind:
            case LinkKind.CHALLENGE:
                return self._take_challenge(body, now)
            case LinkKind.PART:
                return self._take_part(body, now)
            case LinkKind.DISPOSITION:
                return self._take_disposition(body, now)
            case LinkKind.EVENT if read_map(body, "event").get(1) == ENGINE_STOPPED:
                return self._steps.hear_engine_stopped(now.mono_us) + self._after(now)
            case _:
                return []

    def hear_bus(self, event: BusHeard, now: Instant) -> list[Effect]:
        """Take what each bit rate gave."""
        return self._steps.hear_bus(event, now.mono_us) + self._after(now)

    def hear_car(self, event: CarAnswered, now: Instant) -> list[Effect]:
        """Take what the car answered."""
        return self._steps.hear_car(event, now.mono_us) + self._after(now)

    def _take_challenge(self, body: bytes, now: Instant) -> list[Effect]:
        fields = unverified_fields("challenge", body)
        under, status, ticket = self._steps.under, self._status, self._ticket
        if under is None or not under.wants_challenge or fields[12] != self._nonce or self._nonce is None:
            return []
        under.wants_challenge, self._nonce = False, None
        self._challenge = (body, fields)
        if under.step is not Step.BIND:
            under.need = (Need.BENCH, (body,))
            return self._after(now)
        assert status is not None, "a challenge comes from a microcontroller that is there"
        assert ticket is not None, "a step needs a job"
        now_s = _seconds(now)
        self._bind = bind_payload(
            ticket,
            self.progress.facts["vin"],
            status,
            fields,
            cmd_id=self._random(16),
            now_s=ticket.nbf_s if now_s is None else now_s,
        )
        self._part, self._asked_us = None, None
        return self._after(now)

    def _take_part(self, body: bytes, now: Instant) -> list[Effect]:
        part, under = read_part(body), self._steps.under
        if under is None:
            return []
        if part.question == PART_BIND and self._bind is not None and self._challenge is not None:
            if part.digest == hashlib.sha256(self._bind).digest() and under.order is None:
                self._part = part
                under.need = (Need.BIND, (self._challenge[0], self._bind))
        elif part.question == PART_RECORD and under.step is Step.RECORD:
            if part.digest != hashlib.sha256(self.progress.record).digest():
                return []
            self.progress.attestation = part.message
            under.need, under.asks = (Need.RECORD, (self.progress.record,)), "SIGN"
        return self._after(now)

    def _take_disposition(self, body: bytes, now: Instant) -> list[Effect]:
        fields = unverified_fields("disposition", body)
        is_taken = fields[9] == State.DONE and fields[10] == Code.OK
        effects = self._steps.hear_disposition(
            fields[4], is_taken=is_taken, code=code_name(fields[10]), now_us=now.mono_us
        )
        if self.progress.bind == fields[4] and self.progress.bound is None:
            if is_taken:
                self.progress.bound = hashlib.sha256(body).digest()
                self._bound(now)
            else:
                self.progress.bind = None
        return effects + self._after(now)

    def _bound(self, now: Instant) -> None:
        """BIND was taken; also when the step that asked for it was interrupted meanwhile."""
        if self._steps.under is None or self._steps.under.step is not Step.BIND:
            self._steps.give_up()
            self._steps.under = _by_hand(Step.BIND, now.mono_us)
        assert self.progress.bound is not None, "the disposition was just noted"
        measured = f"disposition {self.progress.bound[:4].hex()}"
        self._steps.end(Outcome.passed(expected="taken", measured=measured), now.mono_us)

    # --- moving on ---

    def advance(self, now: Instant) -> list[Effect]:
        """Let time pass."""
        self._now = now
        if not self.is_open:
            return []
        steps = self._steps
        effects = steps.advance(now.mono_us, is_connected=self._is_connected, has_fix=self._has_fix)
        self._has_fix = False
        if steps.under is not None and steps.under.watch is not None:
            effects.append(SendMcu(kind=LinkKind.HELLO, body=write_map({1: 1})))
        return effects + self._ask(now) + self._after(now)

    def _ask(self, now: Instant) -> list[Effect]:
        """Ask the microcontroller for what the step under way lacks."""
        under, status = self._steps.under, self._status
        if under is None or status is None:
            return []
        if self._asked_us is not None and now.mono_us - self._asked_us < ASK_AGAIN_US:
            return []
        if under.wants_challenge:
            self._nonce = self._random(16)
            body = write_map({1: 1, 2: status.mcu_id, 3: self._nonce})
            effect = SendMcu(kind=LinkKind.CHALLENGE_QUESTION, body=body)
        elif under.step is Step.BIND and self._bind is not None and self._part is None:
            effect = _question(PART_BIND, self._bind)
        elif under.step is Step.RECORD and not self.progress.attestation:
            effect = _question(PART_RECORD, hashlib.sha256(self.progress.record).digest())
        else:
            return []
        self._asked_us = now.mono_us
        return [effect]

    def _after(self, now: Instant) -> list[Effect]:
        """Do what follows a change: finish an abort, ask, keep, report, show."""
        status = self._status
        if self._aborts and self.is_open and status is not None and not status.is_coil_on:
            self._aborts, self.progress.stage = False, Stage.ABORTED
            self.counts["install_jobs_aborted"] += 1
        effects = self._ask(now) if self._asked_us is None else []
        effects += self._tell(now)
        kept = self.progress.dump()
        if kept != self._kept:
            self._kept = kept
            effects.insert(0, KeepProgress(data=kept))
        return effects + self._show(now)

    def _tell(self, now: Instant) -> list[Effect]:
        report = self.report(now)
        told = self._told
        is_same = told is not None and replace(report, seq=told.seq, at_s=told.at_s) == told
        is_due = self.is_open and now.mono_us - self._told_us >= REPORT_EVERY_US
        if is_same and not is_due:
            return []
        self.progress.report_seq += 1
        report = replace(report, seq=self.progress.report_seq)
        self._told, self._told_us = report, now.mono_us
        self.message = sign_report(report, self._signer)
        self.counts["install_reports"] += 1
        return [PublishMessage(kind=Up.INSTALL, payload=self.message)]

    def report(self, now: Instant) -> InstallReport:
        """Return where the box stands."""
        under = self._steps.under
        need = None if under is None else under.need
        if self.progress.stage is Stage.FINISHED:
            need = (Need.TAKE, (self.progress.signed, self.progress.attestation))
        asks = "WAIT_COIL" if self._aborts else None if under is None else under.asks
        return InstallReport(
            device=self._config.device,
            ticket_id=None if self._ticket is None else self._ticket.ticket_id,
            seq=max(1, self.progress.report_seq),
            stage=self.progress.stage,
            steps=self._steps.rows if self._ticket is not None else (),
            asks=asks,
            led=self._led,
            at_s=_seconds(now),
            facts=dict(self.progress.facts),
            need=need,
        )

    @property
    def _led(self) -> str:
        under, rows = self._steps.under, self._steps.rows
        if self.progress.stage is Stage.FINISHED:
            return "pass"
        if not self.is_open:
            return "idle"
        if under is not None:
            is_asking = self.progress.steps[under.step].state is StepState.ASKING or under.need is not None
            return "ask" if is_asking else "work"
        return "fail" if any(row.state is StepState.FAIL for row in rows) else "pass"

    def _show(self, now: Instant) -> list[Effect]:
        """Let the lamp say what the report says."""
        word, shown = self._led, self._shown
        is_new = shown is None or shown[0] != word
        is_due = word != "idle" and shown is not None and now.mono_us - shown[1] >= SHOW_AGAIN_US
        if (
            self._status is None
            or not (is_new or (self.is_open and is_due))
            or (word == "idle" and shown is None)
        ):
            return []
        self._shown = (word, now.mono_us)
        return [SendMcu(kind=LinkKind.INDICATE, body=write_map({1: LED[word], 2: SHOW_S}))]

    def _note_facts(self) -> None:
        status = self._status
        if status is not None:
            self.progress.facts |= {
                "mcu_id": status.mcu_id.hex(),
                "firmware": status.firmware.hex(),
                "image": "demo" if status.is_demo else "production",
                "mode": status.mode.name,
            }

    def _random(self, size: int) -> bytes:
        self._nonces += 1
        said = b"install" + self._boot + self._nonces.to_bytes(8, "big")
        return hmac.new(self._secret, said, hashlib.sha256).digest()[:size]


def _being_signed(progress: Progress) -> Progress:
    """Return the progress as a record shows it: the record itself is being signed, and says so."""
    steps = dict(progress.steps)
    steps[Step.RECORD] = replace(steps[Step.RECORD], state=StepState.RUNNING)
    kept = replace(progress)
    kept.steps = steps
    return kept


def _by_hand(step: Step, now_us: int) -> Under:
    return Under(step=step, began_us=now_us, until_us=now_us)


def _question(kind: int, payload: bytes) -> SendMcu:
    return SendMcu(kind=LinkKind.PART_QUESTION, body=write_map({1: 1, 2: kind, 3: payload}))


def _nobody(_kid: bytes) -> None:
    """Know no key: before a job there is no installer."""


def _lookup(cose_key: bytes) -> KeyLookup:
    key = public_key_from_cose(cose_key)
    return {thumbprint(key): key}.get


def _act(ticket: WorkTicket) -> Act:
    for act in (Act.INSTALL, Act.SWAP, Act.REMOVE):
        if act in ticket.acts:
            return act
    raise RefusedError("TICKET_ACT")


def _seconds(now: Instant) -> int | None:
    is_known = now.utc_us is not None and now.clock is not ClockClass.NONE
    return now.utc_us // SECOND_US if is_known and now.utc_us is not None else None


def _step(value: object) -> Step:
    try:
        return Step(_text(value))
    except ValueError as error:
        raise RefusedError("BAD_ARGUMENT") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise RefusedError("BAD_ARGUMENT")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise RefusedError("BAD_ARGUMENT")
    return value
