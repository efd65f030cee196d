"""The emergency start: by hand once an episode, else by code; it needs nobody (O-01 to O-05).

Rules: holding the button 5 s or three ignition-ons within 15 s opens one window in an episode. A code opens
one too: only the next unused number is right. Five wrong codes are free, then one each 15 min, for ever; no
count locks out (O-03). A typing slip (check digit) is no try. While a window is open nothing is tried or
spent. The window counts ticks, which hold no unknown off-time, so it never ends early; it is the longest of
the 24 h floor, the order's and the pack's. What follows its end is for the caller: the car goes on
startable until all interlocks and a fresh go token hold (README §1.11), so a running engine is never
touched.

Every change is persisted (`dump`) before it is answered, else pulling the fuse would give tries back. The
key never leaves. This module has no annotations, see `strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> override = Override(floors, bytes(32))
    >>> override.begin(bytes(16), 3, 86_400, 0)
    >>> override.by_hand(100), override.left_s(100), override.by_hand(90_000)
    (True, 86400, False)
"""

from protocol.orders_override import code, is_well_formed

OPENED = "OPENED"  # the window is open
MALFORMED = "MALFORMED"  # not nine digits with their check digit: no try
WRONG = "WRONG"  # not the next code
WAIT = "WAIT"  # too soon after the last try; `wait_s` says how long
NOT_NEEDED = "NOT_NEEDED"  # a window is open, nothing was spent
NONE_LEFT = "NONE_LEFT"  # all codes of the episode are used


class Override:
    """The emergency start of the current episode.

    Attributes: used (windows opened in this episode), codes_left.
    """

    def __init__(self, floors, key, kept=None):
        """Begin without an episode, or go on from what `dump` gave."""
        self.floors, self._key = floors, key
        if kept is None:
            kept = [None, 0, 0, 0, False, 0, None, None]
        (
            self._episode, self._codes, self._window_s, self._next, self._by_hand, self._tries,
            self._try_tick, self._end_tick,
        ) = kept  # fmt: skip

    def dump(self):
        """Return the record: episode, codes, window (s), codes used, by hand used, tries, two ticks."""
        return [
            self._episode, self._codes, self._window_s, self._next, self._by_hand, self._tries,
            self._try_tick, self._end_tick,
        ]  # fmt: skip

    def begin(self, episode, codes, window_s, pack_window_s):
        """Take a LOCK that locked: its episode, codes and window (key 23), the least window of the pack.

        Another LOCK of the same episode gives nothing back and shortens nothing.
        """
        if episode != self._episode:
            self._episode, self._next, self._by_hand = episode, 0, False
            self._tries, self._try_tick, self._end_tick = 0, None, None
            self._codes = self._window_s = 0
        self._codes = max(self._codes, codes, self.floors.CODES_MIN)
        self._window_s = max(self._window_s, window_s, pack_window_s, self.floors.OVERRIDE_S_MIN)

    @property
    def used(self):
        """Windows opened in this episode."""
        return self._next + (1 if self._by_hand else 0)

    @property
    def left(self):
        """Windows that may still be opened in this episode: codes, and the one by hand."""
        if self._episode is None:
            return 0
        return self._codes - self._next + (0 if self._by_hand else 1)

    def left_s(self, tick):
        """Return how long the window is still open, s; 0 without one."""
        if self._end_tick is None:
            return 0
        return min(self._window_s, max(0, self._end_tick - tick))

    def by_hand(self, tick):
        """Open the window without a code; return False when it was used in this episode or one is open."""
        if self._episode is None or self._by_hand or self.left_s(tick) > 0:
            return False
        self._by_hand = True
        self._end_tick = tick + self._window_s
        return True

    def wait_s(self, tick):
        """Return how long no code may be tried, s."""
        if self._tries < self.floors.TRIES_FREE or self._try_tick is None:
            return 0
        if tick < self._try_tick:
            self._try_tick = tick  # ticks lost with the power: wait once more from here, never longer
        return max(0, self._try_tick + self.floors.TRY_EVERY_S - tick)

    def by_code(self, digits, tick):
        """Try a code; return OPENED or why not."""
        if not is_well_formed(digits):
            return MALFORMED
        if self.left_s(tick) > 0:
            return NOT_NEEDED
        if self._episode is None or self._next >= self._codes:
            return NONE_LEFT
        if self.wait_s(tick) > 0:
            return WAIT
        self._tries = min(self._tries + 1, self.floors.TRIES_FREE)
        self._try_tick = tick
        if not _same(digits, code(self._key, self._episode, self._next + 1)):
            return WRONG
        self._next += 1
        self._end_tick = tick + self._window_s
        return OPENED


def _same(first, second):
    difference = 0
    for index in range(len(second)):
        difference |= ord(first[index]) ^ ord(second[index])
    return difference == 0


class Hand:
    """The borrower's hand: the button held 5 s, or three ignition-ons within 15 s (O-01)."""

    def __init__(self, floors):
        self.floors = floors
        self._pressed_at = self._ignition = None
        self._is_said = False
        self._ons = []

    def feed(self, now_s, button, ignition):
        """Return True at the one step at which the sign was given."""
        return self._held(now_s, button) or self._cycled(now_s, ignition)

    def _held(self, now_s, button):
        if button is not True:
            self._pressed_at, self._is_said = None, False
            return False
        if self._pressed_at is None or now_s < self._pressed_at:
            self._pressed_at = now_s
        if self._is_said or now_s - self._pressed_at < self.floors.BUTTON_S:
            return False
        self._is_said = True
        return True

    def _cycled(self, now_s, ignition):
        is_on = ignition is True and self._ignition is False
        if ignition is not None:
            self._ignition = ignition
        if not is_on:
            return False
        self._ons = [at for at in self._ons if 0 <= now_s - at <= self.floors.CYCLES_S] + [now_s]
        if len(self._ons) < self.floors.CYCLES:
            return False
        self._ons = []
        return True
