"""ECDSA signing on P-256: how the microcontroller signs what it answers (docs/adr/0042).

Rules: the nonce follows from key and message (RFC 6979), so a message has one signature and a bad source of
randomness cannot leak the key; s is low. The multiple of G is taken by a comb that doubles and adds in every
step alike, over a scalar blinded by a fresh multiple of the group's order and over randomised coordinates,
and the inverse is taken of a blinded product. MicroPython's integers are *not* constant-time, so this makes
timing and power traces of single signatures differ, and does not make them say nothing: whoever can probe the
board should fit a secure element, which takes this class's place.

`random(n)` only blinds: with a constant in its place every signature is still right. This module imports only
hashes and field arithmetic; it has no annotations and is the same file on CPython and on MicroPython.

Example:
    >>> key = SigningKey(1)
    >>> len(key.sign(b"message")), len(key.kid)
    (64, 32)

Source: RFC 6979 §3.2; FIPS 186-5 §6.4.1; Lim and Lee, CRYPTO '94 (comb); Coron, CHES 1999 (both blindings).
"""

import hashlib

from device.mcu.p256 import GX, GY, N, P, _add, _double, _inverse

_TEETH = 4  # bits a step: 15 points kept
_STEPS = 80  # four times: a scalar blinded by 64 bits has at most 320
_BLIND_BYTES = 8
_comb = []  # sums of 2^(80·i)·G, by the bits of the index; filled at the first signature


class SigningKey:
    """A private key in memory.

    Attributes: xy (x‖y, 64 bytes), kid (RFC 9679 thumbprint, 32 bytes), feed (called between steps, for a
    watchdog; None).
    """

    def __init__(self, scalar, random=None, feed=None):
        assert 0 < scalar < N
        self._scalar = scalar
        self._random = random
        self.feed = feed
        x, y = self._multiple(scalar)
        self.xy = x.to_bytes(32, "big") + y.to_bytes(32, "big")
        cose_key = b"\xa4\x01\x02\x20\x01\x21\x58\x20" + self.xy[:32] + b"\x22\x58\x20" + self.xy[32:]
        self.kid = hashlib.sha256(cose_key).digest()

    def sign(self, message):
        """Return r‖s over SHA-256 of a message: 64 bytes with s ≤ n/2."""
        digest = hashlib.sha256(message).digest()
        z = int.from_bytes(digest, "big")
        nonces = _Nonces(self._scalar, digest)
        while True:
            nonce = nonces.next()
            r = self._multiple(nonce)[0] % N
            blind = int.from_bytes(self._bytes(31), "big") | 1
            s = _inverse(nonce * blind % N, N) * ((blind * z + blind * r % N * self._scalar) % N) % N
            if r and s:
                s = N - s if s > N >> 1 else s
                return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def _bytes(self, count):
        return bytes(count) if self._random is None else self._random(count)

    def _multiple(self, scalar):
        """Return affine x, y of scalar·G, for 0 < scalar < N."""
        if not _comb:
            _fill_comb(self.feed)
        scalar += N * int.from_bytes(self._bytes(_BLIND_BYTES), "big")
        z = int.from_bytes(self._bytes(31), "big") + 1
        # Starting at a point S and taking 2^80·S away at the end, no step meets infinity and
        # each is the same: one doubling, one addition.
        start = _comb[0]
        x, y = start[0] * z * z % P, start[1] * z * z * z % P
        for step in range(_STEPS - 1, -1, -1):
            digit = 0
            for tooth in range(_TEETH):
                digit |= (scalar >> _STEPS * tooth + step & 1) << tooth
            x, y, z = _double(x, y, z)
            # Digit 0 adds too, and the sum is thrown away.
            px, py = _comb[digit or 15]
            added = _add(x, y, z, px, py)
            x, y, z = added if digit else (x, y, z)
            if self.feed is not None:
                self.feed()
        away = _comb[16]
        x, y, z = _add(x, y, z, away[0], P - away[1])
        scale = _inverse(z, P)
        square = scale * scale % P
        return x * square % P, y * square * scale % P


class _Nonces:
    """The nonces of RFC 6979 §3.2, for a digest of 32 bytes."""

    def __init__(self, scalar, digest):
        z = int.from_bytes(digest, "big") % N
        seed = scalar.to_bytes(32, "big") + z.to_bytes(32, "big")
        self._v, self._k = b"\x01" * 32, bytes(32)
        for mark in (b"\x00", b"\x01"):
            self._k = _hmac(self._k, self._v + mark + seed)
            self._v = _hmac(self._k, self._v)

    def next(self):
        while True:
            self._v = _hmac(self._k, self._v)
            nonce = int.from_bytes(self._v, "big")
            self._k = _hmac(self._k, self._v + b"\x00")
            self._v_after()
            if 0 < nonce < N:
                return nonce

    def _v_after(self):
        self._v = _hmac(self._k, self._v)


def _hmac(key, message):
    """Return HMAC-SHA256 with a key of 32 bytes (RFC 2104)."""
    inner = bytes([byte ^ 0x36 for byte in key]) + b"\x36" * 32
    outer = bytes([byte ^ 0x5C for byte in key]) + b"\x5c" * 32
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


def _fill_comb(feed):
    """Keep the comb: index 1 … 15 sums of teeth, 0 the start S, 16 what it becomes after all doublings."""
    teeth = [(GX, GY)]
    for _ in range(_TEETH - 1):
        teeth.append(_doubled(teeth[-1], _STEPS, feed))
    sums = [None]
    for index in range(1, 1 << _TEETH):
        point = None
        for tooth in range(_TEETH):
            if index >> tooth & 1:
                point = (
                    teeth[tooth] if point is None else _affine(*_add(point[0], point[1], 1, *teeth[tooth]))
                )
        sums.append(point)
    # S is 2^320·G.
    sums[0] = _doubled(teeth[-1], _STEPS, feed)
    sums.append(_doubled(sums[0], _STEPS, feed))
    _comb.extend(sums)


def _doubled(point, times, feed):
    x, y, z = point[0], point[1], 1
    for _ in range(times):
        x, y, z = _double(x, y, z)
        if feed is not None:
            feed()
    return _affine(x, y, z)


def _affine(x, y, z):
    scale = _inverse(z, P)
    square = scale * scale % P
    return x * square % P, y * square * scale % P
