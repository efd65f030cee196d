"""The simulated link stalls, slows and breaks, and passes bytes unchanged otherwise."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from simulators.network import Link
from tests.builders.sim import DEVICE, BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UP = f"tbox/1/{DEVICE}/up/batch"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


def test_a_client_speaks_through_the_link_to_the_broker(world: BrokerWorld) -> None:
    payload = bytes(range(256)) * 512
    with Link(upstream_port=world.broker.port) as link, world.client("bridge") as bridge:
        bridge.subscribe("tbox/1/+/up/#")
        device = world.client(DEVICE)
        device.port = link.port
        with device:
            device.publish(UP, payload)
            bridge.wait(lambda: bridge.heard == [(UP, payload)])
        assert link.passed_bytes > len(payload)


def test_a_stalled_link_keeps_the_message_and_delivers_it_when_it_flows(world: BrokerWorld) -> None:
    with Link(upstream_port=world.broker.port) as link, world.client("bridge") as bridge:
        bridge.subscribe("tbox/1/+/up/#")
        device = world.client(DEVICE)
        device.port = link.port
        with device:
            link.stall()
            passed = link.passed_bytes
            handle = device._running().publish(UP, b"late", qos=1)
            bridge.publish(f"tbox/1/{DEVICE}/down/receipt")  # the broker is alive all the while
            assert not handle.is_published()
            assert link.passed_bytes == passed
            assert device.losses == 0
            link.flow()
            bridge.wait(lambda: bridge.heard == [(UP, b"late")])


def test_a_cut_link_breaks_connections_and_refuses_new_ones_until_it_flows(world: BrokerWorld) -> None:
    with Link(upstream_port=world.broker.port) as link:
        device = world.client(DEVICE)
        device.port = link.port
        with device:
            link.cut()
            device.wait(lambda: device.losses == 1)
        with socket.create_connection(("127.0.0.1", link.port)) as refused:
            assert _hangs_up(refused)
        link.flow()
        again = world.client(DEVICE)
        again.port = link.port
        with again:
            assert again.accepted


def test_a_slow_link_takes_its_time(world: BrokerWorld) -> None:
    with Link(upstream_port=world.broker.port) as link:
        device = world.client(DEVICE)
        device.port = link.port
        with device:
            link.flow(bytes_per_second=100_000)
            begun = time.monotonic()
            device.publish(UP, bytes(20_000))
            assert time.monotonic() - begun > 0.15


def _hangs_up(connection: socket.socket) -> bool:
    """Return whether the other side ends this connection without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
