"""The cheap comparisons of an order with the device: the first failure is remembered, nothing else happens.

Rules (C-02, C-02a, C-03, C-06, C-07, C-09, K-05): identity, mode, counter, challenge and time, content,
signers, ticket, delegations, metadata, in this order. Class A must pass all. Class B looks at no clock, no
challenge, no metadata's age and no delegation's dates, so that doubt can only release; a revoked key does not
release either. Class C is dated by the clock or, without one, by its challenge.

This module sees no signature: what it compares is believed only once `orders_reader` has verified them all.
The argument `device` is an `orders_reader.Device`. It has no annotations, see `strict_cbor`.

Example:
    >>> ORDER_LIFE_S_MAX, BENCH_LIFE_S_MAX
    (86400, 120)
"""

from protocol.orders_authority import PLATFORM, is_revoked, lender_cohort, lender_issuer
from protocol.orders_vocabulary import (
    ACTIVE,
    BENCH,
    BIND,
    CLASS,
    CLASS_A,
    CLASS_B,
    COMMISSIONING,
    DEFAULT_PAYMENT,
    GATE,
    INSTALLER,
    SIGNERS,
)

ORDER_LIFE_S_MAX = 86_400  # README §1.5: not-after at most 24 h
BENCH_LIFE_S_MAX = 120  # README §2.4
CLOCK_WIDTH_S_MAX = 300
CTR_JUMP_MAX = 1 << 32  # a counter may be POSIX seconds; two million leaps still leave it unexhausted


def first_failure(order, signers, holders, ticket, device):
    """Return the name of the first thing that is wrong, or None."""
    return (
        _identity_failure(order, device)
        or _mode_failure(order, device)
        or _counter_failure(order, device)
        or _freshness_failure(order, device)
        or _content_failure(order, device)
        or _signer_failure(order, signers, holders, ticket)
        or _ticket_failure(signers, ticket, device)
        or _delegations_failure(order, signers, holders, ticket, device)
        or _metadata_failure(order, device)
    )


def all_failures(order, signers, holders, ticket, device):
    """Return the first failure of each comparison, in their order: for whoever shows why, and does not act.

    A known time is a condition of the last one only; without it, freshness says CLOCK_UNCERTAIN.
    """
    found = [
        _identity_failure(order, device),
        _mode_failure(order, device),
        _counter_failure(order, device),
        _freshness_failure(order, device),
        _content_failure(order, device),
        _signer_failure(order, signers, holders, ticket),
        _ticket_failure(signers, ticket, device),
        _delegations_failure(order, signers, holders, ticket, device),
        None if device.latest is None else _metadata_failure(order, device),
    ]
    return [name for name in found if name is not None]


def _identity_failure(order, device):
    if order[5] != device.mcu_id:
        return "WRONG_DEVICE"
    if order[3] not in (BIND, BENCH):  # these two come before the car has a lender
        if order[6] != device.vin_bind:
            return "VIN_MISMATCH"
        if order[4] != device.lender_id or order[7] != device.contract_ref:
            return "WRONG_LENDER"
    return None if order[8] == device.epoch else "WRONG_EPOCH"


def _mode_failure(order, device):
    if order[3] in (BIND, BENCH):
        return None if device.mode == COMMISSIONING else "WRONG_MODE"
    if CLASS[order[3]] == CLASS_A and device.mode != ACTIVE:
        return "MONITOR_ONLY"
    return None


def _counter_failure(order, device):
    head = device.heads[CLASS[order[3]]]
    if order[9] <= head:
        return "REPLAY_CTR"
    return "CTR_JUMP" if order[9] - head > CTR_JUMP_MAX else None


