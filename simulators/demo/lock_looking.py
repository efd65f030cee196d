"""What the lock story looks at: the car's own word, verified, and the simulated car itself.

Rules: a disposition counts here only after its signature was verified with D1 from the workshop's record,
and after it was found in its place of the chain. The microcontroller's status is unsigned: it says what the
car waits for, and nothing is concluded from it that a disposition could say.

Example:
    eyes = Eyes(world)
    eyes.states(cmd_id)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol import strict_cbor
from protocol.base64url import to_bytes
from protocol.dispositions import Disposition, open_disposition
from protocol.errors import ProtocolError
from protocol.orders import Code, State
from protocol.orders_vocabulary import CODES
from simulators.demo.lock_fitting import LINK_CODE, ORDER, STATUS
from simulators.demo.report import CheckFailedError

if TYPE_CHECKING:
    from simulators.demo.lock_world import LockWorld

GO_REQUEST = 0x84
FACTS = 6


class ChainBrokenError(CheckFailedError):
    """A disposition is not signed by this car, or not the one that follows; says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The microcontroller's last unsigned word.

    Attributes:
        state: of the last LOCK or WARN.
        waits_for: code for which an accepted order does not act, OK when nothing waits.
        counters: by name.
    """

    state: State
    waits_for: str
    counters: dict[str, int]


@dataclass(slots=True)
class Eyes:
    """A pair of eyes on one world."""

    world: LockWorld

    def dispositions(self) -> list[Disposition]:
        """Return the workshop's and all that the server has, verified, in the order of the chain.

        Raises:
            ChainBrokenError: one is missing, is not signed by this car's microcontroller, or does not
                follow from the one before.
        """
        device, key = self.world.box.device, self.world.fitted.key
        items = self.world.cloud.api.all(f"/v1/devices/{device}/dispositions")
        kid = self.world.fitted.kid
        try:
            documents = [self.world.fitted.binding, *(to_bytes(item["document"]) for item in items)]
            found = [
                open_disposition(document, lambda asked: key if asked == kid else None)
                for document in documents
            ]
        except ProtocolError as wrong:
            raise ChainBrokenError(f"a disposition does not verify: {wrong}") from wrong
        found.sort(key=lambda said: said.sequence)
        previous: bytes | None = None
        for number, said in enumerate(found, start=1):
            if said.sequence != number or said.previous != previous:
                raise ChainBrokenError(f"disposition {said.sequence} does not follow from {number - 1}")
            previous = said.digest
        return found

    def of(self, cmd_id: str) -> list[Disposition]:
        """Return those about an order."""
        return [said for said in self.dispositions() if said.cmd_id.hex() == cmd_id]

    def states(self, cmd_id: str) -> list[State]:
        """Return the states an order went through, as signed."""
        return [said.state for said in self.of(cmd_id)]

    def last_code(self, cmd_id: str) -> Code | None:
        """Return the code of an order's last disposition."""
        said = self.of(cmd_id)
        return said[-1].code if said else None

    def status(self) -> Status:
        """Return the microcontroller's last status."""
        body = next(body for kind, body in reversed(list(self.world.mcu.said)) if kind == STATUS)
        fields: dict[int, Any] = strict_cbor.loads(body)
        return Status(state=State(fields[5]), waits_for=CODES[fields[15]], counters=dict(fields[12]))

    def wait_reason(self, seconds: float) -> str:
        """Return what an accepted order waits for, as soon as the car says it."""
        self.world.wait_for(lambda: self.status().waits_for != "OK", seconds)
        return self.status().waits_for

    def facts(self) -> dict[int, Any]:
        """Return what the Linux side last told the microcontroller."""
        body = next(body for kind, body in reversed(list(self.world.mcu.heard)) if kind == FACTS)
        found: dict[int, Any] = strict_cbor.loads(body)
        return found

    def count_said(self, kind: int) -> int:
        """Return how many messages of a kind the microcontroller has sent."""
        return sum(1 for said, _ in list(self.world.mcu.said) if said == kind)

    def link_codes(self) -> list[str]:
        """Return the words of its unsigned refusals so far."""
        bodies = [body for kind, body in list(self.world.mcu.said) if kind == LINK_CODE]
        return [str(strict_cbor.loads(body)[1]) for body in bodies]

    def order_bytes(self, cmd_id: str) -> bytes:
        """Return an order as it reached the microcontroller, byte for byte."""
        wanted = bytes.fromhex(cmd_id)
        return next(body for kind, body in list(self.world.mcu.heard) if kind == ORDER and wanted in body)
