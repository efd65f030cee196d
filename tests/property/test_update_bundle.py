"""A bundle has one form: equal parts give equal bytes, and whatever differs by a byte is none."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError, Reject
from protocol.limits import UPDATE_BUNDLE_BYTES_MAX
from protocol.update_bundle import Needs, read_bundle, read_needs, write_bundle
from tests.builders.updates import a_bundle

NEEDS = Needs(release=4, agent="1.2.3", mcu=3, min_mcu=2, hardware=("rp2040", "stm32"), floor=3)
PARTS = {"agent/a.py": b"a", "mcu/m.mpy": b"m", "policy/p.json": b"{}", "profile/c.json": b"{}"}
names = st.from_regex(r"(agent|mcu|policy|profile)/[a-z0-9_]{1,12}(\.py)?", fullmatch=True)


@given(more=st.dictionaries(names, st.binary(max_size=1_500), max_size=6))
def test_what_was_written_reads_the_same_and_writes_the_same(more: dict[str, bytes]) -> None:
    files = PARTS | more
    data = write_bundle(NEEDS, files, measurement=bytes(32))
    read = read_bundle(data)
    assert (read.needs, dict(read.files), read.measurement) == (NEEDS, files, bytes(32))
    backwards = dict(reversed(files.items()))
    assert write_bundle(NEEDS, backwards, measurement=bytes(32)) == data


@given(at=st.integers(0, len(a_bundle(2)) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_makes_it_none_or_another_release(at: int, bit: int) -> None:
    data = bytearray(a_bundle(2))
    before = read_bundle(bytes(data))
    data[at] ^= 1 << bit
    try:
        after = read_bundle(bytes(data))
    except ProtocolError:
        return
    assert after.manifest != before.manifest  # the manifest itself is what TUF's hash covers
    assert after.files == before.files


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 1_024, -1])
def test_a_bundle_that_ends_early_or_goes_on_is_none(cut: int) -> None:
    for data in (a_bundle(2)[:cut], a_bundle(2) + bytes(512)):
        with pytest.raises(ProtocolError):
            read_bundle(data)


def test_an_archive_of_another_program_is_none() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("agent/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ProtocolError):
        read_bundle(stream.getvalue())


@pytest.mark.parametrize(
    "name",
    ["../x", "agent/../x", "/etc/x", "agent", "other/x", "agent/.hidden", "agent//x", "agent/" + "x" * 100],
)
def test_a_name_that_leads_elsewhere_is_not_written(name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        write_bundle(NEEDS, PARTS | {name: b""}, measurement=bytes(32))
    assert caught.value.code is Reject.BAD_FIELD


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_that_is_missing_makes_no_bundle(part: str) -> None:
    with pytest.raises(ProtocolError):
        write_bundle(
            NEEDS, {name: data for name, data in PARTS.items() if name != part}, measurement=bytes(32)
        )


def test_a_bundle_that_is_too_large_is_not_read() -> None:
    with pytest.raises(ProtocolError) as caught:
        read_bundle(bytes(UPDATE_BUNDLE_BYTES_MAX + 1))
    assert caught.value.code is Reject.TOO_LARGE


@pytest.mark.parametrize(
    "change",
    [
        {"release": 0},
        {"release": True},
        {"release": "4"},
        {"floor": 5},
        {"mcu": -1},
        {"min_mcu": 1 << 31},
        {"hardware": []},
        {"hardware": ["x" * 33]},
        {"hardware": "rp2040"},
        {"agent": ""},
        {"agent": None},
    ],
)
def test_needs_that_do_not_hold_are_refused(change: dict[str, object]) -> None:
    assert read_needs(NEEDS.as_json() | {"newer": 1}) == NEEDS
    with pytest.raises(ProtocolError):
        read_needs(NEEDS.as_json() | change)
