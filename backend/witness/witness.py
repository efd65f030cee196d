"""What a witness answers: it cosigns a checkpoint that begins with all it has seen, and nothing else.

Rules (C2SP tlog-witness): of each log it keeps the latest checkpoint only. A request names the size it
starts from: another than the one kept is 409 with the size kept, so that the log can send the right proof. Of
the same size another root is 409: a fork, proven by two notes of the log itself, and both are kept. Of a
larger one a proof that does not hold is 422 and said; nothing is kept, since anybody can send a true
checkpoint with a false proof. The new checkpoint is on the disk before the cosignature leaves, and comparing
and keeping are one step.

This module speaks no HTTP: see `server`.

Example:
    >>> answer = Witness(store=store, signer=signer, logs=[log_key], clock=utc_s).add_checkpoint(body)
    >>> answer.status
    200
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.checkpoint import (
    AddCheckpoint,
    Checkpoint,
    NoteError,
    cosign,
    decode_add_checkpoint,
    open_checkpoint,
    read_checkpoint,
)
from protocol.merkle import is_consistent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backend.witness.store import WitnessStore
    from protocol.checkpoint import NoteKey, NoteSigner

LOG = logging.getLogger(__name__)

OK: Final = 200
BAD_REQUEST: Final = 400
NOT_SIGNED: Final = 403
UNKNOWN_LOG: Final = 404
CONFLICT: Final = 409
NOT_CONSISTENT: Final = 422

SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back to the log."""

    status: int
    body: bytes
    media_type: str = TEXT_TYPE


class Witness:
    """One witness with its key and the logs it knows."""

    def __init__(
        self,
        *,
        store: WitnessStore,
        signer: NoteSigner,
        logs: Iterable[NoteKey],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._signer = signer
        self._logs = {log.name: log for log in logs}
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer `POST …/add-checkpoint`."""
        try:
            request = decode_add_checkpoint(body)
            new = read_checkpoint(request.note)
        except NoteError as error:
            return Answer(status=BAD_REQUEST, body=f"{error}\n".encode())
        log = self._logs.get(new.origin)
        if log is None:
            return Answer(status=UNKNOWN_LOG, body=b"this witness does not know the log\n")
        try:
            open_checkpoint(request.note, log)
        except NoteError as error:
            return Answer(status=NOT_SIGNED, body=f"{error}\n".encode())
        if request.old_size > new.size:
            return Answer(status=BAD_REQUEST, body=b"the old size is above the checkpoint's\n")
        return self._judge(request, new)

    def _judge(self, request: AddCheckpoint, new: Checkpoint) -> Answer:
        """Compare with the checkpoint kept, and keep and cosign the new one, in one step."""
        with self._store.writing(new.origin) as kept:
            old = None if kept.note is None else read_checkpoint(kept.note)
            old_size = 0 if old is None else old.size
            if request.old_size != old_size:
                return Answer(status=CONFLICT, body=b"%d\n" % old_size, media_type=SIZE_TYPE)
            if old is not None and old.size == new.size and old.root != new.root:
                kept.keep_fork(request.note, at_s=self._clock())
                LOG.error("fork: two trees of one size, log=%s size=%d", new.origin, new.size)
                text = b"fork: this log has signed another tree of this size\n"
                return Answer(status=CONFLICT, body=text)
            if old_size and not is_consistent(
                first=old_size,
                second=new.size,
                first_root=b"" if old is None else old.root,
                second_root=new.root,
                proof=request.proof,
            ):
                LOG.error(
                    "no proof that the tree goes on, log=%s from=%d to=%d", new.origin, old_size, new.size
                )
                text = b"the proof does not show that the tree begins with what this witness saw\n"
                return Answer(status=NOT_CONSISTENT, body=text)
            if not old_size and request.proof:
                return Answer(status=NOT_CONSISTENT, body=b"a first checkpoint has an empty proof\n")
            kept.keep(request.note)
        line = cosign(request.note, self._signer, at_s=self._clock())
        return Answer(status=OK, body=line)
