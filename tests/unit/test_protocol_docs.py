"""The examples in docstrings run, every limit has its reason, and SPEC.md states what is in force."""

import ast
import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import protocol
import protocol.vectors
from protocol import limits
from protocol.batch import DropCause, GapCause, LossCause, OriginKind, Section
from protocol.errors import Reject
from protocol.receipts import RefusalCode
from protocol.topics import Down, Up

FOLDER = Path(protocol.__file__).parent
SPEC = (FOLDER / "SPEC.md").read_text(encoding="utf-8")
MODULES = [
    info.name
    for package in (protocol, protocol.vectors)
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if not info.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_a_module_s_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_module_opens_with_its_rules_and_an_example(name: str) -> None:
    doc = importlib.import_module(name).__doc__ or ""
    assert "Example" in doc, name
    assert len(doc.splitlines()) > 3, name


def test_every_limit_of_the_protocol_has_its_reason_beside_it() -> None:
    body = ast.parse((FOLDER / "limits.py").read_text(encoding="utf-8")).body
    text = (FOLDER / "limits.py").read_text(encoding="utf-8").splitlines()
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            has_docstring = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            has_comment = text[node.lineno - 2].startswith("#") or "#" in text[node.end_lineno - 1]  # type: ignore[operator]
            assert has_docstring or has_comment, text[node.lineno - 1]


def test_spec_states_the_limits_in_force() -> None:
    table = SPEC.partition("## 15. Limits")[2].partition("## 16.")[0]
    stated = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", table)}
    for name in (
        "PAYLOAD_BYTES_MAX", "SIGN1_BYTES_MAX", "HEADER_BYTES_MAX", "DEPTH_MAX", "TEXT_BYTES_MAX",
        "SECTIONS_MAX", "GAPS_MAX", "LOSSES_MAX", "RECEIPT_HAVE_MAX", "RECEIPT_REFUSED_MAX",
        "RECEIPT_WANT_MAX", "GROUPS_MAX", "COLUMNS_MAX", "SIGNALS_BYTES_MAX", "FIXES_MAX", "FRAMES_MAX",
        "FRAMES_BYTES_MAX", "BUSES_MAX", "WINDOWS_MAX", "WINDOW_VALUES_MAX", "FACTS_BYTES_MAX",
        "EVENTS_MAX", "EVENT_FIELDS_MAX", "HEALTH_MAX", "POLICY_BYTES_MAX",
    ):  # fmt: skip
        assert getattr(limits, name) in stated, name


def test_spec_names_every_code_and_topic() -> None:
    for word in (*Reject, *Up, *Down):
        assert word in SPEC, word


def test_spec_numbers_every_meaning() -> None:
    """Each numbered list of SPEC.md has as many numbers as its enum, so neither grows alone."""
    for enum, pattern in (
        (GapCause, r"cause 1 power, 2 jam, 3 storage, 4 privacy, 5 fault"),
        (LossCause, r"cause 1 quota, 2 storage, 3 refused, 4 damaged, 5 sealed again in a later chain"),
        (OriginKind, r"kind 1 first \(a new box\), 2 storage\s+lost, 3 conflict, 4 rekeyed"),
        (
            RefusalCode,
            r"code\]: 1 conflict, 2 fork, 3 unsupported version, 4 bad field, 5 too large, 6 bad origin",
        ),
    ):
        found = re.search(pattern, SPEC)
        assert found, enum
        assert re.findall(r"\d+", found[0]) == [str(member.value) for member in enum]
    drops = SPEC.partition("Drops: ")[2].partition("**Frames received")[0]
    assert {int(number) for number in re.findall(r"\d+", drops)} == set(DropCause)
    sections = re.findall(
        r"^\| (\d) \| (\w+) \| ", SPEC.partition("## 8. Sections")[2].partition("**zstd")[0], re.MULTILINE
    )
    assert {int(number): name for number, name in sections} == {
        member.value: member.name.lower() for member in Section
    }
