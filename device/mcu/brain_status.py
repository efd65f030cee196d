"""What the brain says about itself: STATUS once a second, and the fields of a disposition.

Rules: STATUS is unsigned and for carrying and display: {1: 1, 2: mcu_id, 3: epoch (zeros before PROVISION),
4: mode, 5: state of the open LOCK, else of the last LOCK or WARN, 6: cmd_id of the open order or null, 7:
tick, 8: heads, 9: prev, 10: [number, hash] of the last disposition or null, 11: nonce of a wanted signed time
or null, 12: counters, 13: [firmware, is demo], 14: hashes of delegations wanted, 15: code for which an order
waits, 16: coil commanded, 17: relay sensed, 18: inputs and, once there was a bench, 19: benches as
`protocol.mcu_link` says}. A disposition that the agent has not acknowledged is sent again
now and then.

It has no annotations, see `strict_cbor`.

Example:
    >>> TIME_EVERY_S, RESEND_S
    (3600, 10)
"""

from protocol import strict_cbor
from protocol.orders_forms import COUNT_MAX, SECONDS_MAX
from protocol.orders_vocabulary import CODES, LOCK, RENEW, WARN

STATUS, DISPOSITION = 0x81, 0x82
STATUS_EVERY_S = 1
RESEND_S = 10  # the oldest disposition that is not acknowledged is said again
TIME_EVERY_S = 3_600  # signed time is asked for: it is contact too
AGENT_S = 10  # the agent says its facts each second; silent for longer it is not seen


def say(brain):
    """Send STATUS and what must be said again, when it is time."""
    tick = brain.tick
    if brain.status_tick is None or not 0 <= tick - brain.status_tick < STATUS_EVERY_S:
        brain.status_tick = tick
        brain.send(STATUS, status(brain))
    ring = brain.replies.since(0)
    if not ring or brain.resent_tick is None or tick < brain.resent_tick:
        brain.resent_tick = tick
    elif tick - brain.resent_tick >= RESEND_S:
        brain.resent_tick = tick
        brain.send(DISPOSITION, ring[0])


def status(brain):
    """Return the body of STATUS."""
    record = brain.record
    is_time_wanted = record.provision is not None and brain.clock.wants(brain.tick, TIME_EVERY_S)
    fields = {
        1: 1,
        2: brain.key.kid,
        3: record.epoch or bytes(16),
        4: record.mode,
        5: reported_state(record),
        6: _open_cmd_id(record),
        7: brain.tick,
        8: list(record.heads),
        9: record.prev,
        10: None if record.disp_hash is None else [record.disp_seq, record.disp_hash],
        11: brain.clock.nonce(brain.tick, brain.board.random) if is_time_wanted else None,
        12: dict(brain.counters, ring_lost=record.ring_lost),
        13: [brain.firmware, brain.floors.IS_DEMO],
        14: brain.authority.wants(),
        15: CODES.index(brain.wait),
        16: brain.is_coil_on,
        17: _bit(brain.sensed),
        18: [brain.supply_mv, _bit(brain.ignition), _bit(brain.crank), _bit(brain.engine), brain.accel,
             _bit(brain.button)],
    }  # fmt: skip
    if brain.fitting.benches:
        fields[19] = brain.fitting.benches
    return strict_cbor.dumps(fields)


def disposition(brain, cmd_id, cmd_hash, state, code, has_readings):
    """Return the fields of a disposition that the chain does not give."""
    record = brain.record
    low, high = brain.clock.interval(brain.tick)
    used, left = (0, 0) if brain.override is None else (brain.override.used, brain.override.left)
    return {
        3: cmd_id,
        4: cmd_hash,
        9: state,
        10: code,
        11: brain.tick,
        12: [low, high, brain.clock.sources if low is not None else 0],
        13: _within_forms(brain.readings) if has_readings else [],
        14: [brain.is_coil_on, _bit(brain.sensed)],
        15: [_bit(brain.ignition), _bit(brain.engine)],
        16: None if brain.lease is None else max(0, brain.lease.end_tick(brain.tick)),
        17: [used, left],
        18: is_agent_seen(brain),
        19: [brain.firmware, brain.floors.IS_DEMO],
        20: record.checkpoint,
    }


def reported_state(record):
    """Return the state of the LOCK that is open; without one, of the last LOCK or WARN.

    A WARN beside a locked car does not hide that it is locked.
    """
    lock = record.open[LOCK]
    return record.last_state if lock is None else lock.state


def _within_forms(readings):
    """Return readings that a disposition can hold: a number beyond its form is no value, its verdict stays.

    The agent's numbers end here, and no number may keep a release from being said.
    """
    return [
        [
            name,
            value if value is None or -COUNT_MAX <= value <= COUNT_MAX else None,
            age_s if age_s is None or 0 <= age_s <= SECONDS_MAX else None,
            verdict,
        ]
        for name, value, age_s, verdict in readings
    ]


def is_agent_seen(brain):
    """Return whether the Linux side was heard lately."""
    return brain.heard_tick is not None and 0 <= brain.tick - brain.heard_tick <= AGENT_S


def _open_cmd_id(record):
    for order_type in (LOCK, RENEW, WARN):
        if record.open[order_type] is not None:
            return record.open[order_type].cmd_id
    return None


def _bit(value):
    return value if value is True or value is False else None
