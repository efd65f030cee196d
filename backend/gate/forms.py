"""What travels between the backend and the gate over HTTP: requests, answers, and how bytes are written.

Rules: JSON; messages and payloads in base64url without padding, ids and hashes in lowercase hex, instants in
POSIX seconds; unknown members are refused. Every route but `/freeze` and `/unfreeze`, whose bodies are signed
by people, wants `Authorization: Bearer <token file's content>`. A no of the rules is an answer with status
200, not an error: `verdict`, the rule, the fact it looked at, and the earliest second at which it may be yes.
What cannot be read is 422, a wrong token 401, both problem+json.

    POST /screen         ScreenRequest   -> Answer (ELIGIBLE, REFUSED, HELD)    the maker's request
    POST /review         ReviewRequest   -> Answer (SIGNED, REFUSED, HELD)      both have signed, it is logged
    POST /go             GoRequest       -> Answer (GO, NO_GO, REFUSED, HELD)   `token` for GO and NO_GO
    POST /release        ReleaseRequest  -> Answer (SIGNED, REFUSED)            an UNLOCK or CANCEL
    GET  /releases                       -> Releases           overtaken, and not over by the word of the car
    POST /notices /blocks /payments /records   Document -> Recorded             loan records, any of the four
    POST /authority      Document        -> Recorded               snapshot, revocation, delegation
    POST /dispositions   Disposition     -> Recorded                            what a car said, by D1
    POST /freeze /unfreeze /breaker-limit /opinions   Document -> Recorded      gate records (SPEC §21)
    POST /ticket         TicketRequest   -> Answer (SIGNED, REFUSED, HELD)      `token`: ticket for one BENCH
    POST /bind           BindRequest     -> Answer (SIGNED, REFUSED, HELD)      `part`: of a BIND
    POST /commissionings CommissioningRequest -> Recorded                       a car's commissioning record
    GET  /status                         -> Status

An order that the breaker HELD is never signed, also not later: release means a fresh challenge and fresh
signatures (README §1.16). One that a freeze HELD, and one REFUSED, may be asked again: `earliest` says when
it may help; null says that time alone will not. Repeating `/review` of an order that was signed returns the
same part.

The content of an order's leaf in the log is the COSE_Sign of the payload with the two parts of `parts`, in
their order (`protocol.orders.assemble`).

This module decides nothing.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from protocol.base64url import to_bytes
from protocol.checker_reasons import CheckerReason
from protocol.limits import BASIS_BYTES_MAX, ORDER_BYTES_MAX, SIGN1_BYTES_MAX

_TEXT_PER_BYTE = 4 / 3


def _is_base64url(text: str) -> str:
    to_bytes(text)
    return text


Message = Annotated[
    str, Field(max_length=int(ORDER_BYTES_MAX * _TEXT_PER_BYTE) + 4), AfterValidator(_is_base64url)
]
Bundle = Annotated[
    str, Field(max_length=int(BASIS_BYTES_MAX * _TEXT_PER_BYTE) + 4), AfterValidator(_is_base64url)
]
Record = Annotated[
    str, Field(max_length=int(SIGN1_BYTES_MAX * _TEXT_PER_BYTE) + 4), AfterValidator(_is_base64url)
]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Id16 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Verdict(StrEnum):
    """What the gate answers."""

    ELIGIBLE = "ELIGIBLE"
    SIGNED = "SIGNED"
    GO = "GO"
    NO_GO = "NO_GO"
    REFUSED = "REFUSED"
    HELD = "HELD"


class Part(_Form):
    """One signer's protected header and signature."""

    protected: Message
    signature: Message


class ScreenRequest(_Form):
    """A maker's order before the checker sees it; with part and delegation the ten minutes begin.

    Without them it only asks whether such an order would be eligible.
    """

    payload: Message
    basis: Bundle
    part: Part | None = None
    delegation: Message | None = None


class LogProof(_Form):
    """That the two-signed order stands in the log: checkpoint, leaf, salt and path."""

    checkpoint: Annotated[str, Field(max_length=8_192)]  # the signed note, with its witnesses' lines
    index: Annotated[int, Field(ge=0, lt=2**53)]
    salt: Id16
    proof: Annotated[list[Hash], Field(max_length=64)]  # inclusion of `index` in the checkpoint's size


