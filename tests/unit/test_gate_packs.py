"""Each pack as a table: what a place allows, to the day and the second, and what no pack may say.

P-09 is US-CA, P-10 US-NJ, P-11 US-NV, P-12 US-WI, P-13 the default, P-14 China and the European Union.
"""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.gate import hours
from backend.gate.pack import PackError, Zone, encode_toml, load_toml, open_pack, read_pack, sign_pack
from backend.gate.trust import PackShelf
from protocol import strict_cbor
from protocol.loan_facts import Channel, Delivery, Interval, NoticeType, Paper
from protocol.orders import OrderType
from protocol.vectors.keys import published_lookup, published_signer
from tests.builders.gate import (
    CONTRACT,
    DAY_S,
    EPISODE,
    NOON_S,
    PACKS,
    GateWorld,
    all_packs,
    pack,
    pack_text,
)

PLACES = {"US-CA": "us-ca", "US-NJ": "us-nj", "US-NV": "us-nv", "US-TX": "default", "ZZ": "zz", "CN": "cn"}
LOCKABLE = ("US-CA", "US-NJ", "US-NV", "US-TX", "CN")
HOUR_S = 3_600

# place, weekly days, other days, first notice weekly, first notice others, emergency window, papers
TABLE = [
    ("US-CA", 5, 10, 5, 10, 86_400, {Paper.DISCLOSURE_AT_SALE}),
    ("US-NJ", 5, 10, 0, 0, 172_800, {Paper.DISCLOSURE_AT_SALE, Paper.LENDER_IS_CREDITOR}),
    ("US-NV", 30, 30, 0, 0, 86_400, {Paper.DISCLOSURE_AT_SALE, Paper.DEVICE_AGREEMENT}),
    ("US-TX", 30, 30, 10, 10, 172_800, set(Paper)),
    ("CN", 30, 30, 10, 10, 86_400, {Paper.DISCLOSURE_AT_SALE, Paper.DEVICE_AGREEMENT}),
]


def world_in(jur: str, *, opinion: bool = True) -> GateWorld:
    world = GateWorld(jur=jur, is_demo=False)
    if opinion:
        world.load_opinion(jur, pack(PLACES[jur]))
    return world


def rules(world: GateWorld, **changes: object) -> set[str]:
    """Return the rules that speak against an order made now."""
    basis = world.basis()
    detail = world.screen(world.order(basis=basis, **changes), basis).detail
    return {part.partition(":")[0] for part in detail.split("; ") if part}


@pytest.mark.parametrize("jur", LOCKABLE)
def test_nothing_is_locked_before_counsel_s_opinion_on_this_very_pack_is_loaded(jur: str) -> None:
    world = world_in(jur, opinion=False)
    assert rules(world) == {"COUNSEL"}
    world.load_opinion("US-ZZ", pack(PLACES[jur]))
    world.load_opinion(jur, pack("us-wi"))
    world.load_opinion(jur, pack(PLACES[jur]), until_s=world.clock.now_s())
    assert rules(world) == {"COUNSEL"}
    world.load_opinion(jur, pack(PLACES[jur]))
    assert rules(world) == set()


def test_wisconsin_locks_nothing_whatever_counsel_says() -> None:
    world = GateWorld(jur="US-WI", is_demo=False)
    world.load_opinion("US-WI", pack("us-wi"))
    assert rules(world) == {"ACTION"}
    basis = world.basis()
    assert world.screen(world.order(OrderType.WARN, basis=basis), basis).verdict == "ELIGIBLE"


def test_a_union_s_pack_without_a_calendar_locks_nothing_even_with_an_opinion() -> None:
    world = GateWorld(jur="EU", is_demo=False)
    assert rules(world) == {"COUNSEL", "HOURS"}
    world.load_opinion("EU", pack("eu"))
    assert rules(world) == {"HOURS"}


def test_an_unknown_place_has_the_default_pack_and_needs_an_opinion_of_its_own() -> None:
    world = world_in("US-TX")
    assert rules(world) == set()
    world.jur = "US-AZ"
    assert rules(world) == {"COUNSEL"}


def test_a_gate_of_production_does_not_take_the_demonstration_s_pack() -> None:
    assert rules(GateWorld(jur="ZZ", is_demo=False)) == {"COUNSEL"}
    assert rules(GateWorld(jur="ZZ", is_demo=True)) == set()


