"""The parts of the fitter's bench: controller, adapter and wires, each in virtual time."""

from __future__ import annotations

import pytest

from device.mcu import pins
from simulators.bus_traffic import CanFrame
from simulators.install_bench_bus import BenchAdapter
from simulators.install_bench_ecu import FROM_US, TO_ALL, TO_US, BenchEcu, CarFacts, Stranger
from simulators.install_bench_faults import DOES, BenchFault, of_names
from simulators.install_bench_wires import UNFED_MV, BenchBody

VIN = "LSVAA4182E2123456"


def ecu(*wrong: BenchFault) -> BenchEcu:
    facts = CarFacts(vin=VIN, odometer_km=48_210.5, codes=("P0420", "U0100"), pending=("B1234",))
    return BenchEcu(facts=facts, wrong=frozenset(wrong))


def ask(controller: BenchEcu, request: str, *, can_id: int = TO_US) -> list[bytes]:
    """Return all frames that answer a single-frame request, with a flow control that asks for the rest."""
    body = bytes.fromhex(request)
    frames = controller.hear(can_id, (bytes([len(body)]) + body).ljust(8, b"\0"), now_us=0)
    if frames and frames[0].data[0] >> 4 == 1:
        frames += controller.hear(TO_US, b"\x30\x00\x00", now_us=1_000)
        frames += controller.due(100_000)
    assert {frame.can_id for frame in frames} <= {FROM_US}
    return [frame.data for frame in frames]


def joined(frames: list[bytes]) -> bytes:
    first, *rest = frames
    size = int.from_bytes(first[:2], "big") & 0xFFF
    assert [frame[0] for frame in rest] == [0x20 | number for number in range(1, len(rest) + 1)]
    return (first[2:] + b"".join(frame[1:] for frame in rest))[:size]


def test_the_vin_comes_by_obd_and_by_uds() -> None:
    assert joined(ask(ecu(), "0902", can_id=TO_ALL)) == b"\x49\x02\x01" + VIN.encode()
    assert joined(ask(ecu(), "22f190")) == b"\x62\xf1\x90" + VIN.encode()


def test_a_car_of_two_halves_gives_two_vins() -> None:
    controller = ecu(BenchFault.VIN_DIFFERS)
    assert joined(ask(controller, "0902"))[3:] != joined(ask(controller, "22f190"))[3:]


def test_an_unreadable_vin_is_refused_to_one_asker_and_met_with_silence_by_all() -> None:
    controller = ecu(BenchFault.VIN_UNREADABLE)
    assert ask(controller, "22f190")[0][:4] == bytes.fromhex("037f2231")
    assert ask(controller, "0902", can_id=TO_ALL) == []


def test_fault_codes_are_told_as_the_standards_write_them() -> None:
    assert ask(ecu(), "03")[0][:7] == bytes.fromhex("06430204 20c100".replace(" ", ""))
    assert ask(ecu(), "07")[0][:5] == bytes.fromhex("0447019234")
    assert joined(ask(ecu(), "1902ff")) == bytes.fromhex(
        "5902ff 042000 08 c10000 08 923400 04".replace(" ", "")
    )


def test_the_odometer_is_found_by_walking_the_supported_numbers() -> None:
    bits = [ask(ecu(), f"01{base:02x}")[0][3:7] for base in (0x00, 0x20, 0x40, 0x60, 0x80, 0xA0)]
    assert [block[3] & 1 for block in bits] == [1, 1, 1, 1, 1, 0]
    assert ask(ecu(), "01a6")[0][:7] == bytes([6, 0x41, 0xA6]) + (482_105).to_bytes(4, "big")


def test_what_the_controller_does_not_know_is_said_so() -> None:
    assert ask(ecu(), "2701")[0][:4] == bytes.fromhex("037f2711")


def test_block_size_and_separation_time_are_obeyed() -> None:
    controller = ecu()
    controller.hear(TO_US, bytes.fromhex("0209020000000000"), now_us=0)
    assert len(controller.hear(TO_US, bytes([0x30, 1, 10]), now_us=0)) == 1
    assert controller.due(500_000) == []
    assert len(controller.hear(TO_US, bytes([0x30, 0, 10]), now_us=600_000)) == 1


def test_an_asker_that_never_allows_the_rest_does_not_get_it() -> None:
    controller = ecu()
    controller.hear(TO_US, bytes.fromhex("0209020000000000"), now_us=0)
    assert controller.due(2_000_000) == []
    assert controller.hear(TO_US, b"\x30\x00\x00", now_us=2_100_000) == []


def test_a_stranger_asks_once_a_second() -> None:
    stranger = Stranger()
    assert [len(stranger.due(second * 500_000)) for second in range(4)] == [1, 0, 1, 0]


