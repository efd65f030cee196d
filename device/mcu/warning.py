"""The warning in the car: played with feedback, seldom, never at night (README §1.13; S-08, S-09).

Rules: an order that warns (a WARN for its life, a LOCK in its WARNING state) plays once at each
ignition-on, at most three times in any 24 h, between 07:00 and 22:00 local; without a local time it does
not play. An ignition-on is one only after 10 s off, and a play counts as heard when feedback came after it
had sounded for a second: a wire that bounces is neither a cycle nor an ear. Heard cycles count once for each
ignition cycle, for the episode, over resets. A lock needs two of them.

This module does not sound anything: `feed` says whether the caller should. It has no annotations, see
`strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> warnings = Warnings(floors)
    >>> warnings.begin(bytes(16))
    >>> warnings.feed(0, False, 600, False, True), warnings.feed(10, True, 600, False, True)
    (False, True)
"""


class Warnings:
    """Warnings of the current episode.

    Attributes: heard_cycles (ignition cycles of the episode on which it was heard).
    """

    def __init__(self, floors, kept=None):
        """Begin without an episode, or go on from what `dump` gave."""
        self.floors = floors
        self._episode, self.heard_cycles, self._plays = (None, 0, []) if kept is None else kept
        self._plays = list(self._plays)
        self._ignition = self._off_since = None
        self._playing_since = None
        self._is_heard = self._was_heard = False

    def dump(self):
        """Return [episode or None, heard cycles, ticks of the last plays]."""
        return [self._episode, self.heard_cycles, list(self._plays)]

    def begin(self, episode):
        """Take the episode of an accepted order; another one starts at nothing heard."""
        if episode != self._episode:
            self._episode, self.heard_cycles = episode, 0

    def feed(self, tick, ignition, local_minute, heard, wants):
        """Take one step and return whether the warning sounds now.

        Args:
            tick: the device's own count, s.
            ignition: own wire, None when not sensed.
            local_minute: of the day, None when not known.
            heard: whether feedback of buzzer or lamp came since the last step.
            wants: whether an order warns now.
        """
        is_on = self._is_another_cycle(tick, ignition)
        if self._playing_since is not None:
            played_s = tick - self._playing_since
            self._listen(heard, played_s)
            if ignition is not True or wants is not True or not 0 <= played_s < self.floors.WARN_PLAY_S:
                self._playing_since = None
        if is_on and wants is True and self._may_play(tick, local_minute):
            self._plays = [at for at in self._plays if self._is_today(at, tick)] + [tick]
            self._playing_since, self._is_heard = tick, False
        return self._playing_since is not None

    def was_heard(self):
        """Return True once after each play that was heard."""
        was, self._was_heard = self._was_heard, False
        return was

    def _is_another_cycle(self, tick, ignition):
        """Return whether the ignition goes on now, after it was off for long enough."""
        was = self._ignition
        if ignition is not None:
            self._ignition = ignition
        if ignition is False and (was is not False or tick < self._off_since):
            self._off_since = tick
        return ignition is True and was is False and tick - self._off_since >= self.floors.WARN_OFF_S

    def _listen(self, heard, played_s):
        if heard is True and not self._is_heard and played_s >= self.floors.WARN_HEARD_S:
            self._is_heard = self._was_heard = True
            self.heard_cycles = min(self.heard_cycles + 1, 255)

    def _may_play(self, tick, local_minute):
        if self._episode is None or local_minute is None:
            return False
        if not self.floors.WARN_FROM_MIN <= local_minute < self.floors.WARN_TO_MIN:
            return False
        today = [at for at in self._plays if self._is_today(at, tick)]
        return len(today) < self.floors.WARN_PER_DAY_MAX

    def _is_today(self, at, tick):
        return at > tick or tick - at < self.floors.WARN_DAY_S
