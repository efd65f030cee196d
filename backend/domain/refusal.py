"""The rules say no: a value with a reason, since refusing is normal work.

Each reason has one name, the same in the use-case, in the API's `type` and on the command line.

Example:
    >>> match enrol_device(...):
    ...     case Refusal(reason=Reason.ENROLMENT_USED): ...
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a use-case refused; the value is the last word of the API's problem type."""

    ENROLMENT_UNKNOWN = "enrolment-unknown"
    ENROLMENT_EXPIRED = "enrolment-expired"
    ENROLMENT_USED = "enrolment-used"
    TOO_MANY_TOKENS = "too-many-tokens"
    TOO_MANY_ENROLMENTS = "too-many-enrolments"
    BAD_REQUEST_FOR_CERTIFICATE = "bad-csr"
    BAD_PROOF = "bad-proof"
    BAD_NONCE = "bad-nonce"
    DEVICE_UNKNOWN = "device-unknown"
    DEVICE_ELSEWHERE = "device-elsewhere"
    DEVICE_REVOKED = "device-revoked"
    KEY_UNKNOWN = "key-unknown"
    KEY_IN_USE = "key-in-use"
    KEY_ENDED = "key-ended"
    BAD_SUCCESSION = "bad-succession"
    BAD_NAME = "bad-name"
    NAME_TAKEN = "name-taken"
    ROLE_NOT_GRANTABLE = "role-not-grantable"
    BAD_LIFE = "bad-life"
    TOO_MUCH_EVIDENCE = "too-much-evidence"
    MCU_UNREGISTERED = "mcu-unregistered"
    MCU_ELSEWHERE = "mcu-elsewhere"
    BAD_MCU = "bad-mcu"
    BAD_ORDER = "bad-order"
    BAD_PART = "bad-part"
    NOT_FOR_THIS_CAR = "not-for-this-car"
    NOT_DELEGATED = "not-delegated"
    ORDER_UNKNOWN = "order-unknown"
    ORDER_ID_TAKEN = "order-id-taken"
    ORDER_OPEN = "order-open"
    WRONG_STAGE = "wrong-stage"
    SAME_PERSON = "same-person"
    KILL_SWITCH_ON = "kill-switch-on"
    KEY_REUSED = "idempotency-key-reused"
    BAD_DOCUMENT = "bad-document"
    ISSUER_ELSEWHERE = "issuer-elsewhere"
    VEHICLE_UNKNOWN = "vehicle-unknown"
    VEHICLE_BOUND = "vehicle-bound"
    JOB_UNKNOWN = "job-unknown"
    BAD_JOB = "bad-job"
    JOB_CLOSED = "job-closed"
    TICKET_USED = "ticket-used"
    TICKET_OVER = "ticket-over"
    BAD_INSTALL = "bad-install"
    IDENTITY = "identity"
    GATE_AWAY = "gate-away"
    GATE_REFUSED = "gate-refused"
    PROBATION = "probation"
    WORKSHOP = "workshop"
    LABEL_TAKEN = "label-taken"
    ENROLMENT_REFUSED = "enrolment-refused"
    MCU_BY_RECORD = "mcu-by-record"
    TOO_MANY_PHOTOS = "too-many-photos"
    BAD_PHOTO = "bad-photo"
    ROLLOUT_UNKNOWN = "rollout-not-found"
    ROLLOUT_OPEN = "rollout-open"
    ROLLOUT_STATE = "rollout-state"
    BAD_ROLLOUT = "bad-rollout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A no, and one sentence a person can act on; it names no secrets and no other organisation's things."""

    reason: Reason
    detail: str
