"""The secure record: all that must outlive a power cut, and its one encoding.

Rules: strict CBOR, a map of all keys below, integers and bytes as they are; whatever does not read exactly is
no record, and the caller has lost its state. The record decides nothing and signs nothing.

Open orders are kept with their payload as signed; the map is read again from it. It has no annotations, see
`strict_cbor`.

Example:
    >>> Record().dump() == Record.load(Record().dump()).dump()
    True
"""

import hashlib

from device.mcu.store import SLOT_BYTES_MAX
from protocol import orders_payload, strict_cbor
from protocol.orders_authority import Root
from protocol.orders_reader import NO_PREV
from protocol.orders_vocabulary import COMMISSIONING, LOCK, NONE, RENEW, WARN

VERSION = 1
DONE_MAX = 64  # cmd_ids whose answer is kept (command-authority §4.9)

_FITTING = 29  # a record of the firmware before has none

# Plain values of the record by key; open orders, roots and version stand in `dump`.
_PLAIN = (
    (2, "tick"),
    (3, "rtc"),
    (4, "clock"),
    (5, "provision"),
    (6, "mode"),
    (7, "binding"),
    (8, "epoch"),
    (9, "heads"),
    (10, "prev"),
    (11, "challenge"),
    (14, "done"),
    (15, "disp_seq"),
    (16, "disp_hash"),
    (17, "ring"),
    (18, "lease"),
    (19, "override"),
    (20, "warnings"),
    (21, "holds"),
    (22, "resets"),
    (23, "latched"),
    (24, "warned_since"),
    (25, "ring_lost"),
    (26, "checkpoint"),
    (27, "last_state"),
    (28, "time_keys"),
    (_FITTING, "fitting"),
)
_DEPTH = 8


class Open:
    """An order of class A that was accepted.

    Attributes: payload, cmd_hash, order (map), state, people ([issuer, kid, person] of its signers),
    is_warned (its warning began; not repeated after ARMED fell back).
    """

    def __init__(self, payload, state, people, is_warned):
        self.payload, self.state, self.people, self.is_warned = payload, state, people, is_warned
        self.cmd_hash = hashlib.sha256(payload).digest()
        self.order = orders_payload.read_order(payload)[0]

    @property
    def cmd_id(self):
        """Its name."""
        return self.order[2]

    def dump(self):
        """Return what `Record` keeps."""
        return [self.payload, self.state, self.people, self.is_warned]


class Record:
    """See the module.

    Attributes: tick (s), rtc (of the same moment, or None), clock (see `clock`), provision (the PROVISION
    map's values or None), mode, binding ([lender_id, vin_bind, contract_ref, jur] or None), epoch (16 bytes
    or None), heads, prev, challenge ([chal, tick, firmware] or None), roots (issuer to `Root`), open (type to
    `Open`), done ([cmd_id, state, code, seq] of the last answers), disp_seq and disp_hash (of the last
    disposition), ring ([seq, message] not yet acknowledged), ring_lost (how many fell out of it
    unacknowledged), lease, override, warnings, holds (as their classes dump them), resets (ticks of watchdog
    resets), latched (text of the fault that ended service, or None), warned_since ([episode, tick first
    heard] or None), checkpoint ([origin, size, root] of the log, by the gate of the last order accepted, or
    None), last_state (of the last order of class A that was open), time_keys (see `time_keys`),
    fitting (as `Fitting` dumps it, or None).
    """

    def __init__(self):
        self.tick, self.rtc, self.clock = 0, None, None
        self.provision = self.binding = self.epoch = self.challenge = None
        self.mode = COMMISSIONING
        self.heads, self.prev = [0, 0, 0], NO_PREV
        self.roots = {}
        self.open = {LOCK: None, RENEW: None, WARN: None}
        self.done, self.ring, self.resets = [], [], []
        self.disp_seq, self.disp_hash, self.ring_lost = 0, None, 0
        self.lease = self.override = self.warnings = self.holds = self.latched = self.warned_since = None
        self.checkpoint, self.last_state = None, NONE
        self.time_keys = []
        self.fitting = None

    def dump(self):
        """Return the record's bytes."""
        fields = {key: getattr(self, name) for key, name in _PLAIN}
        fields[1] = VERSION
        fields[12] = [_dump_root(root) for root in self.roots.values()]
        fields[13] = [None if order is None else order.dump() for order in self._orders()]
        return strict_cbor.dumps(fields)

    def _orders(self):
        return [self.open[order_type] for order_type in (LOCK, RENEW, WARN)]

    @staticmethod
    def load(data):
        """Return the record of bytes that `dump` gave, or None when they are no record of this version."""
        try:
            fields = strict_cbor.loads(data, SLOT_BYTES_MAX, _DEPTH)
            return _loaded(fields)
        except (ValueError, KeyError, TypeError, IndexError):
            return None

    def is_done(self, cmd_id):
        """Return the entry of an answered order, or None."""
        for entry in self.done:
            if entry[0] == cmd_id:
                return entry
        return None

    def note(self, cmd_id, state, code, seq):
        """Keep the last answer to an order; the oldest go, those of open orders never."""
        is_open = [order.cmd_id for order in self.open.values() if order is not None]
        kept = [entry for entry in self.done if entry[0] != cmd_id]
        while len(kept) >= DONE_MAX:
            for at in range(len(kept)):
                if kept[at][0] not in is_open:
                    kept.pop(at)
                    break
        kept.append([cmd_id, state, code, seq])
        self.done = kept


def _loaded(fields):
    fields.setdefault(_FITTING, None)
    if fields[1] != VERSION or len(fields) != len(_PLAIN) + 3:
        return None
    record = Record()
    for key, name in _PLAIN:
        setattr(record, name, fields[key])
    for values in fields[12]:
        root = _load_root(values)
        record.roots[root.issuer] = root
    for at, order_type in enumerate((LOCK, RENEW, WARN)):
        values = fields[13][at]
        record.open[order_type] = None if values is None else Open(*values)
    return record


_ROOT = ("version", "expires", "listed", "online", "pack", "zones", "metadata", "digest")


def _dump_root(root):
    added = [[number, entry] for number, entry in root.added]
    return [root.issuer, root.keys, root.threshold, added] + [getattr(root, name) for name in _ROOT]


def _load_root(values):
    root = Root(values[0], values[1], values[2])
    root.added = [(number, entry) for number, entry in values[3]]
    for at in range(len(_ROOT)):
        setattr(root, _ROOT[at], values[4 + at])
    return root
