"""What the checks of an evidence file share: the batches that hold, and the findings so far.

Nothing is checked here.

Example:
    >>> [name for name in Ledger.__slots__ if name != "file"]
    ['batches', 'sections', 'receipts', 'findings']
"""

from dataclasses import dataclass, field

from protocol.evidence_file import EvidenceFile, FoundPart
from protocol.evidence_manifest import Manifest, PartKind
from protocol.evidence_report import Code, Finding, Weight
from protocol.header import BatchHeader
from protocol.ids import ChainId
from protocol.receipts import Receipt

Place = tuple[ChainId, int]
"""(chain, seq)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBatch:
    """One header that the box signed, and its head hash."""

    header: BatchHeader
    hash: bytes


@dataclass(slots=True, kw_only=True)
class Ledger:
    """One verification in progress.

    Attributes:
        file: the file taken apart.
        batches: headers that the box signed, by place.
        sections: section bytes that are those sealed, by chain, seq and section.
        receipts: receipts that hold, by chain.
        findings: in the order they were found.
    """

    file: EvidenceFile
    batches: dict[Place, SignedBatch] = field(default_factory=dict)
    sections: dict[tuple[ChainId, int, int], bytes] = field(default_factory=dict)
    receipts: dict[ChainId, Receipt] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def manifest(self) -> Manifest:
        """What was sealed."""
        return self.file.manifest

    def whole(self, kind: PartKind) -> list[tuple[FoundPart, bytes]]:
        """Return the parts of a kind whose bytes are those that were sealed."""
        return [
            (part, part.data) for part in self.file.parts if part.ref.kind == kind and part.data is not None
        ]

    def find(
        self,
        code: Code,
        weight: Weight,
        text: str,
        *,
        chain: ChainId | None = None,
        first: int | None = None,
        last: int | None = None,
        section: int | None = None,
    ) -> None:
        """Add a finding; `last` defaults to `first`."""
        self.findings.append(
            Finding(
                code=code,
                weight=weight,
                text=text,
                chain=None if chain is None else chain.hex(),
                first=first,
                last=first if last is None else last,
                section=section,
            )
        )
