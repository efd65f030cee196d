"""`agent.toml`: everything that is wrong with it is said at once."""

import tomllib
from pathlib import Path

import pytest

from device.agent.settings import parse_settings, read_settings
from device.config import UplinkLimits
from device.errors import ConfigError
from protocol.fixes import Precision
from protocol.limits import SETTINGS_BYTES_MAX

HOME = Path("/box")

WHOLE = """
schema = 1
[broker]
host = "broker.example"
port = 8884
keepalive_s = 20
[api]
url = "https://fleet.example"
ca_file = "tls/api-ca.pem"
[vehicle]
profile = "car.toml"
[[can]]
bus = "can0"
interface = "slcan"
channel = "/dev/ttyACM0"
bitrate = 500000
table = "tables/can0.table"
listen_only = false
[can.options]
rtscts = true
[gnss]
port = "/dev/ttyUSB1"
baudrate = 115200
[collect]
precision = "cell"
[batch]
age_s = 2.5
[uplink]
window = 8
receipt_wait_s = 30
resend_first_s = 15
resend_longest_s = 1800
[spool]
quota_mb = 64
[log]
level = "debug"
"""
LEAST = {"broker": {"host": "broker.example"}}


def test_a_whole_file_is_read() -> None:
    settings = parse_settings(tomllib.loads(WHOLE), home=HOME)
    [bus] = settings.buses
    assert (settings.broker_host, settings.broker_port, settings.keepalive_s) == ("broker.example", 8884, 20)
    assert (settings.api_url, settings.api_ca_file) == ("https://fleet.example", HOME / "tls/api-ca.pem")
    assert settings.profile == HOME / "car.toml"
    assert bus.table == HOME / "tables/can0.table"
    assert not bus.can.listen_only
    assert bus.can.keywords() == {
        "interface": "slcan",
        "channel": "/dev/ttyACM0",
        "bitrate": 500_000,
        "sleep_after_open": 0.05,
        "timeout": 0.02,
        "rtscts": True,
    }
    assert settings.gnss is not None
    assert settings.gnss.baudrate == 115_200
    assert (settings.precision, settings.batch.age_us, settings.spool.quota_bytes) == (
        Precision.CELL,
        2_500_000,
        64_000_000,
    )


def test_how_batches_are_sent_again_is_read_and_bounded() -> None:
    limits = parse_settings(tomllib.loads(WHOLE), home=HOME).uplink
    assert (limits.window, limits.receipt_wait_us) == (8, 30_000_000)
    assert (limits.backoff_first_us, limits.backoff_max_us) == (15_000_000, 1_800_000_000)
    assert limits.problems() == []
    assert parse_settings(LEAST, home=HOME).uplink == UplinkLimits()
    wrong = {"window": 21, "receipt_wait_s": 0.01, "resend_first_s": 20, "resend_longest_s": 10}
    with pytest.raises(ConfigError) as said:
        parse_settings(LEAST | {"uplink": wrong}, home=HOME)
    assert said.value.problems == (
        "uplink.resend_first_s: at most resend_longest_s, 10, is expected",
        "uplink.window: a whole number 1…20 is expected",
        "uplink.receipt_wait_s: a number 0.1…600.0 is expected",
    )


def test_the_widest_bounds_of_a_file_are_within_the_engines() -> None:
    for pause_s in (0.1, 3_600):
        uplink = {"resend_first_s": pause_s, "resend_longest_s": pause_s, "receipt_wait_s": min(pause_s, 600)}
        assert parse_settings(LEAST | {"uplink": uplink}, home=HOME).uplink.problems() == []


def test_a_file_with_a_broker_alone_is_enough_and_keeps_positions_in_the_box() -> None:
    settings = parse_settings(LEAST, home=HOME)
    assert settings.buses == ()
    assert settings.gnss is None
    assert settings.precision is Precision.NONE


def test_a_bus_stays_silent_unless_told_otherwise() -> None:
    bus = {"bus": "can0", "interface": "slcan", "channel": "x", "table": "t"}
    [read] = parse_settings(LEAST | {"can": [bus]}, home=HOME).buses
    assert read.can.keywords()["listen_only"] is True


def test_all_problems_are_reported_together() -> None:
    document = {
        "schema": 2,
        "broker": {"port": 0, "prot": 1},
        "can": [{"bus": "a", "interface": "slcan", "channel": "x", "table": "t"}] * 2 + [{}],
        "gnss": {"baudrate": "fast"},
        "collect": {"precision": "everything"},
        "batch": {"age_s": 61},
        "surprise": True,
    }
    with pytest.raises(ConfigError) as wrong:
        parse_settings(document, home=HOME)
    said = "\n".join(wrong.value.problems)
    for expected in (
        "schema: this agent knows 1 only",
        "broker.host: a text is expected",
        "broker.port: a whole number 1…65535 is expected",
        "broker.prot: unknown",
        "can[2].bus: a text is expected",
        "can[2].table: a text is expected",
        "gnss.port: a text is expected",
        "gnss.baudrate: a whole number",
        "collect.precision: one of none, in_out, cell, exact is expected",
        "batch.age_s: a number 0.1…60.0 is expected",
        "surprise: unknown",
        "[[can]]: bus a is there twice",
    ):
        assert expected in said


@pytest.mark.parametrize(
    "document",
    [
        {"broker": "x"},
        {"broker": {"host": "x"}, "can": {"bus": "x"}},
        {"broker": {"host": "x"}, "can": [{"options": {"a": [1]}}]},
        {"broker": {"host": "x", "port": True}},
    ],
)
def test_a_value_of_the_wrong_kind_is_a_problem_and_no_crash(document: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_settings(document, home=HOME)


@pytest.mark.parametrize("content", [b"schema = ", b"\xff\xfe", b"#" * (SETTINGS_BYTES_MAX + 1)])
def test_a_file_that_is_no_settings_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        read_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_settings(tmp_path / "agent.toml")


def test_a_microcontroller_is_there_only_when_its_line_is_named() -> None:
    assert parse_settings(LEAST, home=HOME).mcu is None
    mcu = parse_settings(LEAST | {"mcu": {"port": "/dev/ttyS1", "baudrate": 230_400}}, home=HOME).mcu
    assert mcu is not None
    assert (mcu.port, mcu.baudrate) == ("/dev/ttyS1", 230_400)
    for wrong in ({}, {"port": "/dev/ttyS1", "baudrate": 300}, {"port": "/dev/ttyS1", "speed": 1}):
        with pytest.raises(ConfigError, match="mcu"):
            parse_settings(LEAST | {"mcu": wrong}, home=HOME)
