"""SPEC.md §18 says what the tables of orders say: keys by type, signers, numbers, limits, states."""

import re

import pytest

from protocol import limits
from protocol.orders import OrderType, Role
from protocol.orders_forms import FORMS, ORDER_KEYS
from protocol.orders_vocabulary import CLASS, CODES, LINK_CODES, SIGNERS, STATES
from protocol.vectors import generate
from protocol.vectors.orders_examples import states_table

SPEC = generate.SPEC.read_text(encoding="utf-8")
ORDERS = SPEC.partition("## 18. Orders")[2]
CLASS_LETTERS = {"A": 0, "B": 1, "C": 2}


def section(number: str) -> str:
    return ORDERS.partition(f"### {number} ")[2].partition("\n### ")[0]


def types_named(text: str) -> set[OrderType]:
    """Return the types of a cell: "all", "not BENCH", classes, names, or some of them."""
    if text == "all":
        return set(OrderType)
    if text.startswith("not "):
        return set(OrderType) - types_named(text.removeprefix("not "))
    named: set[OrderType] = set()
    for word in text.split(", "):
        if word in CLASS_LETTERS:
            named |= {t for t in OrderType if CLASS[t] == CLASS_LETTERS[word]}
        else:
            named.add(OrderType[word])
    return named


def test_the_table_of_keys_says_which_type_has_which() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| ([^|]+) \|$", section("18.1"), re.MULTILINE)
    stated = {int(key): types_named(types) for key, types in rows}
    assert set(stated) == set(range(1, 27))
    for key, types in stated.items():
        assert types == {t for t in OrderType if key in ORDER_KEYS[t]}, key


def test_the_types_have_their_numbers() -> None:
    row = next(line for line in section("18.1").splitlines() if line.startswith("| 3 |"))
    assert {(int(number), name) for number, name in re.findall(r"(\d+) ([A-Z]+)", row)} == {
        (t.value, t.name) for t in OrderType
    }


def test_the_table_of_signers_says_who_signs_what() -> None:
    names = {role.name.lower().replace("_", " "): role for role in Role} | {"D1": Role.MCU}
    stated: dict[OrderType, set[tuple[int, ...]]] = {}
    for types, roles in re.findall(r"^\| ([A-Z, ]+) \| (.*) \|$", section("18.3"), re.MULTILINE):
        if roles.startswith("one of "):
            sets = {(int(names[name]),) for name in roles.removeprefix("one of ").split(", ")}
        elif " one of " in roles:
            fixed, _, choice = roles.partition(" + one of ")
            sets = {tuple(sorted((int(names[fixed]), int(names[name])))) for name in choice.split(", ")}
        elif roles == "installer, with a ticket":
            sets = {(Role.GATE, Role.INSTALLER)}
        else:
            sets = {tuple(sorted(int(names[name]) for name in roles.partition(";")[0].split(" + ")))}
        for word in types.split(", "):
            stated[OrderType[word]] = sets
    assert stated == {t: set(SIGNERS[t]) for t in OrderType}


def test_codes_and_states_have_their_numbers() -> None:
    codes = re.findall(r"(\d+)\s+([A-Z_]+)[,.]", section("18.7").partition("Their numbers")[2])
    assert [name for _, name in codes] == list(CODES)
    assert [int(number) for number, _ in codes] == list(range(len(CODES)))
    states = re.findall(r"(\d+)\s+([A-Z_]+)[,.]", section("18.8").partition("What these tables")[0])
    assert states == [(str(number), name) for number, name in enumerate(STATES)]
    for word in LINK_CODES:
        assert word in ORDERS, word


@pytest.mark.parametrize("name", ["LOCK", "RENEW", "WARN", "UNLOCK"])
def test_the_changes_of_state_are_those_of_the_table(name: str) -> None:
    assert f"```states {name}\n{states_table(OrderType[name])}\n```" in ORDERS


def test_what_needs_no_table_of_its_own_is_done_at_once() -> None:
    shown = {OrderType.LOCK, OrderType.RENEW, OrderType.WARN, OrderType.UNLOCK}
    for order_type in set(OrderType) - shown:
        assert states_table(order_type) == states_table(OrderType.UNLOCK)


def test_every_document_of_orders_is_worked_in_hex() -> None:
    shown = {name.partition(":")[2].partition("/")[0] for name, _ in generate.spec_examples(SPEC)}
    assert set(FORMS) - {"challenge-request"} <= shown
    assert {"order:unlock/ombuds", "order-signed:unlock/ombuds", "order-payload:lock"} <= {
        name for name, _ in generate.spec_examples(SPEC)
    }


def test_the_limits_of_orders_are_stated() -> None:
    table = SPEC.partition("## 15. Limits")[2].partition("## 16.")[0]
    stated = {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", table)}
    for name in (
        "ORDER_BYTES_MAX", "ORDER_SIGNERS_MAX", "ORDER_TICKET_BYTES_MAX", "ORDER_LIFE_S_MAX",
        "BENCH_LIFE_S_MAX", "LEASE_S_MAX", "OVERRIDE_WINDOW_S_MIN", "CLOCK_WIDTH_S_MAX", "GO_AGE_S_MAX",
        "DELEGATION_S_MAX", "CTR_JUMP_MAX", "REVOKED_DOC_MAX", "REVOKED_MAX",
    ):  # fmt: skip
        assert getattr(limits, name) in stated, name
