"""What a fitter needs of the microcontroller: proof of the wires, its part of signatures, a lamp, a way back.

Rules (K-02, S-12; SPEC §20.4): while COMMISSIONING, and only then, it notes which wires were seen at both
levels and what happened in each bench, at every look. An engine that stops while a bench holds the coil ends
the bench at once: the relay may be in the wrong line. D1 signs its part of a BIND for this device and epoch,
and what it saw, as `commissioning`; neither locks a car.

**Way back to COMMISSIONING**: the emergency button, seen free before, held `SERVICE_S` with the ignition off,
while MONITOR by a fault or without a lender, nothing open and every disposition acknowledged. A new epoch;
lender, counters and challenge go, holds and warnings stay. Never from ACTIVE.

The lamp shows a pattern of four quarters of a second for at most 30 s; see `protocol.mcu_link`.

It has no annotations, see `strict_cbor`.

Example:
    >>> lamp = Lamp()
    >>> lamp.take({1: 5, 2: 30}, 0), [lamp.level(ms) for ms in (0, 250, 500, 750, 1_000)]
    (True, [True, False, True, False, True])
"""

import hashlib

from device.mcu import replies
from protocol import cose_sign, orders_payload, strict_cbor
from protocol.mcu_link import PART, PART_BIND, PART_RECORD
from protocol.orders_payload import fits
from protocol.orders_reader import NO_PREV
from protocol.orders_vocabulary import BIND, COMMISSIONING, MCU, MONITOR, NONE

BENCHES_MAX = 4  # the last ones stay
RECORD_S = 3_600  # after BIND the record can still be signed: the fitter closes up and takes a photo
PATTERN_MAX, SHOW_S_MAX = 15, 30
QUARTER_MS = 250
_GAP_MS = 1_000  # not looked at for longer: nobody knows what was in between
_INDICATION = {1: ("uint", 0, PATTERN_MAX), 2: ("uint", 0, SHOW_S_MAX)}
_QUESTION = {1: ("uint", 1, 1), 2: ("uint", 0, 255), 3: ("bytes", 1, strict_cbor.MAX_LEN)}


class Fitting:
    """What was seen since the epoch began.

    Attributes: benches ([cmd_id, s held, s of crank, starts, s of engine, contact seen open] each, of what
    happened while held), seen (bit 2n: wire n was low, 2n + 1: it was high; ignition, crank, engine, button),
    bound_tick (of BIND, or None), is_new (something is worth writing).
    """

    def __init__(self, kept=None):
        """Begin with nothing seen, or go on from what `dump` gave."""
        self.benches, self.seen, self.bound_tick = [[], 0, None] if kept is None else kept
        self.is_new = False
        self._ms = [0, 0, 0]  # of the newest bench: held, crank, engine
        self._at = self._engine = self._free_ms = None

    def dump(self):
        """Return what the record keeps."""
        return [self.benches, self.seen, self.bound_tick]

    def begin(self, cmd_id):
        """Take a bench that begins."""
        self.benches = self.benches[1 - BENCHES_MAX :] + [[cmd_id, 0, 0, 0, 0, False]]
        self._ms = [0, 0, 0]

    def look(self, now_ms, wires, is_held, is_cut):
        """Take one look; return whether the bench may go on.

        Args:
            now_ms: of the board.
            wires: ignition, crank, engine, button; None for what is not sensed.
            is_held: a bench holds the coil.
            is_cut: the relay's contact is sensed open.
        """
        seen = self.seen
        for at in range(4):
            if wires[at] is not None:
                seen |= 1 << (2 * at + wires[at])
        self.is_new = self.is_new or seen != self.seen
        self.seen = seen
        was, self._engine = self._engine, wires[2]
        span_ms = 0 if self._at is None else now_ms - self._at
        self._at = now_ms
        if not is_held or not self.benches:
            return True
        bench = self.benches[-1]
        for at, key, counts in ((0, 1, True), (1, 2, wires[1]), (2, 4, wires[2])):
            if counts is True and 0 <= span_ms <= _GAP_MS:
                self._ms[at] += span_ms
                bench[key] = self._ms[at] // 1_000
        if wires[2] is True and was is False:
            bench[3] += 1
        bench[5] = bench[5] or is_cut is True
        return not (was is True and wires[2] is False)

    def moved(self):
        """Return for each wire whether it was seen at both levels."""
        return [self.seen >> 2 * at & 3 == 3 for at in range(4)]

    def asks_back(self, now_ms, button, ignition, service_s):
        """Return True at the look at which the hand asked for the way back."""
        if button is not True or ignition is not False:
            self._free_ms = now_ms if button is False else None
            return False
        if self._free_ms is None or now_ms - self._free_ms < 1_000 * service_s:
            return False
        self._free_ms = None
        return True


