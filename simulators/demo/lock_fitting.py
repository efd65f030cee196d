"""Fitting a microcontroller into the story's car: an image, roots, delegations, and the BIND to its lender.

Rules: this is the workshop's bench, before any server is asked: it speaks over the board's own line, in the
board's time, which on a bench runs as fast as the machine can. BIND is signed by the microcontroller's key, a
fitter and the gate (README §2.4); the fitter's own tool is not a part of this story, so the bench signs for
the three. The image is the demonstration's: its floors are seconds, and each of its dispositions says so.

Example:
    car = fit(board, papers, documents=[(2, snapshot), (1, delegation)], fitter=..., gate=...)
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from device.mcu.pins import KEY_FILE
from protocol import cose_sign, strict_cbor
from protocol.dispositions import open_disposition
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.mcu_link import Decoder, encode_frame
from protocol.orders import Code, OrderSigner, OrderType, Role, State, sign_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulators.mcu_board import McuBoard

JURISDICTION: Final = "ZZ"
ORDER, AUTHORITY, QUESTION, ACK, PROVISION = 2, 4, 5, 8, 10  # kinds of the link, to the microcontroller
STATUS, DISPOSITION, CHALLENGE, LINK_CODE = 0x81, 0x82, 0x83, 0x85  # and from it
DOCUMENT_S: Final = 20.0  # of the board's time: signatures of documents are counted out slowly
ANSWER_S_MAX: Final = 60.0


class FittingError(Exception):
    """The microcontroller does not take what the bench gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What a contract and a car give.

    Attributes:
        device: id of the box, 32 bytes.
        lender_id: 8 bytes.
        vin: of the car.
        salt: of the installation record.
        contract_ref: commitment to the contract.
        roots: issuer to COSE_Keys and threshold.
        time_keys: COSE_Keys of the backend that sign time.
    """

    device: bytes
    lender_id: bytes
    vin: str
    salt: bytes
    contract_ref: bytes
    roots: dict[str, tuple[list[bytes], int]]
    time_keys: list[bytes]

    @property
    def vin_bind(self) -> bytes:
        """Binding of the VIN."""
        return hashlib.sha256(self.salt + self.vin.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCar:
    """What the workshop hands over: the installation record.

    Attributes:
        cose_key: D1.
        kid: its thumbprint, the mcu_id.
        epoch: the microcontroller's.
        key: D1's public half, for whoever verifies.
        challenge: as the microcontroller signed it on the bench: that it is there.
        binding: the disposition of BIND, the first of the chain; only the workshop has it.
    """

    cose_key: bytes
    kid: bytes
    epoch: bytes
    key: Any
    challenge: bytes
    binding: bytes


class Bench:
    """The board's line on a bench."""

    def __init__(self, board: McuBoard) -> None:
        self.board = board
        self._decoder = Decoder()
        self.heard: list[tuple[int, bytes]] = []

    def run(self, seconds: float) -> list[tuple[int, bytes]]:
        """Let the board's time pass; return what it said."""
        self.board.run(seconds)
        fresh: list[tuple[int, bytes]] = list(self._decoder.feed(self.board.read_line()))
        self.heard += fresh
        return fresh

    def send(self, kind: int, body: bytes) -> None:
        """Send a message."""
        self.board.write_line(encode_frame(kind, body))

    def wait_for(self, kind: int) -> bytes:
        """Return the next message of a kind.

        Raises:
            FittingError: none comes.
        """
        waited = 0.0
        while waited < ANSWER_S_MAX:
            for found, body in self.run(0.5):
                if found == kind:
                    return body
            waited += 0.5
        codes = [strict_cbor.loads(body) for found, body in self.heard if found == LINK_CODE]
        raise FittingError(f"no message of kind {kind:#x} in {ANSWER_S_MAX} s; link codes {codes[-3:]}")


def fit(
    board: McuBoard,
    papers: Papers,
    *,
    documents: Sequence[tuple[int, bytes]],
    fitter: OrderSigner,
    gate: OrderSigner,
) -> FittedCar:
    """Provision an empty board, give it its documents, and bind it.

    Raises:
        FittingError: it does not take something.
    """
    bench = Bench(board)
    board.power_on()
    bench.wait_for(STATUS)
    bench.send(PROVISION, strict_cbor.dumps(provision_fields(papers)))
    bench.run(2.0)
    for kind, document in documents:
        bench.send(AUTHORITY, strict_cbor.dumps([kind, document]))
        bench.run(DOCUMENT_S)
    signer = SoftwareSigner(derive_private_key(_scalar(board.state), SECP256R1()))
    bench.send(QUESTION, strict_cbor.dumps({1: 1, 2: signer.kid, 3: secrets.token_bytes(16)}))
    shown = bench.wait_for(CHALLENGE)
    challenge = strict_cbor.loads(cose_sign.read_sign1(shown)[2])
    order = sign_order(
        _bind(papers, challenge, signer.kid), OrderSigner(signer=signer, role=Role.MCU), fitter, gate
    )
    bench.send(ORDER, order)
    binding = bench.wait_for(DISPOSITION)
    said = open_disposition(binding, lambda kid: signer.public_key if kid == signer.kid else None)
    if (said.state, said.code) != (State.DONE, Code.OK):
        raise FittingError(f"BIND: {said.state.name} {said.code.name}")
    bench.send(ACK, strict_cbor.dumps({1: said.sequence}))  # the workshop keeps it with its record
    bench.run(DOCUMENT_S * 3)  # the car comes out of the workshop; what may be checked at once is full again
    return FittedCar(
        cose_key=cose_key_bytes(signer.public_key),
        kid=signer.kid,
        epoch=challenge[3],
        key=signer.public_key,
        challenge=shown,
        binding=binding,
    )


def provision_fields(papers: Papers) -> dict[int, object]:
    """Return what an empty microcontroller is provisioned with."""
    platform = papers.roots["platform"]
    lenders = [[issuer, *root] for issuer, root in papers.roots.items() if issuer != "platform"]
    return {
        1: 1,
        2: papers.device,
        3: list(platform),
        4: papers.time_keys,
        5: secrets.token_bytes(32),
        6: papers.salt,
        7: {1: "turn-key"},
        8: lenders,
    }


def _bind(papers: Papers, challenge: dict[int, Any], kid: bytes) -> dict[int, object]:
    now_s = int(time.time())
    return {
        1: 1,
        2: secrets.token_bytes(16),
        3: int(OrderType.BIND),
        4: papers.lender_id,
        5: kid,
        6: papers.vin_bind,
        7: papers.contract_ref,
        8: challenge[3],
        9: challenge[6][2] + 1,
        10: now_s,
        12: now_s + 3_600,
        13: challenge[4],
        14: challenge[5] + 3_600,
        18: JURISDICTION,
        25: None,
    }


def _scalar(state: Path) -> int:
    """Return D1, which the firmware made at its first start and keeps in its flash."""
    return int.from_bytes((state / KEY_FILE).read_bytes()[:32], "big")
