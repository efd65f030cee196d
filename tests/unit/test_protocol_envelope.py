"""The envelope, its signatures, keys and names."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from protocol import codec
from protocol.envelope import (
    P256_ORDER,
    Kind,
    SoftwareSigner,
    external_aad,
    is_low_s,
    normalise_low_s,
    open_sign1,
    read_sign1,
    sig_structure,
    sign1,
    verify_raw,
)
from protocol.errors import ProtocolError, Reject
from protocol.ids import (
    COSE_KEY_BYTES,
    cose_key_bytes,
    device_id,
    parse_device_id,
    public_key_from_cose,
    thumbprint,
)
from protocol.vectors.forge import flipped, with_high_s
from protocol.vectors.keys import published_lookup, published_signer


def test_a_message_opens_only_as_the_kind_it_was_signed_as() -> None:
    signer = published_signer("device-1")
    keys = published_lookup("device-1")
    for kind in Kind:
        message = sign1(kind, b"payload", signer)
        for other in Kind:
            if other is kind:
                opened = open_sign1(message, other, keys, max_bytes=1_000)
                assert (opened.payload, opened.kid, opened.raw) == (b"payload", signer.kid, message)
            else:
                with pytest.raises(ProtocolError) as refused:
                    open_sign1(message, other, keys, max_bytes=1_000)
                assert refused.value.code is Reject.BAD_SIG


def test_the_same_message_always_gets_the_same_low_s_signature() -> None:
    signer = published_signer("device-1")
    for number in range(64):
        payload = number.to_bytes(2, "big")
        message = sign1(Kind.BATCH, payload, signer)
        assert message == sign1(Kind.BATCH, payload, published_signer("device-1"))
        assert is_low_s(read_sign1(message, max_bytes=1_000).signature)


def test_rfc_6979_example_of_p256_and_sha256() -> None:
    """RFC 6979 A.2.5, message "sample": its s is high, so ours is n - s."""
    scalar = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    signature = SoftwareSigner(ec.derive_private_key(scalar, ec.SECP256R1())).sign(b"sample")
    assert signature[:32].hex().upper() == "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    assert int.from_bytes(signature[32:], "big") == P256_ORDER - s


def test_both_halves_verify_below_the_profile_but_only_the_low_one_in_it() -> None:
    signer = published_signer("device-1")
    low = signer.sign(b"message")
    high = with_high_s(low)
    assert not is_low_s(high)
    assert normalise_low_s(high) == low == normalise_low_s(low)
    verify_raw(signer.public_key, b"message", low)
    verify_raw(signer.public_key, b"message", high)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_signatures_that_cannot_be_are_refused(signature: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        verify_raw(published_signer("device-1").public_key, b"message", signature)
    assert refused.value.code is Reject.BAD_SIG


def test_sig_structure_is_the_one_of_rfc_9052() -> None:
    assert codec.decode(sig_structure("Signature1", b"p", b"a", b"x"), max_bytes=100) == [
        "Signature1",
        b"p",
        b"a",
        b"x",
    ]
    five = codec.decode(sig_structure("Signature", b"p", b"a", b"x", sign_protected=b"s"), max_bytes=100)
    assert five == ["Signature", b"p", b"s", b"a", b"x"]
    assert external_aad(Kind.TIME_REQUEST) == b"tbox/time-request/1"


def test_a_signer_that_does_not_normalise_is_our_mistake() -> None:
    class HighSigner:
        kid = published_signer("device-1").kid

        def sign(self, message: bytes) -> bytes:
            return with_high_s(published_signer("device-1").sign(message))

    with pytest.raises(AssertionError, match="normalises"):
        sign1(Kind.BATCH, b"", HighSigner())


def test_keys_of_other_curves_are_not_ours() -> None:
    private_key = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(TypeError):
        SoftwareSigner(private_key)
    with pytest.raises(TypeError):
        cose_key_bytes(private_key.public_key())


def test_a_key_reads_back_and_its_name_is_the_hash_of_its_bytes() -> None:
    public_key = published_signer("device-1").public_key
    data = cose_key_bytes(public_key)
    assert len(data) == COSE_KEY_BYTES
    assert public_key_from_cose(data).public_numbers() == public_key.public_numbers()
    assert thumbprint(public_key) == hashlib.sha256(data).digest()
    assert device_id(public_key) == thumbprint(public_key).hex()
    assert codec.encode(codec.decode(data, max_bytes=100)) == data, "its bytes are deterministic CBOR"


def test_rfc_9679_example_of_a_thumbprint() -> None:
    """RFC 9679 §6: an EC2 key on P-256 and its SHA-256 thumbprint."""
    data = bytes.fromhex(
        "a401022001215820"
        "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d"
        "225820"
        "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"
    )
    assert thumbprint(public_key_from_cose(data)).hex() == (
        "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"
    )


def test_no_bit_of_a_key_can_change_unnoticed() -> None:
    data = cose_key_bytes(published_signer("device-1").public_key)
    for bit in range(8 * len(data)):
        with pytest.raises(ProtocolError) as refused:
            public_key_from_cose(flipped(data, bit))
        assert refused.value.code is Reject.BAD_FIELD
    for other in (b"", data[:-1], data + b"\x00"):
        with pytest.raises(ProtocolError):
            public_key_from_cose(other)


@pytest.mark.parametrize(
    "text", ["", "AB" * 32, "ab" * 31, "ab" * 33, "gg" * 32, "../" + "ab" * 30, "ab" * 31 + "a٣"]
)
def test_a_device_id_is_64_lowercase_hex_digits(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_device_id(text)
    assert refused.value.code is Reject.BAD_FIELD
    assert parse_device_id("ab" * 32) == "ab" * 32


def decoded(data: bytes) -> object:
    """What the codec alone makes of a message, None when it refuses: it proves the one encoding."""
    try:
        value = codec.decode(data[1:], max_bytes=200_000, max_depth=2)
    except ProtocolError:
        return None
    return value if data[:1] == b"\xd2" else None


def was_read(data: bytes) -> object:
    try:
        message = read_sign1(data, max_bytes=200_000)
    except ProtocolError:
        return None
    assert (message.kid, message.raw) == (message.protected[-32:], data)
    return [message.protected, {}, message.payload, message.signature]


@pytest.mark.parametrize("size", [0, 1, 23, 24, 25, 255, 256, 257, 65_535, 65_536, 65_537])
def test_the_short_way_to_read_a_message_reads_nothing_that_the_codec_would_not(size: int) -> None:
    message = sign1(Kind.BATCH, bytes(size), published_signer("device-1"))
    assert was_read(message) == decoded(message) is not None
    heads = [*range(52), len(message) - 67, len(message) - 66, len(message) - 65]
    for position in heads:
        for value in (
            0x00,
            0x17,
            0x18,
            0x3F,
            0x40,
            0x57,
            0x58,
            0x59,
            0x5A,
            0x5B,
            0x5F,
            0x9F,
            0xA0,
            0xA1,
            0xFF,
        ):
            changed = message[:position] + bytes([value]) + message[position + 1 :]
            if was_read(changed) is not None:
                assert was_read(changed) == decoded(changed), (position, value)
    for cut in (message[:-1], message + b"\x00", message[:45], message[:44], message[:11]):
        assert was_read(cut) is None


@pytest.mark.parametrize(
    ("size", "longer"), [(1, "5801"), (1, "590001"), (30, "59001e"), (30, "5a0000001e"), (300, "5a0000012c")]
)
def test_a_payload_whose_length_is_written_longer_than_needed_is_refused(size: int, longer: str) -> None:
    message = sign1(Kind.BATCH, bytes(size), published_signer("device-1"))
    head = codec.encode(bytes(size))[:-size]
    start = message.index(b"\xa0" + head) + 1
    stretched = message[:start] + bytes.fromhex(longer) + message[start + len(head) :]
    with pytest.raises(ProtocolError) as refused:
        read_sign1(stretched, max_bytes=1_000)
    assert refused.value.code is Reject.BAD_ENCODING
