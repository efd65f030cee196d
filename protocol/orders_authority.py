"""Who may sign: roots, their snapshots and revocations, and the delegations they give to persons.

Rules (K-03, K-05, C-02a): a root is a set of keys and a threshold; what it signs carries exactly as many of
its keys as the threshold asks, all different, none more. A new root is signed by the thresholds of the old
and of the new one, and no signature is superfluous. Versions only rise. An online key may add revocations and
do nothing else; only a snapshot, signed by the root, can drop one, and only one whose number it says it has
seen, so that a snapshot prepared before an addition does not undo it. A delegation lives at most 30 days and
binds one key to one person, one role and some types; makers and checkers chain to their lender's root,
everyone else to the platform's.

A delegation is a CWT in a COSE_Sign, not in a COSE_Sign1: with one signature a single root officer could make
a maker and a checker (docs/adr/0041). Nothing here asks for the time: `orders_reader` compares instants.

`verify(xy, digest, signature, feed)` answers as `device.mcu.p256` does. It has no annotations, see
`strict_cbor`.

Example:
    >>> Root("platform", [], 1).version
    0

Source: RFC 8392 (claims 1, 2, 4, 5, 7), RFC 8747 (cnf), TUF 1.0.33 §5.3 (old and new root both sign).
"""

import hashlib

from protocol import cose_sign, orders_payload, strict_cbor
from protocol.orders_vocabulary import LENDER_ROOT, PLATFORM_ROOT, ROLE_TYPES, ROOT_OF

DELEGATION_S_MAX = 2_592_000  # 30 days
REVOKED_TOTAL_MAX = 64  # entries in force for one root; REVOKED_MAX of limits.py
PLATFORM = "platform"
_LENDER = "lender:"
_VERIFIED = "OK"


class AuthorityError(ValueError):
    """The document is refused; `args[0]` is a link code, a signed code, or REVOCATIONS_FULL."""


class Root:
    """A root as the device knows it.

    Attributes: issuer ("platform" or "lender:" and 16 hex digits), keys (COSE_Keys of 75 bytes), threshold,
    version (0 for a trust anchor that no snapshot has confirmed), expires (POSIX s, 0 before any snapshot),
    listed (kids, 32 bytes, and persons, text, that the snapshot revokes), added (pairs of an addition's
    number and such a kid or person), online (COSE_Key or None), pack, zones, metadata (as the snapshot says,
    None before any), digest (SHA-256 of the snapshot).
    """

    def __init__(self, issuer, keys, threshold):
        self.issuer, self.keys, self.threshold = issuer, keys, threshold
        self.version = self.expires = 0
        self.listed, self.added = [], []
        self.online = self.pack = self.zones = self.metadata = self.digest = None

    def is_revoked(self, entry):
        """Return whether a kid or a person is revoked."""
        return entry in self.listed or entry in [added for _, added in self.added]

    def key_of(self, kid):
        """Return the COSE_Key of a kid, or None."""
        for key in self.keys:
            if cose_sign.thumbprint(key) == kid:
                return key
        return None


class Delegation:
    """A delegation whose root has signed it.

    Attributes: digest (SHA-256 of the whole message: its name), issuer, person, kid, xy (64 bytes), role,
    types, cohort (32 bytes or None), nbf, exp (POSIX s).
    """

    def __init__(self, digest, claims):
        self.digest = digest
        self.issuer, self.person = claims[1], claims[2]
        self.exp, self.nbf = claims[4], claims[5]
        key = strict_cbor.dumps(claims[8][1])
        self.kid, self.xy = cose_sign.thumbprint(key), cose_sign.key_xy(key)
        self.role, self.types, self.cohort = claims[-65537], claims[-65541], claims[-65542]


def lender_issuer(lender_id):
    """Return the issuer's name of a lender's root."""
    return _LENDER + "".join(["%02x" % byte for byte in lender_id])


def lender_cohort(lender_id):
    """Return the cohort of all devices bound to a lender, the one form of version 1: 32 bytes."""
    return hashlib.sha256(b"tbox/cohort/1" + lender_id).digest()


def root_role(issuer):
    """Return the role of an issuer's keys, or None when the name is no issuer's."""
    if issuer == PLATFORM:
        return PLATFORM_ROOT
    digits = issuer[len(_LENDER) :]
    if issuer[: len(_LENDER)] != _LENDER or len(digits) != 16:
        return None
    for digit in digits:
        if digit not in "0123456789abcdef":
            return None
    return LENDER_ROOT


def read_snapshot(data, known, verify, feed=None):
    """Read a snapshot of a root's metadata.

    Args:
        data: the COSE_Sign, kind `authority`.
        known: the `Root` in force for this issuer.
        verify: see the module.
        feed: given to `verify`.

    Returns:
        The new `Root`; `known` itself when it is the snapshot in force, sent again.

    Raises:
        AuthorityError: BAD_ENCODING, SIGNER_SET, UNKNOWN_KEY, BAD_SIG, HIGH_S, WRONG_DEVICE (another
            issuer's), REPLAY_CTR (its version is not higher).
    """
    digest = hashlib.sha256(data).digest()
    if digest == known.digest:
        return known
    fields, payload, signers = _read_signed("authority", data)
    keys, threshold = fields[6], fields[7]
    names = [cose_sign.thumbprint(key) for key in keys]
    if len(set(names)) != len(names) or threshold > len(names):
        raise AuthorityError("BAD_ENCODING")
    if fields[2] != known.issuer:
        raise AuthorityError("WRONG_DEVICE")
    new = Root(known.issuer, keys, threshold)
    _check_signers(signers, (known, new))
    _verify_all("authority", payload, signers, (known, new), verify, feed)
    if fields[3] <= known.version:
        raise AuthorityError("REPLAY_CTR")
    new.version, new.expires, new.listed, new.online = fields[3], fields[5], fields[8], fields[9]
    new.pack, new.zones, new.metadata, new.digest = fields[10], fields[11], fields[12], digest
    new.added = [(number, entry) for number, entry in known.added if number > fields[13]]
    return new


