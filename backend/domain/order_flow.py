"""How an order goes through the backend: one literal table of stages, and what each means for the car.

Rules (README §2; C-02, C-15, C-20, C-21):
- A restrictive order waits for a second person, for the log, for the gate, and only then is sent. A release
  (UNLOCK, CANCEL, DECOMMISSION once the gate has signed) waits for nobody else and bypasses every brake.
- One open restrictive order per vehicle: it holds the vehicle's slot until it is over.
- HELD is final: after a release of the breaker or of a freeze people sign afresh, over a fresh challenge.
- A refusal by the gate that time can lift keeps the order waiting, and is asked again at the time that the
  gate names; another is final. So nothing that was refused before the checker looked can still be signed.
- Once SENT the order may have reached the car, whatever the backend believes: it can then be cancelled by a
  signed CANCEL, not withdrawn. Only a signed disposition moves it on, also after its life has ended.
- The stage never says "locked". What the car does is its own signed word, else UNKNOWN.
- What the table does not list raises and changes nothing.

Example:
    >>> next_stage(Stage.QUEUED, Step.SENT)
    <Stage.SENT: 'SENT'>
    >>> next_stage(Stage.HELD, Step.GATE_SIGNED)
    Traceback (most recent call last):
    ...
    backend.domain.order_flow.IllegalStepError: an order that is HELD takes no step gate-signed
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from protocol.orders import OrderType, Role, State
from protocol.orders_vocabulary import CLASS, CLASS_A, CLASS_B, SIGNERS

UNKNOWN: Final = "UNKNOWN"
"""What is said of a car while it has signed nothing about an order."""


class Stage(StrEnum):
    """Where an order stands in the backend."""

    AWAITING_CHECKER = "AWAITING_CHECKER"
    AWAITING_LOG = "AWAITING_LOG"
    AWAITING_GATE = "AWAITING_GATE"
    HELD = "HELD"
    REFUSED_BY_GATE = "REFUSED_BY_GATE"
    QUEUED = "QUEUED"
    SENT = "SENT"
    ANSWERED = "ANSWERED"
    WITHDRAWN = "WITHDRAWN"
    SUPERSEDED = "SUPERSEDED"
    EXPIRED = "EXPIRED"


class Step(StrEnum):
    """What moves an order on."""

    APPROVED = "approved"  # the checker has signed
    LOGGED = "logged"  # its leaf is in the log, and the gate is next
    COMPLETE = "complete"  # logged, and nobody else signs it: a TRACE
    GATE_SIGNED = "gate-signed"
    GATE_REFUSED = "gate-refused"
    GATE_LATER = "gate-later"  # refused until a time that the gate names
    GATE_HELD = "gate-held"  # breaker or freeze
    SENT = "sent"  # intent to publish is on the disk: from now on it may have reached the car
    ANSWERED = "answered"  # a disposition, verified
    WITHDRAWN = "withdrawn"
    OVERTAKEN = "overtaken"  # by a release, or by an order that names it as superseded
    LIFE_ENDED = "life-ended"


_S, _T = Stage, Step
_BEFORE_SENDING: Final = (
    _S.AWAITING_CHECKER,
    _S.AWAITING_LOG,
    _S.AWAITING_GATE,
    _S.QUEUED,
)

TABLE: Final[Mapping[tuple[Stage, Step], Stage]] = MappingProxyType(
    {
        (_S.AWAITING_CHECKER, _T.APPROVED): _S.AWAITING_LOG,
        (_S.AWAITING_CHECKER, _T.GATE_REFUSED): _S.REFUSED_BY_GATE,  # screened before the checker looks
        (_S.AWAITING_CHECKER, _T.GATE_HELD): _S.HELD,
        (_S.AWAITING_LOG, _T.LOGGED): _S.AWAITING_GATE,
        (_S.AWAITING_LOG, _T.COMPLETE): _S.QUEUED,
        (_S.AWAITING_GATE, _T.GATE_SIGNED): _S.QUEUED,
        (_S.AWAITING_GATE, _T.GATE_REFUSED): _S.REFUSED_BY_GATE,
        (_S.AWAITING_GATE, _T.GATE_HELD): _S.HELD,
        (_S.AWAITING_GATE, _T.GATE_LATER): _S.AWAITING_GATE,
        (_S.QUEUED, _T.SENT): _S.SENT,
        (_S.QUEUED, _T.ANSWERED): _S.ANSWERED,  # handed over on the spot
        (_S.SENT, _T.SENT): _S.SENT,
        (_S.SENT, _T.ANSWERED): _S.ANSWERED,
        (_S.SENT, _T.OVERTAKEN): _S.SUPERSEDED,
        (_S.SENT, _T.LIFE_ENDED): _S.EXPIRED,
        (_S.ANSWERED, _T.ANSWERED): _S.ANSWERED,
        (_S.SUPERSEDED, _T.ANSWERED): _S.ANSWERED,  # it had reached the car: the car's word counts
        (_S.EXPIRED, _T.ANSWERED): _S.ANSWERED,
    }
    | {(stage, _T.WITHDRAWN): _S.WITHDRAWN for stage in _BEFORE_SENDING}
    | {(stage, _T.OVERTAKEN): _S.SUPERSEDED for stage in _BEFORE_SENDING}
    | {(stage, _T.LIFE_ENDED): _S.EXPIRED for stage in _BEFORE_SENDING}
)

FINAL: Final = frozenset(_S) - {stage for stage, _ in TABLE}
"""Stages that nothing leaves: HELD, REFUSED_BY_GATE, WITHDRAWN."""

DRIVEN: Final = frozenset({_S.AWAITING_CHECKER, _S.AWAITING_LOG, _S.AWAITING_GATE})
"""Stages in which the worker has something to do."""

BEFORE_SENDING: Final = frozenset(_BEFORE_SENDING)

# A car in one of these states has an order before it that still may restrict it further.
_STILL_COMING: Final = frozenset({State.RECEIVED, State.ACCEPTED_PENDING, State.WARNING, State.ARMED})


class IllegalStepError(ValueError):
    """The table has no such step; nothing was changed."""


def next_stage(stage: Stage, step: Step) -> Stage:
    """Return the stage after a step.

    Raises:
        IllegalStepError: The table does not list it.
    """
    found = TABLE.get((stage, step))
    if found is None:
        raise IllegalStepError(f"an order that is {stage} takes no step {step}")
    return found


def may(stage: Stage, step: Step) -> bool:
    """Return whether the table lists a step."""
    return (stage, step) in TABLE


def is_restrictive(order_type: OrderType) -> bool:
    """Return whether an order is of class A: LOCK, RENEW, WARN."""
    return bool(CLASS[order_type] == CLASS_A)


def is_releasing(order_type: OrderType) -> bool:
    """Return whether an order is of class B: UNLOCK, CANCEL, DECOMMISSION."""
    return bool(CLASS[order_type] == CLASS_B)


def first_stage(order_type: OrderType) -> Stage:
    """Return where an order begins once its first signature is stored.

    One signature suffices for UNLOCK, CANCEL and QUERY. A DECOMMISSION waits for the gate alone, a TRACE for
    its checker as a restriction does.
    """
    if any(len(roles) == 1 for roles in SIGNERS[order_type]):
        return Stage.QUEUED
    return Stage.AWAITING_GATE if order_type is OrderType.DECOMMISSION else Stage.AWAITING_CHECKER


def needs_gate(order_type: OrderType) -> bool:
    """Return whether the gate signs it: class A and DECOMMISSION."""
    return all(Role.GATE in roles for roles in SIGNERS[order_type])


def holds_slot(order_type: OrderType, stage: Stage, car_state: State | None) -> bool:
    """Return whether an order is open and restricts, so that the vehicle can have no other.

    Args:
        order_type: What it is.
        stage: Where it stands here.
        car_state: Its last signed state in the car, None before any.
    """
    if not is_restrictive(order_type) or stage in FINAL | {_S.SUPERSEDED, _S.EXPIRED}:
        return False
    return stage is not Stage.ANSWERED or car_state in _STILL_COMING


def priority(order_type: OrderType | None) -> int:
    """Return the place in the queue to the car: 0 for releases, 1 for what they wait for, 2 for the rest."""
    if order_type is not None and is_releasing(order_type):
        return 0
    return 2 if order_type is not None and is_restrictive(order_type) else 1


def resend_after_s(attempts: int) -> int:
    """Return seconds until an order without an answer is sent again, after so many attempts.

    5, 10, 20 … 300 s: a box that is awake answers at once, one that sleeps hears it from the broker's queue.
    """
    return int(min(300, 5 << min(max(attempts - 1, 0), 6)))


def ask_again_after_s(attempts: int) -> int:
    """Return seconds until a gate or log that did not answer is asked again: 1, 2, 4 … 30 s."""
    return int(min(30, 1 << min(max(attempts - 1, 0), 5)))
