"""What messages of the link do: orders, go tokens, authority, time, provisioning, emergency codes.

Rules (README §2.8 to §2.12; SPEC §18.7): the reader of `protocol.orders_reader` decides what an order gets;
here is what that changes. What verifies and is fresh (an order accepted, a token or a time for an open
question) counts as authenticated contact, a repeat does not. UNLOCK ends whatever is open; CANCEL what it
names or whatever is open, but never a LOCKED; a newer LOCK supersedes all, a newer WARN or RENEW its like.

Beyond the reader, an order is refused that could never act: a RENEW without a lock of its episode
(CHAIN_GAP), a LOCK that the rate (RATE_LIMIT) or a crash (CRASH_HOLD) holds beyond its life.

It has no annotations, see `strict_cbor`.

Example:
    >>> STATE_LOST
    10
"""

from device.mcu import brain_status, brain_timers, fitting, intake, provisioning, replies, time_keys
from device.mcu.authority import KINDS
from device.mcu.override import OPENED, Override
from device.mcu.record import Open
from protocol import cose_sign, orders_payload, orders_reader, strict_cbor
from protocol.mcu_link import INDICATE, PART_QUESTION
from protocol.orders_authority import PLATFORM, lender_issuer
from protocol.orders_forms import NO_GO_VERDICT
from protocol.orders_vocabulary import (
    ACCEPTED,
    ACTIVE,
    ARRIVED,
    BENCH,
    BIND,
    CANCEL,
    CANCEL_ACCEPTED,
    CLASS,
    CLASS_A,
    COMMISSIONING,
    DECOMMISSION,
    FAULT_RELEASED,
    LOCK,
    LOCKED,
    MONITOR,
    NEWER_ACCEPTED,
    NO_GO,
    NONE,
    OVERRIDDEN,
    QUERY,
    RECEIVED,
    REFUSED,
    RENEW,
    UNLOCK,
    UNLOCK_ACCEPTED,
    WARN,
    next_state,
)

STATE_LOST = FAULT_RELEASED  # of a disposition about no order: the record is lost

_ORDER, _GO, _AUTHORITY, _QUESTION = 2, 3, 4, 5
_TIME, _ACK, _GET, _PROVISION, _CODE = 7, 8, 9, 10, 11
_DISPOSITION, _CHALLENGE = 0x82, 0x83
_SNAPSHOT_SIGNATURES = 8  # a rotation of roots has so many at most
_MAP_BYTES_MAX = 1_024


def take(brain, kind, body, is_release):
    """Do what a message asks."""
    if kind == _ORDER:
        _order(brain, body, is_release)
    elif kind == _GO:
        _go(brain, body)
    elif kind == _AUTHORITY:
        _authority(brain, body, is_release)
    elif kind == _QUESTION:
        _question(brain, body)
    elif kind == _TIME:
        _time(brain, body)
    elif kind == _PROVISION:
        _provision(brain, body)
    elif kind == _CODE:
        _code(brain, body)
    elif kind in (_ACK, _GET):
        _dispositions(brain, kind, body)
    elif kind == PART_QUESTION:
        fitting.answer_part(brain, body)
    elif kind == INDICATE:
        if not brain.lamp.take(_map(body), brain.board.ticks_ms()):
            brain.count("indications_refused")
    elif kind == 1:
        brain.status_tick = None  # HELLO: say STATUS at once
        for message in brain.replies.since(0):
            brain.send(_DISPOSITION, message)
    else:
        brain.count("unknown_kind")


# --- Orders -------------------------------------------------------------------------------------------------