def read_revocation(data, known, verify, feed=None):
    """Read an addition of revocations by the online key, and put them in force.

    Returns:
        Whether anything was added; a repeat adds nothing.

    Raises:
        AuthorityError: BAD_ENCODING, UNKNOWN_KEY, BAD_SIG, HIGH_S, WRONG_DEVICE; REVOCATIONS_FULL when there
            is no room: nothing is dropped for it, and the root must publish a snapshot.
    """
    kid, protected, payload, signature = _read(cose_sign.read_sign1, data)
    fields = _read(lambda data: orders_payload.read_document("revocation", data), payload)
    if known.online is None or cose_sign.thumbprint(known.online) != kid:
        raise AuthorityError("UNKNOWN_KEY")
    digest = cose_sign.signed1_digest("revocation", payload, protected)
    _must_verify(verify(cose_sign.key_xy(known.online), digest, signature, feed))
    if fields[2] != known.issuer:
        raise AuthorityError("WRONG_DEVICE")
    new = [(fields[3], entry) for entry in fields[5] if (fields[3], entry) not in known.added]
    if len(known.listed) + len(known.added) + len(new) > REVOKED_TOTAL_MAX:
        raise AuthorityError("REVOCATIONS_FULL")
    known.added = known.added + new
    return bool(new)


def read_delegation(data, roots, verify, feed=None):
    """Read a delegation and check that its root has signed it.

    Args:
        data: the COSE_Sign, kind `delegation`.
        roots: dict from issuer to `Root`.
        verify: see the module.
        feed: given to `verify`.

    Returns:
        The `Delegation`; keep it by its digest.

    Raises:
        AuthorityError: BAD_ENCODING, SIGNER_SET, UNKNOWN_KEY (also: no such root), BAD_SIG, HIGH_S,
            DELEGATION_SCOPE (longer than 30 days, a role of the other root, a type beyond the role, a cohort
            that is not the lender's).
    """
    claims, payload, signers = _read_signed("delegation", data)
    root = roots.get(claims[1])
    if root is None:
        raise AuthorityError("UNKNOWN_KEY")
    _check_signers(signers, (root,))
    _verify_all("delegation", payload, signers, (root,), verify, feed)
    if not _is_in_scope(claims):
        raise AuthorityError("DELEGATION_SCOPE")
    return Delegation(hashlib.sha256(data).digest(), claims)


def is_revoked(delegation, roots):
    """Return whether a delegation's key or person is revoked, or its root is gone."""
    root = roots.get(delegation.issuer)
    return root is None or root.is_revoked(delegation.kid) or root.is_revoked(delegation.person)


def _is_in_scope(claims):
    issuer, role, cohort = claims[1], claims[-65537], claims[-65542]
    if root_role(issuer) != ROOT_OF[role]:
        return False
    if not 0 < claims[4] - claims[5] <= DELEGATION_S_MAX:
        return False
    for order_type in claims[-65541]:
        if order_type not in ROLE_TYPES[role]:
            return False
    if ROOT_OF[role] == LENDER_ROOT:
        return cohort == lender_cohort(bytes.fromhex(issuer[len(_LENDER) :]))
    return cohort is None


def _check_signers(signers, roots):
    """Raise unless the signers are what each root's threshold asks: none missing, unknown or superfluous."""
    role = root_role(roots[0].issuer)
    kids = [signer.kid for signer in signers]
    if len(set(kids)) != len(kids):
        raise AuthorityError("SIGNER_SET")
    votes = [[root.key_of(kid) is not None for kid in kids] for root in roots]
    for at in range(len(signers)):
        signer = signers[at]
        if signer.role != role or signer.delegation is not None or signer.log_ref is not None:
            raise AuthorityError("SIGNER_SET")
        counting = [which for which in range(len(roots)) if votes[which][at]]
        if not counting:
            raise AuthorityError("UNKNOWN_KEY")
        if all(sum(votes[which]) > roots[which].threshold for which in counting):
            raise AuthorityError("SIGNER_SET")  # without this one, every threshold would still be met
    for which in range(len(roots)):
        if sum(votes[which]) < roots[which].threshold:
            raise AuthorityError("SIGNER_SET")


def _verify_all(kind, payload, signers, roots, verify, feed):
    for signer in signers:
        key = None
        for root in roots:
            key = key or root.key_of(signer.kid)
        digest = cose_sign.signed_digest(kind, payload, signer.protected)
        _must_verify(verify(_read(cose_sign.key_xy, key), digest, signer.signature, feed))


def _must_verify(word):
    if word != _VERIFIED:
        raise AuthorityError("HIGH_S" if word == "HIGH_S" else "BAD_SIG")


def _read_signed(kind, data):
    payload, signers = _read(cose_sign.read_sign, data)
    return _read(lambda data: orders_payload.read_document(kind, data), payload), payload, signers


def _read(read, data):
    """Return what a strict reader reads; any of its refusals is BAD_ENCODING here.

    It raises outside the handler: MicroPython warns on its console about chained exceptions.
    """
    try:
        return read(data)
    except ValueError:
        pass
    raise AuthorityError("BAD_ENCODING")
