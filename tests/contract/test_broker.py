"""The simulated broker keeps the wire contract: mutual TLS, the access list, revocation, outages."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from amqtt.contexts import Action

from simulators.broker_access import may
from simulators.pki import CertificateAuthority
from tests.builders.sim import DEVICE, OTHER_DEVICE, BrokerWorld, Client, broker_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UP = f"tbox/1/{DEVICE}/up/batch"
DOWN = f"tbox/1/{DEVICE}/down/receipt"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


def test_a_batch_goes_up_to_the_bridge_and_a_receipt_comes_down(world: BrokerWorld) -> None:
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        assert bridge.subscribe("tbox/1/+/up/#")
        assert device.subscribe(f"tbox/1/{DEVICE}/down/#")
        device.publish(UP, b"batch")
        bridge.wait(lambda: bridge.heard == [(UP, b"batch")])
        bridge.publish(DOWN, b"receipt")
        device.wait(lambda: device.heard == [(DOWN, b"receipt")])


def test_a_payload_of_the_largest_size_arrives_whole(world: BrokerWorld) -> None:
    payload = bytes(range(256)) * 1024
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        bridge.subscribe("tbox/1/+/up/#")
        device.publish(UP, payload)
        bridge.wait(lambda: bridge.heard == [(UP, payload)])


def test_a_client_without_a_certificate_is_refused(world: BrokerWorld) -> None:
    nobody = Client(name=DEVICE, port=world.broker.port, ca=world.authority.ca_file, credential=None)
    assert not _gets_in(nobody)


def test_a_client_of_another_authority_is_refused(world: BrokerWorld, tmp_path: Path) -> None:
    foreign = CertificateAuthority.create(tmp_path / "foreign").issue_client(DEVICE)
    stranger = Client(name=DEVICE, port=world.broker.port, ca=world.authority.ca_file, credential=foreign)
    assert not _gets_in(stranger)


def test_a_client_refuses_a_broker_of_another_authority(world: BrokerWorld, tmp_path: Path) -> None:
    trusting_another = ssl.create_default_context(
        cafile=str(CertificateAuthority.create(tmp_path / "foreign").ca_file)
    )
    with (
        socket.create_connection(("127.0.0.1", world.broker.port)) as link,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        trusting_another.wrap_socket(link, server_hostname="127.0.0.1").close()


def test_a_peer_that_speaks_no_tls_or_no_mqtt_disturbs_nobody(world: BrokerWorld) -> None:
    plain = socket.create_connection(("127.0.0.1", world.broker.port))
    plain.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x1e\x00\x00")
    credential = world.authority.issue_client(DEVICE)
    context = ssl.create_default_context(cafile=str(world.authority.ca_file))
    context.load_cert_chain(credential.cert, credential.key)
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\x7f", b"\x30\x02\x00\x00"):
        with (
            socket.create_connection(("127.0.0.1", world.broker.port)) as link,
            context.wrap_socket(link, server_hostname="127.0.0.1") as tls,
        ):
            tls.sendall(first)
            assert _reads_nothing(tls)
    plain.close()
    assert _gets_in(world.client(DEVICE))


def test_a_client_id_that_is_not_the_common_name_is_refused(world: BrokerWorld) -> None:
    assert not _gets_in(world.client(OTHER_DEVICE, client_id=DEVICE))
    assert world.broker.courier.refused_by == ["client id is not the certificate's common name"]


def test_an_impostor_does_not_end_the_owners_session(world: BrokerWorld) -> None:
    with world.client(DEVICE) as device, world.client("bridge") as bridge:
        device.subscribe(f"tbox/1/{DEVICE}/down/#")
        assert not _gets_in(world.client(OTHER_DEVICE, client_id=DEVICE))
        bridge.publish(DOWN, b"receipt")
        device.wait(lambda: device.heard == [(DOWN, b"receipt")])
        assert device.losses == 0


def test_a_second_connection_of_a_client_ends_the_first_and_hears_what_comes(world: BrokerWorld) -> None:
    with world.client(DEVICE) as first, world.client("bridge") as bridge:
        first.subscribe(f"tbox/1/{DEVICE}/down/#")
        with world.client(DEVICE) as second:
            first.wait(lambda: first.losses == 1)
            second.subscribe(f"tbox/1/{DEVICE}/down/#")
            bridge.publish(DOWN, b"receipt")
            second.wait(lambda: second.heard == [(DOWN, b"receipt")])
        assert first.heard == []


def test_a_will_on_anothers_topic_is_refused(world: BrokerWorld) -> None:
    client = world.client(DEVICE)
    client.will_topic = f"tbox/1/{OTHER_DEVICE}/up/status"
    assert not _gets_in(client)


def test_a_lost_device_is_announced_by_its_will(world: BrokerWorld) -> None:
    device = world.client(DEVICE)
    device.will_topic = f"tbox/1/{DEVICE}/up/status"
    with world.client("bridge") as bridge, device:
        bridge.subscribe("tbox/1/+/up/#")
        assert world.broker.drop_connections(DEVICE) == 1
        bridge.wait(lambda: [topic for topic, _ in bridge.heard] == [f"tbox/1/{DEVICE}/up/status"])


def test_a_publish_on_anothers_topic_reaches_nobody(world: BrokerWorld) -> None:
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        bridge.subscribe("tbox/1/+/up/#")
        device.publish(f"tbox/1/{OTHER_DEVICE}/up/batch", b"spoofed")
        device.publish(DOWN, b"own receipt")
        device.publish(UP, b"honest")
        bridge.wait(lambda: len(bridge.heard) > 0)
        assert bridge.heard == [(UP, b"honest")]
    assert world.broker.courier.refused_publish == 2


@pytest.mark.parametrize(
    "wanted", ["#", "tbox/1/+/up/#", "tbox/1/+/down/#", f"tbox/1/{OTHER_DEVICE}/down/#", UP]
)
def test_a_device_may_subscribe_to_nothing_but_its_own_down_topics(world: BrokerWorld, wanted: str) -> None:
    with world.client(DEVICE) as device:
        assert not device.subscribe(wanted)


def test_several_bridges_share_one_certificate(world: BrokerWorld) -> None:
    with world.client("bridge") as first, world.client("bridge", client_id="bridge-2") as second:
        assert first.subscribe("tbox/1/+/up/#")
        assert second.subscribe("tbox/1/+/up/#")


def test_nothing_is_retained(world: BrokerWorld) -> None:
    with world.client(DEVICE) as device, world.client("bridge") as bridge:
        device.publish(UP, b"keep me", retain=True)
        bridge.subscribe("tbox/1/+/up/#")
        device.publish(UP, b"live")
        bridge.wait(lambda: len(bridge.heard) > 0)
        assert bridge.heard == [(UP, b"live")]


def test_a_session_keeps_what_came_while_its_owner_was_away(world: BrokerWorld) -> None:
    device = world.client(DEVICE)
    device.clean = False
    with device:
        device.subscribe(f"tbox/1/{DEVICE}/down/#")
    with world.client("bridge") as bridge:
        bridge.publish(DOWN, b"receipt")
    with device:
        device.wait(lambda: device.heard == [(DOWN, b"receipt")])


def test_a_revoked_device_is_cut_off_and_stays_out(world: BrokerWorld) -> None:
    with world.client(DEVICE) as device, world.client(OTHER_DEVICE) as other:
        assert device.credential is not None
        world.authority.revocation_list([device.credential.serial])
        device.wait(lambda: device.losses == 1)
        assert other.losses == 0
        again = replace(device, accepted=None, losses=0)
        assert not _gets_in(again)
    assert world.broker.courier.refused_by == ["certificate is revoked"]


def test_a_revocation_list_of_another_signer_changes_nothing(world: BrokerWorld, tmp_path: Path) -> None:
    client = world.client(DEVICE)
    assert client.credential is not None
    foreign = CertificateAuthority.create(tmp_path / "foreign")
    foreign.revocation_list([client.credential.serial], world.authority.folder / "crl.pem")
    assert _gets_in(client)


def test_the_broker_goes_away_and_comes_back_on_its_port(world: BrokerWorld) -> None:
    with world.client(DEVICE) as device:
        port = world.broker.port
        world.broker.stop()
        device.wait(lambda: device.losses == 1)
        with pytest.raises(OSError, match="refused"):
            world.client(DEVICE).connect()
        world.broker.start()
        assert world.broker.port == port
    assert _gets_in(world.client(DEVICE))


def test_a_broker_that_was_unreachable_still_knows_its_sessions(world: BrokerWorld) -> None:
    bridge = world.client("bridge")
    bridge.clean = False
    with world.client(DEVICE) as device:
        with bridge:
            bridge.subscribe("tbox/1/+/up/#")
            world.broker.go_away()
            bridge.wait(lambda: bridge.losses == 1)
            device.wait(lambda: device.losses == 1)
            with pytest.raises(OSError, match="refused"):
                world.client(DEVICE).connect()
        world.broker.come_back()
        with world.client(DEVICE) as again:
            again.publish(UP, b"sent before the bridge is back")
        with bridge:
            bridge.wait(lambda: bridge.heard == [(UP, b"sent before the bridge is back")])


def test_a_receipt_can_be_lost_and_forged_on_purpose(world: BrokerWorld) -> None:
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        device.subscribe(f"tbox/1/{DEVICE}/down/#")
        world.broker.courier.loses = lambda _client, topic: topic == DOWN
        bridge.publish(DOWN, b"receipt")
        bridge.publish(f"tbox/1/{DEVICE}/down/policy", b"policy")
        device.wait(lambda: len(device.heard) == 1)
        world.broker.courier.loses = lambda _client, _topic: False
        world.broker.inject(DOWN, b"forged")
        device.wait(lambda: len(device.heard) == 2)
        assert [payload for _, payload in device.heard] == [b"policy", b"forged"]
    assert world.broker.courier.lost == 1


def test_what_goes_through_can_be_seen_and_replayed_later_and_in_another_order(world: BrokerWorld) -> None:
    seen: list[tuple[str, bytes]] = []
    world.broker.courier.sees = lambda topic, payload: seen.append((topic, payload))
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        bridge.subscribe("tbox/1/+/up/#")
        for payload in (b"one", b"two"):
            device.publish(UP, payload)
        bridge.wait(lambda: len(bridge.heard) == 2)
        for topic, payload in reversed(seen):
            world.broker.inject(topic, payload)
        bridge.wait(lambda: len(bridge.heard) == 4)
        assert [payload for _, payload in bridge.heard] == [b"one", b"two", b"two", b"one"]


def test_a_port_that_is_taken_is_an_error_and_leaves_no_thread(world: BrokerWorld, tmp_path: Path) -> None:
    second = broker_world(tmp_path / "second").broker
    second.port = world.broker.port
    with pytest.raises(OSError, match="in use"):
        second.start()
    assert not second.is_running


def test_the_access_list_is_total_over_directions_and_owners() -> None:
    allowed = {
        (client, action, direction)
        for client in (DEVICE, "bridge")
        for action in Action
        for direction in ("up", "down")
        if may(client, action, f"tbox/1/{DEVICE}/{direction}/batch")
    }
    assert allowed == {
        (DEVICE, Action.PUBLISH, "up"),
        (DEVICE, Action.SUBSCRIBE, "down"),
        (DEVICE, Action.RECEIVE, "down"),
        ("bridge", Action.PUBLISH, "down"),
        ("bridge", Action.SUBSCRIBE, "up"),
        ("bridge", Action.RECEIVE, "up"),
    }


def _gets_in(client: Client) -> bool:
    """Return whether the broker accepts this client; TLS 1.3 says no after the handshake, by hanging up."""
    try:
        client.connect()
    except OSError:
        return False
    else:
        return client.accepted is True
    finally:
        client.close()


def _reads_nothing(tls: ssl.SSLSocket) -> bool:
    """Return whether the peer hangs up without a word."""
    try:
        return tls.recv(1) == b""
    except OSError:
        return True
