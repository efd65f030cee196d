"""What an evidence verifier believes beforehand, and what it says afterwards.

Rules: trust comes from the verifier alone: which boxes, by their id, and which backend keys. The box's first
key proves itself, since the id is its thumbprint. What the box signed is checked by the box's key and cannot
be made up by the backend; that nothing is left out is what the backend seals, and the chain of hashes shows
where something is missing. Four verdicts: VERIFIED; VERIFIED_WITH_GAPS, when all that is here is true but
something is missing, withheld or doubtful, said by name; UNVERIFIABLE, when a key is not trusted or this is
no evidence; CONTRADICTED, when something was altered, removed, moved or added, or was never signed by the
box. The worst finding decides.

This module checks nothing: see `evidence`.

Example:
    >>> Trust.from_json('{"devices": [], "backend_keys": []}').devices, Verdict.VERIFIED_WITH_GAPS.exit_code
    (frozenset(), 10)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from protocol.checkpoint import LOG_KEY, WITNESS_KEY, NoteError, NoteKey
from protocol.errors import ProtocolError
from protocol.ids import DeviceId, parse_device_id, public_key_from_cose, thumbprint

Keys = Mapping[bytes, EllipticCurvePublicKey]
"""Keys by kid."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Verdict(StrEnum):
    """What the verifier can say; each has an exit code for scripts."""

    VERIFIED = "VERIFIED"
    VERIFIED_WITH_GAPS = "VERIFIED_WITH_GAPS"
    UNVERIFIABLE = "UNVERIFIABLE"
    CONTRADICTED = "CONTRADICTED"

    @property
    def exit_code(self) -> int:
        """0, 10, 20, 30."""
        return 10 * list(Verdict).index(self)


class Weight(IntEnum):
    """What a finding does to the verdict; the heaviest decides."""

    NOTE = 0
    GAP = 1
    UNVERIFIABLE = 2
    CONTRADICTION = 3


class Code(StrEnum):
    """What was found; stable names for programs."""

    NOT_EVIDENCE = "not_evidence"
    MANIFEST_DAMAGED = "manifest_damaged"
    SEAL_BROKEN = "seal_broken"
    SEAL_UNTRUSTED = "seal_untrusted"
    DEVICE_UNTRUSTED = "device_untrusted"
    PART_ALTERED = "part_altered"
    PART_MISSING = "part_missing"
    PART_MOVED = "part_moved"
    PART_ADDED = "part_added"
    FILE_CUT = "file_cut"
    NOT_SIGNED_BY_BOX = "not_signed_by_box"
    OTHER_DEVICE = "other_device"
    WRONG_PLACE = "wrong_place"
    BATCH_UNREADABLE = "batch_unreadable"
    CHAIN_BROKEN = "chain_broken"
    SECTION_ALTERED = "section_altered"
    SECTION_UNEXPLAINED = "section_unexplained"
    SECTION_WITHHELD = "section_withheld"
    SECTION_ERASED = "section_erased"
    RECEIPT_BROKEN = "receipt_broken"
    RECEIPT_CONTRADICTS = "receipt_contradicts"
    RECEIPT_UNTRUSTED = "receipt_untrusted"
    GAP_DECLARED = "gap_declared"
    LOSS_DECLARED = "loss_declared"
    HOLE_UNDECLARED = "hole_undeclared"
    ORIGIN_NOT_FIRST = "origin_not_first"
    ORIGIN_CONFLICTS = "origin_conflicts"
    TWO_STORIES = "two_stories"
    REFUSED_KEPT = "refused_kept"
    FRAMES_UNACCOUNTED = "frames_unaccounted"
    EDGE_LEFT_OUT = "edge_left_out"
    EDGE_UNPROVEN = "edge_unproven"
    CLOCK_UNKNOWN = "clock_unknown"
    DROPS_COUNTED = "drops_counted"
    NOTHING_IN_IT = "nothing_in_it"
    MCU_UNTRUSTED = "mcu_untrusted"
    AUTHORITY_BROKEN = "authority_broken"
    AUTHORITY_UNTRUSTED = "authority_untrusted"
    ORDER_BROKEN = "order_broken"
    ORDER_UNPROVEN = "order_unproven"
    ORDER_MISSING = "order_missing"
    SIGNER_REVOKED = "signer_revoked"
    BASIS_ALTERED = "basis_altered"
    BASIS_WITHHELD = "basis_withheld"
    LOG_UNTRUSTED = "log_untrusted"
    LOG_BROKEN = "log_broken"
    LOG_FORKED = "log_forked"
    LOG_UNWITNESSED = "log_unwitnessed"
    LEAF_BROKEN = "leaf_broken"
    ORDER_NOT_LOGGED = "order_not_logged"
    ORDER_LOG_UNPROVEN = "order_log_unproven"
    DISPOSITION_BROKEN = "disposition_broken"
    DISPOSITION_GAP = "disposition_gap"
    DISPOSITIONS_CONTRADICT = "dispositions_contradict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found: a code for programs, a sentence for people, and what it concerns."""

    code: Code
    weight: Weight
    text: str
    chain: str | None = None
    first: int | None = None
    last: int | None = None
    section: int | None = None


