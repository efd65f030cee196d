"""The evidence file that `SPEC-evidence.md` works in hex: one batch of the story, sealed by a published key.

Rules: see `story`; nothing random, nothing from a clock. The batch commits to two sections and has sent one,
so the file shows a part that is withheld.

This module verifies nothing.

Example:
    >>> example_file()[1:16]
    b'tbox-evidence/1'
"""

import re

from protocol.batch import (
    BatchHeader,
    Counts,
    Origin,
    OriginKind,
    Section,
    encode_header,
    head_hash,
    salted,
    section_ref,
)
from protocol.clock import ClockClass
from protocol.envelope import Kind, sign1
from protocol.evidence_file import MAGIC, bytes_head, read_file, write_file
from protocol.evidence_manifest import (
    ChainClaim,
    Manifest,
    Part,
    PartKind,
    Withheld,
    WithheldReason,
    encode_manifest,
    part_ref,
)
from protocol.facts import Facts, encode_facts
from protocol.ids import cose_key_bytes
from protocol.receipts import Receipt, Stream, sign_receipt
from protocol.vectors.annotate import annotate
from protocol.vectors.story import (
    BOOT,
    CHAIN,
    DEVICE,
    DEVICE_SIGNER,
    NOON_US,
    RECEIPT_SIGNER,
    fixed_bytes,
    section_data,
)

MINUTE_US = 60_000_000
_NAMES = ("version", "device", "interval", "sealed", "purpose", "chains", "withheld", "parts")
_LABELS = dict(enumerate(_NAMES, 1))


def example_parts() -> tuple[Part, ...]:
    """Return the parts: the box's key, the receipt, the header, and the section that was sent."""
    facts = salted(encode_facts(Facts()), fixed_bytes("evidence salt 1"))
    signals = salted(section_data()[Section.SIGNALS], fixed_bytes("evidence salt 2"))
    header = sign1(
        Kind.BATCH,
        encode_header(
            BatchHeader(
                device=DEVICE,
                chain=CHAIN,
                seq=1,
                prev=None,
                boot=BOOT,
                mono_start_us=1_000_000,
                mono_end_us=11_000_000,
                utc_start_us=NOON_US,
                utc_end_us=NOON_US + 10_000_000,
                clock=ClockClass.GNSS,
                clock_error_us=1_000,
                counts=Counts(frames_received=3, frames_decoded=3, samples=6, rows=3),
                gaps=(),
                losses=(),
                drops={},
                policy=None,
                profile=None,
                order_head=None,
                disposition_head=None,
                checkpoint=None,
                sections={Section.FACTS: section_ref(facts), Section.SIGNALS: section_ref(signals)},
                origin=Origin(kind=OriginKind.FIRST, last_head=None),
            )
        ),
        DEVICE_SIGNER,
    )
    receipt = Receipt(
        device=DEVICE,
        stream=Stream.BATCH,
        chain=CHAIN,
        upto=1,
        hash=head_hash(header),
        have=(),
        refused=(),
        want=(),
        issued_us=NOON_US + 2 * MINUTE_US,
    )
    return (
        Part(kind=PartKind.KEY, data=cose_key_bytes(DEVICE_SIGNER.public_key)),
        Part(kind=PartKind.RECEIPT, chain=CHAIN, data=sign_receipt(receipt, RECEIPT_SIGNER)),
        Part(kind=PartKind.HEADER, chain=CHAIN, seq=1, data=header),
        Part(kind=PartKind.SECTION, chain=CHAIN, seq=1, section=Section.FACTS, data=facts),
    )


def example_manifest() -> Manifest:
    """Return what is sealed."""
    return Manifest(
        device=DEVICE,
        from_us=NOON_US - MINUTE_US,
        to_us=NOON_US + MINUTE_US,
        sealed_us=NOON_US + 2 * MINUTE_US,
        purpose="dispute",
        chains=(ChainClaim(chain=CHAIN, first=1, last=1, highest=1),),
        withheld=(Withheld(chain=CHAIN, seq=1, section=Section.SIGNALS, reason=WithheldReason.BOX),),
        parts=tuple(part_ref(part) for part in example_parts()),
    )


def example_file() -> bytes:
    """Return the sealed file."""
    return write_file(example_manifest(), example_parts(), RECEIPT_SIGNER)


def refresh_spec(text: str) -> str:
    """Return SPEC-evidence.md with its two worked examples written anew."""
    data = example_file()
    text = _put(text, "manifest", annotate(encode_manifest(example_manifest()), _LABELS))
    text = _put(text, "file", "\n".join(_file_lines(data)))
    return re.sub(r"The file, \d+ bytes:", f"The file, {len(data)} bytes:", text)


def _put(text: str, name: str, block: str) -> str:
    before, mark, rest = text.partition(f"```tbox evidence:{name}\n")
    return before + mark + block + "\n```" + rest.partition("\n```")[2]


def _file_lines(data: bytes) -> list[str]:
    """Return the file as hex: each byte string's head with what it is, then its bytes."""
    what = ("a key of the box", "the receipt", "the header of batch 1", "section 1 of batch 1")
    strings = [(read_file(data).sign1.raw, "the seal, COSE_Sign1 of the manifest above")]
    strings += [(part.data, name) for part, name in zip(example_parts(), what, strict=True)]
    lines = [_beside(MAGIC[:1].hex(" "), f"text of {len(MAGIC) - 1} bytes")]
    lines.append(_beside("  " + MAGIC[1:].hex(" "), MAGIC[1:].decode()))
    for content, name in strings:
        lines.append(_beside(bytes_head(len(content)).hex(" "), f"{len(content)} bytes: {name}"))
        lines += [f"  {content[at : at + 24].hex(' ')}" for at in range(0, len(content), 24)]
    return lines


def _beside(hexes: str, comment: str) -> str:
    return f"{hexes:<56} # {comment}"
