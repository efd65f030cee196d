"""SPEC.md §19 is executed: truth tables of the sources, order of the rows, numbers, worked codes."""

import re
from itertools import product

import pytest

from device.mcu import floors, interlock, sources
from protocol import orders_override
from protocol.orders_vocabulary import CODES
from protocol.vectors import generate

SPEC = generate.SPEC.read_text(encoding="utf-8").partition("## 19. ")[2].partition("\n## ")[0]
VERDICTS = {
    "absent": sources.ABSENT,
    "lost": sources.LOST,
    "agrees": sources.AGREES,
    "disagrees": sources.DISAGREES,
    "jammed": sources.JAMMED,
    "failed": sources.FAILED,
}
SPEEDS = {"zero": 0, "moving": 300, "slow": 833, "fast": 834}
AGES = {"fresh": 5, "old": 6}


def truth(name: str) -> list[list[str]]:
    block = re.search(rf"```truth {name}\n(.*?)```", SPEC, re.DOTALL)
    assert block is not None
    return [line.split() for line in block.group(1).splitlines() if not line.startswith("#")]


def stated(table: list[list[str]], situation: tuple[str, ...]) -> int:
    """Return the verdict of the first line that fits."""
    for *condition, verdict in table:
        if all(cell in ("*", word) for cell, word in zip(condition, situation, strict=True)):
            return VERDICTS[verdict]
    raise AssertionError(f"the table leaves {situation} open")


@pytest.mark.parametrize("word", ["still", "moving", "failed", "absent"])
def test_the_accelerometer_gets_the_verdict_of_the_table(word: str) -> None:
    said = None if word == "absent" else word
    assert sources.accel_verdict(said) == stated(truth("accel"), (word,))


def test_an_accelerometer_that_talks_nonsense_failed_its_check() -> None:
    assert sources.accel_verdict("calm") == sources.FAILED


@pytest.mark.parametrize(
    ("speed", "age", "bus", "wire"),
    list(
        product(("zero", "moving", "none"), AGES, ("asleep", "awake", "unknown"), ("off", "on", "unsensed"))
    ),
)
def test_wheel_speed_gets_the_verdict_of_the_table(speed: str, age: str, bus: str, wire: str) -> None:
    wheel = None if speed == "none" else (SPEEDS[speed], AGES[age])
    asleep = {"asleep": True, "awake": False, "unknown": None}[bus]
    ignition = {"off": False, "on": True, "unsensed": None}[wire]
    found = sources.wheel_verdict(wheel, asleep, ignition, floors.SPEED_AGE_S_MAX)
    assert found == stated(truth("wheel"), (speed, age, bus, wire))


@pytest.mark.parametrize(
    ("speed", "age", "state"),
    list(product(("slow", "fast", "nothing"), AGES, ("fix", "roof", "jammed", "none", "silent", "other"))),
)
def test_gnss_gets_the_verdict_of_the_table(speed: str, age: str, state: str) -> None:
    fix = None if speed == "nothing" else (SPEEDS[speed], AGES[age])
    number = {"fix": 0, "roof": 1, "jammed": 2, "none": 3, "silent": None, "other": 9}[state]
    found = sources.gnss_verdict(fix, number, floors.GNSS_REST_MM_S_MAX, floors.SPEED_AGE_S_MAX)
    expected = sources.LOST if state == "other" else stated(truth("gnss"), (speed, age, state))
    assert found == expected


def test_no_speed_is_less_than_nothing() -> None:
    assert sources.gnss_verdict((-1, 0), 0, 833, 5) == sources.DISAGREES
    asleep, ignition = True, False
    assert sources.wheel_verdict((-1, 0), asleep, ignition, 5) == sources.DISAGREES


def test_the_rows_stand_in_the_order_of_the_table() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", SPEC, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert [code for _, code in rows] == [code for code, _ in interlock.ROWS]
    assert {code for _, code in rows} <= set(CODES)


def test_the_readings_are_the_sixteen_the_table_names() -> None:
    listed = SPEC.partition("always these sixteen: ")[2].partition(".\n")[0].replace("\n", " ")
    names = [part.partition(" ")[0] for part in re.sub(r"\([^)]*\)", "", listed).split(", ")]
    _, readings = interlock.judge(sources.Seen(), floors, None, None)
    assert [reading[0] for reading in readings] == names
    assert len(names) == 16


def test_the_numbers_of_the_floors_are_the_numbers_of_the_text() -> None:
    numbers = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", SPEC)}
    for name in (
        "REST_S", "DRIVE_CYCLE_S", "GNSS_REST_MM_S_MAX", "STEP_GAP_S_MAX", "FACTS_AGE_S_MAX", "MOTION_S",
        "ZONE_FIX_AGE_S_MAX", "HOURS_FROM_MIN", "HOURS_TO_MIN", "AMBIENT_AGE_S_MAX", "TEMP_C_MAX",
        "GO_AGE_S_MAX", "WARN_CYCLES_MIN", "WARN_PLAY_S", "WARN_PER_DAY_MAX", "WARN_FROM_MIN", "WARN_TO_MIN",
        "BROWN_OUT_MV", "ONE_TOUCH_S", "RELAY_SETTLE_S", "LEASE_CAP_S", "OFF_TIME_UNKNOWN_S",
        "CONTACT_S_MAX", "OVERRIDE_S_MIN", "BUTTON_S", "CYCLES_S", "TRY_EVERY_S",
    ):  # fmt: skip
        assert getattr(floors, name) in numbers, name


def test_the_worked_codes_are_the_codes() -> None:
    block = re.search(r"```codes\n(.*?)```", SPEC, re.DOTALL)
    assert block is not None
    words = dict(line.split(maxsplit=1) for line in block.group(1).splitlines())
    key, episode = bytes.fromhex(words.pop("key")), bytes.fromhex(words.pop("episode"))
    assert {int(n): digits for n, digits in words.items()} == {
        n: orders_override.code(key, episode, n) for n in (1, 2, 3)
    }
