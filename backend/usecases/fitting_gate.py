"""What is asked of the gate at an installation, whoever carries it: see `backend.gate.forms` for the routes.

Example:
    >>> gate: FittingGate = HttpGate("http://127.0.0.1:8090", token=token)
"""

from dataclasses import dataclass
from typing import Protocol

from backend.usecases.gate_port import GateSaid


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


class FittingGate(Protocol):
    """The gate, as an installation needs it."""

    def ticket(self, shown: ShownJob) -> GateSaid:
        """Ask for a ticket for one BENCH; `token` carries it, `delegation` of it the gate's own.

        Raises:
            GateAwayError: No answer.
        """

    def bind(self, shown: ShownJob, payload: bytes) -> GateSaid:
        """Ask for the gate's part of a BIND.

        Raises:
            GateAwayError: No answer.
        """

    def commissioned(self, shown: ShownRecord) -> None:
        """Bring a record.

        Raises:
            GateAwayError: No answer.
            GateUnreadableError: It reads the record and will never take it.
        """
