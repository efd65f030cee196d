"""The spool on SQLite: one thread that owns the file, a bounded queue in front of it, answers as events.

Rules:
- Each effect is one transaction, carried out in the order of submission. BatchStored is told after COMMIT
  has returned.
- A StoreBatch that the disk refuses is answered by StoreFailed and leaves nothing behind. Other effects
  that it refuses are
  owed: they are done first in the next transaction, so the disk never shows a later state without the
      earlier one.
- A database that cannot be read at start is moved aside (kept) and a chain of origin STORAGE_LOST begins;
  one that the anchor proves to be an older image goes on in a chain of origin CONFLICT, its unsent batches
  still sendable.
- Damage met while running ends the thread: `submit` then raises, and the next start examines the whole file.

It does not decide what to store, free or evict.

Example:
    spool = SqliteSpool(home / "spool.sqlite", listener=inbox.put)
    image = spool.load()
    spool.submit(PersistTick(mark=mark))
    payload = spool.fetch(key).result()
    spool.close()
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from device.adapters import spool_bodies, spool_tables
from device.adapters.spool_anchor import Anchor, AnchorKeeper, origin_after
from device.adapters.spool_errors import (
    disk_stalled,
    is_damage,
    is_hesitation,
    refusal_to_open,
    store_failure,
    thread_ended,
)
from device.adapters.spool_schema import move_aside, open_database, require_sound
from device.effects import SpoolEffect, StartChain, StoreBatch
from device.errors import SpoolError
from device.events import BatchDamaged, StoreFailed
from protocol.batch import OriginKind
from protocol.errors import ProtocolError
from protocol.limits import SPOOL_QUEUE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.ports import SpoolListener
    from device.state import BatchKey, SpoolImage

__all__ = ["SqliteSpool"]

_log = logging.getLogger(__name__)

PAGES_MAX = 4_294_967_294  # SQLite's own limit
_CLOSE_S = 30.0  # the thread finishes what is queued; a disk that takes longer than this has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetch:
    key: BatchKey
    answer: Future[bytes | None] = field(default_factory=Future)

    def give(self, payload: bytes | None) -> None:
        """Answer, unless nobody waits any more."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_result(payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    pages: int


T = TypeVar("T")


class _Close:
    pass


_Command = SpoolEffect | _Fetch | _Limit | _Close


