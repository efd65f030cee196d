"""An MQTT 3.1.1 broker in a thread: mutual TLS, an access list by certificate, and outages on demand.

Rules: TLS 1.2 or newer with a client certificate of the given authority, or no connection. Who may say what
stands in `broker_access.py`, who may come in at all in `broker_door.py`. Nothing is retained. A certificate
on the revocation list is refused, and loses the connection it has within a second.

It forgets its sessions when it stops, as a crashed broker without a disk would; it has no cluster and is
not for production (amqtt carries the messages). Like any MQTT 3.1.1 broker it acknowledges a publish that
it then discards, and amqtt sets the retain flag on what waited for an absent client.

Example:
    with Broker(ca=ca.ca_file, cert=server.cert, key=server.key) as broker:
        client.connect("127.0.0.1", broker.port)
        broker.go_away()    # nobody can reach it
        broker.come_back()  # its sessions get what waited for them
        broker.stop()
        broker.start()      # the same port, and no memory of its clients
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from amqtt.broker import Broker as AmqttBroker
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from simulators.broker_access import Courier, configuration
from simulators.broker_door import Door
from simulators.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

REVOCATION_POLL_SECONDS = 0.5  # so that a revoked device is cut off within a second


class Broker:
    """A broker on loopback, driven from any thread; also a context manager that starts and stops it.

    Args:
        ca: PEM file of the authority whose client certificates are welcome.
        cert: PEM file of the broker's own certificate (and chain).
        key: PEM file of its key.
        host: address to listen on.
        port: 0 takes a free one on the first start and keeps it over restarts.
        crl: PEM file of the authority's revocation list, read again when it changes; may appear later.
    """

    def __init__(
        self,
        *,
        ca: Path,
        cert: Path,
        key: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        crl: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.courier = Courier()
        self._tls = _tls_context(ca, cert, key)
        self._revocations = _Revocations(ca, crl)
        self._life: _Life | None = None

    @property
    def is_running(self) -> bool:
        """Whether the broker listens now."""
        return self._life is not None

    def start(self) -> None:
        """Listen; returns when a client can connect.

        Raises:
            OSError: the port is taken.
        """
        assert self._life is None, "start after start"
        loop = LoopThread("simulated-broker")
        loop.start()
        try:
            self._life = loop.run(self._begin(loop))
        except OSError:
            loop.stop()
            raise
        self.port = self._life.server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Cut every connection and forget every session; returns when the thread has ended. Idempotent."""
        if self._life is not None:
            life, self._life = self._life, None
            life.loop.run(_end(life))
            life.loop.stop()

    def go_away(self) -> None:
        """Cut every connection and listen no more, but keep the sessions, as a broker with a disk does."""
        life = self._living()
        life.loop.run(_close_door(life))

    def come_back(self) -> None:
        """Listen again on the same port after `go_away`; sessions get what waited for them.

        Raises:
            OSError: somebody took the port meanwhile.
        """
        life = self._living()
        life.server = life.loop.run(self._listen(life.door))

    def drop_connections(self, client_id: str | None = None) -> int:
        """Cut the connections of one client, or of all, as a lost link would; returns how many."""
        life = self._living()

        async def cut() -> int:
            return life.door.drop(lambda name, _serial: client_id in (None, name))

        return life.loop.run(cut())

    def inject(self, topic: str, payload: bytes) -> None:
        """Hand a message to its subscribers as a hostile broker could: no client of it sent this."""
        life = self._living()
        life.loop.run(life.amqtt.internal_message_broadcast(topic, payload, 1))

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _living(self) -> _Life:
        assert self._life is not None, "the broker is not running"
        return self._life

    async def _begin(self, loop: LoopThread) -> _Life:
        """Listen, on the broker's own loop."""
        amqtt = AmqttBroker(configuration(self.courier))
        door = Door(amqtt, self.courier, self._revocations.serials)
        await amqtt.start()
        try:
            server = await self._listen(door)
        except OSError:
            await amqtt.shutdown()
            raise
        watch = asyncio.create_task(_cut_revoked(door, self._revocations.serials))
        return _Life(loop=loop, amqtt=amqtt, door=door, server=server, watch=watch)

    async def _listen(self, door: Door) -> asyncio.Server:
        return await asyncio.start_server(door.admit, self.host, self.port, ssl=self._tls)


@dataclass(slots=True, kw_only=True)
class _Life:
    """One life of the broker, from start to stop; all but the loop belong to the broker's thread."""

    loop: LoopThread
    amqtt: AmqttBroker
    door: Door
    server: asyncio.Server
    watch: asyncio.Task[None]


async def _end(life: _Life) -> None:
    """Cut everyone off and wait until nothing of this life is left."""
    life.watch.cancel()
    await _close_door(life)
    await life.amqtt.shutdown()
    await asyncio.gather(life.watch, return_exceptions=True)


async def _close_door(life: _Life) -> None:
    """Listen no more and cut everyone off."""
    life.server.close()
    life.door.drop(lambda _name, _serial: True)
    await life.server.wait_closed()


async def _cut_revoked(door: Door, revoked: Callable[[], frozenset[int]]) -> None:
    """Cut the connections of certificates that are revoked while they are open."""
    while True:
        await asyncio.sleep(REVOCATION_POLL_SECONDS)
        serials = revoked()
        door.drop(lambda _name, serial, serials=serials: serial in serials)  # type: ignore[misc] # bound early


class _Revocations:
    """The serial numbers on the authority's revocation list, read again when the file changes."""

    def __init__(self, ca: Path, crl: Path | None) -> None:
        key = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey), "our authorities have P-256 keys"
        self._authority_key = key
        self._crl = crl
        self._stamp: tuple[int, int] | None = None
        self._serials: frozenset[int] = frozenset()

    def serials(self) -> frozenset[int]:
        """Return what is revoked now; a missing list revokes nothing, another signer's changes nothing."""
        if self._crl is None:
            return frozenset()
        with contextlib.suppress(FileNotFoundError):
            status = self._crl.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                listed = x509.load_pem_x509_crl(self._crl.read_bytes())
                if listed.is_signature_valid(self._authority_key):
                    self._serials = frozenset(entry.serial_number for entry in listed)
                    self._stamp = stamp
        return self._serials


def _tls_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca)
    context.load_cert_chain(cert, key)
    return context
