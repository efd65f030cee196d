"""Records over the API: what is accepted, what it changes, and each way in which one is refused."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backend.ledger import LeafType
from backend.store.mcus import find_mcu
from backend.usecases.gate_port import GateAwayError, GatePart, GateSaid, ShownJob
from protocol.base64url import to_text
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.install_vocabulary import Act, Need, Stage, Verdict
from protocol.orders import OrderType
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import MCU
from tests.builders.backend import Box, problem
from tests.builders.installs_backend import BENCHES, SECOND, VIN, InstallWorld, bench
from tests.builders.orders_backend import FakeCar, part_of

pytestmark = pytest.mark.usefixtures("each_database")


@dataclass
class FakeGate:
    """Answers as a test says, and remembers what it was shown."""

    said: GateSaid = field(default_factory=lambda: GateSaid(verdict="SIGNED", token=b"ticket"))
    is_away: bool = False
    shown: list[ShownJob] = field(default_factory=list)

    def _hear(self, shown: ShownJob) -> GateSaid:
        if self.is_away:
            raise GateAwayError("switched off by the test")
        self.shown.append(shown)
        return self.said

    def ticket(self, shown: ShownJob) -> GateSaid:
        return self._hear(shown)

    def bind(self, shown: ShownJob, payload: bytes) -> GateSaid:
        del payload
        return self._hear(shown)


@pytest.fixture
def gate() -> FakeGate:
    return FakeGate()


@pytest.fixture
def world(tmp_path: Path, gate: FakeGate) -> Iterator[InstallWorld]:
    made = InstallWorld.make(tmp_path, gate=gate)
    yield made
    made.close()


def leaves(world: InstallWorld) -> list[int]:
    with world.database.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT leaf_type FROM ledger_leaf ORDER BY leaf_index")
        return [int(row[0]) for row in rows]


def test_a_record_ends_the_job_registers_the_microcontroller_and_begins_probation(
    world: InstallWorld,
) -> None:
    job = world.job()
    record = world.record(world.ticket(job))
    answer = world.bring(job, record)
    assert answer.status_code == 200, answer.text
    again = world.bring(job, record)
    assert again.json() == answer.json()
    shown = world.get(f"/jobs/{job}")
    assert (shown["state"], shown["ticket"]) == ("DONE", "used")
    vehicle = world.get(f"/vehicles/{VIN}")
    assert [(item["device"], item["to"]) for item in vehicle["bindings"]] == [(world.device, None)]
    with world.database.reading() as session:
        mcu = find_mcu(session, org_id=world.backend.org_id, device_id=world.device)
        assert mcu is not None
        assert mcu.mcu_id == MCU.kid.hex()
    assert leaves(world).count(int(LeafType.INSTALLATION)) == 1
    probation = world.get(f"/vehicles/{VIN}/probation")
    assert probation["state"] == "RUNNING"
    seen = {item["condition"] for item in probation["conditions"] if item["seen_at"]}
    assert seen == {"relay-proof"}


def test_a_second_record_under_a_used_ticket_is_refused_flagged_and_in_the_log(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    assert world.bring(job, world.record(ticket)).status_code == 200
    copied = world.bring(job, world.record(ticket, facts={"supply_mv": "11900"}))
    assert (copied.status_code, problem(copied)) == (409, "ticket-used")
    kinds = [item["kind"] for item in world.get(f"/jobs/{job}/events?after=0&wait_s=0")["items"]]
    assert kinds[-1] == "used-twice"
    assert leaves(world).count(int(LeafType.INSTALLATION)) == 2
    assert problem(world.post(f"/jobs/{job}/ticket")) == "ticket-used"


def test_a_record_made_offline_comes_weeks_later(world: InstallWorld) -> None:
    job = world.job()
    record = world.record(world.ticket(job))
    world.backend.clock.pass_seconds(5 * 86_400)
    assert world.bring(job, record).status_code == 200


def test_a_record_taken_from_the_boxs_report_is_the_same(world: InstallWorld) -> None:
    job = world.job()
    ticket = world.ticket(job)
    record = world.record(ticket)
    nothing = world.client.put(f"/v1/jobs/{job}/record", json={}, headers=world.fitter)
    assert problem(nothing) == "bad-install"
    world.reports(ticket, stage=Stage.FINISHED, need=(Need.TAKE, record))
    body = {"mcu_key": cose_key_bytes(MCU.public_key).hex()}
    answer = world.client.put(f"/v1/jobs/{job}/record", json=body, headers=world.fitter)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"vin": "TBXTEST0000000099"}, "identity", "another VIN"),
        ({"vin": None, "vin_source": None}, "identity", "without a VIN"),
        ({"lender_id": bytes(8)}, "bad-install", "lender"),
        ({"act": Act.SWAP}, "bad-install", "does not allow"),
        ({"began_s": 1}, "ticket-over", "outside"),
        ({"by": published_signer("stranger")}, "bad-install", "UNKNOWN_KEY"),
        ({"box": Box()}, "bad-install", "UNKNOWN_KEY"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_and_changes_nothing(
    world: InstallWorld, changes: dict[str, Any], reason: str, says: str
) -> None:
    job = world.job()
    answer = world.bring(job, world.record(world.ticket(job), **changes))
    assert problem(answer) == reason, answer.text
    assert says in answer.json()["detail"]
    assert world.get(f"/vehicles/{VIN}")["bindings"] == []
    assert world.get(f"/jobs/{job}")["ticket"] == "issued"


def test_another_microcontrollers_word_does_not_hold(world: InstallWorld) -> None:
    job = world.job()
    stranger = published_signer("stranger")
    assert isinstance(stranger, SoftwareSigner)
    record = world.record(world.ticket(job))
    answer = world.bring(job, record, stranger)
    assert problem(answer) == "bad-install"


def test_without_the_relay_proof_the_box_only_measures_and_probation_has_failed(world: InstallWorld) -> None:
    job = world.job()
    started = (bench("held", held_s=14, crank_s=3, starts=1), BENCHES[1])
    assert world.bring(job, world.record(world.ticket(job), benches=started)).status_code == 200
    assert world.get(f"/vehicles/{VIN}/probation")["state"] == "FAILED"


def test_a_swap_keeps_the_vehicles_history(world: InstallWorld) -> None:
    job = world.job()
    assert world.bring(job, world.record(world.ticket(job))).status_code == 200
    first, second = world.box, Box()
    second.enrol(world.backend, world.client)
    assert problem(world.plan()) == "bad-job"
    swap = world.job(("swap",))
    mcu = published_signer("device-2")
    assert isinstance(mcu, SoftwareSigner)
    same = world.bring(swap, world.record(world.ticket(swap), act=Act.SWAP))
    assert problem(same) == "identity"
    record = world.record(world.ticket(swap), act=Act.SWAP, box=second, mcu=mcu, epoch=b"e" * 16)
    assert world.bring(swap, record, mcu).status_code == 200
    bindings = world.get(f"/vehicles/{VIN}")["bindings"]
    assert [item["device"] for item in bindings] == [first.device_id, second.device_id]
    assert (bindings[0]["ended_by"], bindings[1]["to"]) == (bindings[1]["record_sha256"], None)


def test_a_box_is_removed_only_after_it_signed_that_its_authority_is_erased(world: InstallWorld) -> None:
    job = world.job()
    assert world.bring(job, world.record(world.ticket(job))).status_code == 200
    removal = world.job(("remove",))
    record = world.record(world.ticket(removal), act=Act.REMOVE, verdict=Verdict.REMOVED, bind=None)
    early = world.bring(removal, record)
    assert (problem(early), "DECOMMISSION" in early.json()["detail"]) == ("wrong-stage", True)
    _decommissioned(world)
    assert world.bring(removal, record).status_code == 200
    assert world.get(f"/vehicles/{VIN}")["bindings"][0]["to"] is not None
    assert world.get(f"/vehicles/{VIN}/probation")["state"] == "NONE"


def _decommissioned(world: InstallWorld) -> None:
    """Let the car sign that a DECOMMISSION is done."""
    from backend.store.orders import Order  # noqa: PLC0415
    from protocol.orders import State  # noqa: PLC0415

    with world.database.writing() as session, session.begin():
        session.add(
            Order(
                org_id=world.backend.org_id,
                device_id=world.device,
                cmd_id="ab" * 16,
                order_type=int(OrderType.DECOMMISSION),
                cmd_hash=bytes(32),
                payload=b"\xa0",
                stage="ANSWERED",
                holds_slot=False,
                requested_by="test",
                car_state=int(State.DONE),
                due_us=0,
                created_us=0,
            )
        )


def test_workshop_mode_has_an_end_and_stops_orders_until_then(world: InstallWorld) -> None:
    job = world.job()
    assert world.bring(job, world.record(world.ticket(job))).status_code == 200
    until = "2026-12-01T00:00:00Z"
    shop = world.job(("workshop",), workshop_until=until)
    record = world.record(world.ticket(shop), act=Act.WORKSHOP, verdict=Verdict.MONITOR_ONLY, bind=None)
    assert world.bring(shop, record).status_code == 200
    assert world.get(f"/vehicles/{VIN}")["workshop_until"].startswith("2026-12-01T00:00:00")


# --- the gate, photos, labels ---


def test_the_gate_is_shown_the_job_and_says_its_own_yes_or_no(world: InstallWorld, gate: FakeGate) -> None:
    job = world.job()
    ticket = world.ticket(job)
    body = {
        "challenge": to_text(FakeCar().challenge(key_9=0)),
        "mcu_key": cose_key_bytes(MCU.public_key).hex(),
    }
    answer = world.post(f"/jobs/{job}/bench-ticket", body)
    assert answer.json()["ticket"] == to_text(b"ticket")
    assert gate.shown[0].work_ticket == ticket
    part = part_of(b"payload", _gate_signer())
    gate.said = GateSaid(
        verdict="SIGNED", part=GatePart(protected=b"p", signature=b"s" * 64, delegation=b"d")
    )
    bound = world.post(f"/jobs/{job}/bind-part", body | {"payload": part["protected"]})
    assert bound.json()["part"]["signature"] == to_text(b"s" * 64)
    gate.said = GateSaid(verdict="REFUSED", rule="JOB_DAY", detail="JOB_DAY: 12 for this car in a day")
    refused = world.post(f"/jobs/{job}/bench-ticket", body)
    assert (problem(refused), refused.json()["detail"]) == ("gate-refused", gate.said.detail)
    gate.is_away = True
    assert problem(world.post(f"/jobs/{job}/bench-ticket", body)) == "gate-away"


def _gate_signer() -> Any:
    from protocol.vectors.orders_story import signer  # noqa: PLC0415

    return signer("gate")


def test_a_photo_is_kept_under_its_own_hash_once(world: InstallWorld) -> None:
    import hashlib  # noqa: PLC0415

    job = world.job()
    data = b"\xff\xd8\xff\xe0" + bytes(100_000)
    name = hashlib.sha256(data).hexdigest()
    headers = world.fitter | {"Content-Type": "image/jpeg"}
    url = f"/v1/jobs/{job}/photos/{name}"
    first = world.client.put(url, content=data, headers=headers)
    assert first.status_code == 200, first.text
    assert world.client.put(url, content=data, headers=headers).json() == first.json()
    shown = world.client.get(url, headers=world.fitter)
    assert (shown.content, shown.headers["content-type"]) == (data, "image/jpeg")
    torn = world.client.put(f"/v1/jobs/{job}/photos/{'0' * 64}", content=data[:50], headers=headers)
    assert problem(torn) == "bad-photo"
    text = world.client.put(url.replace(name, "1" * 64), content=b"GIF89a", headers=headers)
    assert problem(text) == "bad-photo"
    assert [item["sha256"] for item in world.get(f"/jobs/{job}")["photos"]] == [name]


def _label(world: InstallWorld, **changes: Any) -> Any:
    body = {
        "label": "TB-000123-Y",
        "device": world.device,
        "mcu_id": MCU.kid.hex(),
        "iccid": "89882390000012345678",
        "report_sha256": "5f" * 32,
    } | changes
    return world.post("/labels", body)


def test_a_scan_holds_only_when_label_keys_and_car_belong_together(world: InstallWorld) -> None:
    job = world.job()
    unknown = world.post(f"/jobs/{job}/scan", {"label": "TB-000123-Y", "vin": VIN})
    assert problem(unknown) == "identity"
    assert _label(world).status_code == 201
    assert problem(_label(world, device="ab" * 32)) == "label-taken"
    good = world.post(f"/jobs/{job}/scan", {"label": "tb 000123 y", "vin": VIN})
    assert good.json()["device"] == world.device
    wrong_car = world.post(f"/jobs/{job}/scan", {"label": "TB-000123-Y", "vin": "TBXTEST0000000099"})
    assert "another one" in wrong_car.json()["detail"]
    ticket = world.ticket(job)
    world.reports(ticket, facts={"iccid": "89000000000000000000"})
    other_sim = world.post(f"/jobs/{job}/scan", {"label": "TB-000123-Y", "vin": VIN})
    assert "another SIM" in other_sim.json()["detail"]


def test_a_box_that_says_another_vin_is_shown_as_another_car(world: InstallWorld) -> None:
    job = world.job()
    assert world.bring(job, world.record(world.ticket(job))).status_code == 200
    world.reports(None, facts={"vin": "TBXTEST0000000099"})
    world.reports(None, facts={"vin": "TBXTEST0000000099"}, seq=2)
    vehicle = world.get(f"/vehicles/{VIN}")
    assert vehicle["is_another_car"]
    assert [(item["what"], item["said"]) for item in vehicle["identity"]] == [("vin", "TBXTEST0000000099")]
    world.backend.clock.now_us += SECOND
