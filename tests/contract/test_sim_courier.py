"""A hostile broker hears, repeats, loses and forges; a probe says whom a broker lets in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.envelope import SoftwareSigner
from protocol.errors import ProtocolError
from protocol.ids import ChainId, DeviceId
from protocol.receipts import Receipt, Stream, open_receipt, sign_receipt
from protocol.topics import Down, Up, down_topic, up_topic
from simulators.courier_faults import Eavesdropper
from simulators.faults import FaultKind
from simulators.mqtt_probe import lets_in
from simulators.pki import CertificateAuthority
from tests.builders.sim import DEVICE, OTHER_DEVICE, BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ME = DeviceId(DEVICE)
DOWN = down_topic(ME, Down.RECEIPT)
"""Where receipts for the device go."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


def a_receipt(signer: SoftwareSigner) -> bytes:
    receipt = Receipt(
        device=ME,
        stream=Stream.BATCH,
        chain=ChainId(bytes(16)),
        upto=3,
        hash=bytes(32),
        have=(),
        refused=(),
        want=(),
        issued_us=1,
    )
    return sign_receipt(receipt, signer)


def test_it_lets_in_who_shows_a_certificate_in_its_own_name_and_nobody_else(
    world: BrokerWorld, tmp_path: Path
) -> None:
    own = world.authority.issue_client(DEVICE)
    other = world.authority.issue_client(OTHER_DEVICE)
    foreign = CertificateAuthority.create(tmp_path / "foreign").issue_client(DEVICE)
    asked = {
        name: lets_in(
            port=world.broker.port,
            ca=world.authority.ca_file,
            client_id=DEVICE,
            cert=None if shown is None else shown.cert,
            key=None if shown is None else shown.key,
        )
        for name, shown in {"own": own, "other": other, "foreign": foreign, "none": None}.items()
    }
    assert asked == {"own": True, "other": False, "foreign": False, "none": False}


def test_a_broker_that_is_away_is_an_error_and_not_a_refusal(world: BrokerWorld) -> None:
    world.broker.stop()
    with pytest.raises(ConnectionRefusedError):
        lets_in(port=world.broker.port, ca=world.authority.ca_file, client_id=DEVICE, cert=None, key=None)


def test_changed_receipts_reach_the_device_and_do_not_verify(world: BrokerWorld) -> None:
    signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    eavesdropper = Eavesdropper()
    world.broker.courier.sees = eavesdropper.hear
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        device.subscribe(f"tbox/1/{DEVICE}/down/#")
        bridge.publish(DOWN, a_receipt(signer))
        device.wait(lambda: len(device.heard) == 1)
        assert eavesdropper.forge(world.broker) == 1
        device.wait(lambda: len(device.heard) == 2)
        keys = {signer.kid: signer.public_key}
        open_receipt(device.heard[0][1], keys.get)
        with pytest.raises(ProtocolError):
            open_receipt(device.heard[1][1], keys.get)


def test_receipts_are_lost_while_it_meddles_and_not_after(world: BrokerWorld) -> None:
    eavesdropper = Eavesdropper()
    world.broker.courier.sees = eavesdropper.hear
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        device.subscribe(f"tbox/1/{DEVICE}/down/#")
        with eavesdropper.meddling(FaultKind.RECEIPT_LOST, world.broker):
            bridge.publish(DOWN, b"lost")
            bridge.publish(down_topic(ME, Down.TIME), b"time")
            device.wait(lambda: len(device.heard) == 1)
        bridge.publish(DOWN, b"after")
        device.wait(lambda: [payload for _, payload in device.heard] == [b"time", b"after"])
        with eavesdropper.meddling(FaultKind.RECEIPT_REPLAYED, world.broker):
            device.wait(lambda: {payload for _, payload in device.heard[2:]} == {b"lost", b"after"})


def test_what_is_no_batch_is_heard_and_harms_nothing(world: BrokerWorld) -> None:
    eavesdropper = Eavesdropper()
    world.broker.courier.sees = eavesdropper.hear
    with world.client("bridge") as bridge, world.client(DEVICE) as device:
        bridge.subscribe("tbox/1/+/up/#")
        device.publish(up_topic(ME, Up.BATCH), b"not a batch")
        bridge.wait(lambda: len(bridge.heard) == 1)
    assert eavesdropper.sealed == set()
    assert eavesdropper.forge(world.broker) == 0


def test_only_a_couriers_faults_are_a_couriers(world: BrokerWorld) -> None:
    with (
        pytest.raises(ValueError, match="disk_full is not"),
        Eavesdropper().meddling(FaultKind.DISK_FULL, world.broker),
    ):
        pass
