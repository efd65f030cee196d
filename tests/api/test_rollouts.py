"""A release reaches the fleet in stages, and vehicles stop it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from backend.domain.access import Role
from backend.domain.rollout import SILENT_US, SOAK_US, is_in_part
from backend.store.batch_signers import AGENT_ROLE
from backend.store.devices import Device, DeviceKey
from protocol.base64url import to_text
from protocol.ids import cose_key_bytes, thumbprint
from protocol.update_forms import UpdateQuestion, sign_question
from tests.builders.backend import Backend, Box, make_backend, problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2
    from fastapi.testclient import TestClient

pytestmark = pytest.mark.usefixtures("each_database")
BOXES = 6


@dataclass
class Fleet:
    backend: Backend
    client: TestClient
    boxes: list[Box] = field(default_factory=list)
    seconds: int = 0

    def register(self) -> None:
        """Put the boxes and their keys into the registry, as enrolment does."""
        org_id, now_us = self.backend.org_id, self.backend.clock()
        with self.backend.database() as database, database.writing() as session, session.begin():
            for box in self.boxes:
                life = {"org_id": org_id, "device_id": box.device_id}
                session.add(Device(**life, status="enrolled", created_us=now_us))
                session.flush()
                key = box.agent_key.public_key()
                cose = cose_key_bytes(key)
                kid = thumbprint(key).hex()
                session.add(DeviceKey(**life, kid=kid, role=AGENT_ROLE, cose_key=cose, valid_from_us=now_us))

    def begin(self, release: int = 7, stages: tuple[int, ...] = (50, 100)) -> str:
        answer = self.client.post(
            "/v1/rollouts", json={"release": release, "stages": list(stages)}, headers=self.backend.admin
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["rollout"])

    def turn(self, rollout: str, event: str, headers: dict[str, str] | None = None) -> int:
        return self.client.post(
            f"/v1/rollouts/{rollout}/{event}", json={"reason": "test"}, headers=headers or self.backend.admin
        ).status_code

    def show(self, rollout: str) -> dict[str, object]:
        answer = self.client.get(f"/v1/rollouts/{rollout}", headers=self.backend.admin)
        assert answer.status_code == 200
        return dict(answer.json())

    def ask(
        self, box: Box, running: int = 1, *outcomes: tuple[int, str], asked_s: int | None = None
    ) -> int | None:
        self.seconds += 1
        asked = UpdateQuestion(
            device=box.device_id,
            asked_s=self.seconds if asked_s is None else asked_s,
            running=running,
            outcomes=outcomes,
        )
        message = to_text(sign_question(asked, box.signer))
        answer = self.client.post("/v1/updates", json={"message": message})
        assert answer.status_code == 200, answer.text
        release: int | None = answer.json()["release"]
        return release

    def split(self, rollout: str, percent: int = 50) -> tuple[list[Box], list[Box]]:
        inside = [box for box in self.boxes if is_in_part(rollout, box.device_id, percent=percent)]
        return inside, [box for box in self.boxes if box not in inside]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    backend = make_backend(tmp_path)
    with backend.client() as client:
        fleet = Fleet(backend, client, [Box() for _ in range(BOXES)])
        fleet.register()
        yield fleet


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, problem(answer)


def split_both_ways(fleet: Fleet) -> tuple[str, list[Box], list[Box]]:
    """Begin a rollout whose first half has at least one box, and so has the second."""
    for release in range(7, 40):
        rollout = fleet.begin(release)
        inside, outside = fleet.split(rollout)
        if inside and outside:
            return rollout, inside, outside
        assert fleet.turn(rollout, "stop") == 200
    raise AssertionError("six boxes fall on one side thirty times once in 2^150")


def test_only_boxes_of_the_stage_are_given_the_release(fleet: Fleet) -> None:
    rollout, inside, outside = split_both_ways(fleet)
    release = fleet.show(rollout)["release"]
    assert {fleet.ask(box) for box in inside} == {release}
    assert {fleet.ask(box) for box in outside} == {None}
    assert fleet.ask(inside[0], int(str(release))) is None  # it has it
    assert fleet.show(rollout)["given"] == fleet.show(rollout)["expected"] == len(inside)


def test_the_next_stage_waits_for_a_day_for_confirmation_and_for_another_person(fleet: Fleet) -> None:
    rollout, inside, outside = split_both_ways(fleet)
    release = int(str(fleet.show(rollout)["release"]))
    for box in inside:
        fleet.ask(box)
        fleet.ask(box, release, (release, "confirmed"))
    assert fleet.show(rollout)["state"] == "running"  # all well, but a day has not passed
    fleet.backend.clock.pass_seconds(SOAK_US / 1_000_000)
    fleet.ask(inside[0], release)
    assert fleet.show(rollout)["state"] == "waiting"
    assert fleet.ask(outside[0]) is None
    assert fleet.turn(rollout, "approve") == 409  # the maker
    officer = fleet.backend.key(Role.SAFETY_OFFICER)
    assert fleet.turn(rollout, "approve", officer) == 200
    assert fleet.ask(outside[0]) == release
    assert [turn["event"] for turn in fleet.show(rollout)["turns"]] == ["stage-over", "approve"]  # type: ignore[attr-defined]
    for box in outside:
        fleet.ask(box)
        fleet.ask(box, release, (release, "confirmed"))
    fleet.backend.clock.pass_seconds(SOAK_US / 1_000_000)
    fleet.ask(inside[0], release)
    assert fleet.show(rollout)["state"] == "done"


def test_one_car_that_does_not_start_or_is_locked_wrongly_stops_it(fleet: Fleet) -> None:
    installer = fleet.backend.key(Role.INSTALLER)
    for release, outcome in ((7, "no_start"), (8, "false_lock")):
        rollout = fleet.begin(release, stages=(100,))  # a better release has another number
        assert {fleet.ask(box) for box in fleet.boxes} == {release}
        told = {"device": fleet.boxes[0].device_id, "outcome": outcome, "note": "owner called"}
        answer = fleet.client.put(f"/v1/rollouts/{rollout}/outcomes", json=told, headers=installer)
        assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (
            200,
            "stopped",
            outcome,
        )
        assert fleet.ask(fleet.boxes[1]) is None
        assert fleet.turn(rollout, "resume") == 409


def test_a_box_whose_update_went_wrong_stops_it(fleet: Fleet) -> None:
    for release, word in enumerate(("not_healthy", "not_starting", "mcu_not_written", "drains"), 7):
        rollout = fleet.begin(release, stages=(100,))
        assert {fleet.ask(box) for box in fleet.boxes[:3]} == {release}
        fleet.ask(fleet.boxes[0], 1, (release, word))
        assert fleet.show(rollout)["state"] == "stopped"
        assert fleet.ask(fleet.boxes[1]) is None


def test_boxes_that_fall_silent_after_an_update_stop_it(fleet: Fleet) -> None:
    rollout = fleet.begin(stages=(100,))
    for box in fleet.boxes:
        assert fleet.ask(box) == 7
    fleet.backend.clock.pass_seconds(SILENT_US / 1_000_000 + 1)
    fleet.ask(fleet.boxes[0], 7, (7, "confirmed"))
    assert (fleet.show(rollout)["state"], fleet.show(rollout)["reason"]) == ("stopped", "silent")


def test_a_pause_gives_it_to_nobody_and_a_resume_goes_on(fleet: Fleet) -> None:
    rollout = fleet.begin(stages=(100,))
    assert fleet.turn(rollout, "pause") == 200
    assert fleet.ask(fleet.boxes[0]) is None
    assert fleet.turn(rollout, "pause") == 409
    assert fleet.turn(rollout, "approve") == 409
    assert fleet.turn(rollout, "resume") == 200
    assert fleet.ask(fleet.boxes[0]) == 7


def test_an_old_question_sent_again_changes_nothing(fleet: Fleet) -> None:
    rollout = fleet.begin(stages=(100,))
    fleet.ask(fleet.boxes[0], asked_s=100)
    fleet.ask(fleet.boxes[0], 1, (7, "not_healthy"), asked_s=99)
    assert fleet.show(rollout)["outcomes"] == {}
    fleet.ask(fleet.boxes[0], 7, (7, "confirmed"), asked_s=101)
    fleet.ask(fleet.boxes[0], 7, (7, "confirmed"), (7, "a_newer_word"), (7, "no_start"), asked_s=102)
    assert fleet.show(rollout)["outcomes"] == {"confirmed": 1}


def test_nobody_else_asks_in_a_boxes_name(fleet: Fleet) -> None:
    fleet.begin(stages=(100,))
    asked = UpdateQuestion(device=fleet.boxes[0].device_id, asked_s=1, running=1)
    for signer in (fleet.boxes[1].signer, Box().signer):
        answer = fleet.client.post("/v1/updates", json={"message": to_text(sign_question(asked, signer))})
        assert refused(answer) == (403, "bad-proof")
    assert refused(fleet.client.post("/v1/updates", json={"message": "AAAA"})) == (403, "bad-proof")


def test_a_rollout_is_of_one_organisation_and_one_at_a_time(fleet: Fleet) -> None:
    rollout = fleet.begin()
    again = fleet.client.post("/v1/rollouts", json={"release": 9}, headers=fleet.backend.admin)
    assert refused(again) == (409, "rollout-open")
    stranger = fleet.backend.key(Role.ORG_ADMIN, org_id=fleet.backend.organisation("Other"))
    assert refused(fleet.client.get(f"/v1/rollouts/{rollout}", headers=stranger)) == (
        404,
        "rollout-not-found",
    )
    assert fleet.turn(rollout, "stop", stranger) == 404
    assert fleet.client.get("/v1/rollouts", headers=stranger).json() == {"items": []}
    assert fleet.turn(rollout, "stop") == 200
    used = fleet.client.post("/v1/rollouts", json={"release": 7}, headers=fleet.backend.admin)
    assert refused(used) == (409, "rollout-open")


def test_a_rollout_that_could_not_be_stopped_in_time_is_not_made(fleet: Fleet) -> None:
    for wrong in (
        {"release": 7, "stages": [50]},
        {"release": 7, "stages": [50, 20, 100]},
        {"release": 7, "thresholds": {"no_start": 1}},
        {"release": 7, "thresholds": {"false_lock": 1}},
    ):
        answer = fleet.client.post("/v1/rollouts", json=wrong, headers=fleet.backend.admin)
        assert refused(answer) == (422, "bad-rollout")
