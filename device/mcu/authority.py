"""Roots, revocations and delegations as the device keeps them.

Rules (K-05, README §2.7): roots stand in the secure record, so that no old snapshot comes back; delegations
are cached as blobs under the place their hash got and are verified again before they count, once after each
boot. A delegation that is missing is wanted by its hash; wants of releasing orders are kept apart, so that no
flood of others pushes them out.

A lender's root that the device was not made with is introduced by the platform: its first snapshot carries
the platform's threshold beside its own, as a change of root does. Once the device is bound, no other lender
is.

The rules of signing stand in `protocol.orders_authority`. It has no annotations, see `strict_cbor`.

Example:
    >>> Authority(None, None, None, None).wants()
    []
"""

import hashlib

from device.mcu import time_keys
from protocol import cose_sign, orders_authority, orders_payload
from protocol.orders_authority import PLATFORM, AuthorityError, Root, lender_issuer

DELEGATIONS_MAX = 12  # two of each role that can sign for one car
WANTS_MAX = 8  # as the question for documents holds

DELEGATION, SNAPSHOT, REVOCATION, SUCCESSION = 1, 2, 3, 6  # 4 and 5 stay with the agent
KINDS = (DELEGATION, SNAPSHOT, REVOCATION, SUCCESSION)
_ROOTS_MAX = 3  # the platform, the lender, and while commissioning one more that was introduced


class Authority:
    """The cache.

    Attributes: known (digest to Delegation, verified since boot).
    """

    def __init__(self, board, record, verify, feed):
        self.board, self.record, self.verify, self.feed = board, record, verify, feed
        self.known = {}
        self._places = {}  # digest to number of the blob
        self._next = 0
        self._wants, self._release_wants = [], []
        if board is not None:
            self._find_blobs()

    def _find_blobs(self):
        for place in range(DELEGATIONS_MAX):
            data = self.board.blob_read("g%d" % place)
            if data:
                self._places[hashlib.sha256(data).digest()] = place
                self._next = (place + 1) % DELEGATIONS_MAX

    def ready(self, digests):
        """Verify those of these delegations that are cached and not yet known."""
        for digest in digests:
            if digest not in self.known and digest in self._places:
                data = self.board.blob_read("g%d" % self._places[digest])
                if data is None or hashlib.sha256(data).digest() != digest:
                    self._places.pop(digest)
                    continue
                try:
                    self._know(
                        orders_authority.read_delegation(data, self.record.roots, self.verify, self.feed)
                    )
                except AuthorityError:
                    self._places.pop(digest)

    def _know(self, delegation):
        if len(self.known) >= DELEGATIONS_MAX:
            for digest in self.known:
                if digest not in self._places:
                    self.known.pop(digest)
                    break
        self.known[delegation.digest] = delegation

    def want(self, digest, is_release):
        """Note that an order named a delegation that is missing."""
        wants = self._release_wants if is_release else self._wants
        if digest not in wants:
            wants.append(digest)
            if len(wants) > WANTS_MAX:
                wants.pop(0)

    def wants(self):
        """Return the hashes wanted, those of releases first, at most eight."""
        return (self._release_wants + self._wants)[:WANTS_MAX]

    def is_wanted_for_release(self, data):
        """Return whether this document is what a releasing order waits for."""
        return bool(self._release_wants) and hashlib.sha256(data).digest() in self._release_wants

    def take(self, kind, data):
        """Take one document.

        Returns: "OK" when something changed, "SAME" when nothing did, or a code of `orders_authority`; and
        whether the record must be written.
        """
        try:
            if kind == DELEGATION:
                return self._take_delegation(data), False
            if kind == SNAPSHOT:
                return self._take_snapshot(data)
            if kind == REVOCATION:
                return self._take_revocation(data)
            if kind == SUCCESSION:
                return self._take_succession(data)
        except AuthorityError as refused:
            return refused.args[0], False
        return "BAD_ENCODING", False

    def _take_delegation(self, data):
        digest = hashlib.sha256(data).digest()
        if digest in self.known:
            return "SAME"
        delegation = orders_authority.read_delegation(data, self.record.roots, self.verify, self.feed)
        place = self._places.get(digest)
        if place is None:
            place, self._next = self._next, (self._next + 1) % DELEGATIONS_MAX
            for other in list(self._places):
                if self._places[other] == place:
                    self._places.pop(other)
                    self.known.pop(other, None)
            self.board.blob_write("g%d" % place, data)
            self._places[digest] = place
        self._know(delegation)
        for wants in (self._wants, self._release_wants):
            if digest in wants:
                wants.remove(digest)
        return "OK"

    def _take_snapshot(self, data):
        issuer = _issuer("authority", cose_sign.read_sign, data)
        roots = self.record.roots
        known = roots.get(issuer) or self._introduced(issuer)
        if known is None:
            return "UNKNOWN_KEY", False
        new = orders_authority.read_snapshot(data, known, self.verify, self.feed)
        if new is known:
            return "SAME", False
        roots[issuer] = new
        if new.keys != known.keys or new.threshold != known.threshold:
            self.known = {digest: found for digest, found in self.known.items() if found.issuer != issuer}
        return "OK", True

    def _introduced(self, issuer):
        """Return the platform's root in a lender's place, for a snapshot that introduces the lender."""
        platform, binding = self.record.roots.get(PLATFORM), self.record.binding
        if platform is None or orders_authority.root_role(issuer) != orders_authority.LENDER_ROOT:
            return None
        if binding is None:
            if len(self.record.roots) >= _ROOTS_MAX:
                return None
        elif issuer != lender_issuer(binding[0]):
            return None
        return Root(issuer, platform.keys, platform.threshold)

    def _take_revocation(self, data):
        root = self.record.roots.get(_issuer("revocation", _payload_of_sign1, data))
        if root is None:
            return "UNKNOWN_KEY", False
        is_new = orders_authority.read_revocation(data, root, self.verify, self.feed)
        return ("OK" if is_new else "SAME"), is_new

    def _take_succession(self, data):
        word, keys = time_keys.succeed(self.record.time_keys, data, self.verify, self.feed)
        self.record.time_keys = keys
        return word, word == "OK"

    def is_revoked(self, people):
        """Return whether one of an open order's signers was revoked since."""
        for issuer, kid, person in people:
            root = self.record.roots.get(issuer)
            if root is None or root.is_revoked(kid) or root.is_revoked(person):
                return True
        return False

    def forget_lenders(self):
        """Erase every lender's root, and all delegations with their blobs (K-08)."""
        self.record.roots = {issuer: root for issuer, root in self.record.roots.items() if issuer == PLATFORM}
        self.known, self._places, self._wants, self._release_wants = {}, {}, [], []
        for place in range(DELEGATIONS_MAX):
            self.board.blob_write("g%d" % place, b"")


def _payload_of_sign1(data):
    return (cose_sign.read_sign1(data)[2],)


def _issuer(kind, read, data):
    """Return the issuer a document names; believed only once its signatures are."""
    try:
        return orders_payload.read_document(kind, read(data)[0])[2]
    except ValueError:
        pass
    raise AuthorityError("BAD_ENCODING")
