"""At rest for 600 s by agreeing sources (README §1.2; S-03), and motion as the coil means it.

Rules: at rest = the device's own accelerometer is still and wheel speed or GNSS agrees and none disagrees,
is jammed or failed, without a break. A source heard in this window and then gone is lost: the window begins
again, and in the new one it is absent. Whoever did not look for `STEP_GAP_S_MAX`, or whose count went back,
knows nothing of the time between: the window begins again.

This module does not read a source: see `sources`. It has no annotations, see `strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> rest = AtRest(floors)
    >>> for now_s in range(0, 601, 5):
    ...     rest.feed(now_s, 2, 2, 0)
    >>> rest.held_s
    600
"""

from device.mcu.sources import ABSENT, AGREES, DISAGREES, LOST


class AtRest:
    """The window of 600 s.

    Attributes: verdicts ([accelerometer, wheel, GNSS] of the last step), held_s (at rest so long; 0 when
    not).
    """

    def __init__(self, floors):
        self.floors = floors
        self.verdicts = [ABSENT, ABSENT, ABSENT]
        self.held_s = 0
        self._since = self._last = None
        self._heard = [False, False, False]

    def feed(self, now_s, accel, wheel, gnss):
        """Take what the three sources say now (verdicts of `sources`)."""
        given = [accel, wheel, gnss]
        is_gap = self._last is None or not 0 <= now_s - self._last <= self.floors.STEP_GAP_S_MAX
        self._last = now_s
        for index in range(3):
            if given[index] == ABSENT and self._heard[index]:
                given[index] = LOST
        self.verdicts = given
        if is_gap or not _is_at_rest(given) or self._since is None:
            self._since = now_s if _is_at_rest(given) else None
            self._heard = [False, False, False]
            self.held_s = 0
        else:
            self.held_s = now_s - self._since
        for index in range(3):
            if given[index] not in (ABSENT, LOST):
                self._heard[index] = True

    def is_fresh(self, now_s):
        """Return whether the last step is recent enough to be believed."""
        return self._last is not None and 0 <= now_s - self._last <= self.floors.STEP_GAP_S_MAX


def _is_at_rest(verdicts):
    for verdict in verdicts:
        if verdict not in (AGREES, ABSENT):
            return False
    return verdicts[0] == AGREES and AGREES in verdicts[1:]


class Motion:
    """Whether the car moves, for the coil (S-02): wheels at once, the others when they insist.

    Attributes: is_moving, is_driven (wheels or GNSS say so: an idling engine shakes the accelerometer too).
    """

    def __init__(self, floors):
        self.floors = floors
        self.is_moving = self.is_driven = False
        self._since = [None, None]

    def feed(self, now_s, accel, wheel, gnss):
        """Take the verdicts of this step; a slammed door or one wild fix is no drive."""
        insists = is_driven = False
        for index, verdict in ((0, accel), (1, gnss)):
            if verdict != DISAGREES:
                self._since[index] = None
            elif self._since[index] is None or now_s < self._since[index]:
                self._since[index] = now_s
            elif now_s - self._since[index] >= self.floors.MOTION_S:
                insists = True
                is_driven = index == 1
        self.is_driven = is_driven or wheel == DISAGREES
        self.is_moving = insists or self.is_driven
