"""The order vectors: every message gets its stated answer, on CPython and on MicroPython (C-01 to C-09)."""

from collections import Counter
from typing import Any

import pytest

from protocol import cose_sign, orders_payload
from protocol.envelope import Kind, read_sign1, verify_sign1
from protocol.limits import SIGN1_BYTES_MAX
from protocol.orders import OrderType
from protocol.orders_vocabulary import CODES, LINK_CODES
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import good_documents
from tests.builders.micropython import run_cpython, run_micropython
from tests.builders.order_vectors import PROGRAM, lines_for, world
from tests.builders.orders import answer, device, go_answer

WORLD = world()
MESSAGES: list[dict[str, Any]] = WORLD["messages"]
READERS = {"order": answer, "go": go_answer}

# Codes that only the car's own state machine and interlocks give, after the reader has accepted.
OF_THE_INTERLOCK = {
    *("IN_MOTION", "MOTION_DISAGREE", "SOURCES_INSUFFICIENT", "IGN_ON", "ENGINE_RUNNING", "NO_LOCK_ZONE"),
    *("ZONE_UNKNOWN", "QUIET_HOURS", "TEMP_RANGE", "OVERRIDE_ACTIVE", "RATE_LIMIT", "CRASH_HOLD"),
    *("NOT_WARNED", "HAZARD_LIGHTS"),
}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["name"])
def test_a_message_gets_the_answer_stated(message: dict[str, Any]) -> None:
    read = READERS[message["reader"]](bytes.fromhex(message["hex"]), device(message["changes"]))
    assert read == (message["outcome"], message["code"])


def test_micropython_gives_the_same_answers_with_the_microcontrollers_own_verification() -> None:
    lines = lines_for(WORLD, MESSAGES)
    expected = [f"{message['outcome']} {message['code']}" for message in MESSAGES]
    assert run_micropython(PROGRAM, lines) == expected
    assert run_cpython(PROGRAM, lines) == expected


def test_the_three_messages_that_libraries_accept_are_refused() -> None:
    """command-authority §6.2, C-09: a key unknown, a signature of zeros, one signature twice."""
    traps = {m["name"]: (m["outcome"], m["code"]) for m in MESSAGES if m["name"].startswith("trap/")}
    assert traps == {
        "trap/checker-unknown": ("LINK", "DELEGATION_MISSING"),
        "trap/checker-zeroed": ("LINK", "BAD_SIG"),
        "trap/maker-twice": ("REJECT", "SIGNER_SET"),
    }


def test_every_code_of_the_reader_is_reached_from_a_message() -> None:
    codes = {message["code"] for message in MESSAGES}
    assert codes == (set(CODES) | set(LINK_CODES)) - OF_THE_INTERLOCK


def test_every_type_is_accepted_once_and_refused_more_often() -> None:
    outcomes = Counter(message["outcome"] for message in MESSAGES)
    assert outcomes["LINK"] > 40
    assert outcomes["REJECT"] > 60
    accepted = {
        orders_payload.read_order(cose_sign.read_sign(bytes.fromhex(message["hex"]))[0])[0][3]
        for message in MESSAGES
        if message["outcome"] == "ACCEPT"
    }
    assert accepted == set(OrderType)


@pytest.mark.parametrize("name", good_documents())
def test_a_document_is_a_cose_sign1_of_its_kind_in_its_form(name: str) -> None:
    message = read_sign1(good_documents()[name], max_bytes=SIGN1_BYTES_MAX)
    signer = {"challenge": "mcu-1", "go-request": "mcu-1", "disposition": "mcu-1", "revocation": "online-1"}
    verify_sign1(message, Kind(name), published_signer(signer.get(name, "gate-1")).public_key)
    assert orders_payload.read_document(name, message.payload)[1] == 1
