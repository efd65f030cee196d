"""The table of forms: which keys an order or a document has, and of which form each is.

Rules (C-08): plain constants that the microcontroller reads as they are; `orders_payload.fits` says what a
form means. A payload has exactly the keys of its type or kind. Keys 25 (a ticket of the gate) and 26 (the
section that a TRACE releases) are additions of this version.

This module reads nothing.

Example:
    >>> sorted(ORDER_KEYS[UNLOCK])
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 22]
    >>> FORMS["ticket"][5]
    ('uint', 1, 120)
"""

from protocol.orders_vocabulary import (
    BENCH,
    BIND,
    CANCEL,
    CODES,
    DECOMMISSION,
    LOCK,
    QUERY,
    RENEW,
    STATES,
    TRACE,
    UNLOCK,
    WARN,
)

COUNT_MAX = (1 << 53) - 1
SECONDS_MAX = (1 << 40) - 1  # POSIX seconds and ticks: 34,000 years
HOLD_S_MAX = 604_800  # README §1.10: never beyond 7 d
OVERRIDE_S_MIN = 86_400  # README §1.12: the floor of an emergency window
TICKET_BYTES_MAX = 1_024
REVOKED_MAX = 16  # of one document; REVOKED_DOC_MAX of limits.py

BYTES16, HASH = ("bytes", 16, 16), ("bytes", 32, 32)
_COUNT, _SECONDS = ("uint", 0, COUNT_MAX), ("uint", 0, SECONDS_MAX)
_NULL = ("null",)
_VERSION = ("uint", 1, 1)
_PERSON = ("text", 1, 32)  # sixteen revoked ones and a rotation of root keys still fit a message
_ISSUER = ("text", 8, 64)
_JURISDICTION = ("text", 2, 6)
_CELSIUS = ("int", -90, 90)
_REVOKED = ("list", ("or", HASH, _PERSON), 0, REVOKED_MAX)
_MAYBE_PACK = ("or", _NULL, ("tuple", _JURISDICTION, _COUNT, HASH))
_MAYBE_ZONES = ("or", _NULL, ("tuple", _COUNT, HASH))

_PRE = (
    "some",
    {
        1: ("uint", 0, 0),  # max_speed, km/h
        2: _SECONDS,  # min_stationary_s
        3: _SECONDS,  # ign_off_s
        4: ("uint", 1, 8),  # min_motion_sources
        5: _COUNT,  # zoneset version
        6: ("tuple", ("uint", 0, 1_440), ("uint", 0, 1_440)),  # local window, minutes
        7: ("tuple", _CELSIUS, _CELSIUS),  # temperature, °C
        8: ("uint", 0, 10_000),  # max_gnss_unc_m
    },
)
_WARN_MAP = ("map", {1: _SECONDS, 2: ("uint", 0, 255)})
_OVR = ("map", {1: ("uint", 3, 16), 2: ("uint", OVERRIDE_S_MIN, HOLD_S_MAX)})
_TRACE = ("tuple", BYTES16, ("uint", 1, COUNT_MAX), ("uint", 1, COUNT_MAX), ("uint", 1, 255))

ORDER = {
    1: _VERSION,
    2: BYTES16,  # cmd_id
    3: ("uint", 1, 255),  # type
    4: ("bytes", 8, 8),  # lender_id
    5: HASH,  # mcu_id
    6: HASH,  # vin_bind
    7: HASH,  # contract_ref
    8: BYTES16,  # epoch
    9: ("uint", 1, COUNT_MAX),  # ctr
    10: _SECONDS,  # iat
    11: _SECONDS,  # nbf
    12: _SECONDS,  # exp
    13: BYTES16,  # chal
    14: _SECONDS,  # tick_exp
    15: ("uint", 1, HOLD_S_MAX),  # max_hold
    16: ("uint", 1, 255),  # reason
    17: HASH,  # basis
    18: _JURISDICTION,
    19: _PRE,
    20: _WARN_MAP,
    21: HASH,  # prev
    22: ("or", _NULL, BYTES16),  # supersedes; of a CANCEL the order cancelled, null for whichever is open
    23: _OVR,
    24: BYTES16,  # episode
    25: ("bytes", 1, TICKET_BYTES_MAX),  # ticket
    26: _TRACE,  # chain, first, last, section
}
_MAYBE_CHALLENGE = {13: ("or", _NULL, BYTES16), 14: ("or", _NULL, _SECONDS)}
_NO_EXPIRY = {12: _NULL, 13: _NULL, 14: _NULL}
_RELEASING = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 22)

ORDER_KEYS = {
    LOCK: tuple(range(1, 25)),
    RENEW: tuple(key for key in range(1, 25) if key not in (20, 23)),
    WARN: tuple(key for key in range(1, 25) if key not in (15, 19, 23)),
    UNLOCK: _RELEASING,
    CANCEL: _RELEASING,
    DECOMMISSION: _RELEASING,
    QUERY: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14),
    BIND: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 18, 25),
    BENCH: (1, 2, 3, 5, 8, 9, 10, 12, 13, 14, 25),
    TRACE: (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 17, 26),
}
OTHER_FORMS = {
    UNLOCK: _NO_EXPIRY,
    CANCEL: _NO_EXPIRY,
    DECOMMISSION: _NO_EXPIRY,
    QUERY: _MAYBE_CHALLENGE,
    TRACE: _MAYBE_CHALLENGE,
    BIND: {25: ("or", _NULL, ("bytes", 1, TICKET_BYTES_MAX))},
}

