"""The agent's desk for orders: a courier that loses nothing, acts on nothing, and lets releases go first."""

import hashlib

from device.events import GnssReceived, RadioReported
from device.orders.arrivals import ANSWER_WAIT_US
from device.orders.link import LinkKind
from protocol import strict_cbor
from protocol.authority_bundle import (
    ChallengeQuestion,
    DocumentKind,
    RequestForm,
    decode_authority_question,
    encode_bundle,
    encode_challenge_question,
    request_form,
)
from protocol.batch import open_batch
from protocol.limits import ORDERS_WAITING_MAX
from protocol.signed_time import TimeToken, open_time_request, sign_time_token
from protocol.topics import Down, Up
from protocol.vectors.orders_good import good_documents, good_orders
from protocol.vectors.orders_story import EPOCH, MCU, digest, documents
from simulators.gnss_receiver import sentence
from tests.builders.engine import BACKEND_KEY, DEVICE, DEVICE_KEYS, SECOND
from tests.builders.orders_desk import NONCE, OrderBox, disposition, receipt, status, stranger_lock

LOCK = good_orders()["lock"][0]
WARN = good_orders()["warn"][0]
UNLOCK = good_orders()["unlock/ombuds"][0]
CANCEL = good_orders()["cancel"][0]


def connected(**changes: object) -> OrderBox:
    box = OrderBox(**changes)
    box.connect()
    box.mcu_up()
    return box


def test_a_lock_is_handed_on_only_once_the_journal_has_it() -> None:
    box = connected(is_journal_slow=True)
    box.down(Down.ORDER, LOCK)
    box.wait(5)
    assert box.bodies(LinkKind.ORDER) == []
    box.flush()
    assert box.bodies(LinkKind.ORDER) == [LOCK]


def test_an_unlock_waits_for_no_disk_and_is_urgent() -> None:
    box = connected(is_journal_slow=True)
    box.down(Down.ORDER, UNLOCK)
    assert box.urgent == [UNLOCK]
    assert [arrival.message for change in box.pending for arrival in change.add] == [UNLOCK]


def test_an_unlock_goes_on_with_a_disk_that_refuses_and_is_written_when_it_takes_again() -> None:
    box = connected()
    box.is_journal_broken = True
    box.down(Down.ORDER, LOCK)
    box.down(Down.ORDER, UNLOCK)
    assert box.bodies(LinkKind.ORDER) == [UNLOCK]
    box.is_journal_broken = False
    box.wait(6)
    assert {arrival.message for arrival in box.disk.image.arrivals} == {LOCK, UNLOCK}
    assert box.bodies(LinkKind.ORDER) == [UNLOCK, LOCK]


def test_releasing_orders_leave_before_those_that_came_earlier() -> None:
    box = OrderBox()
    box.connect()
    for order in (LOCK, WARN, CANCEL, UNLOCK):
        box.down(Down.ORDER, order)
    box.mcu_up()
    assert box.bodies(LinkKind.ORDER) == [CANCEL, UNLOCK, LOCK]


