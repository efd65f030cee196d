"""An asyncio loop in a thread of its own, so that code that is not asynchronous can drive a server.

Rules: one thread, one loop; whoever starts it stops it; what still runs at the stop is cancelled and waited
for.

Example:
    >>> with LoopThread("example") as loop:
    ...     loop.run(asyncio.sleep(0, "done"))
    'done'
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

Result = TypeVar("Result")

WAIT_SECONDS_MAX = 15.0  # for an answer of the thread: simulated servers never compute for long


class LoopThread:
    """The thread and its loop; a context manager that starts and stops it.

    Args:
        name: of the thread, as debuggers show it.
    """

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; returns when its loop runs."""
        self._thread.start()
        assert self._ready.wait(WAIT_SECONDS_MAX), "the loop's thread did not start"

    def run(self, work: Coroutine[object, object, Result]) -> Result:
        """Run `work` on the loop and return what it returns, or raise what it raises."""
        assert self._loop is not None, "start first"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS_MAX)

    def stop(self) -> None:
        """Cancel what still runs and end the thread."""
        assert self._loop is not None
        assert self._ending is not None
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _live(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._idle())

    async def _idle(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._ready.set()
        await self._ending.wait()
