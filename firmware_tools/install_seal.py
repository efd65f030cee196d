"""The installer's key: what it signs for a box, and what it looks at before it does.

Rules: the key file is the installer's own, PEM (PKCS 8), mode 0600. A BENCH is signed only for the car whose
challenge is shown; a BIND only for that car and for the vehicle, lender and contract of the work ticket. A
command's `seq` grows with the clock and never falls within a run.

Example:
    seal = Seal(read_key(Path("installer.pem")), ticket=message)
    command = seal.command(device, Verb.RUN, "SUPPLY", now_ms=…)

Source: SPEC §22; README §2.4; command-authority K-09 (the signer's own tool decodes what it signs).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from firmware_tools.cli_errors import Common, ToolError
from protocol import cose_sign, orders_payload, strict_cbor
from protocol.authority_bundle import DocumentKind, encode_bundle
from protocol.envelope import SoftwareSigner, read_sign1
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes
from protocol.install_forms import TICKET_PREFIX, InstallCommand, sign_command, ticket_from_qr
from protocol.install_record import record_part
from protocol.limits import BENCH_LIFE_S_MAX, WORK_TICKET_BYTES_MAX
from protocol.orders import OrderSigner, OrderType, Role, SignKind, assemble, encode_order, sign_part

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.ids import DeviceId
    from protocol.install_vocabulary import Verb

PASSPHRASE: Final = "TBOX_INSTALLER_PASSPHRASE"  # noqa: S105 - the variable's name


class SealCode(StrEnum):
    """What can be wrong with key, ticket or what is to be signed."""

    BAD_KEY = "BAD_KEY"
    KEY_NOT_PRIVATE = "KEY_NOT_PRIVATE"
    BAD_TICKET = "BAD_TICKET"
    NOT_YOUR_TICKET = "NOT_YOUR_TICKET"
    OTHER_CAR = "OTHER_CAR"


class Seal:
    """A key, and the ticket it acts under.

    Args:
        signer: the installer's key.
        ticket: the work ticket, a whole COSE_Sign1. The box verifies it; here it is only read.
        delegation: the document that lets the installer sign; None where the relay is not to be tested.

    Raises:
        ToolError: the ticket does not read, or is another installer's.
    """

    def __init__(self, signer: SoftwareSigner, ticket: bytes, delegation: bytes | None = None) -> None:
        self.ticket, self._signer, self._last_seq = ticket, signer, 0
        self._papers = delegation
        self._delegation = None if delegation is None else hashlib.sha256(delegation).digest()
        try:
            payload = read_sign1(ticket, max_bytes=WORK_TICKET_BYTES_MAX).payload
            self._fields: dict[int, Any] = strict_cbor.loads(payload)
            self.ticket_id: bytes = self._fields[2]
            holder: bytes = self._fields[4]
        except (ProtocolError, strict_cbor.CBORError, KeyError, TypeError) as error:
            raise ToolError(SealCode.BAD_TICKET, "The work ticket does not read: get it again.") from error
        if holder != signer.kid:
            sentence = "The work ticket is for another installer's key: use your own, or ask for a ticket."
            raise ToolError(SealCode.NOT_YOUR_TICKET, sentence)

    def command(
        self, device: DeviceId, verb: Verb, argument: str | int | bytes | None, *, now_ms: int
    ) -> bytes:
        """Return the next command, signed."""
        self._last_seq = max(self._last_seq + 1, now_ms)
        command = InstallCommand(
            command_id=secrets.token_bytes(16),
            ticket_id=self.ticket_id,
            device=device,
            seq=self._last_seq,
            verb=verb,
            argument=argument,
            sent_s=now_ms // 1_000,
            installer_key=cose_key_bytes(self._signer.public_key),
        )
        return sign_command(command, self._signer)

    def bench(self, challenge: bytes, ticket: bytes, *, now_s: int) -> bytes:
        """Return a BENCH order for the car of a challenge, with the gate's ticket in it.

        Args:
            challenge: the microcontroller's, from the report's need.
            ticket: the gate's, for this challenge.
            now_s: POSIX seconds.

        Raises:
            ToolError: challenge or ticket do not read, or the ticket is for another car.
        """
        asked = _document("challenge", challenge)
        permitted = _document("ticket", ticket)
        if (permitted[2], permitted[4]) != (asked[2], asked[4]):
            raise ToolError(SealCode.OTHER_CAR, "The permission is for another car: ask for it again.")
        order = {
            1: 1,
            2: secrets.token_bytes(16),
            3: int(OrderType.BENCH),
            5: asked[2],
            8: asked[3],
            9: asked[6][2] + 1,
            10: now_s,
            12: now_s + BENCH_LIFE_S_MAX,
            13: asked[4],
            14: asked[5] + BENCH_LIFE_S_MAX,
            25: ticket,
        }
        payload = encode_order(order)
        return assemble(payload, [self._part(payload)])

    def bind(self, challenge: bytes, payload: bytes, gate: tuple[bytes, bytes], *, vin: str) -> bytes:
        """Return a BIND with gate's and installer's signatures; the box adds its microcontroller's.

        Raises:
            ToolError: the payload is of another car, vehicle, lender or contract than ticket and report say.
        """
        asked = _document("challenge", challenge)
        try:
            order, is_known = orders_payload.read_order(payload)
        except ValueError as error:
            raise ToolError(
                SealCode.OTHER_CAR, "The box asks for no binding: update box and tool."
            ) from error
        vin_bind = hashlib.sha256(self._fields[15] + vin.encode()).digest()
        expected = {
            3: int(OrderType.BIND),
            4: self._fields[10],
            5: asked[2],
            6: vin_bind,
            7: self._fields[11],
            8: asked[3],
            13: asked[4],
            18: self._fields[12],
        }
        if not is_known or any(order.get(key) != value for key, value in expected.items()):
            raise ToolError(SealCode.OTHER_CAR, "The binding is not for this vehicle and contract: abort.")
        return assemble(payload, [gate, self._part(payload)])

    def papers(self, gate: bytes) -> bytes:
        """Return the bundle of delegations by which the car can believe gate and installer."""
        found = [gate] if self._papers is None else [gate, self._papers]
        return encode_bundle([(DocumentKind.DELEGATION, document) for document in found])

    def record_part(self, payload: bytes) -> bytes:
        """Return the installer's signature of a record."""
        return record_part(payload, self._signer)

    def _part(self, payload: bytes) -> tuple[bytes, bytes]:
        signer = OrderSigner(signer=self._signer, role=Role.INSTALLER, delegation=self._delegation)
        return sign_part(SignKind.COMMAND, payload, signer)


