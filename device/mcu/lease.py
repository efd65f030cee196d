"""The lease: a lock ends by itself (README §1.10; C-16).

Rules: it ends `max_hold` after LOCKED, not counting hours in an emergency window, and never later than 7 d
after LOCKED, counting them. All is counted on ticks, which include off-time the RTC measured; off-time
nobody measured is charged with 24 h, once for each such event, to both. A RENEW lets it end `max_hold`
after its go token, never earlier than before, never beyond the 7 d. 24 h without authenticated contact end
it too; unknown off-time is not charged to that, so that one pulled fuse does not unlock.

A tick that went back is a defect of the store: `is_over` says yes. This module does not store: the caller
persists `dump()`. It has no annotations, see `strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> lease = Lease(floors, 1_000, 259_200)
    >>> lease.end_tick(1_000), lease.is_over(260_199), lease.is_over(260_200)
    (260200, False, True)
"""


class Lease:
    """One lease, from LOCKED to its end.

    Attributes: since (tick of LOCKED), contact_tick (of the last authenticated contact).
    """

    def __init__(self, floors, tick, hold_s=None, kept=None):
        """Begin at a tick with `max_hold` seconds, or go on from what `dump` gave."""
        self.floors = floors
        if kept is None:
            hold_s = floors.LEASE_DEFAULT_S if hold_s is None else hold_s
            kept = [tick, max(0, min(hold_s, floors.LEASE_CAP_S)), 0, 0, None, 0, tick]
        (
            self.since, self._hold_s, self._charged_s, self._past_s, self._window_tick, self._window_s,
            self.contact_tick,
        ) = kept  # fmt: skip

    def dump(self):
        """Return LOCKED tick, hold, charge, past windows (s), last window (tick, s), contact tick."""
        return [
            self.since, self._hold_s, self._charged_s, self._past_s, self._window_tick, self._window_s,
            self.contact_tick,
        ]  # fmt: skip

    def charge_unknown_off_time(self):
        """Charge one loss of power whose length nobody knows."""
        self._charged_s += self.floors.OFF_TIME_UNKNOWN_S

    def window_opened(self, tick, window_s):
        """Note an emergency window of so many seconds; what is left of the one before is over."""
        self._past_s = self._windows_s(tick)
        self._window_tick, self._window_s = tick, window_s

    def renew(self, tick, hold_s):
        """Take a RENEW with its go token."""
        spent_s = tick - self.since + self._charged_s - self._windows_s(tick)
        self._hold_s = max(self._hold_s, spent_s + hold_s)

    def contact(self, tick):
        """Note authenticated contact."""
        self.contact_tick = max(self.contact_tick, tick)

    def end_tick(self, tick):
        """Return the tick at which it ends, as far as is known at `tick`."""
        held = self._hold_s + self._windows_s(tick)
        return self.since + min(held, self.floors.LEASE_CAP_S) - self._charged_s

    def is_over(self, tick):
        """Return whether it ended."""
        return tick < self.since or tick >= self.end_tick(tick)

    def is_contact_lost(self, tick):
        """Return whether nobody authentic was heard for 24 h."""
        return tick - self.contact_tick >= self.floors.CONTACT_S_MAX

    def _windows_s(self, tick):
        """Return the seconds spent in emergency windows; what follows a window's end counts as hold again."""
        if self._window_tick is None:
            return self._past_s
        return self._past_s + max(0, min(self._window_s, tick - self._window_tick))
