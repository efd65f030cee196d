"""Who may do what at a real mosquitto with our configuration: names, topics, revocation, sizes, retained."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from backend.bridge.link import BrokerLink, LinkSettings
from device.adapters.mqtt_connection import Connection
from device.adapters.mqtt_events import LostReason, UplinkSettings
from device.adapters.tls import client_context
from protocol.limits import CRL_LIFE_DAYS, PAYLOAD_BYTES_MAX
from protocol.topics import ALL_UP
from simulators.pki import CertificateAuthority
from tests.builders.mosquitto_site import Site, until
from tests.builders.sim import Client
from tests.conftest import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

DAY_US = 86_400_000_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    need("mosquitto")
    with Site(tmp_path) as made:
        yield made


def ear(site: Site) -> Client:
    """Return a client with a bridge's certificate, which hears what reaches a bridge."""
    return Client(name="bridge", port=site.broker.port, ca=site.ca, credential=site.service("bridge"))


def test_batches_go_up_and_their_receipts_come_down(site: Site) -> None:
    box = site.enrol()
    chain = box.chain()
    with site.bridge() as bridge, site.client(box) as car:
        car.subscribe(f"tbox/1/{box.device}/down/#")
        for batch in chain.many(5):
            car.publish(box.up, batch.payload)
        car.wait(lambda: any(receipt.upto == 5 for receipt in site.receipts(car, box)))
        assert bridge.outcomes["store"] == 5
    assert site.stored() == 5


def test_what_a_box_says_on_anothers_topic_is_acknowledged_and_reaches_nobody(site: Site) -> None:
    """MQTT 3.1.1 has no other answer than success: a PUBACK proves nothing, and no box relies on it."""
    box, victim = site.enrol(), site.enrol()
    forged = victim.chain().next()
    own = box.chain().next()
    with site.bridge() as bridge, site.client(box) as car:
        car.subscribe(box.down)
        car.publish(victim.up, forged.payload)  # returns when the broker has acknowledged it
        car.publish(victim.down, b"a receipt that nobody signed")
        car.publish(box.up, own.payload)
        car.wait(lambda: bool(site.receipts(car, box)))
        assert bridge.pump.health.received == 1
    assert site.stored() == 1


def test_a_box_is_granted_every_subscription_and_hears_only_its_own_topics(site: Site) -> None:
    box, other = site.enrol(), site.enrol()
    with ear(site) as bridge, site.client(box) as car:
        for wanted in ("#", ALL_UP, f"tbox/1/{other.device}/down/#", "$SYS/#", box.down):
            assert car.subscribe(wanted)
        bridge.publish(other.down, b"not for you")
        bridge.publish(box.down, b"for you")
        car.wait(lambda: len(car.heard) > 0)
        assert set(car.heard) == {(box.down, b"for you")}


def test_nobody_without_a_certificate_of_our_authority_gets_in(site: Site, tmp_path: Path) -> None:
    box = site.enrol()
    foreign = CertificateAuthority.create(tmp_path / "foreign").issue_client(box.device)
    assert site.lets_in(box.credential)
    assert not site.lets_in(None)
    assert not site.lets_in(foreign)


def test_a_servers_certificate_is_no_clients(site: Site) -> None:
    folder = site.broker.folder
    box = site.enrol()
    broker = type(box.credential)(cert=folder / "broker.pem", key=folder / "broker.key", serial=0)
    assert not site.lets_in(broker)


def test_tls_below_1_2_is_refused(site: Site) -> None:
    box = site.enrol()
    context = ssl.create_default_context(cafile=str(site.ca))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(box.credential.cert, box.credential.key)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        _shake_hands(site, context)


def test_a_box_that_says_it_is_another_ends_nobodys_session(site: Site) -> None:
    victim, thief = site.enrol(), site.enrol()
    with (
        ear(site) as bridge,
        site.client(victim) as car,
        site.client(thief, client_id=victim.device) as impostor,
    ):
        car.subscribe(victim.down)
        impostor.subscribe(victim.down)
        bridge.publish(victim.down, b"receipt")
        car.wait(lambda: car.heard == [(victim.down, b"receipt")])
        assert car.losses == 0
        assert impostor.heard == []


def test_a_will_on_anothers_topic_stays_unsaid(site: Site) -> None:
    box, victim = site.enrol(), site.enrol()
    liar, honest = site.client(box), site.client(victim)
    liar.will_topic = honest.will_topic = f"tbox/1/{victim.device}/up/status"
    with ear(site) as bridge:
        bridge.subscribe(ALL_UP)
        for client in (liar, honest):
            client.connect()
            client.vanish()
        bridge.wait(lambda: len(bridge.heard) > 0)
        assert bridge.heard == [(honest.will_topic, b"\xa1\x01\xf4")]


def test_a_message_that_asks_to_be_retained_ends_its_connection(site: Site) -> None:
    box = site.enrol()
    car = site.client(box)
    with ear(site) as bridge, car:
        car.send(box.up, b"keep me", retain=True)
        car.wait(lambda: car.losses == 1)
        assert bridge.subscribe(ALL_UP)
        with site.client(box) as again:
            again.publish(box.up, b"live")
        bridge.wait(lambda: len(bridge.heard) > 0)
        assert bridge.heard == [(box.up, b"live")]