@pytest.mark.parametrize(
    ("jur", "weekly", "others", "first_weekly", "first_others", "window", "papers"), TABLE
)
def test_a_place_s_table_holds_to_the_day_and_the_second(
    jur: str, weekly: int, others: int, first_weekly: int, first_others: int, window: int, papers: set[Paper]
) -> None:
    for interval, days, first in (
        (Interval.WEEKLY, weekly, first_weekly),
        (Interval.OTHER, others, first_others),
    ):
        world = world_in(jur)
        world.loan.interval = interval
        world.loan.due_since_s = world.start_s - days * DAY_S + 1
        assert rules(world) == {"DAYS"}, interval
        world.loan.due_since_s -= 1
        assert rules(world) == set(), interval
        if first:
            assert first_notice_rules(jur, interval, first * DAY_S - 1) == {"NOTICE"}
        assert first_notice_rules(jur, interval, first * DAY_S) == set()
    world = world_in(jur)
    assert rules(world, key_23={1: 3, 2: window}) == set()
    if window > 86_400:
        assert rules(world, key_23={1: 3, 2: window - 1}) == {"TERMS"}
    for paper in Paper:
        world.loan.papers = frozenset(Paper) - {paper}
        assert rules(world) == ({"PAPERS"} if paper in papers else set()), paper


def first_notice_rules(jur: str, interval: Interval, age_s: int) -> set[str]:
    world = world_in(jur)
    world.loan.interval = interval
    world.system.records.clear()
    for channel, state in ((Channel.LETTER, Delivery.SERVED), (Channel.EMAIL, Delivery.DELIVERED)):
        world.system.notice(
            CONTRACT, EPISODE, channel, state, kind=NoticeType.FIRST, at_s=world.start_s - age_s
        )
        world.system.notice(CONTRACT, EPISODE, channel, state, at_s=world.start_s - 3 * DAY_S)
    return rules(world)


@pytest.mark.parametrize("jur", LOCKABLE)
def test_the_contract_s_days_count_when_they_are_stricter(jur: str) -> None:
    world = world_in(jur)
    world.loan.contract_days = 41
    answer = world.screen(world.order(basis=world.basis()), world.basis())
    assert answer.verdict == "REFUSED"
    assert rules(world) == {"DAYS"}


def test_the_lower_count_of_days_is_believed() -> None:
    world = world_in("US-NV")
    true = world.system.state
    world.system.state = lambda *at: replace(true(*at), days_past_due=29)  # type: ignore[method-assign]
    assert rules(world) == {"DAYS"}


# --- notices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.EMAIL, Delivery.DELIVERED, 72)], set()),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.EMAIL, Delivery.DELIVERED, 71)], {"NOTICE"}),
        ([(Channel.LETTER, Delivery.SERVED, 72)], {"NOTICE"}),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.LETTER, Delivery.DELIVERED, 72)], {"NOTICE"}),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.EMAIL, Delivery.QUEUED, 99)], {"NOTICE"}),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.EMAIL, Delivery.SENT, 99)], {"NOTICE"}),
        (
            [
                (Channel.LETTER, Delivery.SERVED, 72),
                (Channel.EMAIL, Delivery.DELIVERED, 90),
                (Channel.EMAIL, Delivery.BOUNCED, 80),
            ],
            {"NOTICE"},
        ),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.PHONE, Delivery.SERVED, 72)], set()),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.PHONE, Delivery.DELIVERED, 72)], {"NOTICE"}),
        ([(Channel.LETTER, Delivery.SERVED, 72), (Channel.APP, Delivery.DELIVERED, -1)], {"NOTICE"}),
    ],
)
def test_a_final_notice_counts_as_the_pack_allows(
    final: list[tuple[Channel, Delivery, int]], expected: set[str]
) -> None:
    world = world_in("US-NJ")
    world.system.records.clear()
    for channel, state, age_h in final:
        world.system.notice(CONTRACT, EPISODE, channel, state, at_s=world.start_s - age_h * HOUR_S)
    assert rules(world) == expected


