"""The words of orders: types, roles, who must sign what, answers, states and the table of their changes.

Rules: plain constants, because the microcontroller reads this very file; it imports nothing. Numbers are part
of the protocol: none is ever renamed or given a second meaning, lists grow at the end. Type 10 is unused;
types 6 and 7 travel as documents of their own (SPEC §13, §18.6) and are no orders of the reader.

Class A restricts, B releases, C administers; each class has its own counter. `SIGNERS` names, by type, every
set of roles that may sign it: a message carries exactly one of them, no role more, no role fewer (C-09).

This module decides nothing.

Example:
    >>> SIGNERS[LOCK]
    ((2, 3, 4),)
    >>> next_state(LOCK, ARMED, GO), next_state(LOCK, LOCKED, GO)
    (6, None)
"""

# --- Types (payload key 3) and their classes ----------------------------------------------------------------

LOCK, UNLOCK, RENEW, CANCEL, WARN, POLICY, AUTHORITY, QUERY, DECOMMISSION = 1, 2, 3, 4, 5, 6, 7, 8, 9
BIND, BENCH, TRACE = 11, 12, 13

CLASS_A, CLASS_B, CLASS_C = 0, 1, 2

CLASS = {
    LOCK: CLASS_A,
    RENEW: CLASS_A,
    WARN: CLASS_A,
    UNLOCK: CLASS_B,
    CANCEL: CLASS_B,
    DECOMMISSION: CLASS_B,
    QUERY: CLASS_C,
    BIND: CLASS_C,
    BENCH: CLASS_C,
    TRACE: CLASS_C,
}

# --- Roles (signer header -65537) ---------------------------------------------------------------------------

PLATFORM_ROOT, LENDER_ROOT, MAKER, CHECKER, GATE, SAFETY_OFFICER, OMBUDS, INSTALLER, MCU = range(9)

ROOT_OF = {
    MAKER: LENDER_ROOT,
    CHECKER: LENDER_ROOT,
    GATE: PLATFORM_ROOT,
    SAFETY_OFFICER: PLATFORM_ROOT,
    OMBUDS: PLATFORM_ROOT,
    INSTALLER: PLATFORM_ROOT,
}

# A ticket of the gate inside the payload (key 25) counts as the gate.
SIGNERS = {
    LOCK: ((MAKER, CHECKER, GATE),),
    RENEW: ((MAKER, CHECKER, GATE),),
    WARN: ((MAKER, CHECKER, GATE),),
    UNLOCK: ((MAKER,), (CHECKER,), (GATE,), (SAFETY_OFFICER,), (OMBUDS,)),
    CANCEL: ((MAKER,), (CHECKER,), (GATE,), (SAFETY_OFFICER,), (OMBUDS,)),
    DECOMMISSION: ((MAKER, GATE), (CHECKER, GATE)),
    QUERY: ((MAKER,), (CHECKER,), (GATE,), (SAFETY_OFFICER,), (OMBUDS,), (INSTALLER,)),
    BIND: ((GATE, INSTALLER, MCU),),
    BENCH: ((GATE, INSTALLER),),
    TRACE: ((MAKER, CHECKER),),
}

# What a delegation may allow a role at most.
ROLE_TYPES = {
    MAKER: (LOCK, UNLOCK, RENEW, CANCEL, WARN, QUERY, DECOMMISSION, TRACE),
    CHECKER: (LOCK, UNLOCK, RENEW, CANCEL, WARN, QUERY, DECOMMISSION, TRACE),
    GATE: (LOCK, UNLOCK, RENEW, CANCEL, WARN, QUERY, DECOMMISSION, BIND, BENCH),
    SAFETY_OFFICER: (UNLOCK, CANCEL, QUERY),
    OMBUDS: (UNLOCK, CANCEL, QUERY),
    INSTALLER: (QUERY, BIND, BENCH),
}

DEFAULT_PAYMENT = 1  # the only reason (payload key 16) of class A

# --- Modes of the microcontroller ---------------------------------------------------------------------------

COMMISSIONING, ACTIVE, MONITOR = 0, 1, 2  # MONITOR measures and reports, and accepts no class A

# --- Answers ------------------------------------------------------------------------------------------------

# Unsigned: nothing authentic was said. What stands behind is a counter, never a disposition.
LINK_CODES = (
    "BAD_ENCODING",  # not an order: length, CBOR, container, headers, fields
    "BAD_SIG",  # a signature does not verify
    "HIGH_S",  # it verifies, with s above n/2
    "UNKNOWN_KEY",  # the delegation named is of another key, or the device's own key is another
    "DELEGATION_MISSING",  # not in the cache: the agent supplies it and presents the order again
    "BUSY",  # more signatures than may be checked now: present it later
)

