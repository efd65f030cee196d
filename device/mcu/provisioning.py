"""How an empty device gets its roots: PROVISION, taken once, before anything else.

Rules: only an empty store takes it; afterwards nothing but the platform's root changes what it said, and the
backend's keys their successors. The map
is {1: version 1, 2: device id (32 bytes), 3: [platform root keys (COSE_Keys), threshold], 4: backend time
keys (COSE_Keys), 5: K_ovr (32 bytes), 6: salt (16 bytes), 7: profile}, and may have 8: lenders' roots
[[issuer, keys, threshold] …] for a car whose lender is known when it is made. The profile is {1: start type
(text)}. The device makes its own epoch.

It has no annotations, see `strict_cbor`.

Example:
    >>> read_provision(b"")
"""

from device.mcu import time_keys
from device.mcu.guard import ONE_TOUCH, TURN_KEY
from protocol import orders_authority, strict_cbor
from protocol.orders_authority import PLATFORM, Root
from protocol.orders_payload import fits

BYTES_MAX = 2_048
READY = "ready"  # hybrid and electric cars: never inhibited (S-10)

_KEY = ("bytes", 75, 75)
_KEYS = ("list", _KEY, 1, 5)
_THRESHOLD = ("uint", 1, 5)
_FORMS = {
    1: ("uint", 1, 1),
    2: ("bytes", 32, 32),
    3: ("tuple", _KEYS, _THRESHOLD),
    4: ("list", _KEY, 1, 4),
    5: ("bytes", 32, 32),
    6: ("bytes", 16, 16),
    7: ("map", {1: ("text", 1, 16)}),
    8: ("list", ("tuple", ("text", 8, 64), _KEYS, _THRESHOLD), 0, 2),
}


def read_provision(data):
    """Return the map of a PROVISION, or None when it is not one."""
    try:
        fields = strict_cbor.loads(data, BYTES_MAX)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    fields.setdefault(8, [])
    if len(fields) != len(_FORMS):
        return None
    for key, form in _FORMS.items():
        if key not in fields or not fits(fields[key], form):
            return None
    if fields[7][1] not in (TURN_KEY, ONE_TOUCH, READY) or fields[3][1] > len(fields[3][0]):
        return None
    for issuer, keys, threshold in fields[8]:
        if orders_authority.root_role(issuer) != orders_authority.LENDER_ROOT or threshold > len(keys):
            return None
    return fields


def provision(record, fields, epoch):
    """Put a PROVISION into an empty record."""
    record.provision = [fields[2], None, fields[5], fields[6], fields[7][1]]
    record.epoch = epoch
    record.time_keys = time_keys.first(fields[4])
    record.roots = {PLATFORM: Root(PLATFORM, fields[3][0], fields[3][1])}
    for issuer, keys, threshold in fields[8]:
        record.roots[issuer] = Root(issuer, keys, threshold)


def override_key(record):
    """Return K_ovr, or None before provisioning."""
    return None if record.provision is None else record.provision[2]


def start_type(record):
    """Return the start type of the profile; an unprovisioned car has one that is never inhibited."""
    return READY if record.provision is None else record.provision[4]
