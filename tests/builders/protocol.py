"""Builders of protocol messages, and Hypothesis strategies for each type of the protocol."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from protocol.batch import (
    BatchHeader,
    ChainHead,
    Checkpoint,
    Counts,
    DropCause,
    Gap,
    GapCause,
    Loss,
    LossCause,
    Origin,
    OriginKind,
    Section,
    SectionRef,
    assemble,
    encode_header,
    salted,
    section_ref,
)
from protocol.clock import ClockClass
from protocol.envelope import Kind, SoftwareSigner, sign1
from protocol.facts import Event, Facts
from protocol.fixes import Fix
from protocol.frames import RawFrames
from protocol.ids import BootId, ChainId, DeviceId, device_id
from protocol.limits import COUNT_MAX, SALT_BYTES, SEQ_MAX, TIME_US_MAX
from protocol.receipts import Have, Receipt, RefusalCode, Stream
from protocol.signals import ColumnDef, GroupDef, GroupRows, RawType
from protocol.vectors.keys import published_signer
from protocol.window import Window

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def a_signer(name: str = "device-1") -> SoftwareSigner:
    return published_signer(name)


def a_header(signer: SoftwareSigner | None = None, **changes: Any) -> BatchHeader:
    """A header of a first batch without sections; change what the test is about."""
    signer = signer or a_signer()
    fields: dict[str, Any] = {
        "device": device_id(signer.public_key),
        "chain": ChainId(b"c" * 16),
        "seq": 1,
        "prev": None,
        "boot": BootId(b"b" * 16),
        "mono_start_us": 0,
        "mono_end_us": 1_000_000,
        "utc_start_us": None,
        "utc_end_us": None,
        "clock": ClockClass.NONE,
        "clock_error_us": None,
        "counts": Counts(),
        "gaps": (),
        "losses": (),
        "drops": {},
        "policy": None,
        "profile": None,
        "order_head": None,
        "disposition_head": None,
        "checkpoint": None,
        "sections": {},
        "origin": Origin(kind=OriginKind.FIRST, last_head=None),
    }
    return BatchHeader(**(fields | changes))


def a_batch(
    data: Mapping[int, bytes] | None = None, *, signer: SoftwareSigner | None = None, **changes: Any
) -> bytes:
    """A whole signed batch of these sections (each salted with zeros)."""
    signer = signer or a_signer()
    sections = {key: salted(value, bytes(SALT_BYTES)) for key, value in (data or {}).items()}
    refs = {key: section_ref(value) for key, value in sections.items()}
    header = a_header(signer, **({"sections": refs} | changes))
    return assemble(sign1(Kind.BATCH, encode_header(header), signer), sections)


def a_receipt(**changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "device": device_id(a_signer().public_key),
        "stream": Stream.BATCH,
        "chain": ChainId(b"c" * 16),
        "upto": 0,
        "hash": None,
        "have": (),
        "refused": (),
        "want": (),
        "issued_us": 0,
    }
    return Receipt(**(fields | changes))


def a_column(**changes: Any) -> ColumnDef:
    fields: dict[str, Any] = {
        "signal": "Speed",
        "path": None,
        "raw_type": RawType.UINT,
        "bits": 16,
        "scale": 1,
        "offset": 0,
        "unit": None,
    }
    return ColumnDef(**(fields | changes))


# --- Strategies ---------------------------------------------------------------------------------------------

times = st.integers(0, TIME_US_MAX)
counts = st.integers(0, COUNT_MAX)
seqs = st.integers(1, SEQ_MAX)
digests = st.binary(min_size=32, max_size=32)
ids16 = st.binary(min_size=16, max_size=16)
short_text = st.text(max_size=12)
int64s = st.integers(INT64_MIN, INT64_MAX)
finite = st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
device_ids = digests.map(lambda raw: DeviceId(raw.hex()))

telemetry = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Any value of the telemetry codec, at most a few containers deep."""

order_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(-(2**64), 2**64 - 1) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
"""Any value of an order: as telemetry, without floats."""


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    first, last = sorted((draw(seqs), draw(seqs)))
    return first, last


