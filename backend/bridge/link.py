"""The bridge's line to the broker: one paho client that connects again for ever, and acknowledges by hand.

Rules:
- MQTT 3.1.1 over TLS with a client certificate; a persistent session, so that the broker keeps what comes
  while we are away; `up/#` of all boxes is subscribed on every connect, QoS 1.
- Nothing is acknowledged here: `ack` is called after the commit. What was not acknowledged the broker
  delivers again, to this process or to the next.
- A message number belongs to one connection. After a reconnect old numbers are never acknowledged: the
  broker may have given them to other messages.
- When the queue is full, paho's thread waits and the socket is not read: TCP makes the broker wait too.
- paho's callbacks only enqueue or set a flag. Changes are logged, conditions are not.

It does not read what it carries.

Example:
    link = BrokerLink(LinkSettings(host="broker", port=8883, ca_file=ca, cert_file=cert, key_file=key))
    link.start()
    message = link.receive(timeout_s=0.2)
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel

from backend.bridge.tls import client_context
from protocol.limits import BRIDGE_QUEUE_MAX
from protocol.topics import ALL_UP

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

LOG = logging.getLogger(__name__)

CONNECT_WAIT_S = 10.0  # for TCP and TLS: a broker in the same data centre answers at once or not at all
KEEPALIVE_S = 30  # silence after which the line is tested
RECONNECT_FIRST_S = 1  # paho doubles it with every failure
RECONNECT_LONGEST_S = 30
UNSENT_MAX = 1_000  # answers waiting for the socket; a box whose receipt is lost sends its batch again
STOP_POLL_S = 0.2  # how soon paho's thread notices, while it waits for room, that we are stopping
SUBACK_FAILURE = 0x80  # MQTT 3.1.1, 3.9.3


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Where the broker is, and who we are to it.

    Attributes:
        host: name or address as it stands in the broker's certificate.
        port: TCP port.
        ca_file: PEM of the authorities we believe.
        cert_file: PEM of our certificate chain, CN `bridge` or `bridge-<n>`.
        key_file: PEM of its key.
        client_id: MQTT client id, by custom the certificate's CN: `bridge`, or `bridge-<n>` where several
            run. Two bridges of one id would end each other's connections for ever.
    """

    host: str
    port: int
    ca_file: Path
    cert_file: Path
    key_file: Path
    client_id: str = "bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message with what acknowledges it."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int


def _tls(settings: LinkSettings) -> ssl.SSLContext:
    return client_context(ca_file=settings.ca_file, cert_file=settings.cert_file, key_file=settings.key_file)


class BrokerLink:
    """The line; `start` it once, `receive` and `ack` from one thread, `stop` from any.

    Args:
        settings: Where and as whom.

    Raises:
        OSError: The TLS files do not load.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._queue: queue.Queue[Received] = queue.Queue(maxsize=BRIDGE_QUEUE_MAX)
        self._stopping = threading.Event()
        self._is_up = threading.Event()
        self._ready = threading.Event()
        self._has_ended = threading.Event()
        self._connection = 0
        self._is_down_logged = False
        self._alert = ""
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._live, name="broker-link", daemon=True)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has granted our subscription and the line stands."""
        return self._ready.is_set()

    @property
    def is_broken(self) -> bool:
        """Whether paho's thread ended unasked: our mistake, so the process has to end."""
        return self._has_ended.is_set() and not self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """How many messages wait to be taken in."""
        return self._queue.qsize()

    def start(self) -> None:
        """Begin to connect, and go on until `stop`."""
        self._client.connect_async(self._settings.host, self._settings.port, KEEPALIVE_S)
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye and end paho's thread; what is not acknowledged stays with the broker."""
        self._stopping.set()
        self._ready.clear()
        self._client.disconnect()
        if self._thread.is_alive():
            self._thread.join(CONNECT_WAIT_S + STOP_POLL_S)

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the subscription is granted; return whether it is."""
        return self._ready.wait(timeout_s)

    def receive(self, *, timeout_s: float) -> Received | None:
        """Return the next message, or None when none came in time."""
        try:
            return self._queue.get(timeout=timeout_s) if timeout_s > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def ack(self, message: Received) -> None:
        """Acknowledge a message to the connection it came on; after that has ended, do nothing."""
        if message.connection == self._connection:
            self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send with QoS 1, not retained; False, with nothing sent, when the line is down or crowded.

        A kept session delivers before the subscription is granted anew, so an answer need not wait for that.
        """
        if not self._is_up.is_set():
            return False
        return self._client.publish(topic, payload, qos=1).rc == paho.MQTT_ERR_SUCCESS

    def _live(self) -> None:
        """Run paho's loop; its end is an event that the owner asks for."""
        try:
            self._client.loop_forever(retry_first_connection=True)
        finally:
            self._has_ended.set()

    # --- what paho calls, from its thread: enqueue, set a flag, return ---

    def _on_connect(
        self,
        client: paho.Client,
        _data: object,
        _flags: paho.ConnectFlags,
        code: ReasonCode,
        _more: Properties | None,
    ) -> None:
        if code.is_failure:
            self._log_down(f"refused: {code}")
            return
        self._connection += 1
        self._is_up.set()
        client.subscribe(ALL_UP, qos=1)

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        _mid: int,
        codes: list[ReasonCode],
        _more: Properties | None,
    ) -> None:
        if any(code.value >= SUBACK_FAILURE for code in codes):
            self._log_down("subscription refused")  # the access list is wrong; asked again on every connect
            return
        self._is_down_logged = False
        LOG.info("broker connected host=%s port=%s", self._settings.host, self._settings.port)
        self._ready.set()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        received = Received(
            topic=message.topic,
            payload=bytes(message.payload),
            mid=message.mid,
            qos=message.qos,
            connection=self._connection,
        )
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(received, timeout=STOP_POLL_S)
                return

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: paho.DisconnectFlags,
        code: ReasonCode,
        _more: Properties | None,
    ) -> None:
        self._ready.clear()
        self._is_up.clear()
        self._connection += 1  # numbers of the old connection are void from here on
        if not self._stopping.is_set():
            self._log_down(self._alert or str(code))
            self._alert = ""

    def _on_connect_fail(self, _client: paho.Client, _data: object) -> None:
        self._log_down("unreachable, or its certificate does not convince us")

    def _on_log(self, _client: paho.Client, _data: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR and "alert" in text.lower():
            self._alert = text

    def _log_down(self, why: str) -> None:
        """Say once that the line is down; the next word is that it stands again."""
        if not self._is_down_logged:
            self._is_down_logged = True
            LOG.warning("broker lost host=%s port=%s cause=%s", self._settings.host, self._settings.port, why)

    def _make_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            clean_session=False,
            protocol=paho.MQTTv311,
            manual_ack=True,
        )
        client.tls_set_context(_tls(self._settings))
        client.connect_timeout = CONNECT_WAIT_S
        client.reconnect_delay_set(RECONNECT_FIRST_S, RECONNECT_LONGEST_S)
        client.max_queued_messages_set(UNSENT_MAX)
        client.max_inflight_messages_set(UNSENT_MAX)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_log = self._on_log
        return client