OK = 0
# Signed in a disposition (key 10), by position. The reference gives 1 to 30, this version the rest.
CODES = (
    "OK",
    "SIGNER_SET",
    "ROLE_CONFLICT",
    "KEY_REVOKED",
    "DELEGATION_SCOPE",
    "WRONG_DEVICE",
    "VIN_MISMATCH",
    "WRONG_LENDER",
    "WRONG_EPOCH",
    "REPLAY_CTR",
    "CHALLENGE",
    "EXPIRED",
    "NOT_YET",
    "TTL_TOO_LONG",
    "CLOCK_UNCERTAIN",
    "METADATA_STALE",
    "CHAIN_GAP",
    "NO_GO",
    "IN_MOTION",
    "MOTION_DISAGREE",
    "SOURCES_INSUFFICIENT",
    "IGN_ON",
    "ENGINE_RUNNING",
    "NO_LOCK_ZONE",
    "ZONE_UNKNOWN",
    "QUIET_HOURS",
    "TEMP_RANGE",
    "OVERRIDE_ACTIVE",
    "MONITOR_ONLY",
    "RATE_LIMIT",
    "DUPLICATE",
    "REASON_REFUSED",  # class A with another reason than DEFAULT_PAYMENT
    "CRASH_HOLD",  # no arming for 72 h after a crash
    "WRONG_JURISDICTION",  # another pack than the one registered
    "CTR_JUMP",  # a counter so far ahead that it would use them up
    "UNSUPPORTED",  # a version or type this reader does not know
    "WRONG_MODE",  # BIND or BENCH outside COMMISSIONING
    "NOT_WARNED",  # the warning was not heard on two ignition cycles of the episode
    "HAZARD_LIGHTS",
)

# --- States (disposition key 9) -----------------------------------------------------------------------------

STATES = (
    "NONE",
    "RECEIVED",
    "REJECTED",
    "ACCEPTED_PENDING",
    "WARNING",
    "ARMED",
    "LOCKED",
    "RELEASED",
    "LEASE_EXPIRED",
    "OVERRIDDEN",
    "FAULT_RELEASED",
    "SUPERSEDED",
    "CANCELLED",
    "EXPIRED",
    "DONE",
)
NONE, RECEIVED, REJECTED, ACCEPTED_PENDING, WARNING, ARMED, LOCKED, RELEASED = range(8)
LEASE_EXPIRED, OVERRIDDEN, FAULT_RELEASED, SUPERSEDED, CANCELLED, EXPIRED, DONE = range(8, 15)

# --- Events and the table -----------------------------------------------------------------------------------

ARRIVED = "arrived"
REFUSED = "refused"
ACCEPTED = "accepted"
WARN_BEGINS = "warn_begins"  # the first warning of this order; after ARMED fell back it is not repeated
PLAYED = "played"  # a WARN was heard, by feedback
PARKED_WARNED = "parked_warned"  # parked, and warned as long as the pack asks
FELL_BACK = "fell_back"  # 15 min armed, or a drive
GO = "go"  # all interlocks hold and a go token is at most 15 min old
NO_GO = "no_go"  # the gate refused the token for good
LIFE_ENDED = "life_ended"  # exp or tick_exp
CANCEL_ACCEPTED = "cancel_accepted"
NEWER_ACCEPTED = "newer_accepted"
UNLOCK_ACCEPTED = "unlock_accepted"
CONTACT_LOST = "contact_lost"  # 24 h without authenticated contact
LEASE_ENDED = "lease_ended"
RENEWED = "renewed"  # a RENEW with its three signatures and its own go token
EMERGENCY = "emergency"
WINDOW_ENDED_GO = "window_ended_go"  # the window is over, lease is left, all interlocks, a fresh go token
FAULT = "fault"  # storage, microcontroller, relay, or an engine sensed running
CRASH = "crash"

_PENDING = {
    (NONE, ARRIVED): RECEIVED,
    (RECEIVED, REFUSED): REJECTED,
    (RECEIVED, ACCEPTED): ACCEPTED_PENDING,
    (ACCEPTED_PENDING, CANCEL_ACCEPTED): CANCELLED,
    (ACCEPTED_PENDING, UNLOCK_ACCEPTED): CANCELLED,
    (ACCEPTED_PENDING, NEWER_ACCEPTED): SUPERSEDED,
    (ACCEPTED_PENDING, LIFE_ENDED): EXPIRED,
    (ACCEPTED_PENDING, FAULT): CANCELLED,
}

