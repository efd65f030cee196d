"""What the worker asks of the gate, whoever carries it: see `backend.gate.forms` for the routes.

Example:
    >>> gate: Gate = HttpGate(GateSettings(url="http://127.0.0.1:8090", token=token))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.checker_reasons import CheckerReason


class GateAwayError(Exception):
    """The gate did not answer, or not as it should; nothing is known, ask again later."""


class GateUnreadableError(GateAwayError):
    """The gate reads, and will never take, what it was sent: asking again says the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePart:
    """A part as it travels to the gate."""

    protected: bytes
    signature: bytes
    delegation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """That the two-signed order stands in the log."""

    checkpoint: bytes
    index: int
    salt: bytes
    proof: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSaid:
    """What the gate answered.

    Attributes:
        verdict: ELIGIBLE, SIGNED, GO, NO_GO, REFUSED, HELD.
        rule, detail: what said no, and the fact.
        earliest_s: POSIX second at which it may say yes; None when time alone does not help.
        part: of SIGNED.
        token: of GO and NO_GO.
        facts: SHA-256 of the loan facts asked for.
        delegation: the gate's own, where it signed.
    """

    verdict: str
    rule: str | None = None
    detail: str = ""
    earliest_s: int | None = None
    part: GatePart | None = None
    token: bytes | None = None
    facts: bytes | None = None
    delegation: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidOrder:
    """An order that a payment has overtaken, as the gate lists it."""

    cmd_hash: bytes
    mcu_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownJob:
    """What the gate is shown before it signs for an installation.

    Attributes:
        work_ticket: the job's, by our policy key.
        challenge: by the microcontroller's D1.
        mcu_key: D1 as a COSE_Key.
        delegation: of the installer that the ticket names.
    """

    work_ticket: bytes
    challenge: bytes
    mcu_key: bytes
    delegation: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRecord:
    """A commissioning record with the keys it is verified by: D1, D2, and the installer's delegation."""

    record: bytes
    attestation: bytes
    mcu_key: bytes
    box_key: bytes
    delegation: bytes


class Gate(Protocol):
    """The gate."""

    def screen(self, *, payload: bytes, basis: bytes, part: GatePart) -> GateSaid:
        """Ask before the checker looks; the ten minutes between the signatures begin.

        Raises:
            GateAwayError: No answer.
        """

    def review(
        self,
        *,
        payload: bytes,
        parts: Sequence[GatePart],
        basis: bytes | None,
        log: LogPlace | None,
        challenge: bytes | None,
        mcu_key: bytes,
        reason_code: CheckerReason | None,
    ) -> GateSaid:
        """Ask for the gate's signature.

        Raises:
            GateAwayError: No answer.
        """

    def go(self, *, go_request: bytes, place: tuple[int, int] | None) -> GateSaid:
        """Ask for a go token.

        Args:
            go_request: as the car signed it.
            place: tenths of a degree north and east, for the forecast; None for no forecast.

        Raises:
            GateAwayError: No answer.
        """

    def releases(self) -> Sequence[PaidOrder]:
        """Return the orders that a payment has overtaken.

        Raises:
            GateAwayError: No answer.
        """

    def release(self, *, payload: bytes) -> GateSaid:
        """Ask the gate to sign an UNLOCK.

        Raises:
            GateAwayError: No answer.
        """

    def disposition(self, *, document: bytes, mcu_key: bytes) -> None:
        """Tell the gate what a car said.

        Raises:
            GateAwayError: No answer.
        """

    def commissioned(self, shown: ShownRecord) -> None:
        """Bring a commissioning record.

        Raises:
            GateAwayError: No answer.
            GateUnreadableError: It reads the record and will never take it.
        """


class FittingGate(Protocol):
    """The gate, as an installation needs it."""

    def ticket(self, shown: ShownJob) -> GateSaid:
        """Ask for a ticket for one BENCH: `token` carries it, `delegation` the gate's own.

        Raises:
            GateAwayError: No answer.
        """

    def bind(self, shown: ShownJob, payload: bytes) -> GateSaid:
        """Ask for the gate's part of a BIND.

        Raises:
            GateAwayError: No answer.
        """
