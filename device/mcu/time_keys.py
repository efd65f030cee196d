"""The backend's keys that sign time, and how one hands over to the next (SPEC §12; K-04).

Rules: the first keys come with PROVISION. A key in force signs its successor (kind `key-succession`, role 1);
the successor may sign from the instant that the link names, and once it has signed a time that was taken, the
key before it is refused: there is no way back to a key that was given up. There is no other way to a new key.
Each key is kept as [COSE_Key, POSIX s from which it may sign, kid of the key before it or None].

This module does not read the clock: a token's own time is compared. It has no annotations, see `strict_cbor`.

Example:
    >>> first([b"key"])
    [[b'key', 0, None]]
"""

from protocol import cose_sign, strict_cbor
from protocol.orders_payload import fits

KEYS_MAX = 4  # of PROVISION at most; beyond it a successor takes the place of the oldest other key
RECEIPT_ROLE = 1  # signs receipts and time

_LINK = ("map", {1: ("uint", 1, 1), 2: ("uint", 1, 255), 3: ("bytes", 75, 75), 4: ("uint", 0, (1 << 56) - 1)})


def first(keys):
    """Return the entries of a PROVISION's keys."""
    return [[key, 0, None] for key in keys]


def find(entries, kid):
    """Return the entry of a kid, or None."""
    for entry in entries:
        if cose_sign.thumbprint(entry[0]) == kid:
            return entry
    return None


def succeed(entries, data, verify, feed=None):
    """Read a link from a key to the next.

    Returns:
        The code ("OK", "SAME" when the key is known, BAD_ENCODING, UNKNOWN_KEY, NOT_SUCCESSOR, BAD_SIG,
        HIGH_S) and the entries from now on.
    """
    try:
        kid, protected, payload, signature = cose_sign.read_sign1(data)
        link = strict_cbor.loads(payload)
        is_form = fits(link, _LINK)
        successor = cose_sign.thumbprint(link[3]) if is_form and cose_sign.key_xy(link[3]) else None
    except ValueError:
        return "BAD_ENCODING", entries
    if successor is None:
        return "BAD_ENCODING", entries
    if find(entries, successor) is not None and successor != kid:
        return "SAME", entries
    signer = find(entries, kid)
    if signer is None:
        return "UNKNOWN_KEY", entries
    digest = cose_sign.signed1_digest("key-succession", payload, protected)
    word = verify(cose_sign.key_xy(signer[0]), digest, signature, feed)
    if word != "OK":
        return ("HIGH_S" if word == "HIGH_S" else "BAD_SIG"), entries
    if link[2] != RECEIPT_ROLE or successor == kid:
        return "NOT_SUCCESSOR", entries
    others = [entry for entry in entries if entry is not signer]
    new = [link[3], (link[4] + 999_999) // 1_000_000, kid]
    return "OK", others[2 - KEYS_MAX :] + [signer, new]


def taken(entries, kid):
    """Return the entries once a time by this key was taken: the key before it is refused from now on."""
    before = find(entries, kid)[2]
    return [entry for entry in entries if before is None or cose_sign.thumbprint(entry[0]) != before]