def _document(kind: str, data: bytes) -> dict[int, Any]:
    """Read a signed document's fields; box and gate verify it, here only its form counts.

    Raises:
        ToolError: it is none.
    """
    try:
        found: dict[int, Any] = orders_payload.read_document(kind, cose_sign.read_sign1(data)[2])
    except ValueError as error:
        sentence = f"What came is no {kind}: update box, tool and backend."
        raise ToolError(SealCode.OTHER_CAR, sentence) from error
    return found


def read_key(path: Path) -> SoftwareSigner:
    """Read an installer's key.

    Raises:
        ToolError: it is not there, others can read it, or it is none.
    """
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        sentence = f"{path} cannot be read ({error.strerror}): name your key with --key."
        raise ToolError(Common.NO_FILE, sentence) from error
    if stat.S_IMODE(mode) & 0o077:
        sentence = f"Others can read {path}: take their rights away (chmod 600), then run this again."
        raise ToolError(SealCode.KEY_NOT_PRIVATE, sentence)
    secret = os.environ.get(PASSPHRASE)
    try:
        key = load_pem_private_key(data, None if secret is None else secret.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        sentence = f"{path} does not open: give its passphrase in {PASSPHRASE}, or name another key."
        raise ToolError(SealCode.BAD_KEY, sentence) from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ToolError(SealCode.BAD_KEY, f"{path} is no key on P-256: make one on your phone or by openssl.")
    return SoftwareSigner(key)


def read_ticket(path: Path) -> bytes:
    """Read a work ticket: the text of its QR code, or the message itself.

    Raises:
        ToolError: there is none.
    """
    try:
        data = path.read_bytes()
        is_text = data.startswith(TICKET_PREFIX.encode())
        return ticket_from_qr(data.decode("ascii").strip()) if is_text else data
    except OSError as error:
        sentence = f"{path} cannot be read ({error.strerror}): name the ticket, or the job with --api."
        raise ToolError(Common.NO_FILE, sentence) from error
    except (ProtocolError, UnicodeDecodeError) as error:
        raise ToolError(SealCode.BAD_TICKET, "The work ticket does not read: get it again.") from error
