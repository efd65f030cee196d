"""The microcontroller's P-256: what it answers, on the values where such code goes wrong."""

import doctest
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)

from device.mcu import p256
from protocol.envelope import P256_ORDER, SoftwareSigner

MESSAGE = b"the next start"
DIGEST = hashlib.sha256(MESSAGE).digest()
INVERSE_OF_2 = pow(2, -1, p256.N)


def xy(key: EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def raw(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


KEY = derive_private_key(0xC0FFEE, SECP256R1())
GOOD = SoftwareSigner(KEY).sign(MESSAGE)
R, S = int.from_bytes(GOOD[:32], "big"), int.from_bytes(GOOD[32:], "big")


def test_the_constants_are_those_of_the_curve() -> None:
    generator = p256.GX.to_bytes(32, "big") + p256.GY.to_bytes(32, "big")
    assert p256.is_on_curve(generator)
    assert generator == xy(derive_private_key(1, SECP256R1()))
    assert p256.N == P256_ORDER


def test_a_good_signature_is_good() -> None:
    assert p256.verify(xy(KEY), DIGEST, GOOD) == p256.OK


def test_its_twin_above_half_the_order_is_refused_by_name() -> None:
    assert p256.verify(xy(KEY), DIGEST, raw(R, p256.N - S)) == p256.HIGH_S


def test_no_signature_with_one_bit_changed_is_good() -> None:
    for bit in range(512):
        changed = (int.from_bytes(GOOD, "big") ^ 1 << bit).to_bytes(64, "big")
        assert p256.verify(xy(KEY), DIGEST, changed) == p256.BAD_SIG, bit


@pytest.mark.parametrize("r", [0, R, p256.N, p256.N + R if p256.N + R < 1 << 256 else p256.N + 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, p256.N, p256.N + 1, 2**256 - 1])
def test_values_outside_1_to_n_are_refused(r: int, s: int) -> None:
    assert p256.verify(xy(KEY), DIGEST, raw(r, s)) == p256.BAD_SIG


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_another_length_is_refused(length: int) -> None:
    assert p256.verify(xy(KEY), DIGEST, (GOOD * 2)[:length]) == p256.BAD_SIG
    assert p256.verify((xy(KEY) * 2)[:length], DIGEST, GOOD) == p256.BAD_KEY
    assert p256.verify(xy(KEY), (DIGEST * 4)[:length], GOOD) == p256.BAD_SIG


def test_a_point_that_is_not_on_the_curve_is_no_key() -> None:
    x, y = xy(KEY)[:32], xy(KEY)[32:]
    beyond = (int.from_bytes(x, "big") + p256.P) % (1 << 256)
    for key in (
        bytes(64),  # the usual form of infinity
        y + x,
        x + ((int.from_bytes(y, "big") + 1) % p256.P).to_bytes(32, "big"),
        x + (2**256 - 1).to_bytes(32, "big"),
        beyond.to_bytes(32, "big") + y,
    ):
        assert p256.verify(key, DIGEST, GOOD) == p256.BAD_KEY


X_OF_Y_5 = 0xD7325D7646CD60D80A92738CEB345F844CFFAF35841022CAB176F692DE8DE1D7
"""x of a point whose y is 5: a root of x³ - 3x + B - 25."""


def test_a_coordinate_that_is_not_reduced_is_no_key() -> None:
    """A small coordinate has a second form, p more, which has another thumbprint: it must not exist."""
    y_of_x_0 = pow(p256.B, (p256.P + 1) // 4, p256.P)
    assert p256.is_on_curve(raw(0, y_of_x_0))
    assert not p256.is_on_curve(raw(p256.P, y_of_x_0))
    assert p256.is_on_curve(raw(X_OF_Y_5, 5))
    assert not p256.is_on_curve(raw(X_OF_Y_5, 5 + p256.P))


def test_a_digest_or_scalar_with_a_zero_before_it_is_another_length() -> None:
    """The same numbers in 33 bytes: refused, or one signature would have many forms."""
    assert p256.verify(xy(KEY), b"\x00" + DIGEST, GOOD) == p256.BAD_SIG
    assert p256.verify(xy(KEY), DIGEST, GOOD[:32] + b"\x00" + GOOD[32:]) == p256.BAD_SIG


def test_the_twin_of_the_middle_is_high() -> None:
    """s = (n - 1) / 2 is the last low one; the sum is built for it by choosing the nonce 1 and the key."""
    r = p256.GX % p256.N
    for s, answer in ((p256.N >> 1, p256.OK), ((p256.N >> 1) + 1, p256.HIGH_S)):
        digest = (s - r * 0xC0FFEE) % p256.N  # s = digest + r·key, the nonce being 1
        assert p256.verify(xy(KEY), digest.to_bytes(32, "big"), raw(r, s)) == answer


@pytest.mark.parametrize(
    "scalar", [1, 2, 3, p256.N - 1, p256.N - 2, (p256.N + 1) // 2, 2**255, 2**256 % p256.N]
)
def test_keys_whose_sums_meet_themselves_verify_as_well(scalar: int) -> None:
    """Keys near G make the interleaved additions meet equal points, opposites and infinity."""
    key = derive_private_key(scalar, SECP256R1())
    for message in (b"", b"a", b"ab", b"abc"):
        signature = SoftwareSigner(key).sign(message)
        assert p256.verify(xy(key), hashlib.sha256(message).digest(), signature) == p256.OK
        assert p256.verify(xy(key), hashlib.sha256(message + b".").digest(), signature) == p256.BAD_SIG


def test_a_sum_at_infinity_is_no_signature() -> None:
    """With the key G and a digest of -r, u1·G + u2·G is infinity, whatever s is."""
    generator = raw(p256.GX, p256.GY)
    for s in (1, 2, 12345, INVERSE_OF_2):
        for r in (1, p256.GX % p256.N, p256.N - 1):
            assert p256.verify(generator, (p256.N - r).to_bytes(32, "big"), raw(r, s)) == p256.BAD_SIG


def test_a_digest_of_nothing_but_zeros_verifies_as_the_standard_says() -> None:
    """u1 = 0: R is u2·Q alone. With Q = G and k = s = r⁻¹… a signature over zero can be made by anyone who
    knows the key; here the key is 1, so k·G has x = r and s = r / k."""
    k = 7
    r = int.from_bytes(xy(derive_private_key(k, SECP256R1()))[:32], "big") % p256.N
    s = r * pow(k, -1, p256.N) % p256.N
    answer = p256.verify(raw(p256.GX, p256.GY), bytes(32), raw(r, s))
    assert answer == (p256.OK if s <= p256.N // 2 else p256.HIGH_S)


def made_for(r: int, s: int, *, point: int | None = None) -> tuple[bytes, bytes]:
    """Return a key and a digest for which (r, s) is a signature whose R has x = `point` (else r itself).

    Nobody knows R's logarithm and nobody has to: with any u1, Q = (R - u1·G) / u2 is the key, u2 = r / s and
    the digest u1·s. A wrong sum would only make a key that fails the tests.
    """
    x = r if point is None else point
    root = pow(x**3 - 3 * x + p256.B, (p256.P + 1) // 4, p256.P)
    assert (root * root - x**3 + 3 * x - p256.B) % p256.P == 0, "no point has this x"
    u1, minus = 5, xy(derive_private_key(p256.N - 5, SECP256R1()))
    less = p256._add(x, root, 1, int.from_bytes(minus[:32], "big"), int.from_bytes(minus[32:], "big"))
    scalar = s * pow(r, -1, p256.N) % p256.N
    total = (1, 1, 0)
    for bit in f"{scalar:b}":
        total = p256._double(*total) if total[2] else total
        total = p256._add(*total, *affine(less)) if bit == "1" else total
    return raw(*affine(total)), (u1 * s % p256.N).to_bytes(32, "big")


def affine(point: tuple[int, int, int]) -> tuple[int, int]:
    x, y, z = point
    over = pow(z, -1, p256.P)
    return x * over * over % p256.P, y * over**3 % p256.P


def has_point(x: int) -> bool:
    return pow(x**3 - 3 * x + p256.B, (p256.P - 1) // 2, p256.P) in (0, 1)


def test_an_s_beyond_the_order_is_refused_though_it_is_small_modulo_it() -> None:
    """s = 5 may come as n + 5 too, which fits 256 bits: one signature would have two forms."""
    key, digest = made_for(p256.GX, 5)
    assert p256.verify(key, digest, raw(p256.GX, 5)) == p256.OK
    assert p256.verify(key, digest, raw(p256.GX, p256.N + 5)) == p256.BAD_SIG


def test_a_point_whose_x_lies_beyond_the_order_verifies_with_x_less_the_order() -> None:
    r = next(r for r in range(1, 100) if has_point(p256.N + r))
    key, digest = made_for(r, 7, point=p256.N + r)
    assert p256.verify(key, digest, raw(r, 7)) == p256.OK
    assert p256.verify(key, digest, raw(r + 1, 7)) == p256.BAD_SIG


def test_r_and_the_order_together_never_wrap_around_the_field() -> None:
    """R with a small x must not pass for an r that reaches that x only modulo the field's prime."""
    gap = p256.P - p256.N
    for x in (0, next(x for x in range(1, 100) if has_point(x))):
        key, digest = made_for(x + gap, 7, point=x)
        assert p256.verify(key, digest, raw(x + gap, 7)) == p256.BAD_SIG


def test_a_key_of_another_length_is_no_key() -> None:
    """x and y of a point whose y begins with a zero byte, and once more with that zero twice."""
    y = next(y for x in range(1, 10_000) if has_point(x) for y in [root_of(x)] if y >> 248 == 0)
    x = next(x for x in range(1, 10_000) if has_point(x) and root_of(x) == y)
    assert p256.is_on_curve(raw(x, y))
    assert not p256.is_on_curve(x.to_bytes(32, "big") + y.to_bytes(33, "big"))
    assert not p256.is_on_curve(x.to_bytes(32, "big") + y.to_bytes(31, "big"))


def root_of(x: int) -> int:
    return pow(x**3 - 3 * x + p256.B, (p256.P + 1) // 4, p256.P)


def test_adding_a_point_to_itself_doubles_it_and_to_its_opposite_gives_nothing() -> None:
    twice = xy(derive_private_key(2, SECP256R1()))
    scaled = (p256.GX * 9 % p256.P, p256.GY * 27 % p256.P, 3)  # G again, with z = 3
    for point in ((p256.GX, p256.GY, 1), scaled):
        assert raw(*affine(p256._add(*point, p256.GX, p256.GY))) == twice
        assert p256._add(*point, p256.GX, p256.P - p256.GY)[2] == 0


def test_the_watchdog_hook_is_called_evenly_and_whatever_the_answer() -> None:
    for signature in (GOOD, raw(R, p256.N - S), raw(S, R), raw(R, 1), raw(1, 1)):
        calls: list[None] = []
        p256.verify(xy(KEY), DIGEST, signature, lambda calls=calls: calls.append(None))
        assert len(calls) == p256.FEEDS


def test_the_examples_in_its_docstrings_run() -> None:
    assert doctest.testmod(p256).failed == 0