def _freshness_failure(order, device):
    order_class = CLASS[order[3]]
    if order_class == CLASS_B:
        return None  # no expiry, no challenge, no clock
    if order[13] is not None:
        failure = _challenge_failure(order, device)
        if failure is not None:
            return failure
    if order[12] - order[10] > ORDER_LIFE_S_MAX:
        return "TTL_TOO_LONG"
    if device.earliest is None:
        # A matching challenge bounds an order that does not restrict; one that restricts needs the time.
        return None if order_class != CLASS_A and order[13] is not None else "CLOCK_UNCERTAIN"
    if device.earliest >= order[12]:
        return "EXPIRED"
    if device.latest >= order[12]:
        return "CLOCK_UNCERTAIN"  # it may be over: doubt shortens a life
    if order_class != CLASS_A:
        return None
    if device.latest < order[11]:
        return "NOT_YET"
    is_narrow = device.latest - device.earliest <= CLOCK_WIDTH_S_MAX
    return None if is_narrow and device.earliest >= order[11] else "CLOCK_UNCERTAIN"


def _challenge_failure(order, device):
    if device.chal is None or order[13] != device.chal:
        return "CHALLENGE"
    if order[14] is None:
        return "TTL_TOO_LONG"
    life = BENCH_LIFE_S_MAX if order[3] == BENCH else ORDER_LIFE_S_MAX
    if order[14] > device.chal_tick + life:
        return "TTL_TOO_LONG"
    return "EXPIRED" if device.tick > order[14] else None


def _content_failure(order, device):
    if CLASS[order[3]] != CLASS_A:
        return None
    if order[16] != DEFAULT_PAYMENT:
        return "REASON_REFUSED"
    if order[18] != device.jur:
        return "WRONG_JURISDICTION"
    return None if order[21] == device.prev else "CHAIN_GAP"


def _signer_failure(order, signers, holders, ticket):
    """Exactly the roles, and no key or person in two of them (C-02a, C-09)."""
    roles = [signer.role for signer in signers]
    if ticket is not None:
        roles.append(GATE)
    if tuple(sorted(roles)) not in SIGNERS[order[3]]:
        return "SIGNER_SET"
    found = [holder for holder in holders if holder is not None]
    if ticket is not None:
        found.append(ticket[1])
    for name in ("kid", "person"):
        if len({getattr(holder, name) for holder in found}) != len(found):
            return "ROLE_CONFLICT"
    return None


def _ticket_failure(signers, ticket, device):
    """A ticket is for this device, this installer and this challenge."""
    if ticket is None:
        return None
    fields = ticket[0]
    installers = [signer.kid for signer in signers if signer.role == INSTALLER]
    if fields[2] != device.mcu_id:
        return "WRONG_DEVICE"
    if fields[3] not in installers:
        return "SIGNER_SET"
    if device.chal is None or fields[4] != device.chal:
        return "CHALLENGE"
    return "EXPIRED" if device.tick > device.chal_tick + fields[5] else None


def _delegations_failure(order, signers, holders, ticket, device):
    claimed = [(holders[at], signers[at].role) for at in range(len(signers)) if holders[at] is not None]
    if ticket is not None:
        claimed.append((ticket[1], GATE))
    for holder, role in claimed:
        failure = delegation_failure(holder, role, order[3], device)
        if failure is not None:
            return failure
    return None


def delegation_failure(holder, role, order_type, device):
    """Return what keeps a delegation from giving this role this type here and now, or None."""
    if is_revoked(holder, device.roots):
        return "KEY_REVOKED"
    if role != holder.role or order_type not in holder.types:
        return "DELEGATION_SCOPE"
    if holder.cohort is not None and (
        device.lender_id is None or holder.cohort != lender_cohort(device.lender_id)
    ):
        return "DELEGATION_SCOPE"
    if CLASS[order_type] == CLASS_B:
        return None  # a release does not look at the clock
    if device.earliest is None:
        # Without the time, only what a challenge bounds gets here, and that does not restrict.
        return None if CLASS[order_type] != CLASS_A else "CLOCK_UNCERTAIN"
    if device.earliest < holder.nbf or device.latest >= holder.exp:
        return "DELEGATION_SCOPE"
    return None


def _metadata_failure(order, device):
    """A restriction needs both roots' snapshots in force (class A only)."""
    if CLASS[order[3]] != CLASS_A:
        return None
    for issuer in (PLATFORM, lender_issuer(device.lender_id)):
        root = device.roots.get(issuer)
        if root is None or device.latest >= root.expires:
            return "METADATA_STALE"
    return None