def _order(brain, body, is_release):
    if brain.record.provision is None:
        brain.link_code("UNKNOWN_KEY", body, "not provisioned")
        return
    if not is_release and not brain.replies.has_room():
        brain.link_code("BUSY", body, "dispositions wait for the agent")
        return
    names = intake.named_delegations(body)
    brain.authority.ready(names)
    answer = orders_reader.read_order(body, _device(brain, is_release), brain.verify, brain.feed)
    if not is_release:
        brain.intake.left = brain.device.signatures_left
    if answer.outcome == orders_reader.LINK:
        if answer.code == "DELEGATION_MISSING":
            for name in names:
                if name not in brain.authority.known:
                    brain.authority.want(name, is_release)
        brain.link_code(answer.code, body, answer.detail)
    elif answer.outcome == orders_reader.REPEAT:
        _repeat(brain, answer)
    else:
        code = answer.code
        if answer.outcome == orders_reader.ACCEPT:
            code = _never_acts(brain, answer.order) or "OK"
        if code == "OK":
            _accept(brain, answer, names, body)
        else:
            brain.answer_order(answer, next_state(UNLOCK, RECEIVED, REFUSED), code)
    if brain.is_dirty:
        brain.commit()


def _device(brain, is_release):
    """Return what the reader compares with, as it is now."""
    device, record = brain.device, brain.record
    device.mode, device.epoch, device.heads, device.prev = (
        record.mode,
        record.epoch,
        record.heads,
        record.prev,
    )
    binding = record.binding or [None, None, None, None]
    device.lender_id, device.vin_bind, device.contract_ref, device.jur = binding
    device.chal, device.chal_tick = (None, 0) if record.challenge is None else record.challenge[:2]
    device.tick = brain.tick
    device.earliest, device.latest = brain.clock.interval(brain.tick)
    device.roots, device.delegations = record.roots, brain.authority.known
    device.done = {entry[0]: entry for entry in record.done}
    device.signatures_left = intake.RELEASE_SIGNATURES if is_release else brain.intake.left
    return device


def _repeat(brain, answer):
    """Say the stored disposition again; when it is kept no longer, say so in a new one."""
    entry = answer.stored
    message = brain.replies.stored(entry)
    if message is not None:
        brain.count("repeats")
        brain.send(_DISPOSITION, message)
    else:
        brain.answer_order(answer, entry[1], "DUPLICATE")


def _never_acts(brain, order):
    """Return why an order that the reader accepts could never act, or None."""
    if order[3] == RENEW:
        lock = brain.record.open[LOCK]
        is_locked = lock is not None and lock.state in (LOCKED, OVERRIDDEN)
        return None if is_locked and lock.order[24] == order[24] else "CHAIN_GAP"
    if order[3] == LOCK:
        left_s = order[14] - brain.tick
        if brain.holds.rate_left_s(brain.tick) > left_s:
            return "RATE_LIMIT"
        if brain.holds.crash_left_s(brain.tick) > left_s:
            return "CRASH_HOLD"
    return None


def _accept(brain, answer, names, body):
    """Do and store what acceptance means: counters, prev and challenge, then the order itself."""
    order, record = answer.order, brain.record
    order_type = order[3]
    payload, signers = cose_sign.read_sign(body)
    brain_timers.contact(brain)
    record.heads = orders_reader.heads_after(order, brain.device)
    record.prev = answer.cmd_hash
    ticket_end = 0 if record.challenge is None else record.challenge[1]
    if order.get(13) is not None:
        record.challenge = None
    record.checkpoint = intake.checkpoint_of(signers) or record.checkpoint
    state = next_state(order_type, next_state(order_type, NONE, ARRIVED), ACCEPTED)
    if CLASS[order_type] == CLASS_A:
        _open(brain, order, payload, state, names)
        brain.answer_order(answer, state, "OK")
        return
    if order_type == UNLOCK:
        for other in (LOCK, RENEW, WARN):
            brain.move(other, UNLOCK_ACCEPTED)
    elif order_type == CANCEL:
        for other in (LOCK, RENEW, WARN):
            found = record.open[other]
            if found is not None and order[22] in (None, found.cmd_id):
                brain.move(other, CANCEL_ACCEPTED)
    elif order_type == DECOMMISSION:
        for other in (LOCK, RENEW, WARN):
            brain.move(other, UNLOCK_ACCEPTED)
    elif order_type == BIND:
        _bind(brain, order)
    elif order_type == BENCH:
        ticket = orders_payload.read_document("ticket", cose_sign.read_sign1(order[25])[2])
        brain.bench_until = ticket_end + ticket[5]
        brain.fitting.begin(order[2])
    elif order_type == QUERY:
        for message in brain.replies.since(record.disp_seq):
            brain.send(_DISPOSITION, message)
    brain.answer_order(answer, state, "OK")
    if order_type == DECOMMISSION:
        _decommission(brain)


