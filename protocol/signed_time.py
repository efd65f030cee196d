"""Signed time bound to a nonce: how a box with no clock learns the time from a backend it trusts.

Rules: the box sends 16 fresh random bytes, signed by its agent key; the backend answers with the same bytes
and its UTC, signed by a receipt key. An answer counts only for the open question with that nonce, and was
true at some moment between question and answer: the box adds the whole round trip to its error bound. A
question is about one device, so nobody can collect answers for others.

This module sets no clock and keeps no open question.

Example:
    >>> reading = time_from(TimeToken(nonce=bytes(16), utc_us=1_000_000), asked_mono_us=10, now_mono_us=50)
    >>> reading.utc_us, reading.error_us
    (1000020, 20)
"""

from dataclasses import dataclass

from protocol import codec
from protocol.clock import ClockClass, Instant
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.fields import Fields, versioned
from protocol.ids import THUMBPRINT_BYTES, DeviceId
from protocol.limits import NONCE_BYTES, SIGN1_BYTES_MAX, TIME_US_MAX

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRequest:
    """A box's question: 16 fresh random bytes, and who asks."""

    nonce: bytes
    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeToken:
    """The backend's answer: the question's nonce, and UTC in µs when it was signed."""

    nonce: bytes
    utc_us: int


def sign_time_request(request: TimeRequest, signer: Signer) -> bytes:
    """Return the question as it travels on `up/request`."""
    payload = codec.encode({1: VERSION, 2: bytes.fromhex(request.device), 3: request.nonce})
    return sign1(Kind.TIME_REQUEST, payload, signer)


def open_time_request(data: bytes, keys: KeyLookup, *, device: DeviceId | None = None) -> TimeRequest:
    """Read and verify a question.

    Args:
        data: the whole message.
        keys: gives the device's agent keys.
        device: whom the topic named; None accepts any.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION, BAD_FIELD; WRONG_DEVICE.
    """
    fields = _open(data, Kind.TIME_REQUEST, keys)
    request = TimeRequest(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        nonce=fields.octets(3, size=NONCE_BYTES),
    )
    if device is not None and request.device != device:
        raise ProtocolError(
            Reject.WRONG_DEVICE, f"a question of {request.device} where {device} was expected"
        )
    return request


def sign_time_token(token: TimeToken, signer: Signer) -> bytes:
    """Return the answer as it travels on `down/time`."""
    return sign1(Kind.TIME, codec.encode({1: VERSION, 2: token.nonce, 3: token.utc_us}), signer)


def open_time_token(data: bytes, keys: KeyLookup, *, nonce: bytes) -> TimeToken:
    """Read and verify an answer to one question.

    Args:
        data: the whole message.
        keys: gives the backend's receipt keys, pinned at enrolment.
        nonce: of the open question.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION, BAD_FIELD; WRONG_NONCE for an answer to another
            question.
    """
    fields = _open(data, Kind.TIME, keys)
    token = TimeToken(
        nonce=fields.octets(2, size=NONCE_BYTES), utc_us=fields.integer(3, least=0, most=TIME_US_MAX)
    )
    if token.nonce != nonce:
        raise ProtocolError(Reject.WRONG_NONCE, "an answer to another question")
    return token


def time_from(token: TimeToken, *, asked_mono_us: int, now_mono_us: int) -> Instant:
    """Return what an answer says about now: the backend signed somewhere within the round trip.

    Args:
        token: the verified answer.
        asked_mono_us: monotonic µs when the question left.
        now_mono_us: monotonic µs when the answer came, same boot.
    """
    half_us = (now_mono_us - asked_mono_us + 1) // 2
    return Instant(
        mono_us=now_mono_us, utc_us=token.utc_us + half_us, clock=ClockClass.NETWORK, error_us=half_us
    )


def _open(data: bytes, kind: Kind, keys: KeyLookup) -> Fields:
    payload = open_sign1(data, kind, keys, max_bytes=SIGN1_BYTES_MAX).payload
    return versioned(payload, kind, version=VERSION, max_bytes=SIGN1_BYTES_MAX)
