"""Whoever restarts whenever, an order is neither lost nor acted on twice, and every answer arrives."""

import pytest

from tests.builders.orders_world import World, order_pool

ORDERS = order_pool()


def story(world: World) -> None:
    """Two orders, one of each group, from sending to receipts."""
    for order in ORDERS[:2]:
        world.order(order)
        world.second()
    for _ in range(4):
        world.second()


def effects_of_the_story() -> int:
    world = World(0)
    story(world)
    return world.box.effects_done


@pytest.mark.parametrize("at", range(effects_of_the_story()))
def test_a_crash_before_any_effect_loses_and_repeats_nothing(at: int) -> None:
    world = World(0)
    world.box.effects_left = at
    story(world)
    world.settle()
    assert world.crashes <= 1
    world.check(ORDERS[:2])


def live(seed: int) -> World:
    """A life of faults: loss, repeats, disorder, crashes of agent and microcontroller, links that break."""
    world = World(seed, loss=0.2)
    left = list(ORDERS)
    for _ in range(120):
        chance = world.random.random()
        if chance < 0.15 and left:
            world.order(left.pop(0))
        elif chance < 0.22:
            world.box.effects_left = world.random.randrange(12)
        elif chance < 0.27:
            world.reset_mcu()
        elif chance < 0.32:
            world.lose_uplink()
        elif chance < 0.37:
            world.backend_repeats()
        elif chance < 0.40:
            world.box.is_journal_broken = not world.box.is_journal_broken
        world.second()
    world.box.is_journal_broken = False
    world.box.effects_left = None
    for order in left:
        world.order(order)
    world.settle()
    return world


# 1092: the last acknowledgement was lost on the line, and the microcontroller kept its dispositions for good.
@pytest.mark.parametrize("seed", [*range(25), 1_092])
def test_a_life_of_faults_ends_with_every_order_done_once(seed: int) -> None:
    live(seed).check(ORDERS)


def test_lives_crash_often_enough_to_mean_something() -> None:
    assert sum(live(seed).crashes for seed in range(3)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_300))
def test_many_lives_of_faults_end_with_every_order_done_once(seed: int) -> None:
    live(seed).check(ORDERS)
