"""The box's uplink: one thread that keeps an MQTT connection, with jittered back-off.

Rules:
- The thread connects, stays until the connection ends, waits, and so on until stopped.
- Each connection is a new client with the same client id (the device id) and `clean_session` False: the
  broker keeps our session, the library keeps nothing. What was in flight is the engine's to send again; only
  a signed receipt frees it.
- A refusal waits longer than a missing network: minutes, not seconds, since a person or a renewal undoes it,
  not another attempt. The car records meanwhile.
- A link that dies silently is found by keepalive, at the latest after twice its time.
- A change of state is logged once, not each attempt.

It does not decide what is sent or when again.

Example:
    uplink = MqttUplink(settings, is_clock_trusted=clock.is_trusted, put=inbox.put)
    uplink.start()
    uplink.publish(up_topic(device, Up.BATCH), payload, key)   # → Published(key=key) after the PUBACK
    uplink.stop()
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from device.adapters.back_off import BackOff
from device.adapters.mqtt_connection import Connection
from device.adapters.mqtt_events import Lost, LostReason, UplinkEvent, UplinkSettings
from device.adapters.tls import client_context
from protocol.limits import PAYLOAD_BYTES_MAX, UPLINK_LOST_WAIT_S_MAX, UPLINK_REFUSED_WAIT_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.state import BatchKey

_log = logging.getLogger(__name__)

LOST_FIRST_S = 1.0  # a tunnel ends soon
REFUSED_FIRST_S = 30.0


class MqttUplink:
    """The one connection to the broker.

    Args:
        settings: where and as whom.
        is_clock_trusted: asked before each connection, whether dates of certificates may be checked.
        put: takes what happened, from threads; False when it has no room.
        lost_waits: back-off after a lost connection; the default is what a car wants.
        refused_waits: back-off after a refusal.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        *,
        is_clock_trusted: Callable[[], bool],
        put: Callable[[UplinkEvent], bool],
        lost_waits: BackOff | None = None,
        refused_waits: BackOff | None = None,
    ) -> None:
        self._settings = settings
        self._is_clock_trusted = is_clock_trusted
        self._put = put
        self._lost_waits = lost_waits or BackOff(first_s=LOST_FIRST_S, longest_s=UPLINK_LOST_WAIT_S_MAX)
        self._refused_waits = refused_waits or BackOff(
            first_s=REFUSED_FIRST_S, longest_s=UPLINK_REFUSED_WAIT_S_MAX
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._connection: Connection | None = None
        self.not_taken = 0  # events the agent had no room for: it is stuck, or flooded from outside

    def start(self) -> None:
        """Begin to connect, in the uplink's own thread."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye to the broker and end the thread."""
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            connection.end()
        self._thread.join()

    @property
    def are_dates_checked(self) -> bool:
        """Whether there is a connection that was made with dates checked."""
        connection = self._connection
        return connection is not None and connection.are_dates_checked

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs; once started it ends by `stop` only, else a mistake of ours ended it."""
        return self._thread.is_alive()

    def publish(self, topic: str, payload: bytes, key: BatchKey | None = None) -> bool:
        """Send with QoS 1; `Published(key)` follows when the broker has acknowledged.

        Returns:
            False when there is no connection or its window is full: nothing was sent, the caller tries later.
        """
        assert len(payload) <= PAYLOAD_BYTES_MAX
        connection = self._connection
        return connection is not None and connection.publish(topic, payload, key)

    def check_dates_now(self) -> None:
        """The clock is trusted now: connect again if this connection was made without checking dates."""
        connection = self._connection
        if connection is not None and not connection.are_dates_checked:
            connection.end()

    def _run(self) -> None:
        told: Lost | None = None
        while not self._stopping.is_set():
            lost, was_stable, was_granted = self._live_once()
            self._tell(lost)
            if was_granted or told is None or lost.reason != told.reason:
                _log.info("uplink lost: reason=%s detail=%s", lost.reason, lost.detail)
            told = lost
            if was_stable:
                self._lost_waits.succeeded()
                self._refused_waits.succeeded()
            if lost.reason is not LostReason.ENDED:
                self._stopping.wait(self._waits(lost.reason).next_s())

    def _live_once(self) -> tuple[Lost, bool, bool]:
        """Make one connection and stay until it ends; return why, and whether it lasted, and ever stood."""
        are_dates_checked = self._is_clock_trusted()
        try:
            context = client_context(
                ca_file=self._settings.ca_file,
                cert_file=self._settings.cert_file,
                key_file=self._settings.key_file,
                check_dates=are_dates_checked,
            )
        except OSError as failure:
            detail = f"our certificate or authority: {failure}"
            return Lost(reason=LostReason.UNTRUSTED, detail=detail), False, False
        connection = Connection(self._settings, context, self._tell, are_dates_checked=are_dates_checked)
        self._connection = connection
        try:
            if self._stopping.is_set():  # `stop` may have looked for a connection before there was one
                return Lost(reason=LostReason.ENDED, detail="stopped"), False, False
            lost, was_stable = connection.live()
            return lost, was_stable, connection.was_granted
        finally:
            self._connection = None

    def _waits(self, reason: LostReason) -> BackOff:
        is_refused = reason in (LostReason.REFUSED, LostReason.UNTRUSTED)
        return self._refused_waits if is_refused else self._lost_waits

    def _tell(self, event: UplinkEvent) -> None:
        if not self._put(event):
            self.not_taken += 1
