"""SPEC-evidence.md is executed: its blocks are rebuilt from published keys, its tables are the code's."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import protocol
from protocol import codec, limits
from protocol.checkpoint import open_checkpoint
from protocol.evidence import verify
from protocol.evidence_file import read_file
from protocol.evidence_manifest import PartKind, WithheldReason, encode_manifest
from protocol.evidence_report import Code, Trust, Verdict
from protocol.ids import cose_key_bytes
from protocol.merkle import is_consistent
from protocol.vectors.annotate import hex_of
from protocol.vectors.evidence import example_file, example_manifest
from protocol.vectors.evidence_orders import LOG, example_order_parts, order_blocks
from protocol.vectors.story import DEVICE, RECEIPT_SIGNER

SPEC = (Path(protocol.__file__).parent / "SPEC-evidence.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```tbox evidence:(\w+)\n(.*?)```", SPEC, flags=re.DOTALL))
TRUST = Trust(devices=frozenset({DEVICE}), backend_keys={RECEIPT_SIGNER.kid: RECEIPT_SIGNER.public_key})


def test_the_worked_manifest_is_what_the_code_writes() -> None:
    assert hex_of(BLOCKS["manifest"]) == encode_manifest(example_manifest())


def test_the_worked_file_is_what_the_code_writes() -> None:
    assert hex_of(BLOCKS["file"]) == example_file()
    assert f"The file, {len(example_file())} bytes" in SPEC


def test_the_worked_file_has_the_verdict_that_the_text_gives() -> None:
    report = verify(hex_of(BLOCKS["file"]), TRUST)
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert [finding.code for finding in report.findings] == [Code.SECTION_WITHHELD, Code.EDGE_UNPROVEN]


def test_the_trust_of_the_text_is_read_and_a_misspelt_member_is_not() -> None:
    key = cose_key_bytes(RECEIPT_SIGNER.public_key).hex()
    text = f'{{"devices": ["{DEVICE}"], "backend_keys": ["{key}"], "device_keys": {{"{DEVICE}": ["{key}"]}}}}'
    assert Trust.from_json(text).devices == TRUST.devices


def test_every_finding_is_in_the_table_and_no_other() -> None:
    table = SPEC.partition("## 7. Findings")[2].partition("## 8.")[0]
    assert set(re.findall(r"\| `(\w+)` \|", table)) == {code.value for code in Code}


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_its_exit_code_in_the_table(verdict: Verdict) -> None:
    assert f"| {verdict} | {verdict.exit_code} |" in SPEC


def test_kinds_and_reasons_are_numbered_as_in_the_code() -> None:
    kinds = SPEC.partition("Kinds of part:")[2].partition("\n\n")[0]
    listed = re.findall(r"(?:^ |, |\n)(\d+) (?:a|the)\b", kinds)
    assert listed == [str(int(kind)) for kind in PartKind]
    reasons = SPEC.partition("reason 1")[2].partition("|")[0]
    assert [int(number) for number in re.findall(r", (\d) ", reasons)] == list(WithheldReason)[1:]


def test_the_limits_are_those_in_force() -> None:
    stated = {
        int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d", SPEC.partition("## 9.")[2])
    }
    for name in ("BYTES_MAX", "PARTS_MAX", "CHAINS_MAX", "MANIFEST_BYTES_MAX"):
        assert getattr(limits, f"EVIDENCE_{name}") in stated, name


def test_the_file_is_a_cbor_sequence_that_any_reader_can_walk() -> None:
    """Without our own reader: heads in the order that RFC 8742 and RFC 8949 give."""
    data, offset, items = example_file(), 0, []
    while offset < len(data):
        major, info = data[offset] >> 5, data[offset] & 31
        octets = {24: 1, 25: 2, 26: 4}.get(info, 0)
        size = int.from_bytes(data[offset + 1 : offset + 1 + octets], "big") if octets else info
        offset += 1 + octets + size
        items.append((major, size))
    assert [major for major, _ in items] == [3, *([2] * (1 + len(read_file(data).parts)))]


@pytest.mark.parametrize("name", ["order", "opening", "leaf", "checkpoint", "growth"])
def test_the_worked_parts_about_an_order_are_what_the_code_writes(name: str) -> None:
    assert hex_of(BLOCKS[name]) == example_order_parts()[name].data
    assert BLOCKS[name].strip() == order_blocks()[name]


def test_the_worked_proofs_hold_by_the_log_key_alone() -> None:
    """Without our own verifier: two hashes and a signature, as the text says."""
    opened = open_checkpoint(hex_of(BLOCKS["checkpoint"]), LOG.key, []).checkpoint
    leaf, size, path = codec.decode(hex_of(BLOCKS["leaf"]), max_bytes=1_000)
    assert leaf == b"\x01" + hashlib.sha256(hex_of(BLOCKS["opening"])).digest()
    assert hex_of(BLOCKS["opening"])[16:] == hex_of(BLOCKS["order"])
    assert hashlib.sha256(b"\x01" + path[0] + hashlib.sha256(b"\x00" + leaf).digest()).digest() == opened.root
    first, second, growth = codec.decode(hex_of(BLOCKS["growth"]), max_bytes=1_000)
    assert (first, second, size) == (2, 3, 3)
    assert is_consistent(first=2, second=3, first_root=path[0], second_root=opened.root, proof=growth)