_CODE = ("uint", 0, len(CODES) - 1)
_STATE = ("uint", 0, len(STATES) - 1)
_MAYBE_SECONDS = ("or", _NULL, _SECONDS)
_SOURCE = (
    "tuple",
    ("text", 1, 32),
    ("or", _NULL, ("int", -COUNT_MAX, COUNT_MAX)),
    _MAYBE_SECONDS,
    ("uint", 0, 5),
)

GO_VERDICT, NO_GO_VERDICT = 1, 2

FORMS = {
    "go": {
        1: _VERSION,
        2: HASH,  # mcu_id
        3: HASH,  # cmd_hash
        4: BYTES16,  # chal2
        5: ("uint", GO_VERDICT, NO_GO_VERDICT),
        6: _SECONDS,  # issued
        7: ("or", _NULL, ("tuple", _CELSIUS, _CELSIUS)),  # outside air of the next 12 h, lowest and highest
        8: HASH,  # loan facts asked for this token
        9: HASH,  # the gate's delegation
    },
    "go-request": {1: _VERSION, 2: HASH, 3: HASH, 4: BYTES16, 5: _SECONDS},
    "challenge": {
        1: _VERSION,
        2: HASH,  # mcu_id
        3: BYTES16,  # epoch
        4: BYTES16,  # chal
        5: _SECONDS,  # tick at which it was opened
        6: ("tuple", _COUNT, _COUNT, _COUNT),  # counter heads of classes A, B, C
        7: HASH,  # prev
        8: _STATE,
        9: ("uint", 0, 2),  # mode
        10: _MAYBE_PACK,
        11: _MAYBE_ZONES,
        12: ("or", _NULL, BYTES16),  # nonce of the question
    },
    "challenge-request": {1: _VERSION, 2: HASH, 3: BYTES16},
    "disposition": {
        1: _VERSION,
        2: BYTES16,  # disp_id
        3: BYTES16,  # cmd_id
        4: HASH,  # cmd_hash
        5: HASH,  # mcu_id
        6: BYTES16,  # epoch
        7: ("uint", 1, COUNT_MAX),  # disp_seq
        8: ("or", _NULL, HASH),  # prev_disp_hash
        9: _STATE,
        10: _CODE,
        11: _SECONDS,  # tick
        12: ("tuple", _MAYBE_SECONDS, _MAYBE_SECONDS, ("uint", 0, 255)),  # lowest, highest, source bits
        13: ("list", _SOURCE, 0, 16),  # name, value, age in s, verdict
        14: ("tuple", ("bool",), ("or", _NULL, ("bool",))),  # relay: commanded, sensed
        15: ("tuple", ("or", _NULL, ("bool",)), ("or", _NULL, ("bool",))),  # ignition on, engine running
        16: _MAYBE_SECONDS,  # lease_end tick
        17: ("tuple", ("uint", 0, 255), ("uint", 0, 255)),  # override: used, left
        18: ("bool",),  # agent_seen
        19: ("tuple", HASH, ("bool",)),  # firmware measurement, is the demo image
        20: ("or", _NULL, ("tuple", ("text", 1, 256), _COUNT, HASH)),  # last checkpoint seen
    },
    "ticket": {
        1: _VERSION,
        2: HASH,  # mcu_id
        3: HASH,  # kid of the installer
        4: BYTES16,  # chal
        5: ("uint", 1, 120),  # seconds
        6: _SECONDS,  # issued
        7: HASH,  # the gate's delegation
    },
    "delegation": {
        1: _ISSUER,
        2: _PERSON,
        4: _SECONDS,  # exp
        5: _SECONDS,  # nbf
        7: ("bytes", 8, 16),  # serial
        8: ("map", {1: ("map", {1: ("uint", 2, 2), -1: ("uint", 1, 1), -2: HASH, -3: HASH})}),
        -65537: ("uint", 2, 7),  # role
        -65541: ("list", ("uint", 1, 13), 1, 12),  # types
        -65542: ("or", _NULL, HASH),  # cohort
        -65543: ("uint", 1, 10_000),  # a day, counted by the gate
    },
    "authority": {
        1: _VERSION,
        2: _ISSUER,
        3: ("uint", 1, COUNT_MAX),  # version
        4: _SECONDS,  # issued
        5: _SECONDS,  # expires
        6: ("list", ("bytes", 75, 75), 1, 5),  # root keys
        7: ("uint", 1, 5),  # threshold
        8: _REVOKED,
        9: ("or", _NULL, ("bytes", 75, 75)),  # the online key that may add revocations
        10: _MAYBE_PACK,
        11: _MAYBE_ZONES,
        12: HASH,  # the full metadata, held by the agent
        13: _COUNT,  # the last addition of the online key that this snapshot has taken into account
    },
    "revocation": {1: _VERSION, 2: _ISSUER, 3: ("uint", 1, COUNT_MAX), 4: _SECONDS, 5: _REVOKED},
}
