"""Every requirement's id is named where it is kept, or stands in `docs/safety.md` as not met.

The ids are those that the requirements give for this version. A prose page names what it likes: only code and
tests count, and not this file.
"""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
CODE = ("protocol", "device", "backend", "simulators", "tests")

IDS = (
    *(
        "C-01",
        "C-02",
        "C-02a",
        "C-03",
        "C-05",
        "C-06",
        "C-07",
        "C-08",
        "C-09",
        "C-12",
        "C-15",
        "C-16",
        "C-20",
    ),
    *("C-21", "S-12", "P-21", "P-22"),
    *(f"B-{number:02}" for number in range(1, 8)),
    *(f"S-{number:02}" for number in range(1, 11)),
    *(f"O-{number:02}" for number in range(1, 6)),
    *(f"K-{number:02}" for number in range(1, 10)),
    *(f"P-{number:02}" for number in range(1, 21)),
)
_RANGE = re.compile(r"\b([BCSOKP])-(\d\d) to (?:\1-)(\d\d)\b")

OPEN = dict(re.findall(r"^\| ([BCSOKP]-\d\d[a-z]?) \| (not yet|in part) \| .{12,} \|$", PAGE, re.MULTILINE))


@cache
def named() -> frozenset[str]:
    """Return every id that code or tests name, ranges ("O-01 to O-05") spelt out."""
    found: set[str] = set()
    for folder in CODE:
        for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.toml")]:
            if path == Path(__file__).resolve():
                continue
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r"\b[BCSOKP]-\d\d[a-z]?\b", text))
            for letter, first, last in _RANGE.findall(text):
                found |= {f"{letter}-{number:02}" for number in range(int(first), int(last) + 1)}
    return frozenset(found)


@pytest.mark.parametrize("requirement", IDS)
def test_a_requirement_is_named_where_it_is_kept_or_said_to_be_open(requirement: str) -> None:
    assert requirement in named() or requirement in OPEN, (
        "name it in code or a test, or say in safety.md why not"
    )


def test_what_is_said_to_be_open_is_open() -> None:
    assert OPEN
    assert set(OPEN) <= set(IDS)
    kept = {
        requirement for requirement, state in OPEN.items() if state == "not yet" and requirement in named()
    }
    assert not kept, "code names it now: take it out of safety.md, or call it `in part`"


def test_no_id_is_named_that_the_requirements_do_not_give() -> None:
    assert named() - set(IDS) <= {"C-04"}, "C-04 is unassigned, and lies within a range that tests name"


def test_every_test_that_the_page_names_exists() -> None:
    names = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(names) >= 50
    missing = []
    for file, name in names:
        paths = list((ROOT / "tests").rglob(file))
        assert len(paths) == 1, file
        if not re.search(rf"^(async )?def {name}\(", paths[0].read_text(encoding="utf-8"), re.MULTILINE):
            missing.append(f"{file}::{name}")
    assert not missing


def test_every_hazard_and_every_failure_names_its_tests() -> None:
    hazards = re.findall(r"^\| H(\d+) \|.*\|(.*)\|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in hazards] == list(range(1, len(hazards) + 1))
    fails = PAGE.partition("## When something fails")[2].partition("\n## ")[0]
    rows = [row.rsplit("|", 2)[1] for row in fails.splitlines() if row.startswith("| ")][1:]
    assert rows
    assert all("::test_" in cell for cell in [*rows, *(cell for _, cell in hazards)])


def test_every_file_that_the_page_names_exists() -> None:
    files = re.findall(r"`((?:device|backend|protocol)/[\w/]+\.py)`", PAGE)
    assert files
    assert all((ROOT / file).is_file() for file in files)