def _open(brain, order, payload, state, names):
    """Open an order of class A; what it supersedes ends."""
    order_type = order[3]
    for other in (LOCK, RENEW, WARN) if order_type == LOCK else (order_type,):
        brain.move(other, NEWER_ACCEPTED)
    known = brain.authority.known
    people = [[known[name].issuer, known[name].kid, known[name].person] for name in names]
    brain.record.open[order_type] = Open(payload, state, people, is_warned=False)
    if order_type != RENEW:
        brain.record.last_state = state
        brain.warnings.begin(order[24])


def _bind(brain, order):
    """Give the car its lender; other lenders' roots go."""
    record = brain.record
    record.binding = [order[4], order[6], order[7], order[18]]
    is_assessed = provisioning.start_type(record) != provisioning.READY
    record.mode = ACTIVE if is_assessed and record.latched is None else MONITOR
    kept = (PLATFORM, lender_issuer(order[4]))
    record.roots = {issuer: root for issuer, root in record.roots.items() if issuer in kept}
    brain.fitting.bound_tick = brain.tick


def _decommission(brain):
    """Erase what class A stands on, in both slots, so that no older image brings it back (K-08)."""
    record = brain.record
    record.binding, record.mode, record.challenge = None, MONITOR, None
    brain.authority.forget_lenders()
    record.warned_since = None
    if brain.commit():
        brain.commit()


# --- What goes with orders ----------------------------------------------------------------------------------


def _go(brain, body):
    """Take a go token for the LOCK or the RENEW that asked with its challenge."""
    try:
        token = orders_payload.read_document("go", cose_sign.read_sign1(body)[2])
    except ValueError:
        brain.link_code("BAD_ENCODING", body, "go")
        return
    for order_type, ask in brain.asks.items():
        if ask is not None and ask.chal2 == token[4]:
            _go_for(brain, body, order_type, ask)
            return
    brain.count("go_of_another_parking")


def _go_for(brain, body, order_type, ask):
    order = brain.record.open[order_type]
    if order is None:
        brain.count("go_of_another_parking")
        return
    brain.authority.ready([orders_payload.read_document("go", cose_sign.read_sign1(body)[2])[9]])
    device = _device(brain, is_release=False)
    code, token = orders_reader.read_go(
        body, device, order.cmd_hash, ask.chal2, ask.tick, brain.verify, brain.feed
    )
    brain.intake.left = device.signatures_left
    if token is None:
        if code == "DELEGATION_MISSING":
            brain.authority.want(
                orders_payload.read_document("go", cose_sign.read_sign1(body)[2])[9], is_release=False
            )
        brain.link_code(code, body, "go")
        return
    if code == "OK":
        brain_timers.contact(brain)
        ask.go = token
        return
    is_ours = token[2] == device.mcu_id and token[3] == order.cmd_hash
    if code == "NO_GO" and token[5] == NO_GO_VERDICT and is_ours:
        brain_timers.contact(brain)
        # A window's end that the gate refuses leaves the car startable: the table has no NO_GO there.
        brain.move(order_type, NO_GO, "NO_GO")
    brain.event("GO_REFUSED", None)


def is_release_document(brain, body):
    """Return whether a document of AUTHORITY is what a releasing order waits for."""
    document = _document(body)
    return document is not None and brain.authority.is_wanted_for_release(document[1])


def _authority(brain, body, is_release):
    document = _document(body)
    if document is None:
        brain.link_code("BAD_ENCODING", body, "authority")
        return
    if not is_release:
        if brain.intake.left < _SNAPSHOT_SIGNATURES:
            brain.link_code("BUSY", body, "authority")
            return
        brain.intake.left -= _SNAPSHOT_SIGNATURES // 2
    word, must_save = brain.authority.take(document[0], document[1])
    if word == "SAME" and not is_release:
        brain.intake.left += _SNAPSHOT_SIGNATURES // 2
    brain.send(0x86, strict_cbor.dumps({1: "AUTHORITY_" + word, 2: brain.tick, 3: None}))
    if must_save:
        brain_timers.drop_revoked(brain)
        brain.commit()