_AT_ONCE = {
    (NONE, ARRIVED): RECEIVED,
    (RECEIVED, REFUSED): REJECTED,
    (RECEIVED, ACCEPTED): DONE,
}

_LOCK = {
    (ACCEPTED_PENDING, WARN_BEGINS): WARNING,
    (ACCEPTED_PENDING, PARKED_WARNED): ARMED,
    (ACCEPTED_PENDING, NO_GO): CANCELLED,
    (WARNING, PARKED_WARNED): ARMED,
    (WARNING, CANCEL_ACCEPTED): CANCELLED,
    (WARNING, UNLOCK_ACCEPTED): CANCELLED,
    (WARNING, NEWER_ACCEPTED): SUPERSEDED,
    (WARNING, LIFE_ENDED): EXPIRED,
    (WARNING, FAULT): CANCELLED,
    (ARMED, FELL_BACK): ACCEPTED_PENDING,
    (ARMED, CRASH): ACCEPTED_PENDING,
    (ARMED, GO): LOCKED,
    (ARMED, NO_GO): CANCELLED,
    (ARMED, CANCEL_ACCEPTED): CANCELLED,
    (ARMED, UNLOCK_ACCEPTED): CANCELLED,
    (ARMED, NEWER_ACCEPTED): SUPERSEDED,
    (ARMED, LIFE_ENDED): EXPIRED,
    (ARMED, FAULT): CANCELLED,
    (LOCKED, UNLOCK_ACCEPTED): RELEASED,
    (LOCKED, CONTACT_LOST): RELEASED,
    (LOCKED, LEASE_ENDED): LEASE_EXPIRED,
    (LOCKED, RENEWED): LOCKED,
    (LOCKED, EMERGENCY): OVERRIDDEN,
    (LOCKED, FAULT): FAULT_RELEASED,
    (LOCKED, CRASH): FAULT_RELEASED,
    (LOCKED, NEWER_ACCEPTED): SUPERSEDED,
    (OVERRIDDEN, WINDOW_ENDED_GO): LOCKED,
    (OVERRIDDEN, UNLOCK_ACCEPTED): RELEASED,
    (OVERRIDDEN, CONTACT_LOST): RELEASED,
    (OVERRIDDEN, LEASE_ENDED): LEASE_EXPIRED,
    (OVERRIDDEN, FAULT): FAULT_RELEASED,
    (OVERRIDDEN, CRASH): FAULT_RELEASED,
    (OVERRIDDEN, NEWER_ACCEPTED): SUPERSEDED,
}

# A WARN plays once at each ignition-on of its life; it ends DONE if it was heard, else EXPIRED.
_WARN = {
    (ACCEPTED_PENDING, PLAYED): WARNING,
    (WARNING, PLAYED): WARNING,
    (WARNING, LIFE_ENDED): DONE,
    (WARNING, FAULT): CANCELLED,
    (WARNING, CANCEL_ACCEPTED): CANCELLED,
    (WARNING, UNLOCK_ACCEPTED): CANCELLED,
    (WARNING, NEWER_ACCEPTED): SUPERSEDED,
}

# A RENEW waits for its own go token and then extends the lease of the LOCK, which stays LOCKED.
_RENEW = {
    (ACCEPTED_PENDING, GO): DONE,
    (ACCEPTED_PENDING, NO_GO): CANCELLED,
}


def _merged(first, second):
    table = dict(first)
    table.update(second)
    return table


TRANSITIONS = {
    LOCK: _merged(_PENDING, _LOCK),
    WARN: _merged(_PENDING, _WARN),
    RENEW: _merged(_PENDING, _RENEW),
    UNLOCK: _AT_ONCE,
    CANCEL: _AT_ONCE,
    DECOMMISSION: _AT_ONCE,
    QUERY: _AT_ONCE,
    BIND: _AT_ONCE,
    BENCH: _AT_ONCE,
    TRACE: _AT_ONCE,
}
del _PENDING, _LOCK, _WARN, _RENEW  # a board keeps each table once

FINAL = (
    REJECTED,
    RELEASED,
    LEASE_EXPIRED,
    FAULT_RELEASED,
    SUPERSEDED,
    CANCELLED,
    EXPIRED,
    DONE,
)


def next_state(order_type, state, event):
    """Return the state after an event, or None where the table has no such change: then nothing happens."""
    return TRANSITIONS[order_type].get((state, event))