def test_a_refusal_names_the_first_second_at_which_the_notice_has_run() -> None:
    world = world_in("US-NJ")
    world.system.records.clear()
    begun_s = world.start_s - 10 * HOUR_S
    world.system.serve_all(CONTRACT, EPISODE, at_s=begun_s)
    basis = world.basis()
    answer = world.screen(world.order(basis=basis), basis)
    assert (answer.rule, answer.earliest) == ("NOTICE", begun_s + 72 * HOUR_S)


def test_an_episode_is_over_after_thirty_days_and_another_s_notices_do_not_count() -> None:
    world = world_in("US-NJ")
    assert rules(world, key_24=bytes(16)) == {"NOTICE"}
    world.system.records.clear()
    world.system.serve_all(CONTRACT, EPISODE, at_s=world.start_s - 30 * DAY_S)
    assert rules(world) == {"EPISODE"}


# --- hours --------------------------------------------------------------------------------------------------


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("place", "utc", "expected"),
    [
        ("us-ca", "2026-11-24T15:59:59", False),  # 07:59:59 of a Tuesday
        ("us-ca", "2026-11-24T16:00:00", True),
        ("us-ca", "2026-11-25T01:59:59", True),
        ("us-ca", "2026-11-25T02:00:00", False),  # 18:00
        ("us-ca", "2026-11-26T20:00:00", False),  # Thanksgiving
        ("us-ca", "2026-11-28T20:00:00", False),  # a Saturday
        ("us-ca", "2027-03-15T14:59:59", False),  # a Monday, summer time since the day before
        ("us-ca", "2027-03-15T15:00:00", True),
        ("us-nj", "2026-11-24T12:59:59", False),
        ("us-nj", "2026-11-24T13:00:00", True),
        ("us-nj", "2027-07-05T15:00:00", False),  # Independence Day, observed
        ("cn", "2026-11-24T00:00:00", True),
        ("cn", "2026-11-24T10:00:00", False),
        ("cn", "2027-01-04T02:00:00", False),  # beyond the days that are known
        ("eu", "2026-11-24T12:00:00", False),
        ("zz", "2026-11-28T23:59:59", True),
    ],
)
def test_a_place_locks_in_its_own_hours_on_its_own_business_days(
    place: str,
    utc: str,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert hours.may_lock(pack(place), at(utc), facts_offset_min=0) is expected


def test_unknown_local_time_is_never_allowed() -> None:
    assert not hours.may_lock(pack("default"), NOON_S, facts_offset_min=None)
    assert hours.may_lock(pack("default"), NOON_S, facts_offset_min=-480)


def test_a_go_token_at_night_is_refused_with_the_next_opening_and_the_order_goes_on() -> None:
    world = GateWorld(jur="US-CA", is_demo=False, start_s=at("2026-11-24T20:00:00"))
    world.load_opinion("US-CA", pack("us-ca"))
    assert world.lock().verdict == "SIGNED"
    world.clock.wait(8 * HOUR_S)
    go = world.go()
    assert (go.verdict, go.rule, go.token) == ("REFUSED", "HOURS", None)
    assert go.earliest == at("2026-11-25T16:00:00")
    world.clock.wait(12 * HOUR_S)
    assert world.go().verdict == "GO"


def test_an_order_whose_life_has_no_business_hour_is_not_signed() -> None:
    world = GateWorld(jur="US-CA", is_demo=False, start_s=at("2026-11-28T08:00:00"))
    world.load_opinion("US-CA", pack("us-ca"))
    assert rules(world) == {"HOURS"}


@pytest.mark.parametrize(
    ("zone", "utc", "offset"),
    [
        (Zone(offset_min=60, summer="eu"), "2027-03-28T00:59:59", 60),
        (Zone(offset_min=60, summer="eu"), "2027-03-28T01:00:00", 120),
        (Zone(offset_min=60, summer="eu"), "2027-10-31T00:59:59", 120),
        (Zone(offset_min=60, summer="eu"), "2027-10-31T01:00:00", 60),
        (Zone(offset_min=-480, summer="us"), "2027-03-14T09:59:59", -480),
        (Zone(offset_min=-480, summer="us"), "2027-03-14T10:00:00", -420),
        (Zone(offset_min=-480, summer="us"), "2027-11-07T08:59:59", -420),
        (Zone(offset_min=-480, summer="us"), "2027-11-07T09:00:00", -480),
    ],
)
def test_summer_time_begins_and_ends_by_rule(zone: Zone, utc: str, offset: int) -> None:
    assert hours.utc_offset_min(zone, at(utc), facts_offset_min=None) == offset


# --- packs as data ------------------------------------------------------------------------------------------


def test_the_packs_that_ship_are_these_and_none_of_production_locks_by_itself() -> None:
    found = {at.jur: at for at in all_packs()}
    assert set(found) == {"*", "US-CA", "US-NJ", "US-NV", "US-WI", "CN", "EU", "ZZ"}
    assert {jur for jur, at in found.items() if at.lock == "on"} == {"ZZ"}
    assert {jur for jur, at in found.items() if at.is_demo} == {"ZZ"}
    strictest = found["*"]
    for other in found.values():
        if not other.is_demo:
            assert strictest.days_weekly >= other.days_weekly
            assert strictest.first_other_days >= other.first_other_days
            assert strictest.override_s >= other.override_s
            assert strictest.papers >= other.papers


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("final_s = 259_200", "final_s = 259_199", "final_s"),
        ("channels_min = 2", "channels_min = 1", "channels_min"),
        ("gap_s = 600", "gap_s = 599", "gap_s"),
        ("override_s = 172_800", "override_s = 86_399", "override_s"),
        ("hold_s_max = 259_200", "hold_s_max = 604_801", "hold_s_max"),
        ('lock = "counsel"', 'lock = "on"', "lock"),
        ('lock_hours = ["08:00", "18:00"]', 'lock_hours = ["07:59", "18:00"]', "lock_hours"),
        ('warn_hours = ["07:00", "22:00"]', 'warn_hours = ["07:00", "22:01"]', "warn_hours"),
        ('sms = ["delivered"]', 'sms = ["sent"]', "channels.sms"),
        ("expires = 2027-11-01", "expires = 2028-11-01", "expires"),
        ("days_other = 10", "days_other = -1", "days_other"),
        ("gap_s = 600", "gap_s = 600\nfee_minor = 100", "fee_minor"),
        ("gap_s = 600\n", "", "gap_s"),
        ('summer = "us"', 'summer = "moon"', "zone"),
        ('jur = "US-NJ"', "jur = ", "TOML"),
    ],
)
def test_a_pack_below_a_floor_or_with_another_field_is_none(old: str, new: str, said: str) -> None:
    text = pack_text("us-nj")
    assert old in text
    with pytest.raises(PackError, match=said):
        load_toml(text.replace(old, new))