class TrustError(ValueError):
    """A trust file is not one; the message says where."""


_MEMBERS = {
    *("devices", "backend_keys", "device_keys", "comment"),
    *("mcus", "roots", "log_keys", "witness_keys"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RootAnchor:
    """A root's COSE_Keys, and how many of them sign together."""

    keys: tuple[bytes, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the verifier believes before opening a file.

    Attributes:
        devices: ids of boxes whose evidence is expected.
        backend_keys: keys that may seal and receipt, by kid.
        device_keys: further keys of a box, by device id and kid, for boxes whose key was replaced.
        mcus: thumbprints of a box's microcontrollers, by device id.
        roots: roots of authority by issuer, `platform` or `lender:` and its id.
        log_keys: keys of logs; a name is the log's origin.
        witness_keys: witnesses, of which one at least must have seen a log; none asks for none.
    """

    devices: frozenset[DeviceId]
    backend_keys: Keys
    device_keys: Mapping[DeviceId, Keys] = field(default_factory=dict)
    mcus: Mapping[DeviceId, frozenset[bytes]] = field(default_factory=dict)
    roots: Mapping[str, RootAnchor] = field(default_factory=dict)
    log_keys: tuple[NoteKey, ...] = ()
    witness_keys: tuple[NoteKey, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a trust file.

        It is {"devices": [id…], "backend_keys": [COSE_Key hex…]}, and where they are needed "device_keys"
        {id: [COSE_Key hex…]}, "mcus" {id: [mcu_id…]}, "roots" {issuer: {"keys": [COSE_Key hex…],
        "threshold": n}}, "log_keys" [name+id+base64…], "witness_keys" [name+id+base64…] and a "comment".

        Raises:
            TrustError: it is not one; the message says where.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TrustError(f"not JSON: {error}") from error
        if not isinstance(content, dict):
            raise TrustError("a trust file is a JSON object")
        unknown = content.keys() - _MEMBERS
        if unknown:
            raise TrustError(f"unknown member of a trust file: {', '.join(sorted(unknown))}")
        further = content.get("device_keys", {})
        if not isinstance(further, dict):
            raise TrustError("device_keys is an object of lists")
        mcus, roots = content.get("mcus", {}), content.get("roots", {})
        if not isinstance(mcus, dict) or not isinstance(roots, dict):
            raise TrustError("mcus and roots are objects")
        return cls(
            devices=frozenset(_device(item) for item in _texts(content, "devices")),
            backend_keys=_keys(content, "backend_keys"),
            device_keys={_device(device): _keys(further, device) for device in further},
            mcus={
                _device(device): frozenset(_thumbprint(text) for text in _texts(mcus, device))
                for device in mcus
            },
            roots={str(issuer): _anchor(root) for issuer, root in roots.items()},
            log_keys=_note_keys(content, "log_keys", LOG_KEY),
            witness_keys=_note_keys(content, "witness_keys", WITNESS_KEY),
        )


def _texts(content: Mapping[str, object], name: str) -> list[str]:
    items = content.get(name, [])
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise TrustError(f"{name} is a list of texts")
    return items


def _device(text: str) -> DeviceId:
    try:
        return parse_device_id(text)
    except ProtocolError as error:
        raise TrustError(f"devices: {error.detail}") from error


def _thumbprint(text: str) -> bytes:
    try:
        return bytes.fromhex(parse_device_id(text))
    except ProtocolError as error:
        raise TrustError(f"mcus: {error.detail}") from error


def _anchor(value: object) -> RootAnchor:
    if not isinstance(value, dict) or value.keys() != {"keys", "threshold"}:
        raise TrustError("a root has keys and a threshold")
    threshold = value["threshold"]
    _keys(value, "keys")
    keys = tuple(bytes.fromhex(text) for text in _texts(value, "keys"))
    if type(threshold) is not int or not 1 <= threshold <= len(keys):
        raise TrustError("the threshold of a root is 1 up to the number of its keys")
    return RootAnchor(keys=keys, threshold=threshold)


def _note_keys(content: Mapping[str, object], name: str, kind: int) -> tuple[NoteKey, ...]:
    try:
        keys = tuple(NoteKey.from_text(text) for text in _texts(content, name))
    except NoteError as error:
        raise TrustError(f"{name}: {error}") from error
    if any(key.kind != kind for key in keys):
        raise TrustError(f"{name}: a key of another type")
    return keys


def _keys(content: Mapping[str, object], name: str) -> dict[bytes, EllipticCurvePublicKey]:
    found: dict[bytes, EllipticCurvePublicKey] = {}
    for text in _texts(content, name):
        try:
            key = public_key_from_cose(bytes.fromhex(text))
        except (ProtocolError, ValueError) as error:
            raise TrustError(f"{name}: {error}") from error
        found[thumbprint(key)] = key
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """What the file shows of one chain.

    Attributes:
        chain: its id, hex.
        origin: why it began, when its first batch is here.
        first: lowest number that belongs to the interval.
        last: highest.
        batches: how many of them are here and hold.
        from_us: UTC µs of the earliest batch, None when no clock was known.
        to_us: UTC µs of the end of the latest.
        holes: (first, last, "declared …" or "undeclared").
        receipt_upto: up to where the backend's receipt vouches, None without a receipt.
        receipt_us: when that receipt was issued, UTC µs.
    """

    chain: str
    origin: str | None
    first: int
    last: int
    batches: int
    from_us: int | None
    to_us: int | None
    holes: tuple[tuple[int, int, str], ...]
    receipt_upto: int | None
    receipt_us: int | None


class Answer(StrEnum):
    """What the file says to the question whether a lock was accepted in its interval."""

    NO_LOCK = "NO_LOCK"  # none was, proven by gapless dispositions
    LOCK = "LOCK"  # one was
    UNVERIFIABLE = "UNVERIFIABLE"  # it cannot be told from what is here


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """What the file shows of one order.

    Attributes:
        cmd_id: hex.
        type: its name.
        holds: whether every signature, delegation and place in the log is proven.
        sentences: who authorised it, where it is logged, what the car did with it.
    """

    cmd_id: str
    type: str
    holds: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """The answer to: was a lock accepted in the interval?"""

    answer: Answer
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdict with all its reasons.

    Attributes:
        verdict: what can be said.
        device: whose evidence it is, None when the file cannot be read.
        from_us: asked interval, UTC µs, included.
        to_us: excluded.
        sealed_us: when it was sealed.
        sealed_by: kid of the key that sealed it, hex.
        purpose: why it was exported.
        chains: what it shows of each chain.
        findings: heaviest first.
        orders: what it shows of each order.
        absence: whether a lock was accepted in the interval; None when the file is not about orders.
    """

    verdict: Verdict
    device: DeviceId | None
    from_us: int | None
    to_us: int | None
    sealed_us: int | None
    sealed_by: str | None
    purpose: str | None
    chains: tuple[ChainReport, ...]
    findings: tuple[Finding, ...]
    orders: tuple[OrderReport, ...] = ()
    absence: Absence | None = None

    def to_json(self) -> dict[str, object]:
        """Return the report for programs; times are ISO 8601, UTC."""
        return {
            "verdict": self.verdict.value,
            "exit_code": self.verdict.exit_code,
            "device": self.device,
            "from": iso(self.from_us),
            "to": iso(self.to_us),
            "sealed_at": iso(self.sealed_us),
            "sealed_by": self.sealed_by,
            "purpose": self.purpose,
            "chains": [
                {
                    "chain": chain.chain,
                    "origin": chain.origin,
                    "first": chain.first,
                    "last": chain.last,
                    "batches": chain.batches,
                    "from": iso(chain.from_us),
                    "to": iso(chain.to_us),
                    "holes": [
                        {"first": first, "last": last, "cause": cause} for first, last, cause in chain.holes
                    ],
                    "receipt_upto": chain.receipt_upto,
                    "receipt_at": iso(chain.receipt_us),
                }
                for chain in self.chains
            ],
            "orders": [
                {
                    "cmd_id": order.cmd_id,
                    "type": order.type,
                    "holds": order.holds,
                    "sentences": list(order.sentences),
                }
                for order in self.orders
            ],
            "lock_accepted": None
            if self.absence is None
            else {"answer": self.absence.answer.value, "text": self.absence.text},
            "findings": [
                {
                    "code": finding.code.value,
                    "weight": finding.weight.name.lower(),
                    "text": finding.text,
                    "chain": finding.chain,
                    "first": finding.first,
                    "last": finding.last,
                    "section": finding.section,
                }
                for finding in self.findings
            ],
        }

    def sentences(self) -> list[str]:
        """Return the report for people: who, when, what, and everything found."""
        said = [self.verdict.value]
        if self.device is not None:
            said.append(f"Box {self.device}, from {iso(self.from_us)} to {iso(self.to_us)}.")
            said.append(
                f"Sealed at {iso(self.sealed_us)} by the backend key {self.sealed_by}, for {self.purpose}."
            )
        for chain in self.chains:
            when = (
                "at an unknown time"
                if chain.from_us is None
                else f"from {iso(chain.from_us)} to {iso(chain.to_us)}"
            )
            said.append(
                f"Chain {chain.chain}, numbers {chain.first} to {chain.last}: {chain.batches} of"
                f" {chain.last - chain.first + 1} batches are here and hold, {when}."
            )
            if chain.receipt_upto is not None:
                said.append(f"  The backend's receipt vouches for it up to number {chain.receipt_upto}.")
        for order in self.orders:
            said.append(f"Order {order.cmd_id}, {order.type}{'' if order.holds else ', NOT PROVEN'}:")
            said += [f"  {sentence}" for sentence in order.sentences]
        if self.absence is not None:
            said.append(self.absence.text)
        said += [f"- {finding.text}" for finding in self.findings]
        return [printable(line) for line in said]


def printable(text: str) -> str:
    r"""Return one line that no terminal obeys: control and other unprintable characters are shown escaped.

    Texts from a file or a box may have been written to repaint the screen, even to forge a verdict.

    Example:
        >>> printable("for theft\x1b[2J\nVERIFIED")
        'for theft\\x1b[2J\\nVERIFIED'
    """
    return "".join(at if at.isprintable() else at.encode("unicode_escape").decode() for at in text)


def iso(instant_us: int | None) -> str | None:
    """Return an instant as ISO 8601, UTC; None for none, and a plain number for what no calendar holds."""
    if instant_us is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=instant_us)
    except OverflowError:
        return f"{instant_us} µs"
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
