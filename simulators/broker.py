"""An MQTT 3.1.1 broker in a thread: mutual TLS, an access list by certificate, and outages on demand.

Rules: TLS 1.2 or newer with a client certificate of the given authority, or no connection. Who may say what
stands in `broker_access.py`, who may come in at all in `broker_door.py`. Nothing is retained. A certificate
on the revocation list is refused, and loses the connection it has within a second.

It forgets its sessions when it stops, as a crashed broker would; it has no cluster and is not for
production (amqtt carries the messages). Like any MQTT 3.1.1 broker it acknowledges a publish that it then
discards, and amqtt sets the retain flag on what waited for an absent client.

Example:
    with Broker(ca=ca.ca_file, cert=server.cert, key=server.key) as broker:
        client.connect("127.0.0.1", broker.port)
        broker.stop()   # the broker is away
        broker.start()  # and back, on the same port, with no memory of its clients
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

from amqtt.broker import Broker as AmqttBroker
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from simulators.broker_access import Courier, configuration
from simulators.broker_door import Door

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

REVOCATION_POLL_SECONDS = 0.5  # so that a revoked device is cut off within a second
WAIT_SECONDS_MAX = 10.0  # for the broker's own thread to answer: it never computes for long


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
        self._thread: threading.Thread | None = None
        self._run: _Run | None = None

    @property
    def is_running(self) -> bool:
        """Whether the broker listens now."""
        return self._thread is not None

    def start(self) -> None:
        """Listen; returns when a client can connect.

        Raises:
            OSError: the port is taken.
        """
        assert self._thread is None, "start after start"
        ready: Future[_Run] = Future()
        thread = threading.Thread(target=self._live, args=(ready,), name="simulated-broker", daemon=True)
        thread.start()
        try:
            self._run = ready.result(WAIT_SECONDS_MAX)
        except OSError:
            thread.join()
            raise
        self._thread, self.port = thread, self._run.port

    def stop(self) -> None:
        """Cut every connection and forget every session; returns when the thread has ended. Idempotent."""
        if self._thread is None or self._run is None:
            return
        self._run.loop.call_soon_threadsafe(self._run.stopping.set)
        self._thread.join()
        self._thread = self._run = None

    def restart(self) -> None:
        """Crash and come back on the same port."""
        self.stop()
        self.start()

    def drop_connections(self, client_id: str | None = None) -> int:
        """Cut the connections of one client, or of all, as a lost link would; returns how many."""
        run = self._running()
        done: Future[int] = Future()
        run.loop.call_soon_threadsafe(
            lambda: done.set_result(run.door.drop(lambda name, _serial: client_id in (None, name)))
        )
        return done.result(WAIT_SECONDS_MAX)

    def inject(self, topic: str, payload: bytes) -> None:
        """Hand a message to its subscribers as a hostile broker could: no client of it sent this."""
        run = self._running()
        sending = run.amqtt.internal_message_broadcast(topic, payload, 1)
        asyncio.run_coroutine_threadsafe(sending, run.loop).result(WAIT_SECONDS_MAX)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _running(self) -> _Run:
        assert self._run is not None, "the broker is not running"
        return self._run

    def _live(self, ready: Future[_Run]) -> None:
        """Be the thread: one loop, one run, and a failure to start told to whoever waits."""
        with asyncio.Runner() as runner:
            try:
                runner.run(_serve(self, ready))
            except OSError as error:
                ready.set_exception(error)

    def _make_run(self) -> _Run:
        amqtt = AmqttBroker(configuration(self.courier))
        return _Run(amqtt, Door(amqtt, self.courier, self._revocations.serials))


class _Run:
    """One life of the broker, from start to stop; it belongs to the broker's thread."""

    def __init__(self, amqtt: AmqttBroker, door: Door) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        self.amqtt = amqtt
        self.door = door
        self.port = 0


async def _serve(broker: Broker, ready: Future[_Run]) -> None:
    """Listen until told to stop, then cut everyone off and wait until nothing of this life is left."""
    run = broker._make_run()  # noqa: SLF001 - the other half of the same class, which must run on this thread
    await run.amqtt.start()
    try:
        server = await asyncio.start_server(run.door.admit, broker.host, broker.port, ssl=broker._tls)  # noqa: SLF001 - as above
    except OSError:
        await run.amqtt.shutdown()
        raise
    run.port = server.sockets[0].getsockname()[1]
    watch = asyncio.create_task(_cut_revoked(run.door, broker._revocations.serials))  # noqa: SLF001 - as above
    ready.set_result(run)
    try:
        await run.stopping.wait()
    finally:
        server.close()
        watch.cancel()
        run.door.drop(lambda _name, _serial: True)
        await run.amqtt.shutdown()
        await asyncio.gather(watch, return_exceptions=True)
        await server.wait_closed()


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
