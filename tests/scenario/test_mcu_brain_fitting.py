"""Before a car has its lender: the fitter's test of the coil, and how the platform introduces a lender."""

from itertools import pairwise

from device.mcu import brain as link
from protocol import strict_cbor
from protocol.orders import Code, OrderType, SignKind, State, sign_order, sign_with_root
from protocol.vectors.orders_good import ticket
from protocol.vectors.orders_story import (
    LENDER,
    LENDER_ROOT,
    OTHER_LENDER,
    OTHER_ROOT,
    PLATFORM_ROOT,
    by_roots,
    signer,
    snapshot_fields,
)
from tests.builders.mcu import Box


def fitted(*, lender_known: bool = True) -> Box:
    box = Box()
    box.provision(lender_known=lender_known)
    box.run(4)
    box.tell_time()
    for name in ("authority/platform", "delegation/gate", "delegation/installer"):
        box.give(name)
        box.run(40)
    return box


def bench(box: Box, seconds: int = 60) -> bytes:
    chal, tick = box.ask_challenge(), box.brain.record.challenge[1]
    fields = box.common(OrderType.BENCH) | {
        12: box.now_s + 100,
        13: chal,
        14: tick + 110,
        25: ticket(key_4=chal, key_5=seconds, key_6=box.now_s),
    }
    return sign_order(
        {key: value for key, value in fields.items() if key not in (4, 6, 7)}, signer("installer")
    )


def test_the_bench_holds_the_coil_for_the_seconds_of_the_ticket_and_no_longer() -> None:
    box = fitted()
    order = bench(box, 60)
    opened = box.brain.record.challenge[1]
    box.send_order(order)
    assert box.answers(order) == [(State.DONE, Code.OK)]
    box.run(2)
    assert box.board.coil
    while box.board.coil:
        box.run(1, 1)
    assert 60 <= box.brain.tick - opened <= 62
    assert "BENCH_ENDED" in box.events()
    box.send_order(order)
    box.run(4)
    assert not box.board.coil, "a repeat holds nothing"


def test_motion_a_reset_and_the_bond_each_end_the_bench() -> None:
    box = fitted()
    box.send_order(bench(box, 120))
    box.run(2)
    assert box.board.coil
    box.facts = {**(box.facts or {}), 1: [5_000, 0]}
    box.run(2)
    assert not box.board.coil
    for end in (lambda: box.reset("soft"), box.bind):
        box.park()
        box.run(8)
        box.send_order(bench(box, 120))
        box.run(2)
        assert box.board.coil
        end()
        box.run(2)
        assert not box.board.coil


def test_a_bound_car_takes_no_bench() -> None:
    box = Box.bound()
    order = bench(box)
    box.send_order(order)
    assert box.answers(order) == [(State.REJECTED, Code.WRONG_MODE)]
    assert not box.board.coil


def introduce(box: Box, issuer: str, platform: int, own: tuple[str, ...]) -> str:
    """Give a lender's first snapshot with so many platform keys beside its own; return the word."""
    keys, threshold = {LENDER: (LENDER_ROOT, 2), OTHER_LENDER: (OTHER_ROOT, 1)}[issuer]
    signers = by_roots(issuer, *PLATFORM_ROOT[:platform], *own)
    data = sign_with_root(SignKind.AUTHORITY, snapshot_fields(issuer, keys, threshold), signers)
    box.run(40)
    box.send(link.AUTHORITY, strict_cbor.dumps([2, data]))
    return box.events()[-1]


def test_the_platform_introduces_a_lender_by_its_threshold_beside_the_lenders_own() -> None:
    box = fitted(lender_known=False)
    assert introduce(box, LENDER, 0, LENDER_ROOT[:2]) != "AUTHORITY_OK", "a stranger brings itself"
    assert introduce(box, LENDER, 2, LENDER_ROOT[:2]) != "AUTHORITY_OK", "two of three"
    assert introduce(box, LENDER, 3, LENDER_ROOT[:1]) != "AUTHORITY_OK", "the lender itself did not sign"
    assert LENDER not in box.brain.record.roots
    assert introduce(box, LENDER, 3, LENDER_ROOT[:2]) == "AUTHORITY_OK"
    box.reset("power")
    assert LENDER in box.brain.record.roots


def test_a_bound_car_is_introduced_to_no_other_lender() -> None:
    box = Box.bound()
    assert introduce(box, OTHER_LENDER, 3, OTHER_ROOT) == "AUTHORITY_UNKNOWN_KEY"
    unbound = fitted()
    assert introduce(unbound, OTHER_LENDER, 3, OTHER_ROOT) == "AUTHORITY_OK"
    unbound.bind()
    assert OTHER_LENDER not in unbound.brain.record.roots, "the bond forgets the others"


def test_a_parked_box_is_up_five_minutes_every_six_hours_and_at_once_with_the_ignition() -> None:
    box = Box.bound()
    box.run(7 * 3_600, 30)
    changes = []
    was = box.board.linux
    for _ in range(2 * 6 * 120):
        box.run(30, 30)
        if box.board.linux != was:
            was = box.board.linux
            changes.append(box.brain.tick)
    assert len(changes) == 4
    spans = [later - earlier for earlier, later in pairwise(changes)]
    assert all(200 <= spans[at] <= 620 for at in (0, 2))
    assert abs(changes[2] - changes[0] - 21_600) <= 60
    box.board.is_on = True
    box.step_ms(50)
    assert box.board.linux
    box.board.is_on = False
    box.run(400, 10)
    assert not box.board.linux
    box.facts = None
    box.board.acceleration = "moving"
    box.run(10)
    assert box.board.linux


def test_a_challenge_keeps_linux_on_for_half_an_hour_and_asking_again_adds_nothing() -> None:
    """Two people sign at least ten minutes apart; a courier that asks for ever empties no battery."""
    box = Box.bound()
    box.run(7 * 3_600, 30)
    assert not box.board.linux
    box.ask_challenge()
    made = box.brain.tick
    on_until = made
    while box.brain.tick < made + 3_600:
        box.ask_challenge()
        box.run(60, 30)
        on_until = box.brain.tick if box.board.linux else on_until
    assert 1_740 <= on_until - made <= 2_220
