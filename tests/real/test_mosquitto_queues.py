"""What a real mosquitto keeps for a bridge that is away, how fast it hands over, and two bridges at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.topics import ALL_UP
from tests.builders.mosquitto_site import Site, until
from tests.builders.sim import Client
from tests.conftest import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.builders.mosquitto_site import SiteBox

pytestmark = pytest.mark.real

MANY = 3_000
DEFAULTS = {  # of mosquitto 2.0.11
    "max_queued_messages": "1000",
    "max_queued_bytes": "",
    "max_inflight_messages": "20",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    need("mosquitto")
    with Site(tmp_path) as made:
        yield made


def listener(site: Site) -> Client:
    """Return a bridge's client with a session that the broker keeps."""
    client = Client(name="bridge", port=site.broker.port, ca=site.ca, credential=site.service("bridge"))
    client.clean = False
    return client


def kept(site: Site, count: int) -> set[bytes]:
    """Send `count` messages to a bridge that is away; return what it gets when it is back."""
    box = site.enrol()
    away = listener(site)
    with away:
        away.subscribe(ALL_UP)
    with site.client(box) as car:
        send(car, box, [number.to_bytes(4, "big") for number in range(count)])
        # What comes after the queue has been handed over is the last of it.
        back = listener(site)
        with back:
            back.wait(lambda: len(back.heard) >= min(count, 1_000))
            car.publish(box.up, b"last")
            back.wait(lambda: back.heard[-1][1] == b"last")
    return {payload for _, payload in back.heard} - {b"last"}


def send(car: Client, box: SiteBox, payloads: list[bytes]) -> None:
    """Publish all, and wait for the last PUBACK: mosquitto answers in order."""
    for payload in payloads[:-1]:
        car.send(box.up, payload)
    car.publish(box.up, payloads[-1])


@pytest.mark.usefixtures("each_database")
def test_three_thousand_batches_for_an_absent_bridge_all_arrive_when_it_is_back(site: Site) -> None:
    box = site.enrol()
    batches = [batch.payload for batch in box.chain().many(MANY, speeds=[1])]
    with site.bridge():
        pass  # its session stays
    with site.client(box) as car:
        car.subscribe(box.down)
        send(car, box, batches)
        with site.bridge() as bridge:
            until(lambda: bridge.outcomes.get("store", 0) == MANY, seconds=60)
            car.wait(lambda: site.receipts(car, box)[-1:] != [] and site.receipts(car, box)[-1].upto == MANY)
    assert site.stored() == MANY


def test_with_our_limits_an_absent_bridge_misses_nothing(site: Site) -> None:
    assert len(kept(site, MANY)) == MANY


def test_with_mosquittos_own_limits_it_would_miss_most_and_only_a_log_line_says_so(tmp_path: Path) -> None:
    need("mosquitto")
    with Site(tmp_path, more=DEFAULTS) as site:
        arrived = kept(site, MANY)
        assert 1_000 <= len(arrived) <= 1_020
        assert "Outgoing messages are being dropped for client bridge" in site.broker.process.output()


@pytest.mark.usefixtures("each_database")
def test_two_bridges_hear_everything_twice_and_store_it_once(site: Site) -> None:
    box = site.enrol()
    batches = box.chain().many(50, speeds=[1])
    second = site.bridge("bridge-2")
    site.tell_broker()
    site.broker.reload()
    with site.bridge() as first, second, site.client(box) as car:
        car.subscribe(box.down)
        send(car, box, [batch.payload for batch in batches])
        until(lambda: first.pump.health.received == second.pump.health.received == len(batches))
        outcomes = (first, second)
        until(lambda: sum(sum(bridge.outcomes.values()) for bridge in outcomes) == 2 * len(batches))
        stores = [bridge.outcomes.get("store", 0) for bridge in outcomes]
        duplicates = [bridge.outcomes.get("duplicate", 0) for bridge in outcomes]
    assert sum(stores) == sum(duplicates) == len(batches)
    assert site.stored() == len(batches)


def test_when_one_of_two_bridges_ends_the_other_answers(site: Site) -> None:
    box = site.enrol()
    chain = box.chain()
    second = site.bridge("bridge-2")
    site.tell_broker()
    site.broker.reload()
    with second, site.client(box) as car:
        car.subscribe(box.down)
        with site.bridge():
            car.publish(box.up, chain.next().payload)
            until(lambda: site.stored() == 1)
        car.publish(box.up, chain.next().payload)
        car.wait(lambda: any(receipt.upto == 2 for receipt in site.receipts(car, box)))
