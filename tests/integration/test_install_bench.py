"""The fitter's bench as a box meets it: python-can, ISO-TP and UDS on its bus, real firmware at its wires."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import can
import isotp
import pytest
from udsoncan import AsciiCodec
from udsoncan.client import Client
from udsoncan.connections import PythonIsoTpConnection

from firmware_tools.image import Floors, build
from simulators.install_bench import VIN, InstallBench
from simulators.install_bench_faults import BenchFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT_S = 10.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("image"), Floors.DEMO).folder


@pytest.fixture(scope="module")
def bench(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstallBench]:
    with InstallBench(image=image, home=tmp_path_factory.mktemp("bench")) as running:
        yield running


def until(bench: InstallBench, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        bench.check()
        assert time.monotonic() < deadline, bench.look()
        time.sleep(0.02)


def opened(bench: InstallBench, bitrate: int, *, listens: bool) -> can.BusABC:
    return can.Bus(
        interface="slcan",
        channel=str(bench.can.path),
        bitrate=bitrate,
        listen_only=listens,
        sleep_after_open=0.05,
        timeout=0.02,
    )


def test_a_real_uds_client_reads_the_vin_and_the_codes(bench: InstallBench) -> None:
    bench.mcu.do("turn_on")
    with opened(bench, 500_000, listens=False) as bus, can.Notifier(bus, []) as notifier:
        address = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=0x7E0, rxid=0x7E8)
        stack = isotp.NotifierBasedCanStack(bus, notifier, address=address)
        with Client(
            PythonIsoTpConnection(stack), config={"data_identifiers": {0xF190: AsciiCodec(17)}}
        ) as client:
            assert client.read_data_by_identifier_first(0xF190) == VIN
            stored = client.get_dtc_by_status_mask(0x08).service_data.dtcs
    assert [hex(code.id) for code in stored] == ["0x42000"]
    assert bench.look()["disturbed"] == 0


def test_listening_at_the_wrong_rate_hears_nothing_and_the_right_one_frames(
    image: Path, tmp_path: Path
) -> None:
    with InstallBench(image=image, home=tmp_path, wrong=frozenset({BenchFault.WRONG_BITRATE})) as bench:
        bench.mcu.do("turn_on")
        with opened(bench, 500_000, listens=True) as bus:
            assert bus.recv(0.4) is None
        with opened(bench, 250_000, listens=True) as bus:
            assert bus.recv(WAIT_S) is not None
        assert bench.look()["disturbed"] == 0


def test_the_key_at_the_control_port_starts_both_halves_of_the_car(bench: InstallBench) -> None:
    with socket.create_connection(bench.mcu.control) as control, control.makefile("rwb") as file:

        def say(*words: object) -> dict[str, object]:
            file.write(json.dumps(words).encode() + b"\n")
            file.flush()
            answer: dict[str, object] = json.loads(file.readline())
            return answer

        say("crank")
        until(bench, lambda: bool(say("look")["engine_runs"]))
        until(bench, lambda: bench.car.vehicle.state.is_engine_running)
        say("let_go")
        say("turn_off")
        until(bench, lambda: not bench.car.vehicle.state.is_engine_running)
