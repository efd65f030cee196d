"""The floors: the demo's are the product's names with shorter waits, and nothing that protects people is
softer."""

import re
from pathlib import Path
from types import ModuleType

from device.mcu import floors, floors_demo
from protocol import limits


def names(module: ModuleType) -> dict[str, int | bool]:
    return {name: value for name, value in vars(module).items() if name.isupper()}


SHORTER = {
    "REST_S", "DRIVE_CYCLE_S", "STEP_GAP_S_MAX", "ARMED_S_MAX", "GO_AGE_S_MAX", "CRASH_HOLD_S", "LOCK_RATE_S",
    "WARN_PLAY_S", "WARN_OFF_S", "CONTACT_S_MAX", "BUTTON_S", "TRY_EVERY_S",
}  # fmt: skip
ANY_HOUR = {
    "IS_DEMO", "HOURS_FROM_MIN", "HOURS_TO_MIN", "BUSINESS_DAYS_ONLY", "WARN_FROM_MIN", "WARN_TO_MIN",
    "WARN_PER_DAY_MAX",
}  # fmt: skip


def test_the_demos_floors_have_the_products_names_and_differ_only_where_listed() -> None:
    product, demo = names(floors), names(floors_demo)
    assert list(product) == list(demo)
    assert {name for name in product if product[name] != demo[name]} == SHORTER | ANY_HOUR
    assert all(0 < demo[name] < product[name] for name in SHORTER)
    assert (floors.IS_DEMO, floors_demo.IS_DEMO) == (False, True)


def test_the_product_has_the_numbers_of_the_rules() -> None:
    hour, day = 3_600, 86_400
    assert (floors.REST_S, floors.DRIVE_CYCLE_S, floors.MOTION_SOURCES_MIN) == (600, 600, 2)
    assert floors.GNSS_REST_MM_S_MAX <= 3_000_000 / 3_600 < floors.GNSS_REST_MM_S_MAX + 1
    assert (hour // 2, hour // 2) == (floors.ZONE_FIX_AGE_S_MAX, floors.AMBIENT_AGE_S_MAX)
    assert (floors.HOURS_FROM_MIN, floors.HOURS_TO_MIN, floors.BUSINESS_DAYS_ONLY) == (8 * 60, 18 * 60, True)
    assert (floors.TEMP_C_MIN, floors.TEMP_C_MAX) == (-10, 38)
    assert (floors.ARMED_S_MAX, floors.GO_AGE_S_MAX) == (900, limits.GO_AGE_S_MAX)
    assert (72 * hour, 7 * day) == (floors.CRASH_HOLD_S, floors.LOCK_RATE_S)
    assert (2, 3, day) == (floors.WARN_CYCLES_MIN, floors.WARN_PER_DAY_MAX, floors.WARN_DAY_S)
    assert (floors.WARN_FROM_MIN, floors.WARN_TO_MIN) == (7 * 60, 22 * 60)
    assert (floors.BROWN_OUT_MV, floors.ONE_TOUCH_S) == (9_000, 60)
    assert (72 * hour, limits.LEASE_S_MAX) == (floors.LEASE_DEFAULT_S, floors.LEASE_CAP_S)
    assert (day, day) == (floors.OFF_TIME_UNKNOWN_S, floors.CONTACT_S_MAX)
    assert (floors.OVERRIDE_S_MIN, floors.CODES_MIN) == (limits.OVERRIDE_WINDOW_S_MIN, 3)
    assert (floors.BUTTON_S, floors.CYCLES, floors.CYCLES_S) == (5, 3, 15)
    assert (floors.TRIES_FREE, floors.TRY_EVERY_S) == (5, 900)
    assert (floors.WATCHDOG_RESETS_MAX, floors.WATCHDOG_SPAN_S) == (3, 600)


def test_no_gap_can_hide_what_it_interrupts() -> None:
    for module in (floors, floors_demo):
        assert min(module.REST_S, module.DRIVE_CYCLE_S) > module.STEP_GAP_S_MAX * 2
        assert module.FACTS_AGE_S_MAX < floors.REST_S


def test_each_number_says_where_it_comes_from() -> None:
    text = Path(floors.__file__).read_text(encoding="utf-8")
    sections = re.findall(r"^# --- (.*?) -+$", text, re.MULTILINE)
    assert len(sections) == 9
    assert all(re.search(r"\((row|rows|README|command-authority|S-)", section) for section in sections)