@st.composite
def headers(draw: st.DrawFn) -> BatchHeader:
    seq = draw(st.just(1) | seqs)
    start_us, end_us = sorted((draw(times), draw(times)))
    heads = st.builds(ChainHead, chain=ids16.map(ChainId), seq=seqs, hash=digests)
    gap_times = st.tuples(times, st.none() | times).map(
        lambda pair: (pair[0], pair[1] if pair[1] is None or pair[1] >= pair[0] else None)
    )
    gaps = st.builds(
        lambda boot, pair, cause: Gap(boot=BootId(boot), start_us=pair[0], end_us=pair[1], cause=cause),
        ids16,
        gap_times,
        st.sampled_from(GapCause) | st.integers(100, 255),
    )
    losses = st.builds(
        lambda pair, cause: Loss(first=pair[0], last=pair[1], cause=cause),
        ranges(),
        st.sampled_from(LossCause) | st.integers(100, 255),
    )
    refs = st.builds(SectionRef, digest=digests, size=st.integers(16, 1000))
    return BatchHeader(
        device=draw(device_ids),
        chain=ChainId(draw(ids16)),
        seq=seq,
        prev=None if seq == 1 else draw(digests),
        boot=BootId(draw(ids16)),
        mono_start_us=start_us,
        mono_end_us=end_us,
        utc_start_us=draw(st.none() | int64s),
        utc_end_us=draw(st.none() | int64s),
        clock=draw(st.sampled_from(ClockClass) | st.integers(100, 255)),
        clock_error_us=draw(st.none() | times),
        counts=draw(
            st.builds(
                Counts,
                frames_received=counts,
                frames_decoded=counts,
                samples=counts,
                fixes=counts,
                rows=counts,
            )
        ),
        gaps=tuple(draw(st.lists(gaps, max_size=3))),
        losses=tuple(draw(st.lists(losses, max_size=3))),
        drops=draw(st.dictionaries(st.sampled_from(DropCause) | st.integers(100, 255), counts, max_size=4)),
        policy=draw(st.none() | digests),
        profile=draw(st.none() | digests),
        order_head=draw(st.none() | digests),
        disposition_head=draw(st.none() | digests),
        checkpoint=draw(st.none() | st.builds(Checkpoint, origin=short_text, size=counts, root=digests)),
        sections=draw(st.dictionaries(st.sampled_from(Section) | st.integers(100, 255), refs, max_size=5)),
        origin=(
            draw(st.builds(Origin, kind=st.sampled_from(OriginKind), last_head=st.none() | heads))
            if seq == 1
            else None
        ),
    )


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    upto = draw(st.just(0) | seqs)
    haves = st.builds(lambda pair, head: Have(first=pair[0], last=pair[1], hash=head), ranges(), digests)
    codes = st.sampled_from(RefusalCode) | st.integers(100, 255)
    return Receipt(
        device=draw(device_ids),
        stream=draw(st.sampled_from(Stream)),
        chain=ChainId(draw(ids16)),
        upto=upto,
        hash=None if upto == 0 else draw(st.none() | digests),
        have=tuple(draw(st.lists(haves, max_size=4))),
        refused=tuple(draw(st.lists(st.tuples(seqs, codes), max_size=4))),
        want=tuple(draw(st.lists(ranges(), max_size=4))),
        issued_us=draw(times),
    )


@st.composite
def group_rows(draw: st.DrawFn) -> GroupRows:
    """Rows of any shape, from empty to a few, over the whole range of 64 bits."""
    columns, rows = draw(st.integers(0, 5)), draw(st.integers(0, 6))
    cells = draw(st.lists(int64s, min_size=(columns + 1) * rows, max_size=(columns + 1) * rows))
    matrix = np.array(cells, dtype=np.int64).reshape(columns + 1, rows)
    return GroupRows(gid=draw(st.integers(0, 2**31 - 1)), t_us=matrix[0], raw=matrix[1:])


fixes = st.builds(
    Fix,
    t_us=times,
    utc_us=st.none() | int64s,
    mode=st.integers(0, 3),
    lat_e7=st.none() | st.integers(-900_000_000, 900_000_000),
    lon_e7=st.none() | st.integers(-1_800_000_000, 1_800_000_000),
    alt_mm=st.none() | st.integers(-(2**31) + 1, 2**31 - 1),
    speed_mm_s=st.none() | st.integers(0, 2**31 - 1),
    course_cdeg=st.none() | st.integers(0, 36_000),
    hdop_centi=st.none() | st.integers(0, 2**31 - 1),
    sats_used=st.none() | st.integers(0, 1_000),
    sats_in_view=st.none() | st.integers(0, 1_000),
)


@st.composite
def raw_frames(draw: st.DrawFn) -> RawFrames:
    """Frames of one bus in any order of time and id, with equal times and repeated ids."""
    rows, width = draw(st.integers(0, 8)), draw(st.sampled_from((8, 64)))
    frame_ids = st.sampled_from((0x7FF, 0x123, 0x80000123, 0x9FFFFFFF))
    return RawFrames(
        bus=draw(short_text),
        t_us=np.array(draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows)), dtype=np.int64),
        can_id=np.array(draw(st.lists(frame_ids, min_size=rows, max_size=rows)), dtype=np.uint32),
        length=np.array(draw(st.lists(st.integers(0, width), min_size=rows, max_size=rows)), dtype=np.uint8),
        data=np.frombuffer(
            draw(st.binary(min_size=rows * width, max_size=rows * width)), dtype=np.uint8
        ).reshape(rows, width),
    )


@st.composite
def windows(draw: st.DrawFn) -> Window:
    values = draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8))
    return Window(
        name=draw(short_text),
        t0_us=draw(times),
        period_us=draw(st.integers(1, TIME_US_MAX)),
        scale=draw(finite),
        unit=draw(st.none() | short_text),
        values=np.array(values, dtype=np.int32),
    )


columns = st.builds(
    ColumnDef,
    signal=short_text,
    path=st.none() | short_text,
    raw_type=st.sampled_from(RawType) | st.integers(100, 255),
    bits=st.integers(1, 64),
    scale=finite,
    offset=finite,
    unit=st.none() | short_text,
)
groups = st.builds(
    GroupDef,
    gid=st.integers(0, 2**31 - 1),
    bus=short_text,
    can_id=st.integers(0, 0x7FF) | st.integers(0x80000000, 0x9FFFFFFF),
    message=short_text,
    branch=st.none() | short_text,
    dbc_hash=digests,
    columns=st.lists(columns, max_size=3).map(tuple),
)
scalars = finite | short_text | st.booleans() | st.none()
facts = st.builds(
    Facts,
    dictionary=st.lists(groups, max_size=3).map(tuple),
    events=st.lists(
        st.builds(
            Event, t_us=times, name=short_text, fields=st.dictionaries(short_text, scalars, max_size=3)
        ),
        max_size=3,
    ).map(tuple),
    health=st.dictionaries(short_text, scalars, max_size=3),
)
