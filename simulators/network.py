"""A mobile link on loopback: a TCP relay between a client and a server that can stall, slow down or break.

Rules: bytes pass unchanged and in order, as TCP gives them; what a relay can do is delay them, keep them,
or cut the connection. Losing, repeating or reordering whole messages is the broker's business
(`broker_access.Courier`): under TLS nobody else can. A stalled link looks alive to both ends, which is the
fault that time-outs exist for.

Example:
    with Link(upstream_port=broker.port) as link:
        client.connect("127.0.0.1", link.port)
        link.stall()   # nothing passes, nobody is told
        link.flow()
        link.cut()     # connections break; new ones are refused until `flow`
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from simulators.loop_thread import LoopThread

if TYPE_CHECKING:
    from types import TracebackType

CHUNK_BYTES_MAX = 4096  # small, so that a slow link is slow evenly


@dataclass(slots=True, kw_only=True)
class _Condition:
    """What the link does now; belongs to the link's thread.

    Attributes:
        flowing: set while bytes pass.
        is_cut: new connections are refused.
        bytes_per_second: 0 for as fast as it goes.
    """

    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    is_cut: bool = False
    bytes_per_second: int = 0


class Link:
    """One relay to one server; a context manager.

    Args:
        upstream_port: the server's port on loopback.
        port: where to listen; 0 takes a free one.
    """

    def __init__(self, *, upstream_port: int, port: int = 0) -> None:
        self.port = port
        self.upstream_port = upstream_port
        self.passed_bytes = 0
        self._loop = LoopThread("simulated-link")
        self._condition = _Condition()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def flow(self, bytes_per_second: int = 0) -> None:
        """Let bytes pass, at most this many a second (0: no limit), and accept connections again."""

        async def change() -> None:
            self._condition.is_cut, self._condition.bytes_per_second = False, bytes_per_second
            self._condition.flowing.set()

        self._loop.run(change())

    def stall(self) -> None:
        """Let nothing pass; connections stay open and new ones are accepted, and hear nothing."""

        async def change() -> None:
            self._condition.flowing.clear()

        self._loop.run(change())

    def cut(self) -> None:
        """Break every connection and refuse new ones until `flow`."""

        async def change() -> None:
            self._condition.is_cut = True
            for writer in self._open:
                writer.transport.abort()

        self._loop.run(change())

    def __enter__(self) -> Self:
        """Listen."""
        self._loop.start()
        self._loop.run(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Break everything and stop."""
        self._loop.run(self._end())
        self._loop.stop()

    async def _begin(self) -> None:
        self._condition.flowing.set()
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        self._condition.flowing.set()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side, or the link, ends it."""
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self._condition.is_cut:
                return
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            self._open.add(upstream)
            pumps = [
                asyncio.create_task(self._pump(reader, upstream)),
                asyncio.create_task(self._pump(answers, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            return  # the server is away: the client sees its connection break
        finally:
            for end in (writer, upstream):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes one way while the link flows."""
        while data := await reader.read(CHUNK_BYTES_MAX):
            await self._condition.flowing.wait()
            if self._condition.bytes_per_second:
                await asyncio.sleep(len(data) / self._condition.bytes_per_second)
            writer.write(data)
            await writer.drain()
            self.passed_bytes += len(data)
