"""The local door for a person at the car: a unix socket that takes emergency codes and orders in files.

Rules: the socket is 0600 in a 0700 folder; what was there before is replaced. One line of JSON each way.
{"code": digits} or {"order": base64url, "authority": base64url or null} is answered by {"word": …} with
`wait_s`, `state`, `code` and `disposition` (base64url) where there are some, or by {"error": "BAD_LINE"}.
A code opens nothing that the microcontroller does not open, and an order is as signed as one from the
backend, so whoever reaches the door gains nothing that he could not have at the car. Lines and visitors are
bounded. It needs no network, and it logs no digits.

It understands no order: see `device.orders.at_car`.

Example:
    door = CarDoor(path, ask=driver.feed)
    door.answer(answer)      # what the engine said

Source: SPEC §20.5.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from device.errors import EdgeError
from device.events import CodeTyped, OrderHandedOver
from protocol import base64url
from protocol.limits import AT_CAR_LINE_BYTES_MAX, AT_CAR_ORDER_S_MAX, AT_CAR_VISITORS_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from device.effects import AnswerAtCar

_log = logging.getLogger("tbox.agent")

DOOR: Final = "run/car.sock"
_DIGITS_CHARS_MAX: Final = 32
_ASK_S_MAX: Final = AT_CAR_ORDER_S_MAX + 10.0  # the engine answers within its own time


class CarDoor:
    """The socket and whoever stands at it.

    Args:
        path: of the socket.
        ask: hands a question to the engine, on the event loop's thread.
    """

    def __init__(self, path: Path, *, ask: Callable[[CodeTyped | OrderHandedOver], None]) -> None:
        self._path = path
        self._ask = ask
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[AnswerAtCar]] = {}
        self._visitors = 0
        self.lines_refused = 0

    def answer(self, answer: AnswerAtCar) -> None:
        """Give the answer to whoever asked; one who left gets none."""
        waiting = self._waiting.pop(answer.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def hold_open(self) -> None:
        """Hold the door open until cancelled; where no socket can be made, say so and go on without."""
        try:
            async with self.open():
                await asyncio.Event().wait()
        except OSError as failure:
            _log.error("car door not open: reason=%s; codes and files cannot be given at the car", failure)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the door open.

        Raises:
            OSError: the socket cannot be made here.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            self._serve, path=str(self._path), limit=AT_CAR_LINE_BYTES_MAX
        )
        self._path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visitors += 1
        try:
            if self._visitors > AT_CAR_VISITORS_MAX:
                await _say(writer, {"word": "CROWDED"})
                return
            while line := await reader.readline():
                await _say(writer, await self._answer(line))
        except (ConnectionError, asyncio.LimitOverrunError, ValueError) as gone:
            self.lines_refused += 1
            _log.info("car door: reason=%s", type(gone).__name__)
        finally:
            self._visitors -= 1
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        number = next(self._numbers)
        asked = _read(line, number)
        if asked is None:
            self.lines_refused += 1
            return {"error": "BAD_LINE"}
        waiting: asyncio.Future[AnswerAtCar] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._ask(asked)
        try:
            return _written(await waiting)
        finally:
            self._waiting.pop(number, None)


def ask_door(path: Path, question: Mapping[str, str | None]) -> dict[str, Any]:
    """Ask the running agent, and return its answer. Blocks until it comes.

    Raises:
        EdgeError: no agent runs there, this user may not ask it, or it says something else than an answer.
    """
    data = b""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_ASK_S_MAX)
            line.connect(str(path))
            line.sendall(json.dumps(question).encode() + b"\n")
            while not data.endswith(b"\n"):
                more = line.recv(AT_CAR_LINE_BYTES_MAX)
                if not more or len(data) > AT_CAR_LINE_BYTES_MAX:
                    raise ConnectionResetError("it hung up in the middle of an answer")
                data += more
        answer = json.loads(data)
    except OSError as failure:
        raise EdgeError(
            f"the box does not answer at {path}: {failure}",
            is_transient=True,
            meaning="nothing is known to have reached the microcontroller",
            next_step="start the agent (it needs no network), ask as the user it runs as, and check --home",
        ) from failure
    except ValueError as garbled:
        answer = None
        _log.debug("car door: reason=%s", garbled)
    if not isinstance(answer, dict) or "word" not in answer:
        raise EdgeError(
            "the box did not understand the question",
            is_transient=False,
            next_step="bring this program and the running agent to the same version",
        )
    return answer


def _read(line: bytes, number: int) -> CodeTyped | OrderHandedOver | None:
    try:
        asked = json.loads(line)
        if isinstance(digits := asked.get("code"), str) and len(digits) <= _DIGITS_CHARS_MAX:
            return CodeTyped(number=number, digits=digits)
        authority = asked.get("authority")
        return OrderHandedOver(
            number=number,
            message=base64url.to_bytes(asked["order"]),
            authority=b"" if authority is None else base64url.to_bytes(authority),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _written(answer: AnswerAtCar) -> dict[str, Any]:
    written: dict[str, Any] = {"word": answer.word.value}
    written |= {} if answer.wait_s is None else {"wait_s": answer.wait_s}
    written |= {"state": answer.state} if answer.state else {}
    written |= {"code": answer.code} if answer.code else {}
    written |= {"disposition": base64url.to_text(answer.disposition)} if answer.disposition else {}
    return written


async def _say(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
