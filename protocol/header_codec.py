"""Encoding of the batch header: integer keys, one place, the same for every reader.

Rules: see `header`. What is written here is read back before it leaves, so a header that no reader would take
is never signed.

This module neither signs nor hashes.

Example: see `protocol/SPEC.md`, "Batch header", worked in hex.
"""

from protocol import codec
from protocol.clock import ClockClass
from protocol.errors import ProtocolError, Reject
from protocol.fields import Fields, integer, known, octets, record, text, versioned
from protocol.header import (
    ENUM_MAX,
    HASH_BYTES,
    VERSION,
    BatchHeader,
    ChainHead,
    Checkpoint,
    Counts,
    DropCause,
    EndedLoss,
    Gap,
    GapCause,
    Loss,
    LossCause,
    Origin,
    OriginKind,
    Section,
    SectionRef,
)
from protocol.ids import ID_BYTES, THUMBPRINT_BYTES, BootId, ChainId, DeviceId
from protocol.limits import (
    COUNT_MAX,
    ENDED_LOSSES_MAX,
    GAPS_MAX,
    HEADER_BYTES_MAX,
    LOSSES_MAX,
    PAYLOAD_BYTES_MAX,
    SALT_BYTES,
    SECTIONS_MAX,
    SEQ_MAX,
    TIME_US_MAX,
)

_UTC_US_MIN = -TIME_US_MAX - 1  # a clock may stand before 1970; that is a fact too
_COUNTS = ("frames_received", "frames_decoded", "samples", "fixes", "rows")  # wire keys 1 … 5
_DROPS_MAX = ENUM_MAX


def encode_header(header: BatchHeader) -> bytes:
    """Return the deterministic encoding of a header.

    Raises:
        ValueError: a field is out of its range, so no reader would accept it.
    """
    data = codec.encode(
        {
            1: header.version,
            2: bytes.fromhex(header.device),
            3: header.chain,
            4: header.seq,
            5: header.prev,
            6: header.boot,
            7: [header.mono_start_us, header.mono_end_us],
            8: [header.utc_start_us, header.utc_end_us],
            9: [header.clock, header.clock_error_us],
            10: {key: getattr(header.counts, name) for key, name in enumerate(_COUNTS, 1)},
            11: [[gap.boot, gap.start_us, gap.end_us, gap.cause] for gap in header.gaps],
            12: [[loss.first, loss.last, loss.cause] for loss in header.losses],
            13: header.drops,
            14: header.policy,
            15: header.profile,
            16: header.order_head,
            17: header.disposition_head,
            18: _checkpoint_record(header.checkpoint),
            19: {section: [ref.digest, ref.size] for section, ref in header.sections.items()},
            20: _origin_record(header.origin),
            21: [[loss.chain, loss.first, loss.last, loss.cause] for loss in header.ended_losses],
        }
    )
    try:
        assert decode_header(data) == header, "a header reads back as it was written"
    except ProtocolError as error:
        raise ValueError(f"no reader would accept this header: {error}") from error
    return data


def decode_header(data: bytes) -> BatchHeader:
    """Read the payload of a batch's Sign1.

    Args:
        data: the encoded header.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP or BAD_ENCODING by the codec; UNSUPPORTED_VERSION; BAD_FIELD with
            the field's key when one is missing, of the wrong type or out of range.
    """
    fields = versioned(data, "header", version=VERSION, max_bytes=HEADER_BYTES_MAX)
    seq = fields.integer(4, least=1, most=SEQ_MAX)
    mono_start_us, mono_end_us = _mono_interval(fields.record(7, size=2))
    utc_start_us, utc_end_us = (_utc_or_none(item) for item in fields.record(8, size=2))
    clock, clock_error_us = fields.record(9, size=2)
    return BatchHeader(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        chain=ChainId(fields.octets(3, size=ID_BYTES)),
        seq=seq,
        prev=_prev(fields, seq),
        boot=BootId(fields.octets(6, size=ID_BYTES)),
        mono_start_us=mono_start_us,
        mono_end_us=mono_end_us,
        utc_start_us=utc_start_us,
        utc_end_us=utc_end_us,
        clock=known(ClockClass, integer(clock, "header[9][0]", least=0, most=ENUM_MAX)),
        clock_error_us=None if clock_error_us is None else _time(clock_error_us, "header[9][1]"),
        counts=_counts(fields.get(10)),
        gaps=tuple(_gap(item) for item in fields.array(11, most=GAPS_MAX)),
        losses=tuple(_loss(item) for item in fields.array(12, most=LOSSES_MAX)),
        drops={
            known(DropCause, integer(cause, "header[13] cause", least=1, most=ENUM_MAX)): _count(
                number, "header[13]"
            )
            for cause, number in fields.mapping(13, most=_DROPS_MAX).items()
        },
        policy=fields.octets_or_none(14, size=HASH_BYTES),
        profile=fields.octets_or_none(15, size=HASH_BYTES),
        order_head=fields.octets_or_none(16, size=HASH_BYTES),
        disposition_head=fields.octets_or_none(17, size=HASH_BYTES),
        checkpoint=_checkpoint(fields.record_or_none(18, size=3)),
        sections={
            known(Section, integer(section, "header[19] id", least=1, most=ENUM_MAX)): _section_ref(ref)
            for section, ref in fields.mapping(19, most=SECTIONS_MAX).items()
        },
        origin=_origin(fields, seq),
        ended_losses=_ended_losses(fields),
    )


