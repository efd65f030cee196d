"""ECDSA verification on P-256 with SHA-256 digests, in integers alone: how a small board checks an order.

Rules: a key is the 64 bytes x‖y of a point that is on the curve; a signature is r‖s, 64 bytes, with r and s
in 1 … n - 1. `verify` answers with a word: OK, or why not. A signature that verifies with s above n/2 is
HIGH_S, refused by name, so that one content has one signature form. Whatever bytes come, it answers.
`feed` is called after each bit of the 257 and may feed a watchdog; it sees nothing and decides nothing.

Only public values pass here, so nothing runs in constant time; this file must never see a private key. It
imports nothing and has no annotations: it is the same file on CPython and on MicroPython, where integers have
no `bit_length` and `pow(a, -1, n)` answers 0 instead of the inverse, so inverses are Euclid's.

Memory: the odd multiples of G (1 … 31) stay after the first call, those of the key (1 … 15) go with it; all
else is a few integers below 2**512 at a time.

Example:
    >>> key = GX.to_bytes(32, "big") + GY.to_bytes(32, "big")
    >>> verify(key, bytes(32), bytes(64))
    'BAD_SIG'

Source: SEC 2 v2 §2.4.2 (parameters), FIPS 186-5 §6.4.2 (verification), Hankerson, Menezes and Vanstone, Guide
to Elliptic Curve Cryptography, §2.2.5 (inversion), §3.2 (Jacobian coordinates, mixed addition), §3.3
(interleaving with non-adjacent forms).
"""

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF  # the field
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # number of points
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B  # y² = x³ - 3x + B
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5

OK = "OK"
BAD_KEY = "BAD_KEY"  # not 64 bytes, a coordinate not below P, or not a point of the curve
BAD_SIG = "BAD_SIG"  # it does not verify, or has another length, or r or s outside 1 … n - 1
HIGH_S = "HIGH_S"  # it verifies, but is the twin with s above n/2

FEEDS = 257  # calls of `feed` in a verification that reaches the curve: one a bit, and one for a carry

_WIDTH_G = 6  # digits of G's scalar are odd and below 32: 16 points kept
_WIDTH_KEY = 5  # digits of the key's scalar are odd and below 16: 8 points, made for each call
_kept = []  # the odd multiples of G, after the first call


def verify(key, digest, signature, feed=None):
    """Say whether a signature over a digest is the key's.

    Args:
        key: x‖y, 64 bytes, big-endian.
        digest: SHA-256 of what was signed, 32 bytes.
        signature: r‖s, 64 bytes, big-endian.
        feed: called without arguments about `FEEDS` times, evenly spread.

    Returns:
        OK, BAD_KEY, BAD_SIG or HIGH_S.
    """
    if not is_on_curve(key):
        return BAD_KEY
    if len(signature) != 64 or len(digest) != 32:
        return BAD_SIG
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not (0 < r < N and 0 < s < N):
        return BAD_SIG
    inverse = _inverse(s, N)
    u1 = int.from_bytes(digest, "big") * inverse % N
    u2 = r * inverse % N
    x, z = _sum(u1, u2, int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big"), feed)
    # The affine x is x / z², and must be r modulo N; P exceeds N, so it may also be r + N.
    zz = z * z % P
    if z == 0 or not (x == r * zz % P or (r + N < P and x == (r + N) * zz % P)):
        return BAD_SIG
    return HIGH_S if s > N >> 1 else OK


def is_on_curve(key):
    """Return whether 64 bytes are x‖y of a point of the curve; the point at infinity has no such form."""
    if len(key) != 64:
        return False
    x, y = int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big")
    return x < P and y < P and (y * y - x * (x * x - 3) - B) % P == 0


def _sum(u1, u2, key_x, key_y, feed):
    """Return X and Z, Jacobian, of u1·G + u2·key; Z is 0 at infinity."""
    if not _kept:
        _kept.extend(_odd_multiples(GX, GY, 1 << _WIDTH_G - 2))
    tables = (_kept, _odd_multiples(key_x, key_y, 1 << _WIDTH_KEY - 2))
    digits = (_digits(u1, _WIDTH_G), _digits(u2, _WIDTH_KEY))
    x, y, z = 1, 1, 0
    for place in range(FEEDS - 1, -1, -1):
        if z:
            x, y, z = _double(x, y, z)
        for which in (0, 1):
            digit = digits[which][place]
            if digit:
                digit = digit if digit < 128 else digit - 256
                px, py = tables[which][(digit if digit > 0 else -digit) >> 1]
                x, y, z = _add(x, y, z, px, py if digit > 0 else P - py)
        if feed is not None:
            feed()
    return x, z


def _digits(scalar, width):
    """Return the non-adjacent form of a scalar, lowest first: 257 signed bytes, 0 or odd, below 2**(w-1)."""
    digits = bytearray(FEEDS)
    place = 0
    while scalar:
        if scalar & 1:
            digit = scalar & (1 << width) - 1
            if digit >> width - 1:
                digit -= 1 << width
            digits[place] = digit & 255
            scalar -= digit
        scalar >>= 1
        place += 1
    return digits


def _odd_multiples(x, y, count):
    """Return 1, 3, 5 … times a point, each affine (x, y).

    They are found in Jacobian coordinates; one inversion then serves all: of the product of all z, from which
    each single inverse follows by multiplication.
    """
    twice_x, twice_y, twice_z = _double(x, y, 1)
    scale = _inverse(twice_z, P)
    step = (twice_x * scale * scale % P, twice_y * scale * scale * scale % P)
    points = [(x, y, 1)]
    products = [1]
    for _ in range(count - 1):
        points.append(_add(*points[-1], *step))
        products.append(products[-1] * points[-1][2] % P)
    inverse = _inverse(products[-1], P)
    affine = []
    for at in range(count - 1, -1, -1):
        x, y, z = points[at]
        scale = inverse * products[at - 1] % P if at else 1  # 1 / z of this point
        inverse = inverse * z % P  # of the product of those before it
        square = scale * scale % P
        affine.append((x * square % P, y * square * scale % P))
    affine.reverse()
    return affine


def _inverse(value, modulus):
    """Return the inverse of a value, 1 … modulus - 1, modulo a prime; at most 372 divisions."""
    low, high, at, before = value, modulus, 1, 0
    while low:
        quotient = high // low
        low, high = high - quotient * low, low
        at, before = before - quotient * at, at
    return before % modulus


def _double(x, y, z):
    """Return twice a point that is not at infinity; the curve has no point with y = 0."""
    zz = z * z % P
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * (x - zz) * (x + zz) % P
    x2 = (m * m - 2 * s) % P
    return x2, (m * (s - x2) - 8 * yy * yy) % P, 2 * y * z % P


def _add(x, y, z, px, py):
    """Return the sum of a Jacobian and an affine point; complete: infinity, equals and opposites too."""
    if z == 0:
        return px, py, 1
    zz = z * z % P
    h = (px * zz - x) % P
    r = (py * zz * z - y) % P
    if h == 0:
        return _double(x, y, z) if r == 0 else (1, 1, 0)
    hh = h * h % P
    hhh = hh * h % P
    w = x * hh % P
    x3 = (r * r - hhh - 2 * w) % P
    return x3, (r * (w - x3) - y * hhh) % P, h * z % P
