"""Two holds that outlive a reset: no arming for 72 h after a crash, one change to LOCKED in 7 d.

Rules (README §2.2, §1.14; S-07, S-09): counted on the device's own ticks, which know no unknown off-time;
what is not known to have passed has not passed. Refused and expired orders never start the rate, nor does
locking again after an emergency window of the same lease: the caller says `locked` only of a new LOCK.

This module does not store: the caller persists `dump()`. It has no annotations, see `strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> holds = Holds(floors)
    >>> holds.crashed(1_000)
    >>> holds.crash_left_s(1_010)
    259190
"""


class Holds:
    """The crash hold and the rate of locks; `kept` is what `dump` gave."""

    def __init__(self, floors, kept=None):
        self.floors = floors
        self._crash_tick, self._lock_tick = kept if kept is not None else (None, None)

    def dump(self):
        """Return [tick of the last crash or None, tick of the last lock or None]."""
        return [self._crash_tick, self._lock_tick]

    def crashed(self, tick):
        """Note a crash, airbag or eCall."""
        self._crash_tick = tick

    def locked(self, tick):
        """Note a new LOCK that went to LOCKED."""
        self._lock_tick = tick

    def crash_left_s(self, tick):
        """Return how long arming is still held, s."""
        return _left_s(self._crash_tick, self.floors.CRASH_HOLD_S, tick)

    def rate_left_s(self, tick):
        """Return how long no new LOCK may lock, s."""
        return _left_s(self._lock_tick, self.floors.LOCK_RATE_S, tick)


def _left_s(since, hold_s, tick):
    if since is None:
        return 0
    return hold_s if tick < since else max(0, since + hold_s - tick)