class SqliteSpool:
    """A `device.ports.Spool`.

    Args:
        path: The database file; `anchor.json` lies beside it.
        listener: Gets the answers, on the spool's thread.
        entropy: Draws random bytes for new chains.
    """

    def __init__(
        self, path: Path, *, listener: SpoolListener, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._path = path
        self._anchor = AnchorKeeper(path.with_name("anchor.json"))
        self._listener = listener
        self._entropy = entropy
        self._commands: queue.Queue[_Command] = queue.Queue(maxsize=SPOOL_QUEUE_MAX)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._owed: list[SpoolEffect] = []
        self._lock = threading.Lock()
        self._has_ended = True  # until `load` starts the thread

    def load(self) -> SpoolImage:
        """Open (or create) the store and return what it holds. Blocks; once, before anything else.

        Raises:
            SpoolTooNewError: A newer version wrote it; nothing was touched.
            SpoolError: The disk refused, or another agent holds the file.
        """
        assert self._connection is None, "a spool is loaded once"
        anchor = self._anchor.read()
        notes: list[str] = []
        try:
            image = self._open_or_replace(anchor, notes)
        except sqlite3.Error as error:
            raise refusal_to_open(str(self._path), error) from error
        self._anchor.note_chain(image.chain)
        self._anchor.write()
        self._has_ended = False
        self._thread.start()
        return replace(image, notes=tuple(notes))

    def submit(self, effect: SpoolEffect) -> None:
        """Queue one effect.

        Raises:
            SpoolError: The thread has ended, or the disk stalled so long that the queue is full.
        """
        self._put(effect)

    def fetch(self, key: BatchKey) -> Future[bytes | None]:
        """Read one batch after everything submitted before; None when it is gone or damaged."""
        command = _Fetch(key=key)
        self._put(command)
        return command.answer

    def limit_pages(self, pages: int | None) -> None:
        """Let the file grow to this many pages at most (None: no limit); it never shrinks by this."""
        self._put(_Limit(pages=PAGES_MAX if pages is None else pages))

    def close(self) -> None:
        """Finish what is queued and close. Blocks."""
        if self._thread.is_alive():
            with contextlib.suppress(SpoolError):
                self._put(_Close())
            self._thread.join(_CLOSE_S)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- opening ---

    def _open(self, *, is_suspect: bool) -> SpoolImage | None:
        connection = open_database(self._path)
        try:
            if is_suspect:
                require_sound(connection)
            image = spool_tables.load(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return image

    def _open_or_replace(self, anchor: Anchor | None, notes: list[str]) -> SpoolImage:
        """Open the file, replace one that is damaged, and begin a chain where there is none to go on with."""
        try:
            image = self._open(is_suspect=anchor is not None and anchor.is_suspect)
        except (sqlite3.DatabaseError, ProtocolError) as error:
            if isinstance(error, sqlite3.Error) and is_hesitation(error):
                raise
            aside = move_aside(self._path)
            notes.append(f"spool damaged, kept as {aside.name}")
            _log.warning("spool damaged path=%s kept=%s error=%s", self._path, aside, error)
            image = self._open(is_suspect=False)
        origin = origin_after(image, anchor, was_damaged=bool(notes))
        if origin is not None:
            notes.append(f"new chain: {OriginKind(origin.kind).name}")
            self._in_transaction(
                lambda connection: spool_tables.begin_chain(connection, origin, self._entropy)
            )
            image = spool_tables.load(self._own())
        assert image is not None, "a chain was just begun"
        return replace(image, is_fresh=origin is not None)

    def _own(self) -> sqlite3.Connection:
        assert self._connection is not None, "the spool is open"
        return self._connection

    # --- the thread ---

    def _put(self, command: _Command) -> None:
        with self._lock:  # so that nothing is queued after the thread has emptied the queue for the last time
            if self._has_ended:
                raise thread_ended()
            try:
                self._commands.put_nowait(command)
            except queue.Full as error:
                raise disk_stalled() from error

    def _run(self) -> None:
        try:
            while not isinstance(command := self._commands.get(), _Close):
                self._do(command)
            self._settle_owed()
        except sqlite3.Error as error:
            _log.error("spool ends path=%s error=%s", self._path, error)
            self._anchor.suspect()
        finally:
            self._end()

    def _do(self, command: SpoolEffect | _Fetch | _Limit) -> None:
        match command:
            case _Fetch():
                self._answer(command)
            case _Limit(pages=pages):
                self._own().execute(f"PRAGMA max_page_count={pages}")
            case _:
                self._carry_out(command)

    def _end(self) -> None:
        """Take no more commands; whoever waits for a batch gets none."""
        with self._lock:
            self._has_ended = True
        with contextlib.suppress(queue.Empty):
            while True:
                left = self._commands.get_nowait()
                if isinstance(left, _Fetch):
                    left.give(None)
        self._anchor.write()

    def _carry_out(self, effect: SpoolEffect) -> None:
        """Do one effect, and before it what is owed, as one transaction."""
        due = [*self._owed, effect]
        try:
            events = self._in_transaction(
                lambda connection: [
                    event for item in due for event in spool_tables.apply(connection, item, self._entropy)
                ]
            )
        except sqlite3.Error as error:
            if is_damage(error):
                raise
            if isinstance(effect, StoreBatch):
                reason = store_failure(error)
                self._listener(StoreFailed(key=effect.batch.key, reason=reason, detail=str(error)))
            else:
                self._owed.append(effect)
                _log.warning("spool owes an effect effect=%s error=%s", type(effect).__name__, error)
            return
        self._owed.clear()
        for event in events:
            self._listener(event)
        for item in due:
            self._move_anchor(item)
        self._anchor.write_if_due(is_idle=self._commands.empty())

    def _move_anchor(self, effect: SpoolEffect) -> None:
        match effect:
            case StoreBatch(batch=batch):
                self._anchor.note_stored(batch.key, batch.digest)
            case StartChain():
                self._anchor.note_chain(spool_tables.load_current(self._own()))
            case _:
                pass

    def _settle_owed(self) -> None:
        """At the end: try once more what the disk refused before."""
        if self._owed:
            last = self._owed.pop()
            self._carry_out(last)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._own()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _answer(self, command: _Fetch) -> None:
        try:
            payload = spool_bodies.read_body(self._own(), command.key)
        except spool_bodies.DamagedBodyError as error:
            payload = None
            self._listener(BatchDamaged(key=command.key, detail=str(error)))
        except sqlite3.OperationalError as error:  # the disk hesitates: the engine sends it again later
            payload = None
            _log.warning("spool cannot read batch=%s error=%s", command.key, error)
        command.give(payload)
