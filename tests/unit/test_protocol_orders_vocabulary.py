"""The words of orders: typed and plain ones say the same, and the table of states is whole."""

import ast
import itertools
from pathlib import Path

import pytest

from protocol import cose_sign, limits, orders_authority, orders_checks, orders_forms, orders_reader
from protocol import orders_vocabulary as words
from protocol.orders import Code, LinkCode, OrderType, Role, State

CORE = [
    *("strict_cbor", "cose_sign", "orders_vocabulary", "orders_forms", "orders_payload", "orders_authority"),
    *("orders_checks", "orders_reader"),
]
FOLDER = Path(words.__file__).parent


def test_the_enums_are_the_vocabulary() -> None:
    assert {member.name: member.value for member in OrderType} == {
        name: getattr(words, name) for name in OrderType.__members__
    }
    assert set(OrderType) == set(words.CLASS) == set(words.SIGNERS) == set(words.TRANSITIONS)
    assert all(getattr(words, role.name) == role for role in Role)
    assert tuple(code.name for code in Code) == words.CODES
    assert tuple(state.name for state in State) == words.STATES
    assert all(getattr(words, state.name) == state for state in State)
    assert tuple(LinkCode) == words.LINK_CODES


def test_the_numbers_of_the_reference_stand_where_it_lists_them() -> None:
    assert (Code.SIGNER_SET, Code.REPLAY_CTR, Code.NO_GO, Code.DUPLICATE) == (1, 9, 17, 30)
    assert len(Code) == len(set(words.CODES)) == 39


def test_what_restricts_needs_maker_checker_and_gate_and_nothing_else_will_do() -> None:
    """C-02, C-03: WARN has the chain of LOCK."""
    for order_type, order_class in words.CLASS.items():
        if order_class == words.CLASS_A:
            assert words.SIGNERS[order_type] == ((Role.MAKER, Role.CHECKER, Role.GATE),)


def test_any_of_five_roles_alone_may_unlock() -> None:
    alone = {roles[0] for roles in words.SIGNERS[OrderType.UNLOCK] if len(roles) == 1}
    assert alone == {Role.MAKER, Role.CHECKER, Role.GATE, Role.SAFETY_OFFICER, Role.OMBUDS}
    assert words.SIGNERS[OrderType.UNLOCK] == words.SIGNERS[OrderType.CANCEL]


def test_a_delegation_may_allow_exactly_what_some_signer_set_uses() -> None:
    used = {
        (role, order_type)
        for order_type, sets in words.SIGNERS.items()
        for roles in sets
        for role in roles
        if role != Role.MCU
    }
    assert used == {(role, order_type) for role, types in words.ROLE_TYPES.items() for order_type in types}


