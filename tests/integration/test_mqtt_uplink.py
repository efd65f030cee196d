"""The uplink against a real broker with mutual TLS: trust, sessions, outages, windows."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Self

import pytest

from device.adapters.back_off import BackOff
from device.adapters.mqtt_events import (
    Arrived,
    Connected,
    Lost,
    LostReason,
    Published,
    UplinkEvent,
    UplinkSettings,
)
from device.adapters.mqtt_uplink import MqttUplink
from device.state import BatchKey
from protocol.ids import ChainId, parse_device_id
from protocol.limits import UPLINK_IN_FLIGHT_MAX
from protocol.topics import Down, Up, decode_status, down_topic, up_topic
from simulators.broker import Broker
from simulators.pki import CertificateAuthority, Credential
from tests.builders.agent import Inbox, StallingProxy, dated_server_certificate
from tests.builders.sim import DEVICE, OTHER_DEVICE, BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICE_ID = parse_device_id(DEVICE)
BATCH = up_topic(DEVICE_ID, Up.BATCH)
STATUS = up_topic(DEVICE_ID, Up.STATUS)
RECEIPT = down_topic(DEVICE_ID, Down.RECEIPT)
DAY = dt.timedelta(days=1)


def key(seq: int) -> BatchKey:
    return BatchKey(chain=ChainId(bytes(16)), seq=seq)


class Car:
    """An uplink with the files of one device, and an inbox for what it tells."""

    def __init__(
        self,
        world: BrokerWorld,
        *,
        credential: Credential | None = None,
        port: int | None = None,
        host: str = "127.0.0.1",
        ca: Path | None = None,
        keepalive_s: int = 30,
    ) -> None:
        own = credential or world.authority.issue_client(DEVICE)
        self.is_clock_trusted = True
        self.inbox: Inbox[UplinkEvent] = Inbox()
        self.uplink = MqttUplink(
            UplinkSettings(
                device=DEVICE_ID,
                host=host,
                port=port or world.broker.port,
                ca_file=ca or world.authority.ca_file,
                cert_file=own.cert,
                key_file=own.key,
                keepalive_s=keepalive_s,
            ),
            is_clock_trusted=lambda: self.is_clock_trusted,
            put=self.inbox.put,
            lost_waits=BackOff(first_s=0.05, longest_s=0.2, seed=1),
        )

    def __enter__(self) -> Self:
        self.uplink.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.uplink.stop()

    def connected(self) -> Connected:
        return self.inbox.until(Connected)

    def lost(self) -> Lost:
        return self.inbox.until(Lost)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


def serve(world: BrokerWorld, server: Credential) -> Broker:
    """Return a broker (not started) of the same authority with another certificate."""
    return Broker(ca=world.authority.ca_file, cert=server.cert, key=server.key)


def test_a_batch_goes_up_and_its_puback_names_it(world: BrokerWorld) -> None:
    with world.client("bridge") as bridge, Car(world) as car:
        bridge.subscribe("tbox/1/+/up/#")
        car.connected()
        assert car.uplink.publish(BATCH, b"batch", key(7))
        assert car.inbox.until(Published).key == key(7)
        bridge.wait(lambda: (BATCH, b"batch") in bridge.heard)


def test_a_message_for_the_device_comes_down_unread(world: BrokerWorld) -> None:
    with world.client("bridge") as bridge, Car(world) as car:
        car.connected()
        bridge.publish(RECEIPT, b"\xff garbage")
        assert car.inbox.until(Arrived) == Arrived(topic=RECEIPT, payload=b"\xff garbage")


def test_a_broker_that_forgot_our_session_is_subscribed_again(world: BrokerWorld) -> None:
    with Car(world) as car:
        car.connected()
        world.broker.stop()
        world.broker.start()
        car.lost()
        assert not car.connected().is_session_present
        with world.client("bridge") as bridge:
            bridge.publish(RECEIPT, b"after")
            assert car.inbox.until(Arrived).payload == b"after"


def test_what_waits_at_the_broker_for_an_absent_device_is_delivered_when_it_is_back(
    world: BrokerWorld,
) -> None:
    with Car(world) as car:
        car.connected()
    with world.client("bridge") as bridge:
        bridge.publish(RECEIPT, b"while away")
    with Car(world) as car:
        assert (
            car.inbox.until(Arrived).payload == b"while away"
        )  # before our SUBACK, since the session is kept
        assert car.connected().is_session_present


def test_nothing_is_sent_again_by_the_library_after_a_lost_connection(world: BrokerWorld) -> None:
    with world.client("bridge") as bridge, Car(world) as car:
        bridge.subscribe("tbox/1/+/up/batch")
        car.connected()
        car.uplink.publish(BATCH, b"once", key(1))
        car.inbox.until(Published)
        world.broker.drop_connections(DEVICE)
        car.lost()
        car.connected()
        car.uplink.publish(BATCH, b"twice", key(2))
        bridge.wait(lambda: (BATCH, b"twice") in bridge.heard)
        assert [payload for _, payload in bridge.heard] == [b"once", b"twice"]


def test_a_broker_that_is_away_is_unreachable_and_found_again(world: BrokerWorld) -> None:
    world.broker.stop()
    with Car(world) as car:
        assert car.lost().reason is LostReason.UNREACHABLE
        assert not car.uplink.publish(BATCH, b"batch", key(1))
        world.broker.start()
        car.connected()


@pytest.mark.parametrize(
    ("start", "end"), [(-3 * DAY, -1 * DAY), (1 * DAY, 3 * DAY)], ids=["expired", "not-yet-valid"]
)
def test_dates_of_the_broker_are_checked_only_by_a_trusted_clock(
    world: BrokerWorld, start: dt.timedelta, end: dt.timedelta
) -> None:
    with serve(world, dated_server_certificate(world.authority, start=start, end=end)) as broker:
        with Car(world, port=broker.port) as car:
            assert car.lost().reason is LostReason.UNTRUSTED
        strayed = Car(world, port=broker.port)
        strayed.is_clock_trusted = False
        with strayed as car:
            assert not car.connected().are_dates_checked


def test_an_untrusted_clock_does_not_excuse_a_foreign_authority(world: BrokerWorld, tmp_path: Path) -> None:
    strayed = Car(world, ca=CertificateAuthority.create(tmp_path / "foreign").ca_file)
    strayed.is_clock_trusted = False
    with strayed as car:
        assert car.lost().reason is LostReason.UNTRUSTED


def test_an_untrusted_clock_does_not_excuse_a_wrong_name(world: BrokerWorld) -> None:
    server = dated_server_certificate(world.authority, start=-DAY, end=DAY, address="192.0.2.1")
    with serve(world, server) as broker:
        strayed = Car(world, port=broker.port)
        strayed.is_clock_trusted = False
        with strayed as car:
            lost = car.lost()
            assert lost.reason is LostReason.UNTRUSTED
            assert "IP address mismatch" in lost.detail


def test_a_clock_that_becomes_trusted_checks_the_dates_of_a_running_connection(world: BrokerWorld) -> None:
    with serve(world, dated_server_certificate(world.authority, start=-3 * DAY, end=-DAY)) as broker:
        strayed = Car(world, port=broker.port)
        strayed.is_clock_trusted = False
        with strayed as car:
            car.connected()
            car.is_clock_trusted = True
            car.uplink.check_dates_now()
            assert (
                car.inbox.until(Lost, lambda lost: lost.reason is not LostReason.ENDED).reason
                is LostReason.UNTRUSTED
            )


def test_checking_dates_again_does_not_touch_a_connection_that_checked_them(world: BrokerWorld) -> None:
    with Car(world) as car:
        car.connected()
        car.uplink.check_dates_now()
        assert car.uplink.publish(BATCH, b"batch", key(1))
        assert car.inbox.until(Published).key == key(1)
        assert not [event for event in car.inbox.drain() if isinstance(event, Lost)]


def test_a_certificate_of_another_device_is_refused_and_waits_long(world: BrokerWorld) -> None:
    with Car(world, credential=world.authority.issue_client(OTHER_DEVICE)) as car:
        lost = car.lost()
        assert lost.reason is LostReason.REFUSED
        assert "CONNACK" in lost.detail
        assert car.inbox.drain() == []


def test_a_certificate_of_a_foreign_authority_is_refused(world: BrokerWorld, tmp_path: Path) -> None:
    foreign = CertificateAuthority.create(tmp_path / "foreign").issue_client(DEVICE)
    with Car(world, credential=foreign) as car:
        for _ in range(3):
            assert car.lost().detail.startswith("closed before CONNACK")
        assert not [event for event in car.inbox.drain() if isinstance(event, Connected)]


def test_a_tls_alert_about_our_certificate_is_a_refusal(world: BrokerWorld, tmp_path: Path) -> None:
    server = world.authority.issue_server("strict")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.load_verify_locations(world.authority.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    foreign = CertificateAuthority.create(tmp_path / "foreign").issue_client(DEVICE)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            near, _ = listener.accept()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            with near:
                near.settimeout(10)
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    while True:
                        with contextlib.suppress(ssl.SSLWantReadError):
                            tls.do_handshake()
                        near.sendall(outgoing.read())
                        incoming.write(near.recv(65_536))
                near.sendall(outgoing.read())  # the alert
                near.shutdown(socket.SHUT_WR)
                while near.recv(65_536):  # a close with bytes unread would reset the line and lose the alert
                    pass

        door = threading.Thread(target=refuse)
        door.start()
        with Car(world, credential=foreign, port=listener.getsockname()[1]) as car:
            lost = car.lost()
        door.join()
    assert lost.reason is LostReason.REFUSED
    assert "unknown ca" in lost.detail


def test_a_revoked_certificate_is_refused(world: BrokerWorld) -> None:
    own = world.authority.issue_client(DEVICE)
    world.authority.revocation_list([own.serial])
    with Car(world, credential=own) as car:
        assert car.lost().reason is LostReason.REFUSED


def test_missing_certificate_files_are_told_and_tried_again_later(world: BrokerWorld, tmp_path: Path) -> None:
    missing = Credential(cert=tmp_path / "none.pem", key=tmp_path / "none.key", serial=0)
    with Car(world, credential=missing) as car:
        lost = car.lost()
        assert lost.reason is LostReason.UNTRUSTED
        assert "our certificate" in lost.detail


def test_a_link_that_dies_silently_is_found_by_keepalive(world: BrokerWorld) -> None:
    with StallingProxy(world.broker.port) as proxy, Car(world, port=proxy.port, keepalive_s=1) as car:
        car.connected()
        proxy.go_silent()
        car.uplink.publish(BATCH, b"into the dark", key(1))
        assert car.lost().reason is LostReason.SILENT


def test_a_stop_on_a_dead_link_does_not_wait_for_its_keepalive(world: BrokerWorld) -> None:
    with StallingProxy(world.broker.port) as proxy, Car(world, port=proxy.port, keepalive_s=3_600) as car:
        car.connected()
        proxy.go_silent()
        car.uplink.publish(BATCH, b"into the dark", key(1))
        car.uplink.stop()
        assert car.lost().reason is LostReason.ENDED


def test_the_will_speaks_for_a_device_that_vanished_and_not_for_one_that_said_goodbye(
    world: BrokerWorld,
) -> None:
    with world.client("bridge") as bridge:
        bridge.subscribe("tbox/1/+/up/status")
        with Car(world) as car:
            car.connected()
            bridge.wait(lambda: [decode_status(payload) for _, payload in bridge.heard] == [True])
            world.broker.drop_connections(DEVICE)
            car.lost()
            bridge.wait(lambda: [decode_status(payload) for _, payload in bridge.heard][:2] == [True, False])
            car.connected()
            bridge.wait(
                lambda: [decode_status(payload) for _, payload in bridge.heard] == [True, False, True]
            )
        with world.client(OTHER_DEVICE) as other:
            other.publish(f"tbox/1/{OTHER_DEVICE}/up/status", b"\xa1\x01\xf5")
        bridge.wait(lambda: len(bridge.heard) == 4)
        assert (STATUS, b"\xa1\x01\xf4") not in bridge.heard[2:]


def test_no_more_is_in_flight_than_the_window_holds(world: BrokerWorld) -> None:
    with StallingProxy(world.broker.port) as proxy, Car(world, port=proxy.port) as car:
        car.connected()
        proxy.go_silent()
        taken = [car.uplink.publish(BATCH, b"x", key(seq)) for seq in range(1, UPLINK_IN_FLIGHT_MAX + 5)]
        assert taken == [True] * UPLINK_IN_FLIGHT_MAX + [False] * 4


def test_every_one_of_many_batches_is_acknowledged_by_its_own_name(world: BrokerWorld) -> None:
    with Car(world) as car:
        car.connected()
        acknowledged: list[int] = []
        for seq in range(1, 201):
            while not car.uplink.publish(BATCH, bytes(1_000), key(seq)):
                acknowledged.append(car.inbox.until(Published).key.seq)
        while len(acknowledged) < 200:
            acknowledged.append(car.inbox.until(Published).key.seq)
    assert sorted(acknowledged) == list(range(1, 201))


def test_events_that_find_no_room_are_counted(world: BrokerWorld) -> None:
    car = Car(world)
    car.inbox.has_room = False
    with world.client("bridge") as bridge, car:
        bridge.subscribe("tbox/1/+/up/status")
        bridge.wait(lambda: bridge.heard != [])
    assert car.uplink.not_taken >= 1


def test_every_connection_that_stood_has_its_end_in_the_log_and_attempts_in_vain_are_said_once(
    world: BrokerWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Car(world) as car:
        for _ in range(3):
            car.connected()
            world.broker.drop_connections(DEVICE)
            car.lost()
        car.connected()
        assert caplog.text.count("uplink lost: reason=closed") == 3
        world.broker.stop()
        for _ in range(4):
            car.lost()
        assert caplog.text.count("uplink lost: reason=closed") == 4
        assert caplog.text.count("uplink lost: reason=unreachable") == 1


def test_a_stop_while_waiting_to_try_again_is_quick(world: BrokerWorld) -> None:
    with Car(world, credential=world.authority.issue_client(OTHER_DEVICE)) as car:
        assert car.lost().reason is LostReason.REFUSED  # and now waits for half a minute at least
