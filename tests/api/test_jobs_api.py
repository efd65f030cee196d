"""A job over the API: vehicle, appointment, ticket, commands to the box, its reports, its events."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.api.app import create_app, endpoints
from backend.api.routes.job_events import stream
from backend.domain.access import Role
from protocol.base64url import to_bytes
from protocol.envelope import SoftwareSigner
from protocol.install_forms import open_command, ticket_from_qr
from protocol.install_vocabulary import Stage, Verb
from protocol.vectors.keys import published_signer
from tests.builders.backend import Box, problem
from tests.builders.installs_backend import OTHER_VIN, PERSON, SECOND, VIN, InstallWorld

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[InstallWorld]:
    made = InstallWorld.make(tmp_path)
    yield made
    made.close()


def test_a_vehicle_entered_again_is_the_same_and_other_words_correct_it(world: InstallWorld) -> None:
    first = world.get(f"/vehicles/{VIN}")
    again = world.vehicle().json()
    assert again["vehicle_id"] == first["vehicle_id"]
    assert world.vehicle(crank_wire="X1/4 brown").json()["crank_wire"] == "X1/4 brown"
    assert (first["bindings"], first["identity"], first["is_another_car"]) == ([], [], False)


def test_a_job_carries_its_wiring_card_and_an_installer_sees_his_own_alone(world: InstallWorld) -> None:
    job = world.job()
    others = world.backend.key(Role.INSTALLER)
    shown = world.get(f"/jobs/{job}")
    assert shown["wiring"]["crank_wire"] == "X1/3 red-black"
    assert (shown["state"], shown["ticket"], shown["report"]) == ("PLANNED", "none", None)
    assert [item["job_id"] for item in world.get("/jobs")["items"]] == [job]
    assert world.get("/jobs", by=others)["items"] == []
    hidden = world.client.get(f"/v1/jobs/{job}", headers=others)
    missing = world.client.get(f"/v1/jobs/{'0' * 32}", headers=others)
    assert (problem(hidden), hidden.content) == ("job-not-found", missing.content)


def test_nothing_of_another_organisation_is_seen_or_planned(world: InstallWorld) -> None:
    job = world.job()
    theirs = world.backend.organisation("Another Lender")
    admin = world.backend.key(Role.ORG_ADMIN, org_id=theirs)
    assert problem(world.client.get(f"/v1/jobs/{job}", headers=admin)) == "job-not-found"
    assert problem(world.client.get(f"/v1/jobs/{job}/events?after=0", headers=admin)) == "job-not-found"
    assert problem(world.client.get(f"/v1/vehicles/{VIN}", headers=admin)) == "vehicle-not-found"
    assert problem(world.post(f"/jobs/{job}/ticket", by=admin)) == "job-not-found"
    assert world.get("/jobs", by=admin)["items"] == []


def test_another_organisations_job_and_a_missing_one_are_the_same_404_at_every_address(
    world: InstallWorld,
) -> None:
    """B-03: no object of another organisation is told from one that does not exist."""
    job = world.job()
    theirs = world.backend.key(Role.ORG_ADMIN, org_id=world.backend.organisation("Another Lender"))
    walk = [at for at in endpoints(create_app(world.backend.settings)) if "{job_id}" in at.path]
    assert len(walk) >= 10
    for at in walk:
        answers = [
            world.client.request(
                at.method,
                at.path.replace("{job_id}", name).replace("{sha256}", "5f" * 32),
                headers=theirs,
                params={"after": 0, "wait_s": 0},
            )
            for name in (job, "0" * 32)
        ]
        assert [problem(answer) for answer in answers] == ["job-not-found"] * 2, at
        assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"acts": ["swap"]}, "plan an installation"),
        ({"acts": ["install", "swap"]}, "not both"),
        ({"from": "2026-11-24T00:00:00Z", "to": "2026-11-26T00:00:00Z"}, "14 h"),
        ({"workshop_until": "2026-12-24T00:00:00Z"}, "has an end"),
    ],
)
def test_a_job_that_cannot_be_is_refused_with_one_sentence(
    world: InstallWorld, changes: dict[str, object], says: str
) -> None:
    answer = world.plan(**changes)  # type: ignore[arg-type]
    assert (answer.status_code, problem(answer)) == (422, "bad-job")
    assert says in answer.json()["detail"]


def test_a_job_at_an_unknown_vehicle_is_refused(world: InstallWorld) -> None:
    assert problem(world.plan(vehicle=OTHER_VIN)) == "vehicle-not-found"


def test_the_ticket_names_this_job_and_comes_again_the_same(world: InstallWorld) -> None:
    job = world.job(label="TB-000123-Y")
    first = world.post(f"/jobs/{job}/ticket").json()
    ticket = world.opened(to_bytes(first["ticket"]))
    assert (ticket.job_id.hex(), ticket.vin, ticket.label) == (job, VIN, "TB-000123-Y")
    assert ticket.installer == world.installer.kid
    assert ticket_from_qr(first["qr"]) == to_bytes(first["ticket"])
    assert world.post(f"/jobs/{job}/ticket").json() == first
    assert world.get(f"/jobs/{job}")["ticket"] == "issued"


def test_an_installer_without_a_delegation_gets_no_ticket(world: InstallWorld) -> None:
    job = world.job(installer="somebody else")
    assert problem(world.post(f"/jobs/{job}/ticket")) == "not-delegated"


def test_a_ticket_is_not_given_when_the_jobs_time_is_over(world: InstallWorld) -> None:
    job = world.job()
    world.backend.clock.pass_seconds(36_001)
    assert problem(world.post(f"/jobs/{job}/ticket")) == "ticket-over"


def test_a_command_goes_down_word_for_word_once(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    answer = world.command(job, ticket, Verb.BEGIN)
    assert answer.status_code == 202, answer.text
    assert world.dispatch()["sent_install"] == 1
    topic, payload = world.sent[-1]
    assert topic == f"tbox/1/{world.device}/down/install"
    assert open_command(payload).command.argument == ticket
    world.backend.clock.pass_seconds(60)
    assert world.dispatch()["sent_install"] == 0


@pytest.mark.parametrize(
    ("key", "reason"), [("stranger", "bad-install"), ("maker-1", "bad-install")], ids=["stranger", "maker"]
)
def test_a_command_by_another_key_than_the_tickets_goes_nowhere(
    world: InstallWorld, key: str, reason: str
) -> None:
    job = world.job()
    by = published_signer(key)
    assert isinstance(by, SoftwareSigner)
    assert problem(world.command(job, world.ticket(job), by=by)) == reason
    assert not world.dispatch()


def test_a_command_for_a_box_of_somebody_else_goes_nowhere(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    theirs = Box()
    theirs.enrol(world.backend, world.client, org_id=world.backend.organisation("Another Lender"))
    answer = world.command(job, ticket, device=theirs.device_id)  # type: ignore[arg-type]
    assert problem(answer) == "device-not-found"


def test_a_begun_job_stays_with_its_box(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    second = Box()
    second.enrol(world.backend, world.client)
    assert world.command(job, ticket).status_code == 202
    answer = world.command(job, ticket, Verb.RUN, "SUPPLY", device=second.device_id)  # type: ignore[arg-type]
    assert problem(answer) == "identity"


def test_a_command_outside_of_the_jobs_time_is_refused(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    world.backend.clock.pass_seconds(36_001)
    assert problem(world.command(job, ticket)) == "ticket-over"


def test_the_boxs_report_is_shown_and_an_older_one_changes_nothing(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    assert world.reports(ticket, seq=5).outcomes == {"install_report": 1}
    assert world.reports(ticket, seq=4, asks="CRANK_ONCE").outcomes == {"install_repeated": 1}
    shown = world.get(f"/jobs/{job}")
    assert (shown["state"], shown["device"]) == ("AT_WORK", world.device)
    assert (shown["report"]["seq"], shown["report"]["asks"]) == (5, "IGNITION_ON")
    assert shown["report"]["steps"][0]["measured"] == "12.6"
    assert world.reports(ticket, seq=6, stage=Stage.ABORTED).outcomes == {"install_report": 1}
    assert world.get(f"/jobs/{job}")["state"] == "ABORTED"


def test_a_report_of_no_ticket_or_of_another_box_moves_no_job(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    assert world.reports(None).outcomes == {"install_idle": 1}
    theirs = Box()
    theirs.enrol(world.backend, world.client, org_id=world.backend.organisation("Another Lender"))
    mine = world.box
    world.box = theirs
    assert world.reports(ticket).outcomes == {"UNKNOWN_TICKET": 1}
    world.box = mine
    assert world.get(f"/jobs/{job}")["report"] is None


def test_a_report_that_names_another_box_than_its_topic_is_turned_away(world: InstallWorld) -> None:
    assert world.reports(None, device="0" * 64).outcomes == {"WRONG_DEVICE": 1}


def test_events_are_numbered_and_go_on_where_a_reader_stopped(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    world.command(job, ticket)
    world.reports(ticket, seq=1)
    world.reports(ticket, seq=2)
    events = world.get(f"/jobs/{job}/events?after=0&wait_s=0")
    assert [item["kind"] for item in events["items"]] == ["planned", "ticket", "command", "report"]
    assert events["items"][-1]["body"]["seq"] == 2
    rest = world.get(f"/jobs/{job}/events?after={events['items'][1]['id']}&wait_s=0")
    assert [item["kind"] for item in rest["items"]] == ["command", "report"]
    assert world.get(f"/jobs/{job}/events?after={events['after']}&wait_s=0") == {
        "items": [],
        "after": events["after"],
    }


def test_the_same_request_with_the_same_key_plans_one_job(world: InstallWorld) -> None:
    key = world.key(world.operator, "planned-once")
    body = {
        "vehicle": VIN,
        "acts": ["install"],
        "installer": PERSON,
        "from": "2026-11-25T08:00:00Z",
        "to": "2026-11-25T10:00:00Z",
    }
    world.backend.clock.now_us = 1_795_600_000 * SECOND
    first = world.client.post("/v1/jobs", json=body | {"from": "2026-11-25T08:00:00Z"}, headers=key)
    again = world.client.post("/v1/jobs", json=body, headers=key)
    assert (first.status_code, again.json()) == (201, first.json())


def test_a_stream_says_where_to_go_on_and_goes_on_there(world: InstallWorld) -> None:
    job = world.job()
    world.ticket(job)
    services = world.client.app.state.services  # type: ignore[attr-defined]

    async def first(after: int, count: int) -> list[str]:
        said = stream(services, (world.backend.org_id, job), after)
        return [await anext(said) for _ in range(count)]

    begin, planned, ticket = asyncio.run(first(0, 3))
    assert begin.startswith("retry:")
    assert ("event: planned" in planned, "event: ticket" in ticket) == (True, True)
    number = int(planned.splitlines()[0].removeprefix("id: "))
    assert asyncio.run(first(number, 2))[1] == ticket
