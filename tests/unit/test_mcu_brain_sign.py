"""RFC 6979 signing on P-256 in pure Python."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.mcu import p256
from device.mcu.sign import SigningKey
from protocol.orders import check_signature
from protocol.vectors.keys import published_scalar, published_signer

# RFC 6979, A.2.5: key, and r, s for SHA-256.
SCALAR = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
SAMPLES = {
    b"sample": (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    b"test": (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}


@pytest.mark.parametrize("message", SAMPLES)
def test_the_vectors_of_rfc_6979_come_out_with_a_low_s(message: bytes) -> None:
    r, s = SAMPLES[message]
    signature = SigningKey(SCALAR).sign(message)
    assert int.from_bytes(signature[:32], "big") == r
    assert int.from_bytes(signature[32:], "big") == min(s, p256.N - s)


def test_the_key_is_the_one_that_other_tools_make_of_the_scalar() -> None:
    key, other = SigningKey(published_scalar("mcu-1")), published_signer("mcu-1")
    assert key.kid == other.kid
    assert key.sign(b"message") == other.sign(b"message")


@settings(max_examples=30, deadline=None)
@given(
    scalar=st.integers(min_value=1, max_value=p256.N - 1), message=st.binary(max_size=64), blind=st.binary()
)
def test_whatever_blinds_the_signature_is_the_same_and_verifies(
    scalar: int, message: bytes, blind: bytes
) -> None:
    plain = SigningKey(scalar)
    blinded = SigningKey(scalar, lambda count: (blind + b"\xff" * count)[:count])
    signature = plain.sign(message)
    assert blinded.sign(message) == signature
    assert check_signature(plain.xy, hashlib.sha256(message).digest(), signature) == "OK"


@pytest.mark.parametrize("scalar", [1, 2, 3, p256.N - 2, p256.N - 1])
def test_the_edges_of_the_scalar_give_the_right_point(scalar: int) -> None:
    assert p256.is_on_curve(SigningKey(scalar).xy)
    digest = hashlib.sha256(b"edge").digest()
    assert check_signature(SigningKey(scalar).xy, digest, SigningKey(scalar).sign(b"edge")) == "OK"