def test_a_pack_is_read_back_as_it_was_signed_and_by_its_own_key_only() -> None:
    for path in PACKS.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        signed = sign_pack(text, published_signer("policy-1"))
        assert open_pack(signed, published_lookup("policy-1")) == load_toml(text)
        with pytest.raises(PackError, match="UNKNOWN_KEY"):
            open_pack(signed, published_lookup("stranger"))
        with pytest.raises(PackError):
            open_pack(signed[:-1] + bytes([signed[-1] ^ 1]), published_lookup("policy-1"))


def test_a_pack_s_bytes_of_another_form_are_refused() -> None:
    value = strict_cbor.loads(encode_toml(pack_text("zz")), 16_384)
    for wrong in (b"", strict_cbor.dumps([]), strict_cbor.dumps(value | {"lock": "perhaps"})):
        with pytest.raises(PackError):
            read_pack(wrong)


def test_a_pack_that_is_over_leaves_its_place_without_rules() -> None:
    shelf = PackShelf(all_packs(), is_demo=False)
    over = pack("us-nj").expires_s
    assert shelf.find("US-NJ", now_s=over - 1) == pack("us-nj")
    assert shelf.find("US-NJ", now_s=over) is None
    assert shelf.find("US-NJ", now_s=pack("us-nj").issued_s - 1) is None


def test_a_later_edition_replaces_an_earlier_one_when_it_begins() -> None:
    later = replace(pack("us-nj"), version=2, issued_s=pack("us-nj").issued_s + DAY_S)
    shelf = PackShelf([later, pack("us-nj")], is_demo=False)
    assert shelf.find("US-NJ", now_s=later.issued_s - 1) == pack("us-nj")
    assert shelf.find("US-NJ", now_s=later.issued_s) == later