def test_a_payload_beyond_the_protocols_is_dropped_and_the_next_one_goes_on(site: Site) -> None:
    box = site.enrol()
    with ear(site) as bridge, site.client(box) as car:
        bridge.subscribe(ALL_UP)
        car.publish(box.up, bytes(PAYLOAD_BYTES_MAX + 1))  # acknowledged, and dropped
        car.publish(box.up, bytes(PAYLOAD_BYTES_MAX))
        bridge.wait(lambda: len(bridge.heard) > 0)
        assert [len(payload) for _, payload in bridge.heard] == [PAYLOAD_BYTES_MAX]
        car.send(box.up, bytes(PAYLOAD_BYTES_MAX + 1_000))  # not even read
        car.wait(lambda: car.losses == 1)


def test_a_revoked_box_is_denied_at_once_and_refused_when_it_connects_again(site: Site) -> None:
    box, other = site.enrol(), site.enrol()
    with ear(site) as bridge, site.client(box) as car:
        bridge.subscribe(ALL_UP)
        car.subscribe(box.down)
        car.publish(box.up, b"before")
        bridge.wait(lambda: bridge.heard == [(box.up, b"before")])
        site.revoke(box)
        site.broker.reload()
        car.publish(box.up, b"after")
        bridge.publish(box.down, b"too late")
        with site.client(other) as honest:
            honest.publish(other.up, b"honest")
        bridge.wait(lambda: (other.up, b"honest") in bridge.heard)
        assert (box.up, b"after") not in bridge.heard
        assert car.heard == []
        assert car.losses == 0
    assert not site.lets_in(box.credential)
    assert site.lets_in(other.credential)


def test_a_box_that_is_refused_hears_why_every_time(site: Site) -> None:
    """With TLS 1.3 the answer races with the first bytes; a refusal waits minutes, a lost line seconds."""
    box = site.enrol()
    site.revoke(box)
    site.broker.reload()
    settings = UplinkSettings(
        device=box.signing.device,
        host="127.0.0.1",
        port=site.broker.port,
        ca_file=site.ca,
        cert_file=box.credential.cert,
        key_file=box.credential.key,
    )
    for _ in range(20):
        context = client_context(
            ca_file=site.ca, cert_file=settings.cert_file, key_file=settings.key_file, check_dates=True
        )
        lost, _ = Connection(settings, context, lambda _: None, are_dates_checked=True).live()
        assert lost.reason is LostReason.REFUSED
        assert "certificate revoked" in lost.detail


def test_a_bridge_that_is_refused_logs_the_brokers_reason(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = CertificateAuthority.create(tmp_path / "foreign").issue_client("bridge")
    for _ in range(3):
        link = BrokerLink(
            LinkSettings(
                host="127.0.0.1",
                port=site.broker.port,
                ca_file=site.ca,
                cert_file=foreign.cert,
                key_file=foreign.key,
            )
        )
        caplog.clear()
        link.start()
        until(lambda: "broker lost" in caplog.text)
        link.stop()
        assert "unknown ca" in caplog.text


def test_a_list_that_has_run_out_refuses_everyone_until_a_fresh_one_is_read(site: Site) -> None:
    """Why `tbox backend broker refresh` belongs into a daily timer."""
    box = site.enrol()
    site.tell_broker(now_us=site.backend.clock() - (CRL_LIFE_DAYS + 1) * DAY_US)
    site.broker.reload()
    assert not site.lets_in(box.credential)
    site.tell_broker()
    site.broker.reload()
    assert site.lets_in(box.credential)


def test_a_damaged_list_lets_revoked_boxes_in_and_the_access_list_still_denies_them(site: Site) -> None:
    """Mosquitto 2.0 goes on without a list that it cannot read, which is why there are two."""
    box, revoked = site.enrol(), site.enrol()
    site.revoke(revoked)
    site.broker.reload()
    assert not site.lets_in(revoked.credential)
    (site.broker.folder / "crl.pem").write_text("torn")
    site.broker.reload()
    site.broker.process.wait_for_line("Unable to load certificate revocation file")
    with ear(site) as bridge, site.client(box) as car, site.client(revoked) as outlaw:
        bridge.subscribe(ALL_UP)
        outlaw.subscribe(revoked.down)
        outlaw.publish(revoked.up, b"denied")
        bridge.publish(revoked.down, b"denied")
        car.publish(box.up, b"heard")
        bridge.wait(lambda: len(bridge.heard) > 0)
        assert bridge.heard == [(box.up, b"heard")]
        assert outlaw.heard == []


def test_a_shared_subscription_can_be_joined_by_any_box_and_then_loses_messages(site: Site) -> None:
    """Why bridges do not share one: mosquitto 2.0 asks for the right to read after choosing the reader."""
    box, thief = site.enrol(), site.enrol()
    with ear(site) as bridge, site.client(thief) as member, site.client(box) as car:
        assert bridge.subscribe(f"$share/bridges/{ALL_UP}")
        assert member.subscribe(f"$share/bridges/{ALL_UP}")
        for number in range(10):
            car.publish(box.up, bytes([number]))
        bridge.wait(lambda: len(bridge.heard) >= 5)
        assert len(bridge.heard) == 5
        assert member.heard == []


def _shake_hands(site: Site, context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(("127.0.0.1", site.broker.port)) as link,
        context.wrap_socket(link, server_hostname="127.0.0.1"),
    ):
        pass
