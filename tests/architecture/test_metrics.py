"""Every counter has a line in `docs/metrics.md`, so that whoever sees it rise knows what to check."""

import re
from enum import Enum
from pathlib import Path

import pytest

from backend.domain.ingest import Verdict
from backend.domain.integrity import IntegrityKind
from backend.gate.events import Dropped, Event
from protocol.errors import Reject
from protocol.header import DropCause, GapCause, LossCause
from protocol.orders_vocabulary import LINK_CODES

GO_WORDS = ("NO_GO", "CLOCK_UNCERTAIN", "KEY_REVOKED", "DELEGATION_SCOPE")
"""What `orders_reader.read_go` says of a token beyond the link codes."""

ROOT = Path(__file__).resolve().parents[2]
PAGE = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))


def _counted_in_source() -> set[str]:
    """Return the names of literal counters: `counts["name"]` and the agent's own readings."""
    found: set[str] = set()
    for path in (ROOT / "device").rglob("*.py"):
        found |= set(re.findall(r"counts\[\"(\w+)\"\]", path.read_text(encoding="utf-8")))
    for name in (
        "device/tbox.py",
        "device/agent/pumps.py",
        "device/agent/health.py",
        "backend/bridge/pump.py",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        for block in re.findall(
            r"(?:levels|own|values|fixed)[^=\n]*= \{(.*?)\}|return \{(.*?)\}", text, re.DOTALL
        ):
            found |= set(re.findall(r"\"(\w+)\":", "".join(block)))
    return found


def test_the_scan_finds_the_counters_it_is_meant_to_find() -> None:
    assert {
        "batches_sealed",
        "process_rss_kb",
        "can_malformed",
        "projected",
        "spool_pending",
    } <= _counted_in_source()


def _counted_by_the_microcontroller() -> set[str]:
    """Return the names as the agent reports them: literal ones, and those made of a word."""
    found = {f"link_{word.lower()}" for word in (*LINK_CODES, *GO_WORDS)}
    for path in (ROOT / "device" / "mcu").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"count(?:ers)?[\[(]\"(\w+)\"[\])]", text))
        if path.name == "clock.py":
            found |= {f"time_{word.lower()}" for word in re.findall(r"\"([A-Z_]{2,})\"", text)}
    return {f"mcu_{name}" for name in found}


def test_the_scan_finds_the_counters_of_the_microcontroller() -> None:
    assert {"mcu_repeats", "mcu_link_busy", "mcu_time_stale", "mcu_link_garbled"} <= (
        _counted_by_the_microcontroller()
    )


def test_every_counter_of_the_microcontroller_is_explained() -> None:
    assert not _counted_by_the_microcontroller() - PAGE


def test_every_counter_of_box_and_bridge_is_explained() -> None:
    assert not _counted_in_source() - PAGE


@pytest.mark.parametrize(
    "vocabulary", [DropCause, GapCause, LossCause, Reject], ids=lambda kind: kind.__name__
)
def test_every_cause_on_the_wire_is_explained(vocabulary: type[Enum]) -> None:
    assert not {member.name for member in vocabulary} - PAGE


@pytest.mark.parametrize("vocabulary", [Verdict, IntegrityKind], ids=lambda kind: kind.__name__)
def test_every_outcome_at_the_backend_is_explained(vocabulary: type[Enum]) -> None:
    assert not {str(member.value) for member in vocabulary} - PAGE


def test_every_counter_of_the_gate_is_explained() -> None:
    assert not ({event.counter for event in Event} | {drop.value for drop in Dropped}) - PAGE
