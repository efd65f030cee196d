"""A car being fitted, in virtual time: the brain on a fake board, the real engine, a fitter with a phone.

Rules: the fitter does what the box asks and nothing else; what is wrong with the car is a word in `wrong`.
Gate and office answer at once. `Site.fit` runs a step to its end, `Site.fit_all` the whole list.

Example:
    site = Site(wrong={"swapped"})
    site.begin()
    assert site.fit(Step.IGNITION_WIRE).code == "WIRES_SWAPPED"
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from device.car_questions import Heard, Question
from device.commissioning.desk import InstallConfig
from device.config import BatchLimits, EngineConfig, OrdersConfig, SpoolLimits
from device.effects import AskCar, HearBus, KeepProgress, LetCarGo
from device.events import BusHeard, CarAnswered, InstallTick, McuChanged, McuReceived, MessageArrived, Tick
from device.state import BootId, ChainId, ChainRecord, SpoolImage
from device.tbox import TBox
from protocol import cose_sign, orders_payload, strict_cbor
from protocol.batch import Origin, OriginKind
from protocol.ids import cose_key_bytes
from protocol.install_forms import InstallCommand, sign_command, sign_work_ticket
from protocol.install_record import record_part
from protocol.install_report import InstallReport, StepRow, open_report
from protocol.install_vocabulary import STEPS, Need, Stage, Step, StepState, Verb
from protocol.orders import OrderType, Role, SignKind, assemble, sign_order, sign_part
from protocol.topics import Down, Up
from protocol.vectors.installs import INSTALLER, POLICY_SIGNER, TICKET, VIN
from protocol.vectors.keys import published_lookup
from protocol.vectors.orders_good import ticket as bench_ticket
from protocol.vectors.orders_story import signer
from protocol.vectors.story import fixed_bytes
from simulators.install_bench_ecu import BenchEcu, CarFacts
from simulators.order_lives.agent import BACKEND_KEY, DEVICE, DEVICE_KEY, SECOND_US, Agent
from tests.builders.mcu import Box, FakeBoard

if TYPE_CHECKING:
    from device.effects import Effect
    from protocol.envelope import SoftwareSigner
    from protocol.install_forms import WorkTicket

STEP_MS = 250
KNOWN_IDS = frozenset({0x101, 0x102, 0x103, 0x104})
UNDER_WAY = (StepState.RUNNING, StepState.ASKING)


class FittingAgent(Agent):
    """The engine with an installation; what it kept survives `start`."""

    kept = b""

    def start(self) -> None:
        super().start()
        self.jobs: list[HearBus | AskCar] = []
        self.lets_go = 0
        chain = ChainRecord(
            chain=ChainId(bytes(16)),
            salt_secret=bytes(32),
            origin=Origin(kind=OriginKind.FIRST, last_head=None),
        )
        config = EngineConfig(
            device=DEVICE,
            boot=BootId(hashlib.sha256(str(self.mono_us).encode()).digest()[:16]),
            backend_keys=(cose_key_bytes(BACKEND_KEY.public_key),),
            batch=BatchLimits(age_us=60 * SECOND_US),
            spool=SpoolLimits(quota_bytes=16 * 1024 * 1024, memory_batches=4, retry_us=SECOND_US),
            orders=OrdersConfig(),
        )
        self.box = TBox(
            config,
            plans={},
            signer=DEVICE_KEY,
            image=SpoolImage(chain=chain, is_fresh=True),
            now=self.now,
            orders=self.image,
            install=InstallConfig(
                device=DEVICE,
                policy_keys=(cose_key_bytes(POLICY_SIGNER.public_key),),
                known_ids=KNOWN_IDS,
                profile="reference-car",
                facts=(("label", "TB-000042"),),
            ),
            installed=self.kept,
        )

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case HearBus() | AskCar():
                self.jobs.append(effect)
            case LetCarGo():
                self.lets_go += 1
                self.jobs.clear()
            case KeepProgress(data=data):
                self.kept = data
            case _:
                super()._carry_out(effect)


class WiredBoard(FakeBoard):
    """A board on a car's wires: what the key does, as the wiring lets it through."""

    def __init__(self, wrong: set[str]) -> None:
        super().__init__()
        self.wrong = wrong
        self.key = "off"

    def turn(self, key: str) -> None:
        """Turn the key: off, on or start."""
        self.key = key
        self.flow()

    def flow(self) -> None:
        """Let engine and wires follow key and coil."""
        is_on, is_start = self.key != "off", self.key == "start"
        is_cut = self.coil and not self.wrong & {"bridged", "coil", "ignition-line"}
        if not is_on or (self.coil and "ignition-line" in self.wrong):
            self.is_running = False
        elif is_start and not is_cut and "dead" not in self.wrong:
            self.is_running = True
        self.is_on, self.is_cranking = is_on, is_start
        if "swapped" in self.wrong:
            self.is_on, self.is_cranking = is_start, is_on
        if "accessory" in self.wrong:
            self.is_cranking = is_on and not is_start
        if "constant" in self.wrong:
            self.is_on = True
        if "no-crank" in self.wrong:
            self.is_cranking = False
        self.supply = 11_200 if "weak" in self.wrong else 14_200 if self.is_running else 12_600
        if "switched" in self.wrong and not is_on:
            self.supply = 400
        self.sensed_stuck = False if "coil" in self.wrong else None