def _document(body):
    try:
        document = strict_cbor.loads(body, strict_cbor.MAX_LEN + 8)
    except ValueError:
        return None
    is_pair = isinstance(document, list) and len(document) == 2
    return document if is_pair and document[0] in KINDS and isinstance(document[1], bytes) else None


def _question(brain, body):
    """Answer with the open challenge; one is opened when none is, or the open one is too old."""
    record = brain.record
    try:
        question = orders_payload.read_document("challenge-request", body)
    except ValueError:
        brain.link_code("BAD_ENCODING", body, "challenge")
        return
    if question[2] != brain.key.kid or record.epoch is None:
        brain.count("question_for_another")
        return
    if brain.intake.left < 1:
        brain.link_code("BUSY", body, "challenge")
        return
    brain.intake.left -= 1  # signing costs what verifying does
    life_s = brain_timers.FITTING_LIFE_S if record.mode == COMMISSIONING else brain_timers.CHALLENGE_LIFE_S
    if record.challenge is None or brain.tick - record.challenge[1] >= life_s:
        record.challenge = [brain.board.random(16), brain.tick, brain.firmware]
        if not brain.commit():
            return
    platform = record.roots.get(PLATFORM)
    fields = {
        1: 1, 2: brain.key.kid, 3: record.epoch, 4: record.challenge[0], 5: record.challenge[1],
        6: list(record.heads), 7: record.prev, 8: brain_status.reported_state(record), 9: record.mode,
        10: None if platform is None else platform.pack, 11: None if platform is None else platform.zones,
        12: question[3],
    }  # fmt: skip
    brain.send(_CHALLENGE, replies.sign1("challenge", fields, brain.key))


def _time(brain, body):
    if brain.intake.left < 1:
        brain.link_code("BUSY", body, "time")
        return
    brain.intake.left -= 1
    record = brain.record
    word, kid = brain.clock.read_token(body, record.time_keys, brain.tick, brain.verify, brain.feed)
    brain.count("time_" + word.lower())
    if word == "OK":
        record.time_keys = time_keys.taken(record.time_keys, kid)
        brain_timers.contact(brain)
        brain.is_dirty = True


def take_facts(brain, body):
    """Keep the agent's facts; they agree or veto, none suffices."""
    facts = _map(body)
    if facts is None:
        brain.count("facts_refused")
        return
    brain.facts, brain.facts_tick = facts, brain.tick


def _dispositions(brain, kind, body):
    fields = _map(body)
    number = None if fields is None else fields.get(1)
    if not isinstance(number, int) or isinstance(number, bool):
        brain.count("dispositions_refused")
    elif kind == _GET:
        for message in brain.replies.since(number):
            brain.send(_DISPOSITION, message)
    elif brain.replies.acknowledge(number):
        brain.is_dirty = True


def _provision(brain, body):
    record = brain.record
    fields = provisioning.read_provision(body)
    if fields is None or record.provision is not None or record.mode != COMMISSIONING:
        brain.link_code("BAD_ENCODING", body, "provision: not one, or the store is not empty")
        return
    provisioning.provision(record, fields, brain.board.random(16))
    brain.override = Override(brain.floors, provisioning.override_key(record))
    brain.commit()
    brain.status_tick = None


def _code(brain, body):
    """Take the digits of an emergency code; every try is written before it is answered."""
    fields = _map(body)
    digits = None if fields is None else fields.get(1)
    lock = brain.record.open[LOCK]
    if brain.override is None or lock is None or lock.state not in (LOCKED, OVERRIDDEN):
        brain.event("CODE_NOT_NEEDED", None)
        return
    word = brain.override.by_code(digits, brain.tick)
    if word == OPENED:
        brain_timers.open_window(brain)
    brain.commit()
    brain.event("CODE_" + word, brain.override.wait_s(brain.tick))


def _map(body):
    try:
        fields = strict_cbor.loads(body, _MAP_BYTES_MAX)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