def test_the_core_repeats_the_limits_it_cannot_import() -> None:
    assert cose_sign.SIGNERS_MAX == limits.ORDER_SIGNERS_MAX
    assert orders_forms.TICKET_BYTES_MAX == limits.ORDER_TICKET_BYTES_MAX
    assert orders_forms.HOLD_S_MAX == limits.LEASE_S_MAX
    assert orders_forms.OVERRIDE_S_MIN == limits.OVERRIDE_WINDOW_S_MIN
    assert orders_forms.REVOKED_MAX == limits.REVOKED_DOC_MAX
    assert orders_authority.REVOKED_TOTAL_MAX == limits.REVOKED_MAX
    assert orders_authority.DELEGATION_S_MAX == limits.DELEGATION_S_MAX
    assert orders_checks.ORDER_LIFE_S_MAX == limits.ORDER_LIFE_S_MAX
    assert orders_checks.BENCH_LIFE_S_MAX == limits.BENCH_LIFE_S_MAX
    assert orders_checks.CLOCK_WIDTH_S_MAX == limits.CLOCK_WIDTH_S_MAX
    assert orders_checks.CTR_JUMP_MAX == limits.CTR_JUMP_MAX
    assert orders_reader.GO_AGE_S_MAX == limits.GO_AGE_S_MAX


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_only_itself_and_hashing(name: str) -> None:
    """The same files run on the microcontroller."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named = [f"protocol.{alias.name}" for alias in node.names]
            imported |= set(named) if node.module == "protocol" else {str(node.module)}
    assert imported <= {"hashlib", *(f"protocol.{other}" for other in CORE)}


EVENTS = sorted({event for table in words.TRANSITIONS.values() for _, event in table})


@pytest.mark.parametrize("order_type", OrderType, ids=lambda order_type: order_type.name)
def test_every_state_is_reached_and_every_path_can_end(order_type: OrderType) -> None:
    table = words.TRANSITIONS[order_type]
    reached = {words.NONE}
    while True:
        more = reached | {after for (before, _), after in table.items() if before in reached}
        if more == reached:
            break
        reached = more
    assert {state for state, _ in table} <= reached
    for state in reached - set(words.FINAL):
        assert any(before == state for before, _ in table), State(state).name
    ending = set(words.FINAL)
    while True:
        more = ending | {before for (before, _), after in table.items() if after in ending}
        if more == ending:
            break
        ending = more
    assert reached <= ending


def test_nothing_leaves_a_final_state() -> None:
    for order_type, state, event in itertools.product(OrderType, words.FINAL, EVENTS):
        assert words.next_state(order_type, state, event) is None


def test_only_a_lock_with_all_interlocks_and_a_go_token_locks() -> None:
    """C-15: no other event, and no other type, leads to LOCKED."""
    leading = {
        (order_type, before, event)
        for order_type, table in words.TRANSITIONS.items()
        for (before, event), after in table.items()
        if after == words.LOCKED and before != words.LOCKED
    }
    assert leading == {
        (OrderType.LOCK, words.ARMED, words.GO),
        (OrderType.LOCK, words.OVERRIDDEN, words.WINDOW_ENDED_GO),
    }


def test_a_locked_car_is_released_by_each_of_the_ways_that_need_no_signature() -> None:
    """C-16: the end of the lease, lost contact, a fault, a crash, and the emergency start."""
    after = {event: words.next_state(OrderType.LOCK, words.LOCKED, event) for event in EVENTS}
    assert after[words.LEASE_ENDED] == words.LEASE_EXPIRED
    assert after[words.CONTACT_LOST] == words.RELEASED
    assert after[words.FAULT] == after[words.CRASH] == words.FAULT_RELEASED
    assert after[words.EMERGENCY] == words.OVERRIDDEN
    assert after[words.UNLOCK_ACCEPTED] == words.RELEASED


def test_a_fault_ends_whatever_waits_or_holds() -> None:
    """Doubt never leads to a lock: not now, and not when the fault is gone."""
    for order_type in (OrderType.LOCK, OrderType.WARN, OrderType.RENEW):
        table = words.TRANSITIONS[order_type]
        for state in {before for before, _ in table} - {words.NONE, words.RECEIVED}:
            assert table[state, words.FAULT] in (words.CANCELLED, words.FAULT_RELEASED)


def test_an_unlock_ends_whatever_waits_or_holds() -> None:
    for order_type in (OrderType.LOCK, OrderType.WARN, OrderType.RENEW):
        waiting = {
            before for before, event in words.TRANSITIONS[order_type] if event == words.CANCEL_ACCEPTED
        }
        for state in waiting:
            assert words.next_state(order_type, state, words.UNLOCK_ACCEPTED) == words.CANCELLED


def test_after_armed_fell_back_the_warning_is_not_repeated() -> None:
    back = words.next_state(OrderType.LOCK, words.ARMED, words.FELL_BACK)
    assert back == words.ACCEPTED_PENDING
    assert words.next_state(OrderType.LOCK, back, words.PARKED_WARNED) == words.ARMED
