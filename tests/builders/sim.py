"""Builders of simulated worlds: cars, a broker with its authority, MQTT clients that remember."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from simulators import drive_cycles
from simulators.broker import Broker
from simulators.car import Car
from simulators.pki import CertificateAuthority
from simulators.vehicle import STEP_US, Vehicle
from simulators.virtual_clock import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulators.drive_cycles import Leg
    from simulators.gnss_receiver import GnssFault
    from simulators.pki import Credential
    from simulators.vehicle import VehicleState

DEVICE = "0123456789abcdef" * 4
OTHER_DEVICE = "fedcba9876543210" * 4
PATIENCE_SECONDS = 8.0  # until a test gives up waiting for an event that must come
UTC_START_US = 1_767_600_000_000_000  # 2026-01-05T08:00:00Z, an invented drive's beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerWorld:
    """An authority with a broker of its own; the broker follows `crl.pem` in the authority's folder."""

    authority: CertificateAuthority
    broker: Broker

    def client(self, name: str, client_id: str | None = None) -> Client:
        """Return a client (not connected) with a certificate of the authority."""
        credential = self.authority.issue_client(name)
        return Client(
            name=client_id or name, port=self.broker.port, ca=self.authority.ca_file, credential=credential
        )


def broker_world(folder: Path, crl: Path | None = None) -> BrokerWorld:
    """Return an authority in `folder` and a broker (not started) that trusts it."""
    authority = CertificateAuthority.create(folder)
    server = authority.issue_server("broker")
    broker = Broker(ca=authority.ca_file, cert=server.cert, key=server.key, crl=crl or folder / "crl.pem")
    return BrokerWorld(authority=authority, broker=broker)


@dataclass(slots=True, kw_only=True)
class Client:
    """An MQTT client in its own thread that remembers what it heard; waiting is bounded, never a sleep.

    As a context manager it disconnects and ends its thread.
    """

    name: str
    port: int
    ca: Path
    credential: Credential | None
    will_topic: str | None = None
    clean: bool = True
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    granted: list[bool] = field(default_factory=list)
    accepted: bool | None = None
    losses: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _client: paho.Client | None = None

    def connect(self) -> Self:
        """Connect and wait for the broker's answer.

        Raises:
            OSError: TLS or TCP said no.
        """
        client = paho.Client(
            CallbackAPIVersion.VERSION2, self.name, clean_session=self.clean, reconnect_on_failure=False
        )
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.credential is not None:
            context.load_cert_chain(self.credential.cert, self.credential.key)
        client.tls_set_context(context)
        if self.will_topic is not None:
            client.will_set(self.will_topic, b"\xa1\x01\xf4", qos=1)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._note(
            lambda: setattr(self, "accepted", not reason.is_failure)
        )
        client.on_disconnect = lambda *_: self._note(lambda: setattr(self, "losses", self.losses + 1))
        client.on_message = lambda _c, _u, message: self._note(
            lambda: self.heard.append((message.topic, message.payload))
        )
        client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._note(
            lambda: self.granted.extend(not reason.is_failure for reason in reasons)
        )
        self._client = client
        client.connect("127.0.0.1", self.port, keepalive=30)
        client.loop_start()
        self.wait(lambda: self.accepted is not None or self.losses > 0)
        return self

    def subscribe(self, topic_filter: str) -> bool:
        """Subscribe and return whether it was granted."""
        asked = len(self.granted)
        self._running().subscribe(topic_filter, qos=1)
        self.wait(lambda: len(self.granted) > asked)
        return self.granted[-1]

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the broker's PUBACK."""
        self._running().publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_SECONDS)

    def send(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> None:
        """Publish with QoS 1, whatever becomes of it."""
        self._running().publish(topic, payload, qos=1, retain=retain)

    def vanish(self) -> None:
        """Be cut off without a goodbye, as in a tunnel: the broker says the will."""
        losses, link = self.losses, self._running().socket()
        assert isinstance(link, socket.socket)
        link.shutdown(socket.SHUT_RDWR)
        self.wait(lambda: self.losses > losses)
        self._running().loop_stop()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at after each thing that happens to this client."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_SECONDS), f"{self.name}: waited in vain, {self}"

    def close(self) -> None:
        """Disconnect and end the thread."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> paho.Client:
        assert self._client is not None, "connect first"
        return self._client

    def _note(self, what: Callable[[], None]) -> None:
        with self._changed:
            what()
            self._changed.notify_all()


def car(seed: int = 7, *, seconds: int = 60, faults: tuple[GnssFault, ...] = ()) -> Car:
    """Return a car that drives through town for this long."""
    return Car(
        seed=seed, legs=drive_cycles.city(seed, seconds), utc_start_us=UTC_START_US, gnss_faults=faults
    )


def history(
    legs: tuple[Leg, ...], *, seed: int = 7, seconds: float, step_us: int = STEP_US
) -> list[VehicleState]:
    """Return the car's state at every `step_us` of its drive."""
    vehicle = Vehicle(seed=seed, legs=legs)
    states = []
    for t_us in range(0, int(seconds * SECOND_US) + 1, step_us):
        vehicle.run_until(t_us)
        states.append(vehicle.state)
    return states
