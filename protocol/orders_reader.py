"""How a device reads an order: strictly, comparing first, verifying everything, remembering nothing.

Rules (README §2.9; C-01, C-02, C-02a, C-08, C-09): strict decode; then cheap comparisons that only remember
the first failure; then every signature. If one does not verify the answer is a link code, unsigned, and a
counter. If all do, a known `cmd_id` returns its stored disposition, the first failure is a signed rejection,
and an order without failure is accepted. This module changes nothing of the device: what acceptance stores is
`heads_after`, and the caller does it once the answer says ACCEPT.

Time: instants are POSIX seconds, ticks the device's own monotonic seconds. A restricting order needs the time
known to 300 s; a releasing one never looks at the clock, at metadata's age or at a delegation's dates, so
that doubt can only release. Interlocks and the go token come later, at ARMED → LOCKED: `read_go`.

`verify(xy, digest, signature, feed)` answers as `device.mcu.p256` does. It has no annotations, see
`strict_cbor`.

Example:
    >>> answer = read_order(b"", Device(bytes(32), bytes(64)), None)
    >>> answer.outcome, answer.code
    ('LINK', 'BAD_ENCODING')
"""

import hashlib

from protocol import cose_sign, orders_payload
from protocol.orders_checks import delegation_failure, first_failure
from protocol.orders_forms import GO_VERDICT
from protocol.orders_vocabulary import CLASS, CLASS_A, COMMISSIONING, GATE, LOCK, MCU

LINK, REJECT, REPEAT, ACCEPT = "LINK", "REJECT", "REPEAT", "ACCEPT"

GO_AGE_S_MAX = 900  # README §1.5: at most 15 min at ARMED → LOCKED

NO_PREV = bytes(32)  # `prev` of a device that has accepted nothing yet


class Device:
    """What the reader compares with; the caller keeps it and changes it.

    Attributes: mcu_id (32 bytes), xy (64 bytes of D1), mode, lender_id (8 bytes), vin_bind, contract_ref (32
    bytes), jur (text), epoch (16 bytes), heads (last counter of classes A, B, C), prev (cmd_hash of the last
    accepted order), chal (16 bytes or None), chal_tick (s), tick (now, s), earliest and latest (POSIX s, now
    lies between; None while unknown), roots (issuer to Root), delegations (digest to Delegation), done
    (cmd_id to stored disposition), signatures_left (how many may be checked now).
    """

    def __init__(self, mcu_id, xy):
        self.mcu_id, self.xy = mcu_id, xy
        self.mode = COMMISSIONING
        self.lender_id = self.vin_bind = self.contract_ref = self.jur = self.epoch = None
        self.heads = [0, 0, 0]
        self.prev = NO_PREV
        self.chal, self.chal_tick, self.tick = None, 0, 0
        self.earliest = self.latest = None
        self.roots, self.delegations, self.done = {}, {}, {}
        self.signatures_left = 16


class Answer:
    """What a message gets.

    Attributes: outcome (LINK: unsigned; REJECT, REPEAT, ACCEPT: to be signed), code (name, "OK" for ACCEPT),
    detail (for the log; of DELEGATION_MISSING the digest wanted, in hex), order (the map, None for LINK),
    cmd_hash (32 bytes, None for LINK), stored (the disposition kept, for REPEAT).
    """

    def __init__(self, outcome, code, detail="", order=None, cmd_hash=None, stored=None):
        self.outcome, self.code, self.detail = outcome, code, detail
        self.order, self.cmd_hash, self.stored = order, cmd_hash, stored


class _LinkError(Exception):
    """Nothing authentic was said; arguments are link code and detail."""


def read_order(data, device, verify, feed=None):
    """Answer a COSE_Sign of kind `command`.

    Args:
        data: the whole message, as it came.
        device: a `Device`; only `signatures_left` is changed, by the signatures checked.
        verify: see the module.
        feed: given to `verify`, for a watchdog.

    Returns:
        An `Answer`.
    """
    try:
        payload, signers, order, is_known = _decode(data)
        holders = _holders(signers, device)
        ticket = _read_ticket(order, device) if is_known else None
        failure = first_failure(order, signers, holders, ticket, device) if is_known else "UNSUPPORTED"
        _verify_all(payload, signers, holders, ticket, device, verify, feed)
    except _LinkError as refused:
        return Answer(LINK, refused.args[0], refused.args[1])
    cmd_hash = hashlib.sha256(payload).digest()
    if order[2] in device.done:
        return Answer(REPEAT, "DUPLICATE", "", order, cmd_hash, device.done[order[2]])
    if failure is not None:
        return Answer(REJECT, failure, "", order, cmd_hash)
    return Answer(ACCEPT, "OK", "", order, cmd_hash)


def heads_after(order, device):
    """Return the counter heads once an order is accepted; only acceptance moves one."""
    heads = list(device.heads)
    heads[CLASS[order[3]]] = order[9]
    return heads


