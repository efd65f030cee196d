"""What the log proves, by its pinned key: that it only grew since this machine last looked, and has an order.

Rules (README §2.5; SPEC-ledger): a checkpoint counts when the pinned key has signed it. It must begin with
the one this machine saw last, else the server shows two logs or has cut one off, and nothing is shown. An
order stands in the log when its own bytes, as this machine puts them together from the signed parts, are the
leaf of the proof. The gate's part is not in that leaf: the order was logged before the gate signed.

An operator can show a log of his own making to each who asks. What was cosigned by a witness that
`lender.toml` pins was shown to that witness too: so far, and no further, the log is one. Cosignatures by
anybody else are named as unknown and prove nothing. Without a pinned key nothing is claimed, and the
sentence says so.

Example:
    >>> told(look_at_log(server, notebook, read_pins(settings)), 3)
    'leaf 3 of 42, proved by the key of log.example/tbox; cosigned by witness.example/w1 at 2026-11-24T09:00…'
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from backend.lender.errors import NotThereError, RefusesError, SettingsError
from backend.lender.notebook import Notebook
from backend.lender.plain import member, shown, to_bytes
from backend.lender.server import Json
from backend.lender.settings import Settings
from protocol.checkpoint import (
    LOG_KEY,
    WITNESS_KEY,
    Cosignature,
    NoteError,
    NoteKey,
    OpenedCheckpoint,
    open_checkpoint,
    signers,
)
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import is_consistent, is_included, leaf_hash
from protocol.orders import Role, assemble

_TWO = 2
_ASKED_MAX = 16  # cosignatures that the API lets one ask for
_WHY = "the server shows two logs, or has taken something out of the one there was"


class LogServer(Protocol):
    """What is asked of the server about its log."""

    def checkpoint(self, *, witnessed: int = 0) -> str:
        """Return the newest checkpoint that has at least so many cosignatures."""
        ...

    def inclusion(self, index: int, size: int) -> list[Any]:
        """Return the proof that a leaf stands in the tree of a size."""
        ...

    def consistency(self, first: int, second: int) -> list[Any]:
        """Return the proof that the larger tree begins with the smaller one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPins:
    """Whom this machine believes about the log: its key, and the witnesses whose cosignatures count."""

    log: NoteKey
    witnesses: tuple[NoteKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """The newest checkpoint, verified, and how far witnesses have seen it.

    Attributes:
        origin: of the log.
        size: leaves.
        root: 32 bytes.
        witnesses: how many are pinned.
        cosigned_size: leaves of the newest checkpoint that a pinned witness has cosigned; 0 without one.
        cosigned: by whom and when.
        unknown: names under cosignatures that no pin vouches for; foreign text.
    """

    origin: str
    size: int
    root: bytes
    witnesses: int = 0
    cosigned_size: int = 0
    cosigned: tuple[Cosignature, ...] = ()
    unknown: tuple[str, ...] = ()


def read_pins(settings: Settings) -> LogPins | None:
    """Return the pinned keys; None when lender.toml pins no log.

    Raises:
        SettingsError: one is no key, or of the wrong kind; witnesses without a log, or twice the same.
    """
    if settings.log_key is None:
        if settings.witnesses:
            raise SettingsError("lender.toml pins witnesses and no log_key, so they witness nothing")
        return None
    witnesses = tuple(_key(text, "witnesses", WITNESS_KEY) for text in settings.witnesses)
    if len({key.name for key in witnesses}) != len(witnesses):
        raise SettingsError("lender.toml: witnesses: one name stands there twice")
    return LogPins(log=_key(settings.log_key, "log_key", LOG_KEY), witnesses=witnesses)


def look_at_log(server: LogServer, notebook: Notebook, pins: LogPins | None) -> LogHead | None:
    """Return the log's newest head after comparing it with the last one seen; None without a pinned key.

    Raises:
        RefusesError: not signed by the pinned key, shorter than before, or not grown from what was seen, here
            or by a pinned witness; a pinned witness's cosignature that does not hold.
        NotThereError: no checkpoint was ever signed, and none was ever seen.
    """
    if pins is None:
        return None
    seen = notebook.log(pins.log.name)
    cosigned = _cosigned(server, pins)  # before the newest one, which so cannot be shorter
    try:
        note = server.checkpoint()
    except NotThereError as none:
        if seen is None:
            raise
        raise RefusesError(
            f"the server shows no checkpoint of {pins.log.name} any more", meaning=_WHY
        ) from none
    opened = _open(note, pins)
    head = LogHead(
        origin=opened.checkpoint.origin,
        size=opened.checkpoint.size,
        root=opened.checkpoint.root,
        witnesses=len(pins.witnesses),
        cosigned_size=0 if cosigned is None else cosigned.checkpoint.size,
        cosigned=() if cosigned is None else cosigned.cosignatures,
        unknown=_unknown(note, pins),
    )
    if seen is not None:
        _require_grown(server, seen, head, "this machine has seen")
    if cosigned is not None:
        known = (cosigned.checkpoint.size, cosigned.checkpoint.root)
        _require_grown(server, known, head, f"{shown(cosigned.cosignatures[0].witness)} has seen")
    notebook.note_log(pins.log.name, head.size, head.root)
    return head


def place_of(server: LogServer, head: LogHead, order: Json) -> int | None:
    """Return at which leaf an order stands in the log; None while it is not entered, or not covered yet.

    Raises:
        RefusesError: the proof does not hold for the order's own bytes.
    """
    said = order.get("log")
    if said is None:
        return None
    index: int = member(said, "index", int)
    if index >= head.size:
        return None
    proof = [_hash(one) for one in server.inclusion(index, head.size)]
    try:
        salt = bytes.fromhex(member(said, "salt", str))
        content = _content(order)
        leaf = leaf_hash(leaf_data(LeafType.ORDER, commitment(salt, content)))
    except ValueError as broken:
        raise RefusesError(f"the order's place in the log cannot be read: {broken}") from broken
    if not is_included(leaf, index=index, size=head.size, proof=proof, root=head.root):
        raise RefusesError(
            f"the order is not at place {index} of the log, where the server says it is",
            meaning="what was logged is not what these people signed, or nothing was",
        )
    return index


def told(head: LogHead | None, index: int | None) -> str:
    """Return the sentence about an order's place."""
    if head is None:
        return "not checked: lender.toml pins no log_key"
    if index is None:
        return f"not among the {head.size} leaves that {head.origin} has signed yet"
    place = f"leaf {index} of {head.size}, proved by the key of {head.origin}"
    return "; ".join([place, *_witnessed(head, index)])


def _witnessed(head: LogHead, index: int) -> list[str]:
    """Return what witnesses say of a place, the unknown ones apart."""
    unknown = [f"UNKNOWN cosigner {shown(name)}: lender.toml does not pin it" for name in head.unknown]
    if not head.witnesses:
        return ["no witness checked: lender.toml pins none", *unknown]
    if index >= head.cosigned_size:
        return [f"NOT WITNESSED: none of {head.witnesses} pinned has cosigned the log with it yet", *unknown]
    seen = [f"{one.witness} at {_text(one.at_s)}" for one in head.cosigned]
    return [f"cosigned by {', '.join(seen)}", *unknown]


def _cosigned(server: LogServer, pins: LogPins) -> OpenedCheckpoint | None:
    """Return the newest checkpoint that the server has with a pinned witness's cosignature.

    It tells checkpoints apart by how many have cosigned, known here or not: so more are asked for, until one
    is of a pinned witness.
    """
    for least in range(1, _ASKED_MAX + 1 if pins.witnesses else 1):
        try:
            opened = _open(server.checkpoint(witnessed=least), pins)
        except NotThereError:
            return None
        if opened.cosignatures:
            return opened
    return None


def _open(note: str, pins: LogPins) -> OpenedCheckpoint:
    try:
        return open_checkpoint(note.encode(), pins.log, pins.witnesses)
    except NoteError as broken:
        raise RefusesError(
            f"the checkpoint is not what log_key and witnesses of lender.toml pin: {shown(broken)}",
            meaning=_WHY,
        ) from broken


def _unknown(note: str, pins: LogPins) -> tuple[str, ...]:
    """Return the names of the signatures under a verified note that no pin has verified."""
    known = {(key.name, key.key_id) for key in (pins.log, *pins.witnesses)}
    return tuple(sorted({name for name, key_id in signers(note.encode()) if (name, key_id) not in known}))


def _require_grown(server: LogServer, seen: tuple[int, bytes], head: LogHead, who_saw: str) -> None:
    size, root = seen
    if head.size < size:
        raise RefusesError(f"the log {head.origin} has {head.size} leaves, {who_saw} {size}", meaning=_WHY)
    if size == 0:
        return
    proof = [] if head.size == size else [_hash(one) for one in server.consistency(size, head.size)]
    if not is_consistent(first=size, second=head.size, first_root=root, second_root=head.root, proof=proof):
        raise RefusesError(
            f"the log {head.origin} does not begin with the {size} leaves that {who_saw}", meaning=_WHY
        )


def _key(text: str, name: str, kind: int) -> NoteKey:
    try:
        key = NoteKey.from_text(text)
    except NoteError as wrong:
        raise SettingsError(f"lender.toml: {name}: no verifier key: {wrong}") from wrong
    if key.kind != kind:
        raise SettingsError(f"lender.toml: {name}: {key.name} is the key of a {_KINDS[key.kind]}")
    return key


_KINDS = {LOG_KEY: "log", WITNESS_KEY: "witness"}


def _text(at_s: int) -> str:
    try:
        return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a witness may sign any 63 bits
        return f"an impossible time ({at_s} s)"


def _content(order: Mapping[str, Any]) -> bytes:
    """Return what the leaf commits to: payload and parts as they were when it was entered."""
    parts = [
        (
            member(one, "role", str),
            to_bytes(member(one, "protected", str), "protected header"),
            to_bytes(member(one, "signature", str), "signature"),
        )
        for one in member(order, "parts", list)
    ]
    people = [part for part in parts if part[0] in (Role.MAKER.name, Role.CHECKER.name)]
    people = (
        people if len(people) == _TWO else parts
    )  # one signature, or one beside the gate's: entered whole
    payload = to_bytes(member(order, "payload", str), "payload")
    return bytes(assemble(payload, [(protected, signature) for _, protected, signature in people]))


def _hash(one: object) -> bytes:
    try:
        return bytes.fromhex(str(one))
    except ValueError:
        return b""  # no proof: it will not hold