def test_an_order_is_handed_on_again_until_a_disposition_names_it() -> None:
    box = connected()
    box.down(Down.ORDER, LOCK)
    box.wait(ANSWER_WAIT_US // SECOND + 1)
    assert box.bodies(LinkKind.ORDER) == [LOCK, LOCK]
    box.hear(LinkKind.DISPOSITION, disposition(1, LOCK))
    box.wait(90)
    assert box.bodies(LinkKind.ORDER) == [LOCK, LOCK]
    assert box.disk.image.arrivals == ()


def test_a_crash_after_the_journal_loses_no_order() -> None:
    box = connected()
    box.down(Down.ORDER, LOCK)
    box.sent.clear()
    box.crash()
    box.connect()
    box.mcu_up()
    assert box.bodies(LinkKind.ORDER) == [LOCK]


def test_a_disposition_is_on_the_disk_before_it_is_acknowledged() -> None:
    box = connected(is_journal_slow=True)
    box.hear(LinkKind.DISPOSITION, disposition(1, LOCK))
    assert box.bodies(LinkKind.DISPOSITION_ACK) == []
    box.flush()
    assert box.bodies(LinkKind.DISPOSITION_ACK) == [strict_cbor.dumps({1: 1})]


def test_a_disposition_is_sent_until_the_backend_receipts_it() -> None:
    box = connected()
    said = disposition(1, LOCK)
    box.hear(LinkKind.DISPOSITION, said)
    box.wait(60)
    assert len(box.uplinked(Up.DISPOSITION)) > 3
    assert set(box.uplinked(Up.DISPOSITION)) == {said}
    box.down(Down.RECEIPT, receipt(1, hashlib.sha256(said).digest()))
    box.published.clear()
    box.wait(600)
    assert box.uplinked(Up.DISPOSITION) == []
    assert box.counts["dispositions_unreceipted"] == 0


def test_a_receipt_of_another_hash_frees_nothing() -> None:
    box = connected()
    box.hear(LinkKind.DISPOSITION, disposition(1, LOCK))
    box.down(Down.RECEIPT, receipt(1, bytes(32)))
    assert box.counts["dispositions_unreceipted"] == 1


def test_a_restored_backend_gets_receipted_dispositions_again() -> None:
    box = connected()
    said = disposition(1, LOCK)
    box.hear(LinkKind.DISPOSITION, said)
    box.down(Down.RECEIPT, receipt(1, hashlib.sha256(said).digest()))
    box.published.clear()
    box.down(Down.RECEIPT, receipt(0, None, want=((1, 1),)))
    assert box.uplinked(Up.DISPOSITION) == [said]


def test_numbers_are_acknowledged_without_a_hole_and_the_hole_is_asked_for() -> None:
    box = connected()
    first, second = disposition(1), disposition(2)
    box.hear(LinkKind.DISPOSITION, second)
    assert box.bodies(LinkKind.DISPOSITION_ACK) == []
    box.hear(LinkKind.STATUS, status(key_10=[2, bytes(32)]))
    assert box.bodies(LinkKind.DISPOSITION_GET) == [strict_cbor.dumps({1: 1})]
    box.hear(LinkKind.DISPOSITION, first)
    assert box.bodies(LinkKind.DISPOSITION_ACK)[-1] == strict_cbor.dumps({1: 2})


def test_what_an_earlier_life_acknowledged_is_passed_over_after_a_few_questions() -> None:
    box = connected()
    box.hear(LinkKind.DISPOSITION, disposition(7))
    for _ in range(5):
        box.wait(3)
        box.hear(LinkKind.STATUS, status(key_10=[7, bytes(32)]))
        box.hear(LinkKind.DISPOSITION, disposition(7))
    assert box.bodies(LinkKind.DISPOSITION_ACK)[-1] == strict_cbor.dumps({1: 7})
    assert box.counts["dispositions_passed_over"] == 6


def test_two_dispositions_of_one_number_are_both_kept_and_reported() -> None:
    box = connected()
    for state in (3, 6):
        box.hear(LinkKind.DISPOSITION, disposition(1, state=state))
    assert len(box.disk.image.answers) == 2
    assert box.counts["dispositions_conflicting"] == 1


def test_garbage_is_counted_and_not_handed_on() -> None:
    box = connected()
    box.down(Down.ORDER, b"no order")
    assert box.bodies(LinkKind.ORDER) == []
    assert box.counts["orders_rejected"] == 1


def test_an_order_by_a_stranger_is_handed_on_with_its_reasons_shown() -> None:
    box = connected()
    order = stranger_lock()
    box.down(Down.ORDER, order)
    assert box.bodies(LinkKind.ORDER) == [order]
    assert box.box.words()["orders_early_reasons"] == "CHAIN_GAP SIGNER_SET"


def test_what_can_never_be_authentic_is_handed_on_once() -> None:
    box = connected()
    order = stranger_lock()
    box.down(Down.ORDER, order)
    code = strict_cbor.dumps({1: "BAD_SIG", 2: hashlib.sha256(order).digest(), 3: ""})
    box.hear(LinkKind.LINK_CODE, code)
    box.wait(300)
    assert box.bodies(LinkKind.ORDER) == [order]
    assert box.counts["link_code_bad_sig"] == 1


def test_a_flood_pushes_out_its_own_oldest_and_no_release() -> None:
    box = OrderBox()
    box.connect()
    box.down(Down.ORDER, UNLOCK)
    for name, (order, _) in list(good_orders().items()) * 1:
        if not name.startswith(("unlock", "cancel", "decommission")):
            for last in range(ORDERS_WAITING_MAX):
                box.down(Down.ORDER, order[:-1] + bytes([last]))
    box.mcu_up()
    assert box.bodies(LinkKind.ORDER)[0] == UNLOCK
    assert box.counts["orders_crowded_out"] > 0
    assert box.counts["orders_waiting"] == ORDERS_WAITING_MAX + 1


def test_missing_delegations_are_asked_for_supplied_and_the_order_presented_again() -> None:
    box = connected()
    box.published.clear()
    box.down(Down.ORDER, LOCK)
    wanted = [digest("maker"), digest("checker")]
    box.hear(LinkKind.LINK_CODE, strict_cbor.dumps({1: "DELEGATION_MISSING", 2: None, 3: ""}))
    box.hear(LinkKind.STATUS, status(key_14=wanted))
    questions = [data for data in box.uplinked(Up.REQUEST) if request_form(data) is RequestForm.AUTHORITY]
    assert [decode_authority_question(data).digests for data in questions] == [tuple(wanted)]
    bundle = [(DocumentKind.DELEGATION, documents()[f"delegation/{name}"]) for name in ("maker", "checker")]
    box.down(Down.AUTHORITY, encode_bundle(bundle))
    assert [strict_cbor.loads(body, 4_096)[1] for body in box.bodies(LinkKind.AUTHORITY)] == [
        document for _, document in bundle
    ]
    assert [kind for kind, _ in box.sent if kind in (LinkKind.AUTHORITY, LinkKind.ORDER)] == [
        LinkKind.ORDER, LinkKind.AUTHORITY, LinkKind.AUTHORITY, LinkKind.ORDER,
    ]  # fmt: skip


def test_a_delegation_seen_before_is_supplied_without_asking() -> None:
    box = connected()
    bundle = [(DocumentKind.DELEGATION, documents()["delegation/maker"])]
    box.down(Down.AUTHORITY, encode_bundle(bundle))
    box.sent.clear()
    box.published.clear()
    box.hear(LinkKind.STATUS, status(key_14=[digest("maker")]))
    assert len(box.bodies(LinkKind.AUTHORITY)) == 1
    assert box.uplinked(Up.REQUEST) == []


def test_challenge_and_its_question_travel_as_they_came() -> None:
    box = connected()
    question = encode_challenge_question(ChallengeQuestion(mcu_id=MCU.kid, nonce=bytes(16)))
    box.down(Down.CHALLENGE, question)
    assert box.bodies(LinkKind.CHALLENGE_QUESTION) == [question]
    box.hear(LinkKind.CHALLENGE, good_documents()["challenge"])
    assert box.uplinked(Up.CHALLENGE) == [good_documents()["challenge"]]


def test_a_go_request_is_sent_until_its_token_comes_and_no_longer_than_one_could_be_fresh() -> None:
    box = connected()
    request, token = good_documents()["go-request"], good_documents()["go"]
    box.hear(LinkKind.GO_REQUEST, request)
    box.wait(65)
    assert box.uplinked(Up.REQUEST).count(request) == 3
    box.down(Down.GO, token)
    box.wait(120)
    assert box.uplinked(Up.REQUEST).count(request) == 3
    assert box.bodies(LinkKind.GO) == [token]


def test_a_go_request_made_without_an_uplink_goes_out_with_the_next_one() -> None:
    box = OrderBox()
    box.mcu_up()
    box.hear(LinkKind.GO_REQUEST, good_documents()["go-request"])
    assert box.uplinked(Up.REQUEST) == []
    box.connect()
    assert good_documents()["go-request"] in box.uplinked(Up.REQUEST)


def test_the_time_is_asked_with_the_microcontrollers_nonce_and_only_its_answer_goes_back() -> None:
    box = OrderBox()
    box.connect()
    box.mcu_up(status(key_11=NONCE))
    asked = [
        open_time_request(data, DEVICE_KEYS.get, device=DEVICE)
        for data in box.uplinked(Up.REQUEST)
        if request_form(data) is RequestForm.OTHER and len(data) < 250
    ]
    assert [question.nonce for question in asked] == [NONCE]
    other = sign_time_token(TimeToken(nonce=bytes(16), utc_us=5), BACKEND_KEY)
    box.down(Down.TIME, other)
    assert box.bodies(LinkKind.TIME) == []
    token = sign_time_token(TimeToken(nonce=NONCE, utc_us=5), BACKEND_KEY)
    box.down(Down.TIME, token)
    assert box.bodies(LinkKind.TIME) == [token]
    box.down(Down.TIME, token)
    assert box.bodies(LinkKind.TIME) == [token]


def test_the_next_batch_names_the_newest_order_and_the_newest_disposition() -> None:
    box = connected()
    box.down(Down.ORDER, LOCK)
    said = disposition(1, LOCK)
    box.hear(LinkKind.DISPOSITION, said)
    box.wait(15)
    header = open_batch(box.batches[-1], DEVICE_KEYS.get, device=DEVICE).header
    assert header.disposition_head == hashlib.sha256(said).digest()
    assert header.order_head == box.disk.image.order_head
    assert header.order_head is not None


def test_the_lock_state_is_unknown_until_a_status_and_again_when_none_comes() -> None:
    box = OrderBox()
    assert box.box.words()["lock_state"] == "UNKNOWN"
    box.mcu_up(status(key_5=6, key_6=bytes(16)))
    assert box.box.words()["lock_state"] == "LOCKED"
    box.wait(16)
    assert box.box.words()["lock_state"] == "UNKNOWN"


def test_facts_go_out_once_a_second_and_unknown_is_null() -> None:
    box = connected()
    box.wait(3)
    facts = [strict_cbor.loads(body) for body in box.bodies(LinkKind.FACTS)]
    assert len(facts) == 3
    assert facts[-1] == {
        1: None, 2: None, 3: None, 4: None, 5: None, 6: None, 7: False, 8: None, 9: False, 10: None, 11: None,
    }  # fmt: skip


def test_what_the_receiver_hears_reaches_the_microcontroller() -> None:
    box = connected()
    box.feed(GnssReceived(t_us=box.now_us, data=sentence("GPRMC,120001.00,V,,,,,,,241126,,,N")))
    box.feed(RadioReported(cn0_dbhz=18, gain_db=0, is_jammed=None, t_us=box.now_us + 2 * SECOND))
    box.feed(GnssReceived(t_us=box.now_us + SECOND, data=sentence("GPRMC,120002.00,V,,,,,,,241126,,,N")))
    box.wait(2)
    told = strict_cbor.loads(box.bodies(LinkKind.FACTS)[-1])[2]
    assert told[2] == 1, "weak signals and a steady gain: a roof"


def test_a_message_that_is_none_of_the_links_is_counted() -> None:
    box = connected()
    box.hear(LinkKind.STATUS, b"\xff")
    box.hear(0x99, b"")
    assert box.counts["mcu_messages_rejected"] == 1
    assert box.counts["mcu_messages_unknown"] == 1


def test_without_a_microcontroller_an_order_is_counted_as_before() -> None:
    box = OrderBox(orders=None)
    box.connect()
    box.down(Down.ORDER, LOCK)
    assert box.sent == []
    assert box.counts["messages_of_unknown_kind"] == 1
    assert EPOCH not in box.published


def test_a_lock_lets_the_first_question_for_the_time_be_answered_and_an_unlock_does_not() -> None:
    box = OrderBox()
    box.connect()
    box.mcu_up(status(key_11=NONCE))
    box.down(Down.ORDER, LOCK)
    box.down(Down.ORDER, UNLOCK)
    assert box.bodies(LinkKind.ORDER) == [UNLOCK]
    box.down(Down.TIME, sign_time_token(TimeToken(nonce=NONCE, utc_us=5), BACKEND_KEY))
    assert [kind for kind, _ in box.sent][-2:] == [LinkKind.TIME, LinkKind.ORDER]


def test_a_backend_that_never_tells_the_time_holds_a_lock_up_for_half_a_minute_only() -> None:
    box = OrderBox()
    box.connect()
    box.mcu_up(status(key_11=NONCE))
    box.down(Down.ORDER, LOCK)
    box.wait(31)
    assert box.bodies(LinkKind.ORDER) == [LOCK]


def test_a_time_token_that_got_lost_on_the_line_is_asked_for_again() -> None:
    box = OrderBox()
    box.connect()
    box.mcu_up(status(key_11=NONCE))
    box.down(Down.TIME, sign_time_token(TimeToken(nonce=NONCE, utc_us=5), BACKEND_KEY))
    asked = box.counts["mcu_times_asked"]
    box.wait(32)
    box.hear(LinkKind.STATUS, status(key_11=NONCE))
    assert box.counts["mcu_times_asked"] == asked + 1


def test_a_document_that_the_microcontroller_was_too_busy_for_is_handed_on_again() -> None:
    box = connected()
    box.down(Down.AUTHORITY, encode_bundle([(DocumentKind.DELEGATION, documents()["delegation/maker"])]))
    (body,) = box.bodies(LinkKind.AUTHORITY)
    busy = strict_cbor.dumps({1: "BUSY", 2: hashlib.sha256(body).digest(), 3: "authority"})
    box.hear(LinkKind.LINK_CODE, busy)
    box.wait(12)
    assert box.bodies(LinkKind.AUTHORITY) == [body, body]