def read_go(data, device, cmd_hash, chal2, chal2_tick, verify, feed=None):
    """Answer a go token for an order that waits armed (C-15).

    Args:
        data: the COSE_Sign1 of kind `go`.
        device: a `Device`.
        cmd_hash: of the order that waits.
        chal2: the challenge opened for this parking, 16 bytes, kept in memory only.
        chal2_tick: when it was opened, s; the token cannot be older.
        verify: see the module.
        feed: given to `verify`.

    Returns:
        Code and the token's map: "OK", or "NO_GO" (the gate refuses, another order, another parking, too
        old), "KEY_REVOKED", "DELEGATION_SCOPE", "CLOCK_UNCERTAIN", "WRONG_DEVICE"; a link code and None when
        it is not authentic.
    """
    try:
        token, holder = _gate_document("go", data, 9, device, verify, feed)
    except _LinkError as refused:
        return refused.args[0], None
    failure = delegation_failure(holder, GATE, LOCK, device)
    if failure is not None:
        return failure, token
    if token[2] != device.mcu_id:
        return "WRONG_DEVICE", token
    is_fresh = token[4] == chal2 and 0 <= device.tick - chal2_tick <= GO_AGE_S_MAX
    if token[5] != GO_VERDICT or token[3] != cmd_hash or not is_fresh:
        return "NO_GO", token
    return "OK", token


def _decode(data):
    payload, signers = _strictly(cose_sign.read_sign, data)
    order, is_known = _strictly(orders_payload.read_order, payload)
    for signer in signers:
        is_person = 2 <= signer.role < MCU
        if not (is_person or signer.role == MCU) or is_person != (signer.delegation is not None):
            raise _LinkError("BAD_ENCODING", "SIGNER_HEADER")
        is_logged = signer.log_ref is not None
        must_log = is_known and signer.role == GATE and CLASS[order[3]] == CLASS_A
        if (is_logged and signer.role != GATE) or (must_log and not is_logged):
            raise _LinkError("BAD_ENCODING", "SIGNER_HEADER")
    return payload, signers, order, is_known


def _holders(signers, device):
    """Return each signer's delegation, None for the device's own key."""
    holders = []
    for signer in signers:
        if signer.role == MCU:
            if signer.kid != device.mcu_id:
                raise _LinkError("UNKNOWN_KEY", "MCU")
            holders.append(None)
        else:
            holders.append(_holder(signer.delegation, signer.kid, device))
    return holders


def _holder(digest, kid, device):
    found = device.delegations.get(digest)
    if found is None:
        raise _LinkError("DELEGATION_MISSING", "".join(["%02x" % byte for byte in digest]))
    if found.kid != kid:
        raise _LinkError("UNKNOWN_KEY", "the delegation is of another key")
    return found


def _verify_all(payload, signers, holders, ticket, device, verify, feed):
    """Raise unless every signature verifies, the ticket's too: there is no "first that matches" (C-09)."""
    wanted = len(signers) + (ticket is not None)
    if wanted > device.signatures_left:
        raise _LinkError("BUSY", "")
    device.signatures_left -= wanted
    for at in range(len(signers)):
        xy = device.xy if holders[at] is None else holders[at].xy
        digest = cose_sign.signed_digest("command", payload, signers[at].protected)
        _must_verify(verify(xy, digest, signers[at].signature, feed))
    if ticket is not None:
        _, holder, digest, signature = ticket
        _must_verify(verify(holder.xy, digest, signature, feed))


def _must_verify(word):
    if word != "OK":
        raise _LinkError("HIGH_S" if word == "HIGH_S" else "BAD_SIG", "")


def _read_ticket(order, device):
    """Return the ticket inside an order: map, holder, digest to verify, signature; None without one."""
    data = order.get(25)
    if data is None:
        return None
    kid, protected, payload, signature = _strictly(cose_sign.read_sign1, data)
    ticket = _strictly(lambda data: orders_payload.read_document("ticket", data), payload)
    holder = _holder(ticket[7], kid, device)
    return ticket, holder, cose_sign.signed1_digest("ticket", payload, protected), signature


def _gate_document(kind, data, delegation_key, device, verify, feed):
    """Return map and holder of a verified COSE_Sign1 that names its delegation under a key."""
    kid, protected, payload, signature = _strictly(cose_sign.read_sign1, data)
    document = _strictly(lambda data: orders_payload.read_document(kind, data), payload)
    holder = _holder(document[delegation_key], kid, device)
    if device.signatures_left < 1:
        raise _LinkError("BUSY", "")
    device.signatures_left -= 1
    _must_verify(verify(holder.xy, cose_sign.signed1_digest(kind, payload, protected), signature, feed))
    return document, holder


def _strictly(read, data):
    """Return what a strict reader reads; its refusal is BAD_ENCODING.

    It raises outside the handler: MicroPython warns on its console about chained exceptions.
    """
    try:
        return read(data)
    except ValueError as error:
        detail = str(error.args[0])
    raise _LinkError("BAD_ENCODING", detail)
