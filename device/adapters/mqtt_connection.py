"""One MQTT 3.1.1 connection from its first byte to its last: one paho client, used once.

Rules:
- TLS by `device.adapters.tls`: chain and name always checked, dates when the clock is trusted.
- `down/#` is subscribed with QoS 1; `Connected` is told only after the broker has granted it.
- The will on `up/status` says offline, a first message says online; both are hints.
- paho's callbacks only enqueue or set a flag. What is in flight when the connection ends is forgotten here.

It does not decide when to connect again (`mqtt_uplink`) and does not read what it carries.

Example:
    connection = Connection(settings, context, tell, are_dates_checked=True)
    lost, was_stable = connection.live()      # in the thread that owns it, until the connection ends
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, LogLevel

from device.adapters.mqtt_events import (
    Arrived,
    Connected,
    Lost,
    LostReason,
    Published,
    UplinkEvent,
    UplinkSettings,
)
from protocol.limits import UPLINK_IN_FLIGHT_MAX
from protocol.topics import Up, down_filter, encode_status, up_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from device.state import BatchKey

_log = logging.getLogger(__name__)

CONNECT_WAIT_S = 10.0  # for TCP, TLS and CONNACK each: a mobile network answers within seconds or not at all
GOODBYE_WAIT_S = 2.0  # for the broker to close after our DISCONNECT; a dead link never would
STABLE_S = 30.0  # a connection this old was a good one: the next failure waits briefly again
SUBACK_FAILURE = 0x80  # MQTT 3.1.1, 3.9.3


class Connection:
    """One paho client, connected at most once.

    Args:
        settings: where and as whom.
        context: TLS, see `tls.client_context`.
        tell: takes what happens, from paho's thread.
        are_dates_checked: how `context` was made; kept for those who ask.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        context: ssl.SSLContext,
        tell: Callable[[UplinkEvent], None],
        *,
        are_dates_checked: bool,
    ) -> None:
        self.are_dates_checked = are_dates_checked
        self._settings = settings
        self._tell = tell
        self._status_topic = up_topic(settings.device, Up.STATUS)
        self._answered = threading.Event()  # granted, refused or ended
        self._ended = threading.Event()
        self._is_granted = False
        self._is_session_present = False
        self._is_ours_to_end = False
        self._refusal: str | None = None
        self._end_detail = ""
        self._has_heard_end = False
        self._last_error = ""
        self._keys: dict[int, BatchKey | None] = {}  # message number → batch, for what is in flight
        self._status_mid = 0  # message number of our own "online"; its PUBACK concerns nobody
        self._early: set[int] = set()  # acknowledged before `publish` could note the number
        self._in_flight = 0
        self._lock = (
            threading.Lock()
        )  # held for moments only, never while calling paho, which holds locks of its own
        self._client = self._make_client(context)

    @property
    def was_granted(self) -> bool:
        """Whether the broker accepted us, at least for a while."""
        return self._is_granted

    def live(self) -> tuple[Lost, bool]:
        """Connect and stay until the end; return why it ended, and whether the connection had lasted."""
        try:
            self._client.connect(self._settings.host, self._settings.port, self._settings.keepalive_s)
        except ssl.SSLError as failure:
            return Lost(reason=_judge(failure), detail=str(failure)), False
        except OSError as failure:
            return Lost(reason=LostReason.UNREACHABLE, detail=str(failure)), False
        self._client.loop_start()
        is_stable = False
        try:
            self._answered.wait(CONNECT_WAIT_S)
            if self._is_granted:
                is_stable = not self._ended.wait(STABLE_S)
                self._ended.wait()
            lost = self._why()
        finally:
            self._say_goodbye()
        return lost, is_stable

    def end(self) -> None:
        """End the connection in order, from any thread; `live` returns soon after."""
        self._is_ours_to_end = True
        self._answered.set()
        self._ended.set()

    def publish(self, topic: str, payload: bytes, key: BatchKey | None) -> bool:
        """Send with QoS 1; False, with nothing sent, unless connected and with room in the window."""
        if not self._is_granted or self._ended.is_set():
            return False
        with self._lock:
            if self._in_flight >= UPLINK_IN_FLIGHT_MAX:
                return False
            self._in_flight += 1
        sent = self._client.publish(topic, payload, qos=1)
        with self._lock:
            is_early = sent.mid in self._early
            self._early.discard(sent.mid)
            if sent.rc != paho.MQTT_ERR_SUCCESS:
                self._in_flight -= 1
            elif not is_early:
                self._keys[sent.mid] = key
        if is_early and key is not None:
            self._tell(Published(key=key))
        return sent.rc == paho.MQTT_ERR_SUCCESS

    # --- what paho calls, from its thread: enqueue, set a flag, return ---

    def _on_connect(
        self,
        client: paho.Client,
        _data: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        _more: Properties | None,
    ) -> None:
        if code.is_failure:
            self._refusal = f"CONNACK: {code}"
            self._answered.set()
            return
        self._is_session_present = flags.session_present
        client.subscribe(down_filter(self._settings.device), qos=1)

    def _on_subscribe(
        self, client: paho.Client, _data: object, _mid: int, codes: list[ReasonCode], _more: Properties | None
    ) -> None:
        if any(code.value >= SUBACK_FAILURE for code in codes):
            self._refusal = "SUBACK: subscription to our own topics refused"
            self._answered.set()
            return
        self._status_mid = client.publish(self._status_topic, encode_status(is_online=True), qos=1).mid
        self._is_granted = True
        self._tell(
            Connected(is_session_present=self._is_session_present, are_dates_checked=self.are_dates_checked)
        )
        self._answered.set()

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, _code: ReasonCode, _more: Properties | None
    ) -> None:
        with self._lock:
            if mid == self._status_mid:
                return
            self._in_flight -= 1
            if mid not in self._keys:
                self._early.add(mid)
            key = self._keys.pop(mid, None)
        if key is not None:
            self._tell(Published(key=key))

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._tell(Arrived(topic=message.topic, payload=bytes(message.payload)))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: paho.DisconnectFlags,
        code: ReasonCode,
        _more: Properties | None,
    ) -> None:
        if not self._has_heard_end:
            self._end_detail, self._has_heard_end = str(code), True
        self._answered.set()
        self._ended.set()

    def _on_log(self, _client: paho.Client, _data: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR and not self._has_heard_alert:
            self._last_error = text  # what paho says after an alert is only that the line is gone

    # --- details ---

    @property
    def _has_heard_alert(self) -> bool:
        return "alert" in self._last_error.lower()

    def _make_client(self, context: ssl.SSLContext) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.device,
            clean_session=False,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_WAIT_S
        client.max_inflight_messages_set(UPLINK_IN_FLIGHT_MAX + 1)
        client.tls_set_context(context)
        client.will_set(self._status_topic, encode_status(is_online=False), qos=1)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_log = self._on_log
        return client

    def _say_goodbye(self) -> None:
        """Send DISCONNECT so that the will stays unsaid; then close, whether or not the broker answers."""
        if not self._has_heard_end:
            self._ended.clear()
            self._client.disconnect()
            self._ended.wait(GOODBYE_WAIT_S)
        open_socket = self._client.socket()
        if isinstance(open_socket, socket.socket):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    def _why(self) -> Lost:
        if self._is_ours_to_end:
            return Lost(reason=LostReason.ENDED, detail="we ended it")
        if self._refusal is not None:
            return Lost(reason=LostReason.REFUSED, detail=self._refusal)
        # With TLS 1.3 a server judges our certificate after our side of the handshake is done: its alert is
        # all we hear.
        if self._has_heard_alert:
            return Lost(reason=LostReason.REFUSED, detail=self._last_error)
        if not self._is_granted and not self._has_heard_end:
            return Lost(reason=LostReason.SILENT, detail="no answer to CONNECT")
        if (
            not self._is_granted
        ):  # what a server without manners does about a certificate, and what a dying one does
            return Lost(
                reason=LostReason.CLOSED, detail="closed before CONNACK: our certificate, or its health"
            )
        is_silent = self._end_detail == "Keep alive timeout"
        return Lost(reason=LostReason.SILENT if is_silent else LostReason.CLOSED, detail=self._end_detail)


def _judge(failure: ssl.SSLError) -> LostReason:
    """Tell a broker that refuses us from one that we refuse, and both from a torn handshake."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return LostReason.UNTRUSTED
    return LostReason.REFUSED if "ALERT" in (failure.reason or "") else LostReason.CLOSED
