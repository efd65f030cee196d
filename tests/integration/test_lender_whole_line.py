"""The officers' commands through the real API, log and gate to a real brain, and its word back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.orders import State
from tests.builders.lock_line import LockLine


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LockLine]:
    made = LockLine.make(tmp_path)
    with made.serving():
        yield made
    made.close()


def test_a_lock_goes_from_the_makers_command_to_the_car_and_an_unlock_lets_it_go(line: LockLine) -> None:
    cmd_id = line.request("lock")
    assert line.order(cmd_id)["stage"] == "AWAITING_CHECKER"
    line.drive()
    line.pass_time(6)
    assert line.approve(cmd_id)["stage"] == "AWAITING_LOG"
    assert line.status()["reported"]["state"] == "UNKNOWN"
    line.drive(3)
    assert line.order(cmd_id)["gate"][-1]["verdict"] == "SIGNED", line.order(cmd_id)["gate"]
    assert line.status()["reported"]["state"] == "ACCEPTED_PENDING"
    line.car.hear_warnings()
    for _ in range(8):
        line.drive()
    assert line.car.state is State.LOCKED, (line.order(cmd_id), line.car.link_codes())
    assert line.status()["reported"]["state"] == "LOCKED"
    line.officer("maker", "unlock", line.box.device_id, "--yes")
    line.drive()
    assert line.status()["reported"]["state"] == "RELEASED"