def _time(value: object, what: str) -> int:
    return integer(value, what, least=0, most=TIME_US_MAX)


def _count(value: object, what: str) -> int:
    return integer(value, what, least=0, most=COUNT_MAX)


def _utc_or_none(value: object) -> int | None:
    return None if value is None else integer(value, "header[8]", least=_UTC_US_MIN, most=TIME_US_MAX)


def _mono_interval(items: list[object]) -> tuple[int, int]:
    start_us = _time(items[0], "header[7][0]")
    return start_us, integer(items[1], "header[7][1]", least=start_us, most=TIME_US_MAX)


def _prev(fields: Fields, seq: int) -> bytes | None:
    prev = fields.octets_or_none(5, size=HASH_BYTES)
    if (prev is None) != (seq == 1):
        raise ProtocolError(Reject.BAD_FIELD, "header[5]: null for seq 1, and only there")
    return prev


def _counts(value: object) -> Counts:
    fields = Fields(value, "header[10]")
    return Counts(**{name: _count(fields.get(key), fields.label(key)) for key, name in enumerate(_COUNTS, 1)})


def _gap(value: object) -> Gap:
    boot, start, end, cause = record(value, "header[11] gap", size=4)
    start_us = _time(start, "header[11] start")
    return Gap(
        boot=BootId(octets(boot, "header[11] boot", size=ID_BYTES)),
        start_us=start_us,
        end_us=None if end is None else integer(end, "header[11] end", least=start_us, most=TIME_US_MAX),
        cause=known(GapCause, integer(cause, "header[11] cause", least=1, most=ENUM_MAX)),
    )


def _loss(value: object) -> Loss:
    first, last, cause = record(value, "header[12] loss", size=3)
    first_seq = integer(first, "header[12] first", least=1, most=SEQ_MAX)
    return Loss(
        first=first_seq,
        last=integer(last, "header[12] last", least=first_seq, most=SEQ_MAX),
        cause=known(LossCause, integer(cause, "header[12] cause", least=1, most=ENUM_MAX)),
    )


def _ended_losses(fields: Fields) -> tuple[EndedLoss, ...]:
    if not fields.has(21):  # headers sealed before the key existed
        return ()
    own = fields.octets(3, size=ID_BYTES)
    losses = tuple(_ended_loss(item) for item in fields.array(21, most=ENDED_LOSSES_MAX))
    if any(loss.chain == own for loss in losses):
        raise ProtocolError(Reject.BAD_FIELD, "header[21]: losses of the own chain stand under 12")
    return losses


def _ended_loss(value: object) -> EndedLoss:
    chain, first, last, cause = record(value, "header[21] loss", size=4)
    first_seq = integer(first, "header[21] first", least=1, most=SEQ_MAX)
    return EndedLoss(
        chain=ChainId(octets(chain, "header[21] chain", size=ID_BYTES)),
        first=first_seq,
        last=integer(last, "header[21] last", least=first_seq, most=SEQ_MAX),
        cause=known(LossCause, integer(cause, "header[21] cause", least=1, most=ENUM_MAX)),
    )


def _section_ref(value: object) -> SectionRef:
    digest, size = record(value, "header[19] section", size=2)
    return SectionRef(
        digest=octets(digest, "header[19] digest", size=HASH_BYTES),
        size=integer(size, "header[19] size", least=SALT_BYTES, most=PAYLOAD_BYTES_MAX),
    )


def _checkpoint_record(checkpoint: Checkpoint | None) -> list[object] | None:
    return None if checkpoint is None else [checkpoint.origin, checkpoint.size, checkpoint.root]


def _checkpoint(items: list[object] | None) -> Checkpoint | None:
    if items is None:
        return None
    return Checkpoint(
        origin=text(items[0], "header[18] origin"),
        size=_count(items[1], "header[18] size"),
        root=octets(items[2], "header[18] root", size=HASH_BYTES),
    )


def _origin_record(origin: Origin | None) -> list[object] | None:
    if origin is None:
        return None
    head = origin.last_head
    return [origin.kind, None if head is None else [head.chain, head.seq, head.hash]]


def _origin(fields: Fields, seq: int) -> Origin | None:
    items = fields.record_or_none(20, size=2)
    if (items is not None) != (seq == 1):
        raise ProtocolError(Reject.BAD_FIELD, "header[20]: an origin for seq 1, and only there")
    if items is None:
        return None
    kind = known(OriginKind, integer(items[0], "header[20] kind", least=1, most=ENUM_MAX))
    if items[1] is None:
        return Origin(kind=kind, last_head=None)
    chain, head_seq, digest = record(items[1], "header[20] head", size=3)
    head = ChainHead(
        chain=ChainId(octets(chain, "header[20] chain", size=ID_BYTES)),
        seq=integer(head_seq, "header[20] seq", least=1, most=SEQ_MAX),
        hash=octets(digest, "header[20] hash", size=HASH_BYTES),
    )
    return Origin(kind=kind, last_head=head)
