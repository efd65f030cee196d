"""A person at the car: a typed emergency code, or an order in a file, and what the microcontroller said.

Rules (O-02, C-05; README §1.18, §2.1):
- It needs no backend and no network. One question at a time; each gets exactly one answer, within a time.
- A code goes to the microcontroller as it was typed and is not sent twice: a repeat of a wrong one would cost
  a try. Its digits are in no log. Only the microcontroller knows whether it is right.
- An order goes to the orders desk as if it had come from the backend, its documents first. Only a release is
  taken: by hand nothing can restrict. While a delegation is missing or the microcontroller is busy the order
  is presented again.
- The answer to an order is the disposition that names it. A link code that is final ends the question; what
  the microcontroller never said is `NO_ANSWER`, not a release.

It opens no socket (`device.adapters.car_door`) and has no clock.

Example: see `tests/unit/test_orders_at_car.py`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.at_car import AtCar
from device.effects import AnswerAtCar, SendMcu
from device.orders.arrivals import FINAL_CODES
from device.orders.inbox import is_releasing, read_order
from device.orders.link import LinkKind, code_name, read_event, read_link_code, write_map
from protocol.authority_bundle import unverified_fields
from protocol.errors import ProtocolError
from protocol.limits import AT_CAR_CODE_S_MAX, AT_CAR_ORDER_S_MAX
from protocol.orders import State
from protocol.topics import Down

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.effects import Effect
    from protocol.clock import Instant

SECOND_US = 1_000_000
AGAIN_US = (
    3 * SECOND_US
)  # a microcontroller needs about a second for a delegation, and it goes behind releases
_EVENT_START = "CODE_"


@dataclass(slots=True, kw_only=True)
class _Open:
    """The question without an answer.

    Attributes:
        number: the door's.
        digest: SHA-256 of the body that the microcontroller got.
        until_us: then it is over.
        cmd_hash: of an order; None of a code.
        message: the order.
        again_us: when it is presented again; None while it is on its way.
        last: what is said when the time is over.
    """

    number: int
    digest: bytes
    until_us: int
    cmd_hash: bytes | None = None
    message: bytes = b""
    again_us: int | None = None
    last: AtCar = AtCar.NO_ANSWER


class AtCarDesk:
    """The engine's side of the car's door.

    Args:
        courier: takes an order or its documents as from the backend; raises ProtocolError.
    """

    def __init__(self, courier: Callable[[Down, bytes, Instant], list[Effect]]) -> None:
        self._courier = courier
        self._open: _Open | None = None
        self._is_mcu_up = False
        self.counts: Counter[str] = Counter()

    def note_line(self, *, is_up: bool) -> list[Effect]:
        """The line to the microcontroller came up or went down."""
        self._is_mcu_up = is_up
        if is_up or self._open is None or self._open.cmd_hash is not None:
            return []
        return self._end(AtCar.NO_ANSWER)  # an order is presented again when the line comes back

    def take_code(self, number: int, digits: str, now: Instant) -> list[Effect]:
        """Take the digits that a person typed; `number` is the door's, for the answer."""
        refusal = self._refusal(number)
        if refusal:
            return refusal
        self.counts["codes_typed"] += 1
        body = write_map({1: digits})
        self._open = _Open(
            number=number,
            digest=hashlib.sha256(body).digest(),
            until_us=now.mono_us + AT_CAR_CODE_S_MAX * SECOND_US,
        )
        return [SendMcu(kind=LinkKind.OVERRIDE_CODE, body=body, is_urgent=True)]

    def take_order(self, number: int, message: bytes, authority: bytes, now: Instant) -> list[Effect]:
        """Take an order in a file, and a bundle of documents; empty for none."""
        refusal = self._refusal(number)
        if refusal:
            return refusal
        self.counts["orders_handed_over"] += 1
        try:
            incoming = read_order(message)
        except ProtocolError:
            return [AnswerAtCar(number=number, word=AtCar.NO_ORDER)]
        if not incoming.is_known or not is_releasing(incoming.arrival.order_type):
            return [AnswerAtCar(number=number, word=AtCar.NO_RELEASE)]
        effects: list[Effect] = []
        if authority:
            try:
                effects += self._courier(Down.AUTHORITY, authority, now)
            except ProtocolError:
                return [AnswerAtCar(number=number, word=AtCar.NO_BUNDLE)]
        self._open = _Open(
            number=number,
            digest=incoming.arrival.digest,
            until_us=now.mono_us + AT_CAR_ORDER_S_MAX * SECOND_US,
            cmd_hash=incoming.arrival.cmd_hash,
            message=message,
        )
        return effects + self._courier(Down.ORDER, message, now)

    def hear(self, kind: int, body: bytes) -> list[Effect]:
        """Look at what the microcontroller said, for the answer.

        Raises:
            ProtocolError: it is not of its form.
        """
        at = self._open
        if at is None:
            return []
        if kind == LinkKind.EVENT and at.cmd_hash is None:
            return self._hear_event(body)
        if kind == LinkKind.LINK_CODE:
            said = read_link_code(body)
            return self._hear_link_code(at, said.code) if said.digest == at.digest else []
        if kind == LinkKind.DISPOSITION and at.cmd_hash is not None:
            fields = unverified_fields("disposition", body)
            if fields[4] == at.cmd_hash:
                state, code = State(fields[9]).name, code_name(fields[10])
                return self._end(AtCar.ANSWERED, state=state, code=code, disposition=body)
        return []

    def advance(self, now: Instant) -> list[Effect]:
        """Present an order again that is due, or end a question whose time is over."""
        at = self._open
        if at is None:
            return []
        if now.mono_us >= at.until_us:
            return self._end(at.last)
        if at.last is not AtCar.NO_ANSWER and at.again_us is None:
            at.again_us = now.mono_us + AGAIN_US
        if at.again_us is None or now.mono_us < at.again_us:
            return []
        at.again_us, at.last = None, AtCar.NO_ANSWER
        return self._courier(Down.ORDER, at.message, now)

    def _refusal(self, number: int) -> list[Effect]:
        """Return the answer to a question that cannot be asked now; empty when it can."""
        if self._open is not None:
            self.counts["at_car_crowded"] += 1
            return [AnswerAtCar(number=number, word=AtCar.CROWDED)]
        if not self._is_mcu_up:
            self.counts["at_car_mcu_away"] += 1
            return [AnswerAtCar(number=number, word=AtCar.MCU_AWAY)]
        return []

    def _hear_event(self, body: bytes) -> list[Effect]:
        said = read_event(body)
        word = said.word.removeprefix(_EVENT_START)
        if not said.word.startswith(_EVENT_START) or word not in AtCar.__members__:
            return []
        return self._end(AtCar(word), wait_s=said.value or None)

    def _hear_link_code(self, at: _Open, code: str) -> list[Effect]:
        if at.cmd_hash is None:
            return self._end(AtCar.BUSY)
        if code in FINAL_CODES:
            return self._end(AtCar.NOT_AUTHENTIC, code=code)
        at.last = AtCar.BUSY if code == AtCar.BUSY else AtCar.DELEGATION_MISSING
        return []

    def _end(
        self,
        word: AtCar,
        *,
        wait_s: int | None = None,
        state: str = "",
        code: str = "",
        disposition: bytes = b"",
    ) -> list[Effect]:
        at, self._open = self._open, None
        assert at is not None, "only an open question is answered"
        self.counts["at_car_unanswered"] += word is AtCar.NO_ANSWER
        return [
            AnswerAtCar(
                number=at.number, word=word, wait_s=wait_s, state=state, code=code, disposition=disposition
            )
        ]