FRAME = CanFrame(t_us=0, can_id=0x123, data=b"\x01")


def test_a_listener_at_the_wrong_rate_hears_nothing_and_disturbs_nothing() -> None:
    adapter = BenchAdapter(bus_bitrate=250_000)
    adapter.hear(b"C\rS6\rL\r")
    adapter.say(FRAME)
    assert (adapter.pending(), adapter.hear(b"F\r"), adapter.undecoded) == (b"", b"F80\r", 1)
    assert adapter.hear(b"t12310A\r") == b"\a"
    assert adapter.disturbed == 0


def test_a_frame_sent_at_the_wrong_rate_is_counted_as_a_disturbance() -> None:
    heard: list[CanFrame] = []
    adapter = BenchAdapter(bus_bitrate=250_000, on_received=heard.append)
    adapter.hear(b"C\rS6\rO\rt12310A\r")
    assert (adapter.disturbed, heard) == (1, [])


def test_at_the_right_rate_both_sides_hear_each_other() -> None:
    heard: list[CanFrame] = []
    adapter = BenchAdapter(bus_bitrate=250_000, on_received=heard.append)
    adapter.hear(b"C\rS5\rO\rt12310A\r")
    adapter.say(FRAME)
    assert (adapter.pending(), adapter.disturbed, len(heard)) == (b"t123101\r", 0, 1)


def body(*wrong: BenchFault) -> BenchBody:
    return BenchBody(wrong=frozenset(wrong))


def wires(car: BenchBody) -> tuple[bool, bool]:
    return car.is_ignition_wire_live, car.is_crank_wire_live


@pytest.mark.parametrize(
    ("wrong", "off", "on", "cranking"),
    [
        ((), (False, False), (True, False), (True, True)),
        ((BenchFault.SWAPPED_WIRES,), (False, False), (False, True), (True, True)),
        ((BenchFault.CRANK_ON_ACCESSORY,), (False, False), (True, True), (True, False)),
        ((BenchFault.CONSTANT_IGNITION,), (True, False), (True, False), (True, True)),
    ],
)
def test_each_mistake_of_the_wires_looks_different(
    wrong: tuple[BenchFault, ...],
    off: tuple[bool, bool],
    on: tuple[bool, bool],
    cranking: tuple[bool, bool],
) -> None:
    car = body(*wrong)
    seen = [wires(car)]
    car.turn_on()
    seen.append(wires(car))
    car.crank()
    seen.append(wires(car))
    assert seen == [off, on, cranking]


def held_then_cranked(car: BenchBody) -> BenchBody:
    car.coil = True
    car.turn_on()
    car.advance(100_000)
    car.crank()
    car.advance(1_000_000)
    return car


def test_a_healthy_relay_holds_the_starter_and_a_bridged_one_only_says_so() -> None:
    healthy, bridged = held_then_cranked(body()), held_then_cranked(body(BenchFault.RELAY_BRIDGED))
    assert (healthy.starts, healthy.relay_sense) == (0, (False, True))
    assert (bridged.starts, bridged.relay_sense) == (1, (False, True))


def test_a_coil_that_is_not_connected_moves_no_contact() -> None:
    car = held_then_cranked(body(BenchFault.COIL_OPEN))
    assert (car.starts, car.relay_sense) == (1, (True, False))


@pytest.mark.parametrize(
    ("wrong", "runs_on", "stalls"), [((), True, 0), ((BenchFault.RELAY_IN_IGNITION_LINE,), False, 1)]
)
def test_only_a_relay_in_the_ignition_line_stops_a_running_engine(
    wrong: tuple[BenchFault, ...], *, runs_on: bool, stalls: int
) -> None:
    car = body(*wrong)
    car.crank()
    car.advance(1_000_000)
    car.let_go()
    car.coil = True
    car.advance(2_000_000)
    assert (car.engine_runs, car.stalls) == (runs_on, stalls)


def test_a_switched_supply_goes_with_the_key() -> None:
    car = body(BenchFault.SWITCHED_SUPPLY)
    assert car.box_mv == UNFED_MV
    car.turn_on()
    assert car.box_mv > 12_000


def test_every_fault_says_what_it_does_and_is_found_by_its_name() -> None:
    assert set(DOES) == set(BenchFault)
    assert of_names(list(BenchFault)) == set(BenchFault)
    with pytest.raises(ValueError, match="swapped-wires"):
        of_names(["upside-down"])


def test_the_pins_that_the_wires_answer_for_are_two_of_the_board() -> None:
    assert len({pins.IGNITION, pins.CRANK, pins.SUPPLY}) == 3
