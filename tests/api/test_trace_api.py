"""What the API shows of batches: state, traces in every format, roll-ups, verification, integrity."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import update

from backend.domain.access import Role
from backend.store.batches import BATCH, BATCH_SECTION
from protocol.batch import EndedLoss, Gap, GapCause, Loss, LossCause, Origin, OriginKind, Section
from protocol.fixes import Fix
from protocol.ids import BootId
from protocol.signals import GroupRows
from tests.builders.backend import make_backend
from tests.builders.ingest import START_US, Backend, Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

    from tests.builders import backend as backend_builders

pytestmark = pytest.mark.usefixtures("each_database")

RANGE = {"from": "2026-11-24T00:00:00Z", "to": "2026-11-25T00:00:00Z"}
GPX = "{http://www.topografix.com/GPX/1/1}"


class World:
    """A server with one box, whose API is asked with a role."""

    def __init__(self, home: backend_builders.Backend, client: TestClient) -> None:
        self.box = Box(seed=1)
        self.home = home
        self.client = client
        self.backend = Backend.at_home(home, boxes=[self.box])
        self.headers = home.key(Role.AUDITOR)

    def take(self, *batches: Any) -> None:
        self.backend.take(*batches)
        self.backend.project()

    def get(self, path: str, *, headers: dict[str, str] | None = None, **query: Any) -> Any:
        return self.client.get(
            f"/v1/devices/{self.box.device}{path}", params=query, headers=self.headers | (headers or {})
        )

    def ok(self, path: str, *, purpose: str | None = None, **query: Any) -> Any:
        answer = self.get(path, headers={"Access-Purpose": purpose} if purpose else None, **query)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.text

    def pages(self, path: str, **query: Any) -> list[Any]:
        """All items of all pages."""
        items: list[Any] = []
        cursor: str | None = None
        while True:
            page = self.ok(path, **query, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    home = make_backend(tmp_path)
    with home.client() as client:
        made = World(home, client)
        yield made
        made.backend.database.close()


def at(seconds: float) -> str:
    """Return the time this many seconds after the first batch, as traces write it."""
    return str(np.datetime_as_string(np.datetime64(START_US + round(seconds * 1e6), "us"))) + "Z"


def test_a_trace_shows_what_is_receipted_before_the_derived_tables_have_it(world: World) -> None:
    world.backend.take(world.box.chain().next(speeds=[4250]))
    assert world.ok("/state")["batches"]["pending"] == 1
    items = world.pages("/trace", **RANGE)
    world.backend.project()
    assert items
    assert items == world.pages("/trace", **RANGE)


def test_the_state_has_value_unit_time_and_age(world: World) -> None:
    world.take(world.box.chain().next(speeds=[4250]))
    world.home.clock.now_us = START_US + 12_500_000
    state = world.ok("/state")
    speed, gear = state["signals"]
    assert speed == {
        "signal": "Vehicle.Speed",
        "value": 42.5,
        "unit": "km/h",
        "time": "2026-11-24T06:00:00Z",
        "age_s": 12.5,
        "clock": "device",
    }
    assert (gear["signal"], gear["value"], gear["unit"]) == ("pt.WHEELS.Gear", 1, None)
    assert state["batches"]["done"] == 1


def test_the_position_in_the_state_needs_a_purpose_and_is_logged(world: World) -> None:
    fix = Fix(t_us=1_000_000, mode=3, lat_e7=481_234_567, lon_e7=-116_000_000)
    world.take(world.box.chain().next(fixes=[fix]))
    assert world.ok("/state")["position"] is None
    shown = world.ok("/state", purpose="dispute")
    assert (shown["position"]["lat_deg"], shown["position"]["lon_deg"]) == (48.1234567, -11.6)
    log = world.client.get("/v1/access-log", headers=world.headers).json()["items"]
    assert [(entry["purpose"], entry["subject"]) for entry in log] == [("dispute", "state")]


def test_a_trace_is_in_order_of_time_with_the_values_of_the_dbc(world: World) -> None:
    world.take(world.box.chain().next(speeds=[1000, 1010], gears=[1, -2]))
    rows = world.ok("/trace", **RANGE)["items"]
    assert [(row["time"], row["signal"], row["value"], row["unit"]) for row in rows] == [
        (at(0), "Vehicle.Speed", 10.0, "km/h"),
        (at(0), "pt.WHEELS.Gear", 1, None),
        (at(5), "Vehicle.Speed", 10.1, "km/h"),
        (at(5), "pt.WHEELS.Gear", -2, None),
    ]


@pytest.mark.parametrize("name", ["Vehicle.Speed", "pt.WHEELS.Speed"])
def test_a_signal_is_found_by_path_or_by_message_and_name(world: World, name: str) -> None:
    world.take(world.box.chain().next())
    rows = world.ok("/trace", signals=name, **RANGE)["items"]
    assert {row["signal"] for row in rows} == {"Vehicle.Speed"}


@pytest.mark.parametrize("names", ["pt.WHEELS.Nothing", "Vehicle.Speed,Vehicle.Spead", "\x00"])
@pytest.mark.parametrize("path", ["/trace", "/rollups", f"/chains/{'01' * 16}/trace"])
def test_a_name_that_is_no_signal_of_the_box_is_named_and_not_answered_with_nothing(
    world: World, path: str, names: str
) -> None:
    world.take(world.box.chain().next())
    answer = world.get(path, signals=names, **({} if "chains" in path else RANGE))
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("unknown-signal")
    assert answer.json()["detail"].startswith(names.rsplit(",", maxsplit=1)[-1])


def test_a_signal_is_known_as_soon_as_its_batch_is_receipted(world: World) -> None:
    world.backend.take(world.box.chain().next())
    assert world.ok("/trace", signals="Vehicle.Speed", **RANGE)["items"]


def test_a_box_that_announced_nothing_yet_has_no_wrong_names(world: World) -> None:
    assert world.ok("/trace", signals="Vehicle.Speed", **RANGE)["items"] == []


@pytest.mark.parametrize("names", ["", ",", ",,"])
def test_a_list_of_no_names_is_refused(world: World, names: str) -> None:
    assert world.get("/trace", signals=names, **RANGE).status_code == 422


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_give_every_row_once_whatever_their_size(world: World, limit: int) -> None:
    chain = world.box.chain()
    other = world.box.chain(seed=2, mono_us=5_000_000)
    world.take(*chain.many(3), other.next(speeds=[7, 8, 9], gears=[7, 8, 9]))
    whole = world.ok("/trace", limit=1000, **RANGE)["items"]
    assert len(whole) == 24
    assert [row["time"] for row in whole] == sorted(row["time"] for row in whole)
    assert world.pages("/trace", limit=limit, **RANGE) == whole


def test_a_range_is_half_open(world: World) -> None:
    world.take(world.box.chain().next(speeds=[1, 2]))
    rows = world.ok("/trace", signals="Vehicle.Speed", **{"from": at(0), "to": at(5)})["items"]
    assert [row["time"] for row in rows] == [at(0)]
    rows = world.ok("/trace", signals="Vehicle.Speed", **{"from": at(5), "to": at(5.000001)})["items"]
    assert [row["time"] for row in rows] == [at(5)]
    assert world.ok("/trace", **{"from": at(5), "to": at(5)})["items"] == []


def test_a_batch_that_begins_before_the_range_is_found(world: World) -> None:
    world.take(world.box.chain().next(speeds=range(100), length_us=60_000_000))
    rows = world.ok("/trace", signals="Vehicle.Speed", **{"from": at(59), "to": at(61)})["items"]
    assert [row["value"] for row in rows] == [0.99]


def test_a_reversed_range_is_named(world: World) -> None:
    for path in ("/trace", "/rollups", "/batches"):
        answer = world.get(path, **{"from": RANGE["to"], "to": RANGE["from"]})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:tbox:problem:reversed-range")


@pytest.mark.parametrize("path", ["/trace", "/rollups"])
def test_a_huge_range_is_refused_with_the_limit_named(world: World, path: str) -> None:
    answer = world.get(path, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:tbox:problem:range-too-long")
    assert "days" in answer.json()["detail"]


def test_a_time_without_an_offset_is_refused(world: World) -> None:
    answer = world.get("/trace", **{"from": "2026-11-24T00:00:00", "to": "2026-11-25T00:00:00Z"})
    assert answer.status_code == 422


def test_the_csv_is_the_trace_in_long_form(world: World) -> None:
    world.take(world.box.chain().next(speeds=[1000, 1010]))
    table = list(csv.reader(io.StringIO(world.ok("/trace", format="csv", signals="Vehicle.Speed", **RANGE))))
    assert table == [
        ["time", "signal", "value", "unit"],
        [at(0), "Vehicle.Speed", "10.0", "km/h"],
        [at(5), "Vehicle.Speed", "10.1", "km/h"],
    ]


def test_csv_and_json_have_the_same_rows(world: World) -> None:
    world.take(*world.box.chain().many(5))
    rows = world.pages("/trace", **RANGE)
    table = list(csv.DictReader(io.StringIO(world.ok("/trace", format="csv", **RANGE))))
    assert [(row["time"], row["signal"], repr(row["value"])) for row in rows] == [
        (line["time"], line["signal"], line["value"]) for line in table
    ]


def a_way(world: World) -> None:
    fixes = [
        Fix(t_us=second * 1_000_000, mode=3, lat_e7=480_000_000 + second, lon_e7=110_000_000, alt_mm=500_100)
        for second in (1, 2, 3)
    ]
    later = [
        Fix(t_us=200_000_000, mode=2, lat_e7=481_000_000, lon_e7=111_000_000, hdop_centi=120, sats_used=5)
    ]
    none = [Fix(t_us=4_000_000, mode=1)]
    chain = world.box.chain()
    first = chain.next(fixes=[*fixes, *none])
    chain.mono_us = 195_000_000
    world.take(first, chain.next(fixes=later))


@pytest.mark.parametrize("format_", ["json", "csv", "geojson", "gpx"])
def test_positions_need_a_purpose_whatever_their_format(world: World, format_: str) -> None:
    a_way(world)
    answer = world.get("/trace", kind="fixes", format=format_, **RANGE)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:tbox:problem:purpose-required")
    world.ok("/trace", kind="fixes", format=format_, purpose="recovery", **RANGE)
    log = world.client.get("/v1/access-log", headers=world.headers).json()["items"]
    assert [entry["subject"] for entry in log] == [f"trace.{format_}"]


def test_fixes_are_shown_with_and_without_a_position(world: World) -> None:
    a_way(world)
    items = world.ok("/trace", kind="fixes", purpose="recovery", **RANGE)["items"]
    assert [(item["mode"], item["lat_deg"]) for item in items] == [
        (3, 48.0000001),
        (3, 48.0000002),
        (3, 48.0000003),
        (1, None),
        (2, 48.1),
    ]
    assert (items[4]["hdop"], items[4]["sats_used"], items[4]["precision"]) == (1.2, 5, "exact")


def test_geojson_breaks_the_line_where_a_minute_is_missing(world: World) -> None:
    a_way(world)
    answer = world.get(
        "/trace", kind="fixes", format="geojson", headers={"Access-Purpose": "recovery"}, **RANGE
    )
    assert answer.headers["content-type"] == "application/geo+json"
    features = answer.json()["features"]
    assert [feature["geometry"]["type"] for feature in features] == ["LineString", "Point"]
    assert features[0]["geometry"]["coordinates"][0] == [11.0, 48.0000001, 500.1]
    assert features[0]["properties"]["coordTimes"][0] == at(1)


def test_gpx_is_well_formed_with_a_segment_for_each_unbroken_way(world: World) -> None:
    a_way(world)
    root = ET.fromstring(world.ok("/trace", kind="fixes", format="gpx", purpose="recovery", **RANGE))
    assert (root.tag, root.attrib["version"]) == (f"{GPX}gpx", "1.1")
    segments = root.findall(f"{GPX}trk/{GPX}trkseg")
    assert [len(segment) for segment in segments] == [3, 1]
    point = segments[1][0]
    assert (point.attrib["lat"], point.attrib["lon"]) == ("48.1000000", "11.1000000")
    assert [child.tag.removeprefix(GPX) for child in point] == ["time", "fix", "sat", "hdop"]


def test_geojson_of_signals_makes_no_sense_and_says_so(world: World) -> None:
    answer = world.get("/trace", format="geojson", **RANGE)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:tbox:problem:invalid-request")


def test_an_untimed_batch_is_not_in_time_but_in_its_chain(world: World) -> None:
    chain = world.box.chain(utc_at_mono_0_us=None)
    world.take(*chain.many(2))
    assert world.ok("/trace", **RANGE)["items"] == []
    path = f"/chains/{bytes(chain.chain).hex()}/trace"
    rows = world.pages(path, signals="Vehicle.Speed", limit=2)
    assert [(row["seq"], row["mono_us"], row["time"], row["clock"]) for row in rows[:4]] == [
        (1, 0, None, "unknown"),
        (1, 3_333_333, None, "unknown"),
        (1, 6_666_666, None, "unknown"),
        (2, 10_000_000, None, "unknown"),
    ]
    assert len(rows) == 6
    assert [row["seq"] for row in world.ok(path, first=2, signals="Vehicle.Speed")["items"]] == [2, 2, 2]
    chain.utc_at_mono_0_us = START_US
    world.take(chain.next())
    timed = world.ok("/trace", signals="Vehicle.Speed", **RANGE)["items"]
    assert [row["clock"] for row in timed] == ["inferred"] * 6 + ["device"] * 3


def test_a_chain_the_box_does_not_have_is_not_found(world: World) -> None:
    answer = world.get(f"/chains/{'00' * 16}/trace")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tbox:problem:chain-not-found")


def test_rollups_page_through_minutes(world: World) -> None:
    chain = world.box.chain()
    world.take(*chain.many(20))
    items = world.pages("/rollups", signals="Vehicle.Speed", limit=2, **RANGE)
    assert [item["count"] for item in items] == [18, 18, 18, 6]
    assert items[0] == {
        "minute": "2026-11-24T06:00:00Z",
        "signal": "Vehicle.Speed",
        "unit": "km/h",
        "count": 18,
        "min": 10.0,
        "max": 1020 * 0.01,  # 10.200000000000001, as cantools has it
        "mean": pytest.approx(10.1),
        "last": 1020 * 0.01,
        "last_at": items[0]["last_at"],
    }


def test_signals_are_the_dictionary(world: World) -> None:
    rows = GroupRows(gid=2, t_us=np.array([5]), raw=np.array([[1]]))
    world.take(world.box.chain().next(groups=[rows]))
    (signal,) = world.pages("/signals")
    assert (signal["full_name"], signal["scale"], signal["raw_type"]) == ("pt.ENGINE.Rpm", 0.25, "uint")


def test_a_batch_is_shown_with_what_verifying_it_now_came_to(world: World) -> None:
    gap = Gap(boot=BootId(bytes(16)), start_us=5, end_us=9, cause=GapCause.JAM)
    chain = world.box.chain()
    first = chain.next(gaps=(gap,), drops={3: 7})
    second = chain.next(losses=(Loss(first=1, last=1, cause=LossCause.QUOTA),)).without(Section.SIGNALS)
    world.take(first, second)
    one, two = world.pages("/batches", limit=1)
    assert one["verification"] == {
        "result": "verified",
        "kid": world.box.signer.kid.hex(),
        "follows": None,
        "problems": [],
    }
    assert (one["hash"], two["prev"], two["verification"]["follows"]) == (first.hash.hex(), one["hash"], True)
    assert (one["gaps"][0]["cause"], one["drops"], one["origin"]) == ("jam", {"unknown_id": 7}, "first")
    assert two["losses"] == [{"first": 1, "last": 1, "cause": "quota"}]
    assert [(at["section"], at["state"]) for at in two["sections"]] == [
        ("facts", "PRESENT"),
        ("signals", "WITHHELD"),
    ]


@pytest.mark.parametrize("where", ["header", "section"])
def test_a_byte_changed_in_the_database_is_found_when_the_batch_is_shown(world: World, where: str) -> None:
    batch = world.box.chain().next()
    world.take(batch)
    with world.backend.database.writing() as session, session.begin():
        if where == "header":
            forged = batch.sign1[:-1] + bytes([batch.sign1[-1] ^ 1])
            session.connection().execute(update(BATCH).values(header=forged))
        else:
            body = batch.sections[2][:-1] + bytes([batch.sections[2][-1] ^ 1])
            session.connection().execute(
                update(BATCH_SECTION).where(BATCH_SECTION.c.section == 2).values(body=body)
            )
    (shown,) = world.pages("/batches")
    assert shown["verification"]["result"] == "failed"
    assert shown["verification"]["problems"]


def test_batches_can_be_asked_by_time(world: World) -> None:
    world.take(*world.box.chain().many(3))
    assert [b["seq"] for b in world.pages("/batches", **{"from": at(12), "to": at(20)})] == [2]


def test_chains_say_what_is_stored_lost_and_missing(world: World) -> None:
    chain = world.box.chain()
    batches = chain.many(4)
    sixth = (chain.next(), chain.next(losses=(Loss(first=2, last=2, cause=LossCause.STORAGE),)))[1]
    world.take(batches[0], batches[2], sixth)
    (shown,) = world.pages("/chains")
    assert shown["stored"] == [[1, 1], [3, 3], [6, 6]]
    assert (shown["lost"], shown["holes"], shown["upto"]) == ([[2, 2]], [[4, 5]], 3)


def test_what_a_later_chain_declares_lost_is_shown_with_both_chains(world: World) -> None:
    chain = world.box.chain()
    batches = chain.many(6)
    lost = EndedLoss(chain=chain.chain, first=2, last=3, cause=LossCause.RESEALED)
    later = world.box.chain(seed=2, origin=Origin(kind=OriginKind.CONFLICT, last_head=None))
    world.take(batches[0], batches[5], later.next(ended_losses=(lost,)))
    ended, _ = world.pages("/chains")
    assert (ended["lost"], ended["lost_by_later_chains"]) == ([], [[2, 3]])
    assert (ended["holes"], ended["upto"]) == ([[4, 5]], 1)
    one, _, declaring = world.pages("/batches")
    assert one["ended_losses"] == []
    assert declaring["losses"] == []
    shown = {"chain": chain.chain.hex(), "first": 2, "last": 3, "cause": "resealed"}
    assert declaring["ended_losses"] == [shown]


def test_every_cause_of_a_loss_is_named_in_the_document(world: World) -> None:
    schemas = world.client.get("/openapi.json").json()["components"]["schemas"]
    named = {
        name: set(re.findall(r"`(\w+)`", schemas[name]["properties"]["cause"]["description"]))
        for name in ("LossOut", "EndedLossOut")
    }
    every = {cause.name.lower() for cause in LossCause}
    assert named == {"LossOut": every - {"resealed"}, "EndedLossOut": every}


def test_integrity_events_are_listed_in_pages(world: World) -> None:
    world.take(world.box.chain().next(), world.box.chain(seed=2).next())
    kinds = [event["kind"] for event in world.pages("/integrity-events", limit=1)]
    assert kinds == ["chain_opened", "chain_opened", "origin_doubtful"]


def test_what_was_turned_away_is_counted(world: World) -> None:
    world.backend.take(b"garbage", device=world.box.device)
    assert world.ok("/ingest-counters") == {"turned_away": {"BAD_ENCODING": 1}}


@pytest.mark.parametrize(
    "path", ["/state", "/trace", "/rollups", "/signals", "/batches", "/chains", "/integrity-events"]
)
def test_another_organisation_sees_nothing(world: World, path: str) -> None:
    world.take(world.box.chain().next())
    other = world.home.key(Role.ORG_ADMIN, org_id=world.home.organisation("Another Bank"))
    answer = world.get(path, headers=other, **RANGE)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tbox:problem:device-not-found")


def test_an_installer_reads_signals_and_no_positions(world: World) -> None:
    a_way(world)
    world.headers = world.home.key(Role.INSTALLER)
    assert world.ok("/trace", **RANGE)["items"]
    answer = world.get("/trace", kind="fixes", headers={"Access-Purpose": "commissioning"}, **RANGE)
    assert answer.status_code == 403


def test_an_officer_reads_no_signals(world: World) -> None:
    world.headers = world.home.key(Role.OFFICER_MAKER)
    assert world.get("/trace", **RANGE).status_code == 403
    assert world.get("/batches").status_code == 200


def test_a_cursor_of_another_question_is_refused(world: World) -> None:
    world.take(*world.box.chain().many(2))
    cursor = world.ok("/trace", limit=1, **RANGE)["next_cursor"]
    answer = world.get("/trace", limit=1, cursor=cursor, signals="Vehicle.Speed", **RANGE)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:tbox:problem:bad-cursor")
