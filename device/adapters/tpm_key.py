"""The box's signing key in a TPM 2.0: made in the chip, cannot leave it, kept under a persistent handle.

Rules:
- The chip is named as tpm2-tools does: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321` for a
  simulator, on this machine only since what goes there is not encrypted.
- The key is a primary key of the owner's hierarchy: P-256, ECDSA with SHA-256, fixedTPM, fixedParent, made
  from the chip's seed and 32 random bytes. It asks for a 32-byte random value (`d2.auth`, 0600), so that
  other programs on the box cannot sign; so long a value needs no protection by lockout, and somebody else's
  wrong guesses at other keys do not silence the box.
- A key that stands at the handle already is taken over when it was made in a chip, cannot leave it, may sign
  freely and opens with our value (with none, if we have none): so ends a run that was cut off, and so is a
  key used that somebody made with tpm2-tools. Any other is left alone.
- Every context is flushed; each signature is verified before it is used.

What crosses between processor and chip can be read there with a probe, the value included: it keeps programs
apart, not people with a soldering iron. TLS keys are not in the chip (`key_store`).

Example:
    key = make_tpm_key(TpmPlace(tcti="device:/dev/tpmrm0", handle=0x81000001), auth)
    key.sign(b"message")

Source: TPM 2.0 Library Part 2 §6.6 (response codes), TCG "TPM 2.0 Handles and Localities" (owner's persistent
handles 0x81000000 … 0x817FFFFF).
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from device.adapters import tpm_key_wire as wire
from device.adapters.key_store_errors import KeyStoreError
from protocol.envelope import normalise_low_s, verify_raw
from protocol.errors import ProtocolError
from protocol.ids import thumbprint
from protocol.limits import TPM_RESPONSE_BYTES_MAX, TPM_TRIES_MAX, TPM_WAIT_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

DEFAULT_TCTI: Final = "device:/dev/tpmrm0"
DEFAULT_HANDLE: Final = 0x81000001
HANDLES: Final = range(0x81000000, 0x81800000)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_PAUSE_S: Final = 0.05

_FORMAT_ONE: Final = 0x80
_AGAIN: Final = (0x908, 0x90A, 0x922)  # yielded, testing, retry
_LOCKOUT: Final = 0x921
_WRONG_AUTH: Final = (0x8E, 0xA2)
_NO_HANDLE: Final = 0x8B
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmPlace:
    """Where a key is: which chip, which persistent handle."""

    tcti: str = DEFAULT_TCTI
    handle: int = DEFAULT_HANDLE


class TpmKey:
    """A key in a TPM.

    Attributes:
        kid: thumbprint of the public key.
        public_key: as the chip shows it.
    """

    def __init__(self, place: TpmPlace, auth: bytes, public_key: EllipticCurvePublicKey) -> None:
        self._place, self._auth = place, auth
        self.public_key: Final = public_key
        self.kid: Final = thumbprint(public_key)

    def sign(self, message: bytes) -> bytes:
        """Return r‖s over SHA-256 of the message: 64 bytes with s ≤ n/2.

        Raises:
            KeyStoreError: the chip is away, locked, or refuses.
        """
        digest = hashlib.sha256(message).digest()
        with _Link(self._place) as link:
            answer = link.ask(wire.sign(self._place.handle, digest, self._auth), wire.signature_of)
        signature = normalise_low_s(answer)
        try:
            verify_raw(self.public_key, message, signature)
        except ProtocolError as wrong:
            raise _error("the TPM returned a signature that does not verify") from wrong
        return signature


def has_key(place: TpmPlace) -> bool:
    """Whether there is an object under the handle.

    Raises:
        KeyStoreError: the chip is away.
    """
    with _Link(place) as link:
        return link.has(place.handle)


def make_tpm_key(place: TpmPlace, auth: bytes) -> TpmKey:
    """Make a key under a handle, or take over the one that an earlier run left there.

    Args:
        place: which chip and handle.
        auth: the value that the key will ask for, 32 random bytes, kept before this is called.

    Raises:
        KeyStoreError: the chip is away, locked or refuses, or the handle has somebody else's key.
    """
    with _Link(place) as link:
        if not link.has(place.handle):
            made = link.ask(wire.create_primary(auth, os.urandom(wire.COORDINATE_BYTES)), wire.handle_of)
            try:
                link.ask(wire.evict_control(made, place.handle), wire.done)
            finally:
                link.ask(wire.flush_context(made), wire.done)
    return open_tpm_key(place, auth)


def open_tpm_key(place: TpmPlace, auth: bytes) -> TpmKey:
    """Return the key under a handle, having signed with it once.

    Raises:
        KeyStoreError: the chip is away or locked, there is no key of ours, or it can leave the chip.
    """
    with _Link(place) as link:
        if not link.has(place.handle):
            raise _error(
                f"there is no key 0x{place.handle:08x} in the TPM",
                next_step="the chip was cleared or exchanged: enrol a new home, this box's name is lost",
            )
        public = link.ask(wire.read_public(place.handle), wire.public_of)
    if public.attributes & wire.MADE_HERE != wire.MADE_HERE:
        raise _error(f"the key 0x{place.handle:08x} was not made in this TPM, or could leave it")
    if not public.attributes & wire.MAY_SIGN or public.attributes & wire.RESTRICTED:
        raise _error(f"the key 0x{place.handle:08x} may not sign what we ask")
    numbers = EllipticCurvePublicNumbers(
        int.from_bytes(public.x, "big"), int.from_bytes(public.y, "big"), SECP256R1()
    )
    key = TpmKey(place, auth, numbers.public_key())
    key.sign(b"tbox: is this key ours?")
    return key


def parse_tcti(text: str) -> tuple[str, int] | str:
    """Return host and port of a simulator, or the path of a device.

    Raises:
        KeyStoreError: another form.
    """
    kind, _, rest = text.partition(":")
    if kind == "device" and rest.startswith("/"):
        return rest
    named = dict(part.partition("=")[::2] for part in rest.split(","))
    port = named.get("port", "")
    is_port = port.isdigit() and 0 < int(port) <= _PORT_MAX
    if kind == "swtpm" and set(named) == {"host", "port"} and named["host"] in _LOOPBACK and is_port:
        return named["host"], int(port)
    raise _error(
        f"not a TPM's name: {text}",
        next_step="write device:/dev/tpmrm0, or swtpm:host=127.0.0.1,port=2321 for a simulator",
    )


class _Link:
    """One conversation with the chip; commands of others go between two of ours."""

    def __init__(self, place: TpmPlace) -> None:
        self._place = place
        self._socket: socket.socket | None = None
        self._device = -1

    def __enter__(self) -> Self:
        where = parse_tcti(self._place.tcti)
        try:
            if isinstance(where, str):
                self._device = os.open(where, os.O_RDWR | os.O_CLOEXEC)
            else:
                self._socket = socket.create_connection(where, timeout=TPM_WAIT_S_MAX)
        except OSError as away:
            raise _error(
                f"the TPM is not reached: {self._place.tcti}: {away.strerror or away}",
                is_transient=not isinstance(away, (FileNotFoundError, PermissionError)),
                next_step="is the chip switched on in the board's set-up, and this user in the group tss?",
            ) from away
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._device >= 0:
            os.close(self._device)

    def has(self, handle: int) -> bool:
        """Whether there is an object under a persistent handle, of whatever kind."""
        try:
            self._until_ready(wire.read_public(handle), wire.done)
        except wire.TpmCodeError as refused:
            if _number(refused.code) == _NO_HANDLE:
                return False
            raise _refusal(refused.code) from refused
        return True

    def ask(self, command: bytes, read: Callable[[bytes], T]) -> T:
        """Return what a command brings.

        Raises:
            KeyStoreError: the chip refuses, or its answer cannot be used.
        """
        try:
            return self._until_ready(command, read)
        except wire.TpmCodeError as refused:
            raise _refusal(refused.code) from refused
        except wire.TpmFormError as wrong:
            raise _error(f"the TPM's answer cannot be used: {wrong}") from wrong

    def _until_ready(self, command: bytes, read: Callable[[bytes], T]) -> T:
        """Ask, and ask again while the chip says that it is busy."""
        for _ in range(TPM_TRIES_MAX - 1):
            try:
                return read(self._exchange(command))
            except wire.TpmCodeError as refused:
                if refused.code not in _AGAIN:
                    raise
                threading.Event().wait(_PAUSE_S)
        return read(self._exchange(command))

    def _exchange(self, command: bytes) -> bytes:
        try:
            if self._socket is None:
                os.write(self._device, command)
                return os.read(self._device, TPM_RESPONSE_BYTES_MAX)
            self._socket.sendall(command)
            answer = self._read(wire.HEADER_BYTES)
            return answer + self._read(wire.response_size(answer) - len(answer))
        except (OSError, wire.TpmFormError) as away:
            raise _error(f"the TPM does not answer: {away}", is_transient=True) from away

    def _read(self, size: int) -> bytes:
        assert self._socket is not None, "only a simulator's answer comes in pieces"
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ConnectionResetError("the simulator closed the connection")
            data += piece
        return data


def _number(code: int) -> int:
    """Return the error's number without the place it is about."""
    return code & 0xBF if code & _FORMAT_ONE else code


def _refusal(code: int) -> KeyStoreError:
    if code == _LOCKOUT:
        return _error(
            "the TPM is locked after wrong passwords",
            is_transient=True,
            next_step="wait until it opens by itself (`tpm2_getcap properties-variable` says when), or "
            "`tpm2_dictionarylockout --clear-lockout`; more tries make it longer",
        )
    if _number(code) in _WRONG_AUTH:
        return _error(
            "the TPM refuses our password",
            next_step="the handle has somebody else's key, or the owner's hierarchy has a password: name "
            "another handle, or make the key with tpm2-tools and name its handle",
        )
    return _error(f"the TPM refuses with code 0x{code:x}", next_step="`tpm2_rc_decode` says what it means")


def _error(what: str, *, is_transient: bool = False, next_step: str = "") -> KeyStoreError:
    return KeyStoreError(what, is_transient=is_transient, meaning="the box cannot sign", next_step=next_step)
