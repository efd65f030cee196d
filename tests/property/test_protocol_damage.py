"""One bit changed, one byte missing: no damaged message is ever taken for what was signed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError, Reject
from protocol.vectors.forge import flipped
from protocol.vectors.good import good_messages
from protocol.vectors.readers import READERS

SIGNED = (
    "batch/1",
    "batch/2",
    "receipt",
    "policy",
    "time",
    "standing-request",
    "time-request",
    "enrol",
    "renew",
    "key-succession",
)
UNSIGNED = ("facts", "signals", "frames", "fixes", "window")


def read(name: str, message: bytes) -> object:
    return READERS[name.partition("/")[0]](message)


@pytest.mark.parametrize("name", SIGNED)
def test_no_single_flipped_bit_of_a_signed_message_is_accepted(name: str) -> None:
    message = good_messages()[name]
    for bit in range(8 * len(message)):
        with pytest.raises(ProtocolError):
            read(name, flipped(message, bit))


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_message_cut_at_any_byte_is_refused(name: str) -> None:
    message = good_messages()[name]
    for size in range(len(message)):
        with pytest.raises(ProtocolError) as refused:
            read(name, message[:size])
        assert refused.value.code in (Reject.BAD_ENCODING, Reject.BAD_ENVELOPE)


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_message_with_a_byte_more_is_refused(name: str) -> None:
    for extra in range(256):
        with pytest.raises(ProtocolError):
            read(name, good_messages()[name] + bytes([extra]))


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_damaged_section_is_read_or_refused_but_never_breaks_the_reader(name: str) -> None:
    data = good_messages()[f"section/{name}"]
    codes = set()
    for bit in range(8 * len(data)):
        try:
            READERS[name](flipped(data, bit))
        except ProtocolError as refused:
            codes.add(refused.code)
    assert codes <= {Reject.BAD_ENCODING, Reject.BAD_FIELD, Reject.TOO_LARGE, Reject.TOO_DEEP}
    assert Reject.BAD_ENCODING in codes
    for size in range(len(data)):
        with pytest.raises(ProtocolError):
            READERS[name](data[:size])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_by_every_reader(data: bytes) -> None:
    for name, reader in READERS.items():
        if name not in (
            "signals",
            "fixes",
            "window",
            "status",
            "frames",
        ):  # unsigned: few bytes may be a good one
            with pytest.raises(ProtocolError):
                reader(data)


@given(st.binary(max_size=60))
def test_arbitrary_section_data_never_breaks_a_reader(data: bytes) -> None:
    for name in (*UNSIGNED, "status"):
        try:
            READERS[name](data)
        except ProtocolError:
            continue
