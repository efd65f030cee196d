"""The door of the simulated broker: certificate and CONNECT are looked at before the MQTT library is.

Rules: the certificate's common name is the client id (a bridge may add a suffix, `bridge-2`), it is not
revoked, and a will may only speak where its owner may. Looking first matters: amqtt would end the rightful
owner's session before it asks whether the newcomer may have it, and publishes a will without asking at all.

It does not verify chains; TLS has done that when a connection arrives here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amqtt.adapters import BufferReader, ReaderAdapter, StreamWriterAdapter
from amqtt.contexts import Action
from amqtt.errors import AMQTTError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.connect import ConnectPacket
from cryptography import x509

from simulators.broker_access import BRIDGE, Courier, is_bridge, may

if TYPE_CHECKING:
    from collections.abc import Callable

    from amqtt.broker import Broker as AmqttBroker

log = logging.getLogger(__name__)

CONNECT_BYTES_MAX = 4096  # ids, a will of a few bytes and no password: 4 KiB is ample
CONNECT_SECONDS_MAX = 10.0  # a client that has not said CONNECT by then is a port scanner
CONNECT_HEAD = b"\x10"  # packet type 1, flags 0. Source: MQTT 3.1.1 §3.1.1
CONTINUES = 0x80  # this bit says that another length byte follows. Source: MQTT 3.1.1 §2.2.3
NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")  # no separator, no wildcard: the name becomes a level of a topic


class _Replayed(ReaderAdapter):  # type: ignore[misc] # amqtt has no types
    """A stream whose first packet was read already and is given out again."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        self._head = head
        self._reader = reader

    async def read(self, n: int = -1) -> bytes:
        """Return `n` bytes, the first packet's first; packets are read whole, so no read straddles it."""
        if self._head:
            part, self._head = self._head[:n], self._head[n:]
            return part
        return await (self._reader.read() if n < 0 else self._reader.readexactly(n))

    def feed_eof(self) -> None:
        """Mark the end of the stream."""
        self._reader.feed_eof()


async def read_connect(reader: asyncio.StreamReader) -> bytes:
    """Return the first packet's bytes as they came.

    Raises:
        AMQTTError: it is no CONNECT, or too long.
    """
    head = await reader.readexactly(1)
    if head != CONNECT_HEAD:
        raise AMQTTError("the first packet is not CONNECT")
    length, shift, byte = 0, 0, CONTINUES
    while byte & CONTINUES:
        head += await reader.readexactly(1)
        byte = head[-1]
        length |= (byte & ~CONTINUES) << shift
        shift += 7
        if length > CONNECT_BYTES_MAX:
            raise AMQTTError("CONNECT is too long")
    return head + await reader.readexactly(length)


def _peer(writer: asyncio.StreamWriter) -> tuple[str, int]:
    """Return common name and serial number of the peer's certificate."""
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return (str(names[0].value) if len(names) == 1 else "", certificate.serial_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guest:
    """Who is behind a connection; `left` is set when it has ended."""

    name: str
    serial: int
    client_id: str
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Door:
    """Hand good connections to amqtt, turn the others away, and cut those that became unwanted.

    Args:
        broker: who serves a connection once it is admitted.
        courier: counts what was refused.
        revoked: the serial numbers that are revoked at this moment.
    """

    def __init__(self, broker: AmqttBroker, courier: Courier, revoked: Callable[[], frozenset[int]]) -> None:
        self._broker = broker
        self._courier = courier
        self._revoked = revoked
        self._open: dict[asyncio.StreamWriter, _Guest] = {}

    async def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; a peer's fault ends this connection and nothing else."""
        try:
            await self._admit(reader, writer)
        except (AMQTTError, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.debug("connection ended error=%s", error)
        finally:
            writer.transport.abort()
            if (guest := self._open.pop(writer, None)) is not None:
                guest.left.set()

    def drop(self, unwanted: Callable[[str, int], bool]) -> int:
        """Cut, without a farewell, the connections whose (name, serial) is unwanted; returns how many."""
        cut = [writer for writer, guest in self._open.items() if unwanted(guest.name, guest.serial)]
        for writer in cut:
            writer.transport.abort()
        return len(cut)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, serial = _peer(writer)
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            head = await read_connect(reader)
        adapter = StreamWriterAdapter(writer)
        connect = await ConnectPacket.from_stream(BufferReader(head))
        reason = self._objection(connect, name, serial)
        if reason is not None:
            self._courier.refused_by.append(reason)
            log.info("connection refused cn=%s reason=%s", name, reason)
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(adapter)
            await adapter.close()
            return
        await self._replace(connect.client_id)
        self._open[writer] = _Guest(name=name, serial=serial, client_id=connect.client_id)
        await self._broker.external_connected(_Replayed(head, reader), adapter, "default")

    async def _replace(self, client_id: str) -> None:
        """End an older connection of this client and wait until it is gone. Source: MQTT 3.1.1 §3.1.4.

        amqtt would forget the old session and leave its connection open, deaf.
        """
        for writer, guest in list(self._open.items()):
            if guest.client_id == client_id:
                writer.transport.abort()
                await guest.left.wait()

    def _objection(self, connect: ConnectPacket, name: str, serial: int) -> str | None:
        """Return why this CONNECT is unwelcome, or None."""
        client_id = connect.client_id or ""
        if not NAME.fullmatch(name) or not NAME.fullmatch(client_id):
            return "a name that cannot be a topic level"
        if client_id != name and not (name == BRIDGE and is_bridge(client_id)):
            return "client id is not the certificate's common name"
        if serial in self._revoked():
            return "certificate is revoked"
        if connect.will_flag and connect.will_retain_flag:
            return "a retained will"
        if connect.will_flag and not may(client_id, Action.PUBLISH, connect.will_topic or ""):
            return "a will on a topic it may not publish"
        return None
