"""Asking witnesses: the log sends a checkpoint with the proof from what the witness knew, and reads its word.

Rules: a witness that does not answer is asked again with the next checkpoint; nothing waits for it here. A
witness that knows another tree than ours is a fork, or ours was rolled back: that is told apart from silence,
and the caller halts the ledger. The answer is believed only as a cosignature that verifies.

Example:
    >>> answer = ask_witness(place, note, prove=lambda old, new: [], post=post_over_http)
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from typing import Protocol as Port
from urllib.parse import urlsplit

from protocol.checkpoint import (
    AddCheckpoint,
    NoteError,
    add_signatures,
    encode_add_checkpoint,
    open_checkpoint,
    read_checkpoint,
)
from protocol.limits import CHECKPOINT_BYTES_MAX, WITNESS_WAIT_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backend.store.log_keys import WitnessPlace
    from protocol.checkpoint import NoteKey

_OK, _CONFLICT, _UNPROVEN = 200, 409, 422
_ROUNDS: Final = 3  # the first guess, the size it told us, and once more when another of ours came between


class Word(StrEnum):
    """What came of asking."""

    COSIGNED = "cosigned"
    AHEAD = "ahead"  # it knows a larger tree than this checkpoint's
    FORK = "fork"  # it knows another tree
    SILENT = "silent"  # no answer, or none that can be used


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAnswer:
    """A witness's word.

    Attributes:
        word: what came of it.
        line: its signature line when it cosigned.
        size: the size it knows when it is ahead.
        detail: for the log, one line.
    """

    word: Word
    line: bytes | None = None
    size: int | None = None
    detail: str = ""


class Post(Port):
    """Sends a body to an address and returns status and body.

    Raises OSError when the other side does not answer.
    """

    def __call__(self, url: str, body: bytes) -> tuple[int, bytes]:
        """Send."""
        ...


def ask_witness(
    place: WitnessPlace,
    note: bytes,
    *,
    log: NoteKey,
    known: int,
    prove: Callable[[int, int], Sequence[bytes]],
    post: Post,
) -> WitnessAnswer:
    """Ask a witness for its cosignature.

    Args:
        place: the witness.
        note: our checkpoint.
        log: our key.
        known: the size we believe it knows; it corrects us.
        prove: gives the consistency proof between two sizes of the log.
        post: sends.
    """
    size = read_checkpoint(note).size
    for _ in range(_ROUNDS):
        proof = tuple(prove(known, size)) if 0 < known < size else ()
        body = encode_add_checkpoint(AddCheckpoint(old_size=known, proof=proof, note=note))
        try:
            status, answer = post(f"{place.url}/add-checkpoint", body)
        except (OSError, http.client.HTTPException) as error:
            return WitnessAnswer(word=Word.SILENT, detail=f"{type(error).__name__}: {error}")
        if status == _OK:
            return _cosigned(place, note, answer, log=log)
        told = _size(answer) if status == _CONFLICT else None
        if told is not None and told > size:
            return WitnessAnswer(word=Word.AHEAD, size=told, detail=f"it knows {told} leaves")
        if told is None:
            word = Word.FORK if status in (_CONFLICT, _UNPROVEN) else Word.SILENT
            return WitnessAnswer(word=word, detail=f"{status} {answer[:80]!r}")
        known = told
    return WitnessAnswer(word=Word.SILENT, detail="it changed its mind each time")


def _cosigned(place: WitnessPlace, note: bytes, answer: bytes, *, log: NoteKey) -> WitnessAnswer:
    """Return the lines of an answer that are this witness's and hold."""
    for line in answer.splitlines(keepends=True):
        try:
            seen = open_checkpoint(add_signatures(note, [line]), log, [place.key]).cosignatures
        except NoteError as error:
            return WitnessAnswer(word=Word.SILENT, detail=str(error))
        if seen:
            return WitnessAnswer(word=Word.COSIGNED, line=line)
    return WitnessAnswer(word=Word.SILENT, detail="no cosignature of its key in the answer")


def _size(body: bytes) -> int | None:
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) <= len(str(1 << 53)) else None


def post_over_http(url: str, body: bytes) -> tuple[int, bytes]:
    """Send over HTTP or HTTPS; no redirects, bounded answer, WITNESS_WAIT_S_MAX.

    Raises:
        OSError: no answer.
        http.client.HTTPException: no HTTP.
    """
    place = urlsplit(url)
    if place.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.hostname or "", place.port, timeout=WITNESS_WAIT_S_MAX, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=WITNESS_WAIT_S_MAX)
    try:
        connection.request("POST", place.path, body=body, headers={"Content-Type": "text/plain"})
        answer = connection.getresponse()
        return answer.status, answer.read(CHECKPOINT_BYTES_MAX)
    finally:
        connection.close()
