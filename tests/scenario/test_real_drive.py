"""A recorded minute of a real Toyota through the whole line: replay, broker, bridge, database, HTTP.

The expected values are comma.ai's own, computed by other software from the same drive.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulators.box import Box
from simulators.cloud import Cloud
from simulators.processes import run, tbox
from simulators.stored import Stored, from_iso

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAMES = 53_800
START = "2018-08-02T16:14:00Z"
WHEELS = ("WHEEL_SPEED_FL", "WHEEL_SPEED_FR", "WHEEL_SPEED_RL", "WHEEL_SPEED_RR")

pytestmark = [pytest.mark.data, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def drive(test_data: Path) -> Path:
    return test_data / "can" / "comma2k19_toyota"


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, drive: Path
) -> Iterator[tuple[Stored, dict[str, object]]]:
    """The drive, replayed once: what the server shows of it, and what the replay said."""
    folder = tmp_path_factory.mktemp("drive")
    with Cloud(folder=folder / "backend", logs=folder / "logs") as cloud:
        box = Box(home=folder / "box", logs=folder / "logs")
        box.enrol(api_url=cloud.api_url, token=cloud.enrolment_token())
        settings = f'schema = 1\n[broker]\nhost = "127.0.0.1"\nport = {cloud.broker.port}\n'
        (box.home / "agent.toml").write_text(settings, "utf-8")
        done = run(
            tbox(
                *("agent", "replay", "--home", str(box.home), "--json", "--start", START),
                *("--can", str(drive / "can0.log"), "--dbc", str(drive / "toyota_new_mc_pt.dbc")),
            )
        )
        assert done.exit_code == 0, done.errors
        yield Stored(api=cloud.api, device=box.device), json.loads(done.output.splitlines()[-1])


def _expected(path: Path) -> np.ndarray:
    with path.open(newline="") as file:
        return np.array([[float(cell) for cell in row] for row in list(csv.reader(file))[1:]])


def _read(stored: Stored, signal: str) -> tuple[np.ndarray, np.ndarray]:
    begin = from_iso(START)
    samples = stored.values(signal, begin, begin + 61_000_000)
    seconds = np.array([sample.t_us - begin for sample in samples]) / 1e6
    return seconds, np.array([sample.value for sample in samples])


def test_wheel_speeds_read_over_http_are_those_that_others_computed(
    world: tuple[Stored, dict[str, object]], drive: Path
) -> None:
    expected = _expected(drive / "expected_wheel_speed.csv")
    for wheel, column in zip(WHEELS, expected.T[1:], strict=True):
        _, km_h = _read(world[0], f"can0.WHEEL_SPEEDS.{wheel}")
        assert len(km_h) == 4_974
        assert np.abs(km_h / 3.6 - column).max() <= 5e-8


def test_steering_read_over_http_is_exactly_what_others_computed(
    world: tuple[Stored, dict[str, object]], drive: Path
) -> None:
    expected = _expected(drive / "expected_steering_angle.csv")
    _, angle = _read(world[0], "can0.STEER_ANGLE_SENSOR.STEER_ANGLE")
    _, fraction = _read(world[0], "can0.STEER_ANGLE_SENSOR.STEER_FRACTION")
    assert len(angle) == 4_974
    # The source was written with nine significant digits; the sum of two decimals is a binary fraction.
    assert np.array_equal(np.round(angle + fraction, 6), np.round(expected[:, 1], 6))


def test_times_read_over_http_are_the_logs(world: tuple[Stored, dict[str, object]], drive: Path) -> None:
    seconds, _ = _read(world[0], "can0.WHEEL_SPEEDS.WHEEL_SPEED_FL")
    expected = _expected(drive / "expected_wheel_speed.csv")[:, 0]
    assert len(seconds) == len(expected)
    first = float((drive / "can0.log").read_text("ascii").split(")", 1)[0].strip("("))
    assert np.abs(seconds + first - expected).max() <= 51e-6  # the source rounds times to 100 µs


def test_every_frame_of_the_drive_is_accounted_for(world: tuple[Stored, dict[str, object]]) -> None:
    batches = world[0].batches()
    received = sum(batch.received for batch in batches)
    decoded = sum(batch.decoded for batch in batches)
    dropped = sum(sum(batch.dropped.values()) for batch in batches)
    assert received == FRAMES
    assert decoded + dropped == FRAMES
    assert decoded == 38_983
