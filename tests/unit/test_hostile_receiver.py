"""A receiver that says impossible things, under a right checksum: counted, and nothing else disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.events import GnssReceived
from protocol.batch import DropCause, Section, open_batch
from protocol.fixes import Fix, Precision, decode_fixes, encode_fixes
from simulators.gnss_receiver import sentence
from tests.builders.engine import DEVICE_KEYS, Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.batch import OpenedBatch

BEYOND_64_BITS = "9" * 30


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.spool.close()


def hear(box: Box, second: int, *, in_view: str = "09") -> None:
    """Let a GGA and a GSV of one second of the day arrive; they end the epoch before."""
    gga = f"GPGGA,0814{second:02d}.00,5327.04,N,00214.41,W,1,08,1.0,10.0,M,0.0,M,,"
    for body in (gga, f"GPGSV,1,1,{in_view},01,40,083,46"):
        box.handle(GnssReceived(data=sentence(body), t_us=box.now_us))


def sealed(box: Box) -> list[OpenedBatch]:
    return [open_batch(batch.payload, DEVICE_KEYS.get, device=None) for batch in box.take_stored()]


def test_a_number_beyond_64_bits_costs_its_own_fix_and_no_more(box: Box) -> None:
    hear(box, 1)
    hear(box, 2, in_view=BEYOND_64_BITS)
    hear(box, 3)
    hear(box, 4)
    box.pass_time(11)
    [batch] = [opened for opened in sealed(box) if opened.header.counts.fixes]
    content = batch.data(Section.FIXES)
    assert content is not None
    assert [fix.sats_in_view for fix in decode_fixes(content)[1]] == [9, 9]
    assert batch.header.drops[DropCause.IMPLAUSIBLE] == 1


@pytest.mark.parametrize("fix", [Fix(t_us=1, alt_mm=10**30), Fix(t_us=10**30), Fix(t_us=1, utc_us=-(2**64))])
def test_encoding_refuses_a_number_beyond_64_bits_as_any_other_out_of_range(fix: Fix) -> None:
    with pytest.raises(ValueError, match="too large"):
        encode_fixes([fix], Precision.EXACT)
