"""The local door of an installation: a unix socket that takes signed commands and gives signed reports.

Rules: the socket is 0600 in a 0700 folder; what was there before is replaced. One line of JSON each way:
{"command": base64url} is answered by {"report": base64url} or {"error": code, "message": sentence};
{"watch": true} streams reports until the other side leaves. Commands are as signed as those from the backend,
so the door lets nobody in who could not come otherwise. Lines and watchers are bounded; a watcher that is
behind gets the newest report only.

It understands no message.

Example:
    door = InstallDoor(path, take=desk_take)
    async with door.open():
        door.tell(report)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol import base64url
from protocol.install_words import REFUSALS
from protocol.limits import INSTALL_LINE_BYTES_MAX, INSTALL_WATCHERS_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorAnswer:
    """What became of a command.

    Attributes:
        refusal: a key of `install_words.REFUSALS`; None when it was taken.
        report: the newest report; empty before the first.
    """

    refusal: str | None
    report: bytes


class InstallDoor:
    """The socket and whoever stands at it.

    Args:
        path: of the socket.
        take: hands a command to the engine, on the event loop's thread.
    """

    def __init__(self, path: Path, *, take: Callable[[bytes], DoorAnswer]) -> None:
        self._path = path
        self._take = take
        self._newest = b""
        self._watchers: set[asyncio.Event] = set()
        self.lines_refused = 0

    def tell(self, report: bytes) -> None:
        """A new report: whoever watches gets it."""
        self._newest = report
        for watcher in self._watchers:
            watcher.set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the door open.

        Raises:
            OSError: the socket cannot be made here.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            self._serve, path=str(self._path), limit=INSTALL_LINE_BYTES_MAX
        )
        self._path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            for watcher in list(self._watchers):
                watcher.set()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                asked = _asked(line)
                if asked.get("watch") is True:
                    await self._watch(writer)
                    return
                await _say(writer, self._answer(asked))
        except (ConnectionError, asyncio.LimitOverrunError, ValueError) as gone:
            self.lines_refused += 1
            _log.info("install door: reason=%s", gone)
        finally:
            writer.close()

    def _answer(self, asked: dict[str, Any]) -> dict[str, str]:
        try:
            command = base64url.to_bytes(asked["command"])
        except (KeyError, ValueError, TypeError, AttributeError):
            self.lines_refused += 1
            return _refusal("BAD_ARGUMENT")
        answer = self._take(command)
        return _refusal(answer.refusal) if answer.refusal else {"report": base64url.to_text(answer.report)}

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        if len(self._watchers) >= INSTALL_WATCHERS_MAX:
            await _say(writer, {"error": "CROWDED", "message": "Too many programs watch: close one of them."})
            return
        news = asyncio.Event()
        self._watchers.add(news)
        try:
            if self._newest:
                await _say(writer, {"report": base64url.to_text(self._newest)})
            while not writer.is_closing():
                await news.wait()
                news.clear()
                await _say(writer, {"report": base64url.to_text(self._newest)})
        finally:
            self._watchers.discard(news)


def _asked(line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def _refusal(code: str) -> dict[str, str]:
    return {"error": code, "message": REFUSALS[code].en}


async def _say(writer: asyncio.StreamWriter, answer: dict[str, str]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
