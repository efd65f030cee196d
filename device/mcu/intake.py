"""What comes in over the link waits here: releases before all else, and each with its right to be verified.

Rules (README §1.8, ADR 0040): one message a step, so that timers and the coil run between them; an UNLOCK,
CANCEL or DECOMMISSION goes ahead of everything. A release is verified whenever it comes to its turn: nothing
else uses up its signatures. All others share a bucket that refills slowly, and get BUSY when it is empty. A
queue that is full says BUSY too; the agent presents the message again.

This module verifies nothing. It has no annotations, see `strict_cbor`.

Example:
    >>> intake = Intake()
    >>> intake.put(2, b"", False), intake.put(2, b"", True), intake.take()[2]
    (True, True, True)
"""

from protocol import cose_sign, orders_payload
from protocol.orders_vocabulary import CLASS, CLASS_B

RELEASES_MAX, OTHERS_MAX = 4, 8  # messages waiting; 2 KB each at most
RELEASE_SIGNATURES = 3  # DECOMMISSION has two; a third gets its answer instead of BUSY without end
BUCKET_MAX = 16  # signatures of other messages that may be checked at once …
BUCKET_S = 4  # … and one more each 4 s: a board needs about 1 s for one


class Intake:
    """The two queues and the bucket of signatures.

    Attributes: left (signatures that others may still cost).
    """

    def __init__(self):
        self._releases, self._others = [], []
        self.left = BUCKET_MAX
        self._filled_tick = None

    def put(self, kind, body, is_release):
        """Queue a message; return False when its queue is full."""
        queue, most = (self._releases, RELEASES_MAX) if is_release else (self._others, OTHERS_MAX)
        if len(queue) >= most:
            return False
        queue.append((kind, body, is_release))
        return True

    def take(self):
        """Return the next (kind, body, is_release), or None."""
        queue = self._releases or self._others
        return queue.pop(0) if queue else None

    def holds_release(self):
        """Return whether something that looks like a release waits for its turn."""
        return bool(self._releases)

    def refill(self, tick):
        """Let time pass for the bucket."""
        if self._filled_tick is None or tick < self._filled_tick:
            self._filled_tick = tick
        more = (tick - self._filled_tick) // BUCKET_S
        self._filled_tick += more * BUCKET_S
        self.left = min(BUCKET_MAX, self.left + more)


def is_release(data):
    """Return whether a message looks like a release; what does not decode is none."""
    try:
        order, is_known = orders_payload.read_order(cose_sign.read_sign(data)[0])
    except ValueError:
        return False
    return is_known and CLASS[order[3]] == CLASS_B


def named_delegations(data):
    """Return the hashes of the delegations that an order's signers and its ticket name."""
    try:
        payload, signers = cose_sign.read_sign(data)
        order, is_known = orders_payload.read_order(payload)
        names = [signer.delegation for signer in signers if signer.delegation is not None]
        if is_known and order.get(25) is not None:
            ticket = orders_payload.read_document("ticket", cose_sign.read_sign1(order[25])[2])
            names.append(ticket[7])
    except ValueError:
        return []
    return names


def checkpoint_of(signers):
    """Return [origin, size, root] of the log as the gate names it, or None."""
    for signer in signers:
        if signer.log_ref is not None:
            return [signer.log_ref[0], signer.log_ref[2], signer.log_ref[3]]
    return None
