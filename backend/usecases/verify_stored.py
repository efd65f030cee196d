"""A caller sees the batches of a box, each verified now, from the very bytes that are stored.

The result is never a flag set at ingest: signature, hashes, links and sections are checked again when they
are shown, so that a change on the disk would show.

Example:
    >>> [batch.is_verified for batch in verify_batches(session, batches, org_id=org, device_id=device)]
    [True, True]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from backend.store.batches import StoredBatch, load_erased, load_links, load_sections
from backend.store.chains import list_chains
from backend.store.devices import list_device_keys
from protocol.batch import BatchHeader, decode_header, head_hash, section_ref
from protocol.envelope import Kind, read_sign1, verify_sign1
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose
from protocol.limits import HEADER_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from sqlmodel import Session

    from backend.domain.ingest import Link


class ShownSection(StrEnum):
    """What there is of a section that the header commits to."""

    PRESENT = "PRESENT"
    WITHHELD = "WITHHELD"
    ERASED = "ERASED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSection:
    """One committed section: id, digest and size as signed, and what there is of it."""

    section: int
    digest: bytes
    size: int
    shown: ShownSection
    erased_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBatch:
    """One stored batch with what checking it again came to.

    Attributes:
        stored: the row.
        chain: chain id.
        header: as signed; None when even that cannot be read.
        kid: the key that signed.
        hash: SHA-256 of the stored header bytes.
        follows: whether it links to the batch below; None when that is not stored, or it is the first.
        sections: every committed section.
        problems: what does not hold, in words; empty when verified.
    """

    stored: StoredBatch
    chain: bytes
    header: BatchHeader | None
    kid: bytes
    hash: bytes
    follows: bool | None
    sections: tuple[CheckedSection, ...] = ()
    problems: list[str] = field(default_factory=list)

    @property
    def is_verified(self) -> bool:
        """Whether everything holds."""
        return not self.problems


def verify_batches(
    session: Session, batches: Sequence[StoredBatch], *, org_id: str, device_id: str
) -> list[CheckedBatch]:
    """Check stored batches of one box again, in the order given."""
    keys = {
        bytes.fromhex(key.kid): public_key_from_cose(key.cose_key)
        for key in list_device_keys(session, org_id=org_id, device_id=device_id)
    }
    chains = {
        chain.chain_ref: chain.chain for chain in list_chains(session, org_id=org_id, device_id=device_id)
    }
    refs = [batch.ref for batch in batches]
    links = load_links(session, [*refs, *((chain_ref, seq - 1) for chain_ref, seq in refs)])
    bodies, erased = load_sections(session, refs), load_erased(session, refs)
    return [
        _check(
            batch,
            device_id=device_id,
            chain=chains[batch.chain_ref],
            keys=keys,
            links=links,
            bodies=bodies.get(batch.ref, {}),
            erased=erased.get(batch.ref, {}),
        )
        for batch in batches
    ]


def _check(
    batch: StoredBatch,
    *,
    device_id: str,
    chain: bytes,
    keys: Mapping[bytes, EllipticCurvePublicKey],
    links: Mapping[tuple[int, int], Link],
    bodies: Mapping[int, bytes],
    erased: Mapping[int, int],
) -> CheckedBatch:
    problems: list[str] = []
    header: BatchHeader | None = None
    kid = b""
    try:
        sign1 = read_sign1(batch.header, max_bytes=HEADER_BYTES_MAX)
        kid, key = sign1.kid, keys.get(sign1.kid)
        if key is None:
            problems.append("the key that signed it is not one of this box")
        else:
            verify_sign1(sign1, Kind.BATCH, key)
        header = decode_header(sign1.payload)
    except ProtocolError as error:
        problems.append(str(error))
    digest = head_hash(batch.header)
    link, below = links.get(batch.ref), links.get((batch.chain_ref, batch.seq - 1))
    if link is None or link.head_hash != digest:
        problems.append("the stored bytes are not those that were receipted")
    follows = None
    if header is not None:
        if (header.device, bytes(header.chain), header.seq) != (device_id, chain, batch.seq):
            problems.append("the header names another box, chain or number")
        if below is not None:
            follows = header.prev == below.head_hash
    if follows is False:
        problems.append("it does not follow the stored batch below it")
    return CheckedBatch(
        stored=batch,
        chain=chain,
        header=header,
        kid=kid,
        hash=digest,
        follows=follows,
        sections=_sections(header, bodies, erased, problems),
        problems=problems,
    )


def _sections(
    header: BatchHeader | None, bodies: Mapping[int, bytes], erased: Mapping[int, int], problems: list[str]
) -> tuple[CheckedSection, ...]:
    """Return every committed section, and add what does not fit to `problems`."""
    committed = {} if header is None else header.sections
    for section, body in bodies.items():
        if committed.get(section) != section_ref(body):
            problems.append(f"section {section} is not what the header commits to")
    return tuple(
        CheckedSection(
            section=int(section),
            digest=ref.digest,
            size=ref.size,
            shown=_shown(section, bodies, erased),
            erased_us=erased.get(section),
        )
        for section, ref in sorted(committed.items())
    )


def _shown(section: int, bodies: Mapping[int, bytes], erased: Mapping[int, int]) -> ShownSection:
    if section in bodies:
        return ShownSection.PRESENT
    return ShownSection.ERASED if section in erased else ShownSection.WITHHELD