def go_back(brain):
    """Let a box that is out of service be fitted anew; return whether it could."""
    record = brain.record
    is_out = record.mode == MONITOR and (record.latched is not None or record.binding is None)
    if not is_out or record.ring or any(order is not None for order in record.open.values()):
        brain.event("SERVICE_REFUSED", None)
        return False
    brain.authority.forget_lenders()
    record.epoch, record.mode, record.latched = brain.board.random(16), COMMISSIONING, None
    record.heads, record.prev, record.last_state = [0, 0, 0], NO_PREV, NONE
    record.binding = record.challenge = record.checkpoint = record.warned_since = record.disp_hash = None
    record.done, record.resets, record.disp_seq = [], [], 0
    brain.replies.written_seq = 0
    brain.fitting = Fitting()
    if brain.commit():
        brain.commit()  # in both slots: no older image brings the lender back
    brain.event("SERVICE", None)
    return True


# --- Parts of signatures ------------------------------------------------------------------------------------


def answer_part(brain, body):
    """Answer a PART_QUESTION."""
    try:
        question = strict_cbor.loads(body, strict_cbor.MAX_LEN)
    except ValueError:
        question = None
    if not _is_map(question, _QUESTION):
        brain.link_code("BAD_ENCODING", body, "part")
        return
    if brain.intake.left < 1:
        brain.link_code("BUSY", body, "part")
        return
    if question[2] == PART_BIND:
        found = _bind_part(brain, question[3])
    elif question[2] == PART_RECORD and len(question[3]) == 32:
        found = _record_part(brain, question[3])
    else:
        found = None
    if found is None:
        brain.link_code("WRONG_MODE", body, "part: not of this device, or not now")
        return
    brain.intake.left -= 1
    found.update({1: 1, 2: question[2]})
    brain.send(PART, strict_cbor.dumps(found))


def _bind_part(brain, payload):
    record = brain.record
    try:
        order, is_known = orders_payload.read_order(payload)
    except ValueError:
        return None
    if record.mode != COMMISSIONING or record.provision is None or not is_known or order[3] != BIND:
        return None
    if order[5] != brain.key.kid or order[8] != record.epoch:
        return None
    protected = cose_sign.protected_header(brain.key.kid, MCU)
    signature = brain.key.sign(cose_sign.sig_structure("command", payload, protected))
    return {3: hashlib.sha256(payload).digest(), 4: protected, 5: signature}


def _record_part(brain, digest):
    record, fitting = brain.record, brain.fitting
    bound = fitting.bound_tick
    is_fresh = bound is not None and 0 <= brain.tick - bound <= RECORD_S
    if record.provision is None or not (record.binding is None or is_fresh):
        return None
    fields = {
        1: 1, 2: brain.key.kid, 3: record.epoch, 4: digest, 5: fitting.benches, 6: brain.tick,
        7: [brain.firmware, brain.floors.IS_DEMO], 8: fitting.moved(),
    }  # fmt: skip
    return {3: digest, 6: replies.seal("commissioning", strict_cbor.dumps(fields), brain.key)}


def _is_map(value, forms):
    if not isinstance(value, dict) or len(value) != len(forms):
        return False
    return all(key in value and fits(value[key], form) for key, form in forms.items())


# --- The lamp -----------------------------------------------------------------------------------------------


class Lamp:
    """Which pattern shows, and how long. Attributes: sounds (the buzzer too is wanted)."""

    def __init__(self):
        self._pattern = self._from_ms = self._until_ms = 0
        self.sounds = False

    def take(self, fields, now_ms):
        """Begin a pattern; return False when the map is none."""
        fields = fields if isinstance(fields, dict) else {}
        sounds = fields.pop(3, False)
        if not isinstance(sounds, bool) or not _is_map(fields, _INDICATION):
            return False
        self._pattern, self.sounds = fields[1], sounds
        self._from_ms, self._until_ms = now_ms, now_ms + 1_000 * fields[2]
        return True

    def end(self):
        """Show nothing more."""
        self._pattern = 0

    def level(self, now_ms):
        """Return whether the lamp is lit now."""
        if not self._from_ms <= now_ms < self._until_ms:
            return False
        return self._pattern >> ((now_ms - self._from_ms) // QUARTER_MS % 4) & 1 == 1
