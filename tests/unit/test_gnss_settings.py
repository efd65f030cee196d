"""`[gnss]` of `agent.toml`: a serial line or gpsd on this machine."""

from pathlib import Path

import pytest

from device.adapters.gnss import GnssSettings
from device.adapters.gpsd_client import GpsdSettings
from device.agent.settings import parse_settings
from device.errors import ConfigError

LEAST: dict[str, object] = {"broker": {"host": "broker.example"}}


def gnss(**values: object) -> GnssSettings | GpsdSettings | None:
    return parse_settings(LEAST | {"gnss": values}, home=Path("/box")).gnss


def test_a_serial_line_is_a_port_and_a_baud_rate() -> None:
    assert gnss(port="/dev/ttyUSB1") == GnssSettings(port="/dev/ttyUSB1", baudrate=9_600)


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("gpsd://127.0.0.1:2947/dev/ttyUSB1", GpsdSettings(device="/dev/ttyUSB1")),
        ("gpsd://127.0.0.1", GpsdSettings()),
        ("gpsd://localhost:29470/", GpsdSettings(host="localhost", port=29_470)),
        ("gpsd://[::1]:2947/dev/serial0", GpsdSettings(host="::1", device="/dev/serial0")),
    ],
)
def test_gpsd_is_an_address_on_this_machine_and_perhaps_a_device(source: str, settings: GpsdSettings) -> None:
    assert gnss(source=source) == settings


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("gpsd://192.168.1.5/dev/ttyUSB1", "is not this machine"),
        ("gpsd://gps.example", "is not this machine"),
        ("http://127.0.0.1:2947", "is expected"),
        ("gpsd:///dev/ttyUSB1", "is expected"),
        ("gpsd://127.0.0.1:99999", "1…65535"),
        ("gpsd://127.0.0.1:0", "is expected"),
        ("gpsd://fleet:secret@127.0.0.1", "no user and no password"),
        ("gpsd://fleet@127.0.0.1:2947/dev/ttyUSB1", "no user and no password"),
        ("gpsd://fleet:secret@127.0.0.1:99999", "no user and no password"),
        ("", "a text is expected"),
    ],
)
def test_any_other_source_is_a_problem_that_says_what_to_write(source: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gnss(source=source)
    [said] = caught.value.problems
    assert problem in said
    assert "secret" not in said


@pytest.mark.parametrize(("key", "value"), [("port", "/dev/ttyUSB1"), ("baudrate", 9_600)])
def test_what_belongs_to_a_serial_line_has_no_place_beside_a_source(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        gnss(source="gpsd://127.0.0.1", **{key: value})
    [said] = caught.value.problems
    assert said.startswith(f"gnss.{key}: not beside source")


@pytest.mark.parametrize(
    "port", ["gpsd://127.0.0.1:2947/dev/ttyUSB1", "GPSD://localhost", "gpsd://fleet:secret@localhost"]
)
def test_an_address_of_gpsd_is_no_serial_port_and_the_problem_names_the_right_key(port: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gnss(port=port)
    [said] = caught.value.problems
    assert said.startswith("gnss.port:")
    assert "as source" in said
    assert "secret" not in said
