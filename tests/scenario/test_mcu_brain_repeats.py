"""The last 64 names are kept with their answers, those of open orders always (command-authority §4.9)."""

from device.mcu.record import DONE_MAX
from protocol.orders import Code, State
from tests.builders.mcu import Box

DAY = 86_400


def test_a_repeat_of_any_of_the_last_64_gets_its_stored_answer_and_an_older_one_is_a_replay() -> None:
    box = Box.bound()
    orders = []
    for _ in range(DONE_MAX + 1):
        orders.append(box.query())
        box.send_order(orders[-1])
        box.acknowledge()
        box.run(8)
    seq = box.brain.record.disp_seq
    box.send_order(orders[1])
    assert box.brain.record.disp_seq == seq, "the 64th from the end is kept"
    box.run(20)
    box.send_order(orders[0])
    assert box.answers(orders[0])[-1] == (State.REJECTED, Code.REPLAY_CTR)
    assert len(box.brain.record.done) == DONE_MAX


def test_a_flood_of_answers_does_not_push_out_the_order_that_is_open() -> None:
    box = Box.armed()
    box.acknowledge()
    box.board.acceleration = "moving"
    for _ in range(DONE_MAX + 6):
        box.send_order(box.query())
        box.acknowledge()
        box.run(8)
    state, heads = box.state, list(box.brain.record.heads)
    box.send_order(box.order)
    assert box.answers(box.order)[-1] == (state, Code.DUPLICATE), (
        "its message is gone, where it stands is not"
    )
    assert (box.state, box.brain.record.heads) == (state, heads)


def test_an_answer_whose_blob_is_lost_is_said_anew_as_a_duplicate_with_its_state() -> None:
    box = Box.bound()
    order = box.query()
    box.send_order(order)
    box.acknowledge()
    box.board.blobs = {name: data for name, data in box.board.blobs.items() if name[0] != "d"}
    box.send_order(order)
    assert box.answers(order)[-1] == (State.DONE, Code.DUPLICATE)


def test_a_silent_backend_releases_after_24_hours_though_the_agent_lives() -> None:
    box = Box.locked()
    contact = box.brain.lease.contact_tick
    box.run(DAY - 60, 30)
    assert box.state is State.LOCKED, "facts, status and repeats of old messages are no contact"
    box.send_order(box.order)
    box.run(120, 30)
    released = next(found for found in box.chain if found.state is State.RELEASED)
    assert DAY <= released.tick_s - contact <= DAY + 60
    assert "CONTACT_LOST" in box.events()


def test_whatever_is_unknown_leaves_a_locked_car_startable() -> None:
    unknowns = {
        "ignition": lambda board: setattr(board, "is_on", None),
        "engine": lambda board: setattr(board, "is_running", None),
        "supply": lambda board: setattr(board, "supply", None),
    }
    for name, lose in unknowns.items():
        box = Box.locked()
        box.board.is_on = True
        box.step_ms(100)
        box.board.is_cranking = True
        box.step_ms(100)
        assert box.board.coil, name
        lose(box.board)
        box.step_ms(100)
        assert not box.board.coil, name


def test_feedback_that_is_lost_while_the_coil_is_commanded_releases() -> None:
    box = Box.locked()
    box.board.is_on = box.board.is_cranking = True
    box.board.relay_sensed = lambda: None
    box.run(6, 1)
    assert box.last.state is State.FAULT_RELEASED
    assert not box.board.coil
