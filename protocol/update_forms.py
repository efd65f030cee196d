"""A box asks which release is its, and says how releases ended on it: one signed question.

Rules: signed by the box's key D2; `asked_s` grows, so that an old question changes nothing; an outcome told
twice is one outcome. The answer is a number and not signed: whatever it says, only a release that the
repository's keys signed, that is newer and stands on the box's floor, is ever taken.

This module does not decide which release a box gets.

Example:
    >>> from cryptography.hazmat.primitives.asymmetric import ec
    >>> from protocol.envelope import SoftwareSigner
    >>> signer = SoftwareSigner(ec.derive_private_key(7, ec.SECP256R1()))
    >>> outcomes = ((3, "confirmed"),)
    >>> asked = UpdateQuestion(device=DeviceId(bytes(32).hex()), asked_s=5, running=3, outcomes=outcomes)
    >>> open_question(sign_question(asked, signer), {signer.kid: signer.public_key}.get) == asked
    True
"""

from dataclasses import dataclass

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.fields import versioned
from protocol.ids import THUMBPRINT_BYTES, DeviceId
from protocol.limits import SIGN1_BYTES_MAX, UPDATE_FAILED_MAX, UPDATE_NUMBER_MAX, UPDATE_WORD_CHARS_MAX

VERSION = 1
_SECONDS_MAX = (1 << 40) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateQuestion:
    """What a box asks and says.

    Attributes:
        device: its id.
        asked_s: the box's UTC in s.
        running: number of the confirmed release.
        outcomes: release and word, oldest first; the backend may know fewer words than the box.
    """

    device: DeviceId
    asked_s: int
    running: int
    outcomes: tuple[tuple[int, str], ...] = ()


def sign_question(question: UpdateQuestion, signer: Signer) -> bytes:
    """Return the question as it travels."""
    outcomes = [[release, word] for release, word in question.outcomes]
    payload = codec.encode(
        {1: VERSION, 2: bytes.fromhex(question.device), 3: question.asked_s, 4: question.running, 5: outcomes}
    )
    return sign1(Kind.UPDATE_QUESTION, payload, signer)


def open_question(data: bytes, keys: KeyLookup) -> UpdateQuestion:
    """Read and verify a question.

    Raises:
        ProtocolError: as `open_sign1`; UNSUPPORTED_VERSION, BAD_FIELD.
    """
    message = open_sign1(data, Kind.UPDATE_QUESTION, keys, max_bytes=SIGN1_BYTES_MAX)
    fields = versioned(message.payload, Kind.UPDATE_QUESTION, version=VERSION, max_bytes=SIGN1_BYTES_MAX)
    return UpdateQuestion(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        asked_s=fields.integer(3, least=0, most=_SECONDS_MAX),
        running=fields.integer(4, least=0, most=UPDATE_NUMBER_MAX),
        outcomes=_outcomes(fields.get(5)),
    )


def _outcomes(value: object) -> tuple[tuple[int, str], ...]:
    if not isinstance(value, list) or len(value) > UPDATE_FAILED_MAX:
        raise ProtocolError(Reject.BAD_FIELD, "outcomes")
    outcomes = []
    for item in value:
        match item:
            case [int() as release, str() as word] if (
                0 < release <= UPDATE_NUMBER_MAX and 0 < len(word) <= UPDATE_WORD_CHARS_MAX
            ):
                outcomes.append((release, word))
            case _:
                raise ProtocolError(Reject.BAD_FIELD, "outcome")
    return tuple(outcomes)
