"""Zone set and hours: brought to the backend, named by a snapshot, taken by a box that asked, in evidence."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.usecases.export_orders import order_parts
from device.orders.inbox import Known
from device.orders.supply import Supply
from protocol import strict_cbor
from protocol.authority_bundle import AuthorityQuestion, encode_authority_question
from protocol.evidence_manifest import PartKind
from protocol.orders import OrderType, SignKind, sign_with_root
from protocol.topics import Up
from protocol.vectors.orders_story import MCU, PLATFORM, PLATFORM_ROOT, by_roots, snapshot_fields
from tests.builders.backend import problem
from tests.builders.orders_backend import OrderWorld

ZONES = strict_cbor.dumps({1: 1, 2: 4, 3: [[1, [at * 1_000, at, 250]] for at in range(1_000)]})
HOURS = strict_cbor.dumps(
    {
        1: 1,
        2: "ZZ",
        3: 8,
        4: [0, 2_000_000_000],
        5: [[0, 60]],
        6: 31,
        7: [],
        8: [],
    }
)


def snapshot(**changes: object) -> bytes:
    fields = snapshot_fields(PLATFORM, PLATFORM_ROOT, 3) | {
        3: 2,
        10: ["ZZ", 8, hashlib.sha256(HOURS).digest()],
        11: [4, hashlib.sha256(ZONES).digest()],
    }
    fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
    return sign_with_root(SignKind.AUTHORITY, fields, by_roots(PLATFORM, *PLATFORM_ROOT[:3]))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OrderWorld]:
    made = OrderWorld.make(tmp_path)
    yield made
    made.close()


def bring(world: OrderWorld, kind: str, document: bytes) -> Mapping[str, Any]:
    answer = world.bring(kind, document)
    assert answer.status_code == 201, answer.text
    found: Mapping[str, Any] = answer.json()
    return found


def test_a_box_gets_the_zone_set_and_the_hours_that_the_snapshot_names(world: OrderWorld) -> None:
    assert problem(world.bring("zones", ZONES)) == "bad-document"
    bring(world, "snapshot", snapshot())
    bring(world, "zones", ZONES)
    bring(world, "calendar", HOURS)
    asked = encode_authority_question(AuthorityQuestion(mcu_id=MCU.kid, digests=()))
    (answer,) = world.hears(Up.REQUEST, asked).answers
    supply = Supply()
    supply.take(answer.payload, Known())
    assert supply.zones is not None
    assert (supply.zones.version, len(supply.zones.zones)) == (4, 1_000)
    assert supply.calendar is not None
    assert supply.calendar.at(8 * 3_600) is not None
    assert supply.counts["documents_unnamed"] == supply.counts["documents_unreadable"] == 0


def test_evidence_of_an_order_holds_the_zone_set_and_the_hours(world: OrderWorld) -> None:
    for kind, document in (("snapshot", snapshot()), ("zones", ZONES), ("calendar", HOURS)):
        bring(world, kind, document)
    world.request(OrderType.UNLOCK, by="ombuds", headers=world.checker)
    with world.database.reading() as session:
        parts, _ = order_parts(session, org_id=world.backend.org_id, device_id=world.device)
    found = {part.section: part.data for part in parts if part.kind is PartKind.AUTHORITY}
    assert (found[4], found[5]) == (ZONES, HOURS)
