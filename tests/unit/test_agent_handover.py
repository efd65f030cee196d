"""Between threads and the loop: order kept, room bounded, and waits that spread a fleet."""

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from device.adapters.back_off import BackOff
from device.adapters.handover import Handover


async def test_items_of_a_thread_arrive_in_order() -> None:
    inbox = Handover[int](capacity=1_000)
    thread = threading.Thread(target=lambda: [inbox.put(number) for number in range(500)])
    thread.start()
    taken = [await inbox.get() for _ in range(500)]
    thread.join()
    assert taken == list(range(500))


async def test_items_of_many_threads_all_arrive() -> None:
    inbox = Handover[tuple[int, int]](capacity=10_000)
    threads = [
        threading.Thread(target=lambda owner=owner: [inbox.put((owner, number)) for number in range(200)])  # type: ignore[misc]
        for owner in range(5)
    ]
    for thread in threads:
        thread.start()
    taken = [await inbox.get() for _ in range(1_000)]
    for thread in threads:
        thread.join()
    for owner in range(5):
        assert [number for who, number in taken if who == owner] == list(range(200))


async def test_a_full_inbox_refuses_the_newest_and_keeps_the_rest() -> None:
    inbox = Handover[int](capacity=3)
    assert [inbox.put(number) for number in range(5)] == [True, True, True, False, False]
    assert inbox.drain() == [0, 1, 2]
    assert len(inbox) == 0
    assert inbox.put(5)
    assert await inbox.get() == 5


async def test_a_waiting_reader_is_woken() -> None:
    inbox = Handover[str](capacity=1)
    reader = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    threading.Thread(target=inbox.put, args=("late",)).start()
    async with asyncio.timeout(5):
        assert await reader == "late"


def test_an_item_after_the_end_of_the_loop_is_refused() -> None:
    async def make() -> Handover[int]:
        return Handover[int](capacity=1)

    assert not asyncio.run(make()).put(1)


@given(seed=st.integers(), failures=st.integers(1, 60))
def test_waits_double_up_to_the_longest_and_never_exceed_it(seed: int, failures: int) -> None:
    waits = BackOff(first_s=1.0, longest_s=120.0, seed=seed)
    drawn = [waits.next_s() for _ in range(failures)]
    assert all(
        min(120.0, 2.0**place) / 2 <= wait <= min(120.0, 2.0**place) for place, wait in enumerate(drawn)
    )
    waits.succeeded()
    assert waits.next_s() <= 1.0


def test_two_boxes_do_not_return_together() -> None:
    assert (
        BackOff(first_s=60, longest_s=60, seed=1).next_s()
        != BackOff(first_s=60, longest_s=60, seed=2).next_s()
    )
