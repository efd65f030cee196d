"""The microcontroller under test, as a good agent speaks with it, and what it said so far.

Rules: every disposition is verified by D1, its place in the chain noted, and acknowledged; a signed time
that is wanted is given; facts of a parked car are said each second while `facts` is set. A message that
gets BUSY, or whose delegation the device lacks, is presented again. All keys are the published test keys
(SPEC §14): the unit under test holds the published D1 `mcu-1` and must never go into a car.

It judges nothing.

Example:
    subject = Subject(line)
    subject.commission()
    subject.present(order).code
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from protocol import cose_sign, mcu_link, strict_cbor
from protocol.dispositions import Disposition, open_disposition
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes
from protocol.orders import Code, State
from protocol.signed_time import TimeToken, sign_time_token
from protocol.vectors.keys import published_lookup, published_signer
from protocol.vectors.orders_story import (
    ANCHORS,
    LENDER,
    MCU,
    NOW_S,
    OTHER_LENDER,
    PLATFORM,
    documents,
)
from protocol.vectors.story import fixed_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_tools.conform.line import Line

(HELLO, ORDER, GO, AUTHORITY, QUESTION, FACTS, TIME, ACK, GET, PROVISION, OVERRIDE_CODE) = range(1, 12)
(STATUS, DISPOSITION, CHALLENGE, GO_REQUEST, LINK_CODE, EVENT) = range(0x81, 0x87)
PART_QUESTION: Final = mcu_link.PART_QUESTION

ANSWER_S: Final = 60  # of the device: a small board needs half a minute for an order of strangers
SILENCE_S: Final = 4  # of the device: what has no answer then has none
DEAD_S: Final = 60.0  # real: a device that says no STATUS for so long is dead
BUSY_TRIES: Final = 15
SUPPLIES: Final = 3  # of the delegations of one message: the device may be busy
BUSY_S: Final = 8  # of the device, between two tries

PARKED: Final = {1: [0, 0], 2: [0, 0, 0], 3: [0, 10, 3], 4: [200, 10], 5: 600, 6: True} | dict.fromkeys(
    range(7, 12), False
)
_BY_DIGEST: Final = {sha256(data).digest(): data for data in documents().values()}


class DeadError(Exception):
    """The microcontroller does not speak, or is not fit for the test; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a message got.

    Attributes:
        outcome: DISPOSITION, LINK or SILENCE.
        code: name of the disposition's code, the link code's word, or nothing.
        state: of the disposition.
        message: the disposition as it came.
    """

    outcome: str
    code: str = ""
    state: State | None = None
    message: bytes = b""

    def __str__(self) -> str:
        """Return it as a table shows it."""
        state = "" if self.state is None else f" {self.state.name}"
        return f"{self.outcome.lower()}{state} {self.code}".strip()


@dataclass(slots=True)
class Heard:
    """What came so far."""

    dispositions: list[tuple[bytes, Disposition]] = field(default_factory=list)
    link_codes: list[dict[int, Any]] = field(default_factory=list)
    challenges: list[bytes] = field(default_factory=list)
    go_requests: list[bytes] = field(default_factory=list)
    parts: list[dict[int, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Subject:
    """See the module; `line` is where it is reached."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.decoder = mcu_link.Decoder()
        self.heard = Heard()
        self.status: dict[int, Any] = {}
        self.facts: dict[int, object] | None = dict(PARKED)
        self.gives_time = True
        self.kept: list[tuple[int, bytes]] = []  # kinds and messages that locked the car whose image is kept
        self._ids = itertools.count(1)
        self._keys = published_lookup("mcu-1")
        self._supplied: Counter[bytes] = Counter()
        self._first_tick: int | None = None
        self._spoke_s = time.monotonic()

    # --- The line -------------------------------------------------------------------------------------------

    def send(self, kind: int, body: bytes) -> None:
        """Send a message."""
        self.line.write(mcu_link.encode_frame(kind, body))

    def listen(self) -> None:
        """Take what came.

        Raises:
            DeadError: nothing came for a minute.
        """
        data = self.line.read()
        for kind, body in self.decoder.feed(data):
            self._take(kind, body)
        if time.monotonic() - self._spoke_s > DEAD_S:
            raise DeadError("it says no STATUS: is it powered, and is this its line?")

    def wait(self, seconds: float, until: Callable[[], object] = lambda: False) -> bool:
        """Listen for so many seconds of the device, or until something is so; return whether it is."""
        end: float | None = None
        while not until():
            self.listen()
            if 7 in self.status:  # noqa: PLR2004 - the tick of STATUS
                tick = self.status[7]
                end = tick + seconds if end is None else end
                if tick > end:
                    return bool(until())
        return True

    @property
    def now_s(self) -> int:
        """UTC that the test gives the device."""
        tick: int = self.status[7]
        return NOW_S + tick - (self._first_tick or 0)

    @property
    def state(self) -> State:
        """What STATUS says of the last LOCK or WARN."""
        return State(self.status[5])

    def fresh_id(self) -> bytes:
        """Return a cmd_id that was never used."""
        return fixed_bytes(f"conform {self._first_tick} {next(self._ids)}")

    # --- Talking --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Meet the device.

        Raises:
            DeadError: it does not speak, or has a key of its own.
        """
        self.send(HELLO, strict_cbor.dumps({}))
        self.wait(1)
        self._first_tick = self.status[7]
        if self.status[2] != MCU.kid:
            raise DeadError(
                f"its D1 is {self.status[2].hex()[:16]}…, not the published test key mcu-1: load that key "
                "into the unit under test (SPEC §14), and never put that unit into a car"
            )

    def present(self, message: bytes, kind: int = ORDER) -> Answer:
        """Present an order as a good agent does, until it has an answer."""
        for _ in range(BUSY_TRIES):
            answer = self.once(message, kind)
            if answer.code == "BUSY":
                self.wait(BUSY_S)
            elif answer.code != "DELEGATION_MISSING" or not self._supply(message):
                return answer
        return answer

    def once(self, message: bytes, kind: int = ORDER, seconds: float = ANSWER_S) -> Answer:
        """Present a message once; return what it gets."""
        known, codes = len(self.heard.dispositions), len(self.heard.link_codes)
        named = _name(message)
        self.send(kind, message)

        def answer() -> Answer | None:
            for said in self.heard.link_codes[codes:]:
                if said.get(2) == sha256(message).digest():
                    return Answer(outcome="LINK", code=str(said.get(1)))
            for data, found in self.heard.dispositions[known:]:
                if found.cmd_id == named:
                    return Answer(
                        outcome="DISPOSITION", code=found.code.name, state=found.state, message=data
                    )
            return None

        self.wait(seconds, answer)
        return answer() or Answer(outcome="SILENCE")

    def _supply(self, message: bytes) -> bool:
        """Give the delegations a message names; return whether there was one to give."""
        try:
            names = [signer.delegation for signer in cose_sign.read_sign(message)[1]]
        except ValueError:
            return False
        given = [_BY_DIGEST[name] for name in names if name in _BY_DIGEST]
        missing = [name for name in names if name is not None and name not in _BY_DIGEST]
        if missing or not given or self._supplied[message] >= SUPPLIES:
            return False
        self._supplied[message] += 1
        for data in given:
            self.authority(1, data)
        return True

    def authority(self, kind: int, document: bytes) -> None:
        """Give a document and let it be read."""
        self.send(AUTHORITY, strict_cbor.dumps([kind, document]))
        self.wait(BUSY_S * 2)

    def challenge(self) -> tuple[bytes, int]:
        """Return the open challenge and the tick it is counted from."""
        count = len(self.heard.challenges)
        self.send(QUESTION, strict_cbor.dumps({1: 1, 2: self.status[2], 3: self.fresh_id()}))
        if not self.wait(ANSWER_S, lambda: len(self.heard.challenges) > count):
            raise DeadError("it answers no challenge")
        fields = strict_cbor.loads(cose_sign.read_sign1(self.heard.challenges[-1])[2])
        return fields[4], fields[5]

    def provision(self) -> None:
        """Give an empty device its roots, with both lenders of the story, and the platform's snapshot."""
        if self.status[3] != bytes(16):
            raise DeadError("it has been provisioned before: erase the unit under test")

        def root(issuer: str) -> list[object]:
            names, threshold = ANCHORS[issuer]
            return [[cose_key_bytes(published_signer(name).public_key) for name in names], threshold]

        fields = {
            1: 1,
            2: fixed_bytes("device id", 32),
            3: root(PLATFORM),
            4: [cose_key_bytes(published_signer("receipt-1").public_key)],
            5: fixed_bytes("K_ovr", 32),
            6: fixed_bytes("salt"),
            7: {1: "turn-key"},
            8: [[issuer, *root(issuer)] for issuer in sorted((LENDER, OTHER_LENDER))],
        }
        self.send(PROVISION, strict_cbor.dumps(fields))
        if not self.wait(ANSWER_S, lambda: self.status[3] != bytes(16)):
            raise DeadError("it takes no PROVISION")
        self.wait(3)
        self.authority(2, documents()["authority/platform"])

    def meet_lenders(self) -> None:
        """Give the snapshots of both lenders."""
        for name in ("lender", "other-lender"):
            self.authority(2, documents()[f"authority/{name}"])

    # --- Hearing --------------------------------------------------------------------------------------------

    def _take(self, kind: int, body: bytes) -> None:
        match kind:
            case 0x81:
                self._spoke_s = time.monotonic()
                self.status = strict_cbor.loads(body)
                self._each_second()
            case 0x82:
                self._disposition(body)
            case 0x83:
                self.heard.challenges.append(body)
            case 0x84:
                self.heard.go_requests.append(body)
            case mcu_link.PART:
                self.heard.parts.append(strict_cbor.loads(body))
            case 0x85:
                self.heard.link_codes.append(strict_cbor.loads(body))

    def _each_second(self) -> None:
        nonce = self.status[11]
        if nonce is not None and self.gives_time and self._first_tick is not None:
            token = TimeToken(nonce=nonce, utc_us=self.now_s * 1_000_000)
            self.send(TIME, sign_time_token(token, published_signer("receipt-1")))
        if self.facts is not None:
            self.send(FACTS, strict_cbor.dumps(self.facts))

    def _disposition(self, body: bytes) -> None:
        try:
            found = open_disposition(body, self._keys)
        except ProtocolError as refused:
            self.heard.faults.append(f"a disposition that does not verify: {refused}")
            return
        known = {entry.sequence: data for data, entry in self.heard.dispositions}
        if known.get(found.sequence, body) != body:
            self.heard.faults.append(f"two dispositions numbered {found.sequence}")
        self.heard.dispositions.append((body, found))
        self.send(ACK, strict_cbor.dumps({1: found.sequence}))

    def chain_faults(self) -> list[str]:
        """Return what is wrong with the chain of dispositions so far."""
        chain = list({found.sequence: found for _, found in self.heard.dispositions}.values())
        chain.sort(key=lambda found: found.sequence)
        return self.heard.faults + [
            f"{later.sequence} does not follow {earlier.sequence}"
            for earlier, later in itertools.pairwise(chain)
            if (later.sequence, later.previous) != (earlier.sequence + 1, earlier.digest)
        ]

    def last(self) -> tuple[State, Code] | None:
        """Return state and code of the newest disposition."""
        if not self.heard.dispositions:
            return None
        found = max((found for _, found in self.heard.dispositions), key=lambda found: found.sequence)
        return found.state, found.code


def _name(message: bytes) -> bytes | None:
    """Return the cmd_id an order claims; None of what is no order."""
    try:
        order = strict_cbor.loads(cose_sign.read_sign(message)[0])
        found: bytes = order[2]
    except (ValueError, TypeError, KeyError):
        return None
    return found
