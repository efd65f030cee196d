"""Where do my chains stand? A box's question to the backend, answered by one receipt a chain.

A box cannot see by itself that its storage was replaced by an older image, nor that the backend was restored
from a backup: in both cases it must learn it before it goes on in its chain. So it names each of its chains
with the highest seq that it sealed there, and the backend answers with the receipt of each, `answers` being
the question's nonce. What the backend does not have below the named seq stands in that receipt's `want`.

Rules: the question is signed by an agent key and about one device. A nonce is used once; only a receipt that
carries it is an answer, because an older receipt may have waited at the broker. A question travels on
`up/request`, as a question for the time does: a payload with the key `chains` is this one.

This module keeps no open question and judges no chain.

Example:
    >>> StandingRequest(device=DeviceId("0" * 64), nonce=bytes(16), chains=((ChainId(b"c" * 16), 7),)).chains
    ((b'cccccccccccccccc', 7),)
"""

from dataclasses import dataclass

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, read_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.fields import integer, octets, record, versioned
from protocol.ids import ID_BYTES, THUMBPRINT_BYTES, ChainId, DeviceId
from protocol.limits import NONCE_BYTES, SEQ_MAX, SIGN1_BYTES_MAX, STANDING_CHAINS_MAX

VERSION = 1
_CHAINS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRequest:
    """A box's question.

    Attributes:
        device: who asks.
        nonce: 16 bytes, never used before.
        chains: (chain, highest sealed seq, 0 for none), at most STANDING_CHAINS_MAX.
    """

    device: DeviceId
    nonce: bytes
    chains: tuple[tuple[ChainId, int], ...]


def sign_standing_request(request: StandingRequest, signer: Signer) -> bytes:
    """Return the question as it travels on `up/request`."""
    payload = codec.encode(
        {1: VERSION, 2: bytes.fromhex(request.device), 3: request.nonce, _CHAINS: list(request.chains)}
    )
    return sign1(Kind.STANDING_REQUEST, payload, signer)


def is_standing_request(data: bytes) -> bool:
    """Return whether a message on `up/request` is this question; nothing is verified.

    Raises:
        ProtocolError: it is no Sign1 with a map as its payload.
    """
    payload = read_sign1(data, max_bytes=SIGN1_BYTES_MAX).payload
    fields = codec.decode(payload, max_bytes=SIGN1_BYTES_MAX)
    if not isinstance(fields, dict):
        raise ProtocolError(Reject.BAD_FIELD, "a question is a map")
    return _CHAINS in fields


def open_standing_request(data: bytes, keys: KeyLookup, *, device: DeviceId | None = None) -> StandingRequest:
    """Read and verify a question.

    Args:
        data: the whole message.
        keys: gives the device's agent keys.
        device: whom the topic named; None accepts any.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION, BAD_FIELD; WRONG_DEVICE.
    """
    kind = Kind.STANDING_REQUEST
    payload = open_sign1(data, kind, keys, max_bytes=SIGN1_BYTES_MAX).payload
    fields = versioned(payload, kind, version=VERSION, max_bytes=SIGN1_BYTES_MAX)
    request = StandingRequest(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        nonce=fields.octets(3, size=NONCE_BYTES),
        chains=tuple(_chain(item) for item in fields.array(_CHAINS, most=STANDING_CHAINS_MAX)),
    )
    if device is not None and request.device != device:
        raise ProtocolError(
            Reject.WRONG_DEVICE, f"a question of {request.device} where {device} was expected"
        )
    return request


def _chain(value: object) -> tuple[ChainId, int]:
    chain, seq = record(value, "standing-request[4] chain", size=2)
    return (
        ChainId(octets(chain, "standing-request[4] id", size=ID_BYTES)),
        integer(seq, "standing-request[4] seq", least=0, most=SEQ_MAX),
    )