class ReviewRequest(_Form):
    """An order that people have signed.

    WARN, LOCK and RENEW: by maker and checker, with `basis`, `log`, `challenge` and `mcu_key`.
    DECOMMISSION: by one of them, without.
    """

    payload: Message
    parts: Annotated[list[Part], Field(min_length=1, max_length=2)]  # maker first
    delegations: Annotated[list[Message], Field(min_length=1, max_length=2)]  # of the parts, in their order
    basis: Bundle | None = None
    log: LogProof | None = None
    challenge: Message | None = None
    mcu_key: Message | None = None  # COSE_Key of D1, 75 bytes; its thumbprint is the order's mcu_id
    reason_code: CheckerReason | None = None  # the checker's own; WARN, LOCK and RENEW need one


class GoRequest(_Form):
    """A car's signed go request, as it came."""

    go_request: Message
    # Where the car was last seen, tenths of a degree north and east; null: no forecast, which vetoes.
    place: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None


class ReleaseRequest(_Form):
    """An UNLOCK or CANCEL to be signed by the gate: the payload, and the payment if one is the reason."""

    payload: Message
    record: Message | None = None  # loan record PAYMENT; without it the loan system is asked


class TicketRequest(_Form):
    """A BENCH ticket is wanted: the job that is shown, what the microcontroller said, who will sign."""

    work_ticket: Message  # by the backend's policy key
    challenge: Message  # by D1, in commissioning
    mcu_key: Message  # COSE_Key of D1, 75 bytes
    delegation: Message  # of the installer that the work ticket names


class BindRequest(TicketRequest):
    """A BIND is to be signed: as for a ticket, and the payload."""

    payload: Message


class CommissioningRequest(_Form):
    """A commissioning record: three signatures, and the keys and the delegation they are verified with."""

    record: Record
    attestation: Message
    mcu_key: Message  # COSE_Key of D1
    box_key: Message  # COSE_Key of D2
    delegation: Message  # of the installer


class Document(_Form):
    """A signed document, as it came; of a gate record also the delegation that it names.

    So that a freeze does not wait for the backend to hand the officer's delegation over first.
    """

    document: Message
    delegation: Message | None = None
    kind: Literal["delegation", "authority", "revocation"] | None = None  # of `/authority` only


class Disposition(_Form):
    """A car's disposition, and the key that signed it."""

    document: Message
    mcu_key: Message


class Answer(_Form):
    """What the gate decided.

    Attributes:
        verdict: see `Verdict`.
        rule: name of the rule that said no; null for yes.
        rules: numbers of the rules that passed, as the attestation carries them.
        detail: one sentence with the fact.
        earliest: POSIX second at which this rule may say yes; null when time alone does not help.
        part, delegation: of SIGNED: the gate's part and its delegation (whole message).
        token: of GO and NO_GO: the go token.
        facts: SHA-256 of the loan facts that were asked for; null when none came.
        limits: what the breaker counted, by name.
    """

    verdict: Verdict
    rule: str | None = None
    rules: list[int] = []
    detail: str = ""
    earliest: int | None = None
    part: Part | None = None
    delegation: Message | None = None
    token: Message | None = None
    facts: Hash | None = None
    limits: dict[str, int] = {}


class Recorded(_Form):
    """A document was taken, or is known already; `state` says what it came to."""

    is_new: bool
    state: str


class Release(_Form):
    """An order that a payment has overtaken: the backend brings an UNLOCK's payload to `/release`."""

    cmd_hash: Hash
    mcu_id: Hash
    contract_ref: Hash
    since: int


class Releases(_Form):
    """All of them, oldest first."""

    items: list[Release]


class Freeze(_Form):
    """A freeze in force."""

    record_id: Id16
    scope: str
    by: str
    reason: str
    since: int
    lift_asked_by: str | None


class Held(_Form):
    """An order held unsigned by the breaker or a freeze."""

    cmd_hash: Hash
    rule: str
    detail: str
    at: int


class Status(_Form):
    """How the gate stands."""

    kid: Hash
    delegation: Hash | None
    now: int
    is_demo: bool
    clock_doubt: str | None
    packs: dict[str, int]
    freezes: list[Freeze]
    held: list[Held]
    journal: int
    head: Hash
    counters: dict[str, int]
