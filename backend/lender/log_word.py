"""What the log proves, by its pinned key: that it only grew since this machine last looked, and has an order.

Rules (README §2.5; SPEC-ledger): a checkpoint counts when the pinned key has signed it. It must begin with
the one this machine saw last, else the server shows two logs or has cut one off, and nothing is shown. An
order stands in the log when its own bytes, as this machine puts them together from the signed parts, are the
leaf of the proof. The gate's part is not in that leaf: the order was logged before the gate signed.

Without a pinned key nothing is claimed, and the sentence says so.

Example:
    >>> look_at_log(server, notebook, log_key)
    LogHead(origin='log.example/tbox', size=42, root=b'…')
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.lender.errors import NotThereError, RefusesError, SettingsError
from backend.lender.notebook import Notebook
from backend.lender.plain import member, to_bytes
from backend.lender.server import Json, Server
from protocol.checkpoint import NoteError, NoteKey, open_checkpoint
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import is_consistent, is_included, leaf_hash
from protocol.orders import Role, assemble

_TWO = 2
_WHY = "the server shows two logs, or has taken something out of the one there was"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """The newest checkpoint, verified."""

    origin: str
    size: int
    root: bytes


def look_at_log(server: Server, notebook: Notebook, log_key: str | None) -> LogHead | None:
    """Return the log's newest head after comparing it with the last one seen; None without a pinned key.

    Raises:
        RefusesError: not signed by the pinned key, shorter than before, or not grown from what was seen.
        NotThereError: no checkpoint was ever signed, and none was ever seen.
    """
    if log_key is None:
        return None
    try:
        key = NoteKey.from_text(log_key)
    except NoteError as wrong:
        raise SettingsError(f"lender.toml: log_key is no verifier key: {wrong}") from wrong
    seen = notebook.log(key.name)
    try:
        note = server.checkpoint()
    except NotThereError as none:
        if seen is None:
            raise
        raise RefusesError(f"the server shows no checkpoint of {key.name} any more", meaning=_WHY) from none
    try:
        opened = open_checkpoint(note.encode(), key, []).checkpoint
    except NoteError as broken:
        raise RefusesError(f"the checkpoint is not the pinned log's: {broken}", meaning=_WHY) from broken
    head = LogHead(origin=opened.origin, size=opened.size, root=opened.root)
    if seen is not None:
        _require_grown(server, seen, head)
    notebook.note_log(key.name, head.size, head.root)
    return head


def place_of(server: Server, head: LogHead, order: Json) -> int | None:
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
    return f"leaf {index} of {head.size}, proved by the key of {head.origin}"


def _require_grown(server: Server, seen: tuple[int, bytes], head: LogHead) -> None:
    size, root = seen
    if head.size < size:
        raise RefusesError(
            f"the log {head.origin} has {head.size} leaves, this machine has seen {size}", meaning=_WHY
        )
    if size == 0:
        return
    proof = [] if head.size == size else [_hash(one) for one in server.consistency(size, head.size)]
    if not is_consistent(first=size, second=head.size, first_root=root, second_root=head.root, proof=proof):
        raise RefusesError(
            f"the log {head.origin} does not begin with the {size} leaves that this machine has seen",
            meaning=_WHY,
        )


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
