"""What a gate never does: sign over a block or a missing notice, or give a token after a payment."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.gate.forms import Answer
from protocol.loan_facts import Channel, Delivery, Flag, NoticeType, Paper
from protocol.orders import OrderType
from simulators.loan_system import Mode
from tests.builders.gate import CONTRACT, DAY_S, EPISODE, GateWorld, pack, token_fields

HOUR_S = 3_600
RACES, FAST_RACES = 500, 100  # the others with CI=true: each step is raced about 20 times in the fast tier
STEPS = (
    "before the screen",
    "between screen and review",
    "while the review asks",
    "before go",
    "while go asks",
)

notices = st.lists(
    st.tuples(
        st.sampled_from(Channel), st.sampled_from(Delivery), st.sampled_from(NoticeType), st.integers(-2, 400)
    ),
    max_size=6,
)


@given(
    served=notices,
    flags=st.sets(st.sampled_from(Flag), max_size=2),
    blocks=st.lists(st.tuples(st.sampled_from(Flag), st.booleans()), max_size=2),
    days=st.integers(0, 60),
    due=st.sampled_from([0, 1, 80_000]),
    pending=st.sampled_from([0, 1, 79_999, 80_000]),
    papers=st.sets(st.sampled_from(Paper)),
    kind=st.sampled_from([OrderType.LOCK, OrderType.WARN]),
)
def test_nothing_is_signed_over_a_block_a_missing_notice_or_a_payment(
    served: list[tuple[Channel, Delivery, NoticeType, int]],
    flags: set[Flag],
    blocks: list[tuple[Flag, bool]],
    days: int,
    due: int,
    pending: int,
    papers: set[Paper],
    kind: OrderType,
) -> None:
    world = GateWorld(jur="US-NJ", is_demo=False, packs=[pack("us-nj")])
    world.load_opinion("US-NJ", pack("us-nj"))
    loan = world.loan
    loan.flags, loan.papers, loan.due_minor = flags, frozenset(papers), due
    loan.due_since_s = world.start_s - days * DAY_S if due else None
    loan.pending = [(pending, world.start_s - 60)] if pending else []
    world.system.records.clear()
    for channel, state, type_, age_h in served:
        at_s = world.start_s - age_h * HOUR_S
        world.system.notice(CONTRACT, EPISODE, channel, state, kind=type_, at_s=at_s)
    for flag, is_recorded_only in blocks:
        block_id, record = world.system.block(CONTRACT, flag)
        world.record(record)
        if is_recorded_only:
            loan.blocks.pop(block_id)
    answer = world.lock(kind=kind)
    final = {
        channel
        for channel, state, type_, age_h in served
        if type_ is NoticeType.FINAL and state in (Delivery.DELIVERED, Delivery.SERVED) and age_h >= 71
    }
    is_lawful = not flags and not blocks and due - pending > 0 and not pending and bool(served)
    if kind is OrderType.LOCK:
        is_lawful = is_lawful and len(final) >= 2 and days >= 10
        is_lawful = is_lawful and {Paper.DISCLOSURE_AT_SALE, Paper.LENDER_IS_CREDITOR} <= papers
    if answer.verdict == "SIGNED":
        assert is_lawful
        assert answer.part is not None
    else:
        assert answer.part is None
        assert answer.rule is not None
        assert answer.detail


@pytest.mark.parametrize(
    "first",
    [pytest.param(at, marks=[] if at < FAST_RACES else pytest.mark.slow) for at in range(0, RACES, 50)],
)
def test_a_payment_between_any_two_steps_leaves_no_go_token(first: int) -> None:
    for seed in range(first, first + 50):
        race(seed)


def race(seed: int) -> None:
    """Pay once, somewhere between the making of the order and the go token; the car asks and asks."""
    chance = random.Random(seed)
    world = GateWorld(seed=seed)
    step, is_posted = chance.choice(STEPS), chance.random() < 0.5
    amount = chance.choice([1, 40_000, 80_000, 200_000])
    is_told, was_paid = chance.random() < 0.5, False

    def pay() -> None:
        nonlocal was_paid
        was_paid = True
        record = world.system.pay(CONTRACT, amount, is_posted=is_posted)
        if is_told and "asks" not in step:  # while the gate asks, its record comes later than the answer
            world.record(record)

    def pay_when_asked() -> None:
        asked = {"while the review asks": 2, "while go asks": 3}
        if step in asked and not was_paid and len(world.system.questions) == asked[step]:
            pay()

    world.system.on_question = lambda _: pay_when_asked()
    basis = world.basis()
    order = world.order(basis=basis)
    world.clock.wait(chance.randrange(60))
    if step == "before the screen":
        pay()
    screened = world.screen(order, basis)
    world.clock.wait(chance.randrange(5, 700))
    if step == "between screen and review":
        pay()
    reviewed = world.gate.review(world.review_request(order, basis))
    world.clock.wait(chance.randrange(7_200))
    if step == "before go":
        pay()
    world.last_order = order
    asked = [world.go() for _ in range(3)]
    if chance.random() < 0.3 and was_paid:
        world.system.mode = chance.choice([Mode.BACKDATED, Mode.STALE, Mode.SILENT, Mode.REPLAYING])
        asked += [world.go() for _ in range(2)]
    assert was_paid, (seed, step)
    assert reviewed.verdict == "SIGNED" or step in STEPS[:3], (seed, step, screened, reviewed)
    for answer in asked:
        assert not goes(answer), (seed, step, is_posted, amount, answer)


def goes(answer: Answer) -> bool:
    return answer.token is not None and token_fields(answer)[5] == 1


def test_without_a_payment_the_same_races_do_get_their_token() -> None:
    for seed in range(10):
        world = GateWorld(seed=seed)
        assert world.lock(wait_s=30).verdict == "SIGNED"
        assert goes(world.go())