class Site:
    """The car, the box, and whoever stands beside it.

    Attributes:
        wrong: what is wrong with the car.
        told: every report, verified.
    """

    def __init__(self, *, wrong: set[str] | None = None, installer: SoftwareSigner = INSTALLER) -> None:
        self.wrong = wrong or set()
        self.installer = installer
        self.box = Box()
        self.board = WiredBoard(self.wrong)
        self.board.slots, self.board.blobs, self.board.now_ms = provisioned()
        self.board.boot_ms = self.board.now_ms
        self.box.board = self.board
        self.box.start()
        self.box.run(4)
        self.box.tell_time()
        for name in ("delegation/gate", "delegation/installer"):
            self.box.give(name)
            self.box.run(8)
        self.ecu = BenchEcu(facts=CarFacts(vin=VIN, odometer_km=48_210.5, codes=("P0420",)))
        self.agent = FittingAgent()
        self.told: list[InstallReport] = []
        self.seq = 0
        self.heard = (
            Heard(bitrate=500_000, frames=80, errors=0, ids=KNOWN_IDS | {0x777}),
            Heard(bitrate=250_000, frames=0, errors=0),
        )
        self.connect()
        self.run(3)

    def connect(self) -> None:
        """Bring the line to the microcontroller up."""
        self.agent.utc_s = self.box.now_s
        self.agent.feed(McuChanged(is_up=True))

    # --- time ---

    def run(self, seconds: float) -> None:
        """Let time pass, a quarter of a second at a time."""
        for _ in range(max(1, int(seconds * 1_000 / STEP_MS))):
            self.board.now_ms += STEP_MS
            self.agent.mono_us += STEP_MS * 1_000
            self.agent.utc_s = self.box.now_s
            self.board.flow()
            for kind, body in self.agent.sent[:]:
                self.box.receive(kind, body)
            self.agent.sent.clear()
            mark = len(self.box.received)
            self.box.step()
            self.board.flow()
            for kind, body in self.box.received[mark:]:
                self.agent.feed(McuReceived(kind=kind, body=body))
            self.agent.feed(InstallTick())
            if self.board.now_ms % 1_000 == 0:
                self.agent.feed(Tick())
            self._collect()

    def restart(self) -> None:
        """End the agent's process and start it again on what it kept."""
        self.agent.start()
        self.connect()
        self.run(2)

    def _collect(self) -> None:
        for kind, payload in self.agent.published:
            if kind is Up.INSTALL:
                self.told.append(open_report(payload, published_lookup("device-1")))
        self.agent.published.clear()

    # --- what people do ---

    @property
    def report(self) -> InstallReport:
        """The newest report."""
        return self.told[-1]

    @property
    def desk(self) -> Any:
        """The box's desk."""
        return self.agent.box.installation

    def row(self, step: Step) -> StepRow:
        """Return a step as the newest report shows it."""
        return next(row for row in self.report.steps if row.step is step)

    def command(self, verb: Verb, argument: str | bytes | None = None, **changes: Any) -> bytes:
        """Return the next signed command; changes name fields of `InstallCommand`."""
        self.seq += 1
        command = InstallCommand(
            command_id=fixed_bytes(f"command {self.seq}"),
            ticket_id=TICKET.ticket_id,
            device=DEVICE,
            seq=self.seq,
            verb=verb,
            argument=argument,
            sent_s=self.box.now_s,
            installer_key=cose_key_bytes(self.installer.public_key),
        )
        return sign_command(replace(command, **changes), self.installer)

    def say(self, message: bytes) -> str | None:
        """Hand a command to the box; return why it was not taken, or None."""
        self.agent.feed(MessageArrived(kind=Down.INSTALL, payload=message))
        self._collect()
        refusal: str | None = self.desk.refusal
        return refusal

    def do(self, verb: Verb, argument: str | bytes | None = None, **changes: Any) -> str | None:
        """Sign a command and hand it to the box."""
        return self.say(self.command(verb, argument, **changes))

    def begin(self, ticket: WorkTicket = TICKET) -> str | None:
        """Begin the job."""
        message = sign_work_ticket(ticket, POLICY_SIGNER)
        return self.do(Verb.BEGIN, message, ticket_id=ticket.ticket_id)

    def fit(self, step: Step, *, seconds: int = 300) -> StepRow:
        """Run a step to its end, doing what is asked."""
        assert self.do(Verb.RUN, str(step)) is None, self.desk.refusal
        for _ in range(seconds):
            if self.row(step).state not in UNDER_WAY:
                break
            self.obey()
        return self.row(step)

    def fit_all(self) -> None:
        """Run every step in its order."""
        for step in STEPS:
            if step is Step.NETWORK or step is Step.FIX:
                assert self.do(Verb.SKIP, str(step)) is None
            else:
                row = self.fit(step)
                assert row.state is StepState.PASS or self.report.stage is Stage.FINISHED, row

    def obey(self) -> None:
        """Do what the newest report asks for, and let a second pass."""
        self._serve_car()
        match self.report.asks:
            case "KEY_OFF":
                self.board.turn("off")
            case "KEY_ON":
                self.board.turn("on")
            case "CRANK_ONCE" | "CRANK_FREE" | "CRANK_HELD":
                self.board.turn("start")
                self.run(2)
                self.board.turn("on")
            case "START_ENGINE" if not self.board.is_running:
                self.board.turn("start")
                self.run(1)
                self.board.turn("on")
            case "CONSENT":
                assert self.do(Verb.ANSWER, "CONSENT=yes") is None
            case _:
                self._serve_need()
        self.run(1)

    def _serve_car(self) -> None:
        while self.agent.jobs:
            job = self.agent.jobs.pop(0)
            if isinstance(job, HearBus):
                self.agent.feed(BusHeard(heard=self.heard))
            else:
                answers = tuple((asked, self._answer(asked)) for asked in job.questions)
                self.agent.feed(CarAnswered(answers=answers))
            self._collect()

    def _answer(self, question: Question) -> bytes | None:
        answer = self.ecu.answer(question.request)
        return None if answer is None or answer[0] == 0x7F else answer

    def _serve_need(self) -> None:
        need = self.report.need
        if need is None:
            return
        match need:
            case (Need.BENCH, (challenge,)):
                assert self.do(Verb.BENCH, self.bench(challenge)) is None
            case (Need.BIND, (_, payload)):
                assert self.do(Verb.BIND, self.bind(payload)) is None
            case (Need.RECORD, (payload,)):
                assert self.do(Verb.FINISH, record_part(payload, self.installer)) is None

    def bench(self, challenge: bytes, seconds: int = 30, *, permitted: bytes | None = None) -> bytes:
        """Return a BENCH order with the gate's ticket for this challenge."""
        fields = orders_payload.read_document("challenge", cose_sign.read_sign1(challenge)[2])
        order = self.box.common(OrderType.BENCH) | {
            12: self.box.now_s + 100,
            13: fields[4],
            14: fields[5] + 110,
            25: bench_ticket(key_4=permitted or fields[4], key_5=seconds, key_6=self.box.now_s),
        }
        return sign_order(
            {key: value for key, value in order.items() if key not in (4, 6, 7)}, signer("installer")
        )

    def bind(self, payload: bytes) -> bytes:
        """Return the BIND as gate and installer sign what the box wants signed."""
        assert strict_cbor.loads(payload)[3] == OrderType.BIND
        parts = [sign_part(SignKind.COMMAND, payload, signer(name)) for name in ("installer", "gate")]
        return assemble(payload, parts)


@cache
def _provisioned() -> tuple[tuple[bytes | None, ...], tuple[tuple[str, bytes], ...], int]:
    box = Box()
    box.provision()
    box.run(4)
    box.tell_time()
    box.give("authority/platform")
    box.run(60)
    board = box.board
    return tuple(board.slots), tuple(board.blobs.items()), board.now_ms


def provisioned() -> tuple[list[bytes | None], dict[str, bytes], int]:
    """Return the flash of a box that left the depot, its blobs, and the world's milliseconds then."""
    slots, blobs, now_ms = _provisioned()
    return list(slots), dict(blobs), now_ms


def roles_of(message: bytes) -> list[int]:
    """Return the roles that signed an order."""
    return [found.role for found in cose_sign.read_sign(message)[1]]


MCU_ROLE = int(Role.MCU)
