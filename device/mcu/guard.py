"""The coil: the rule that lets it be energised, and a watch over the relay (README §1.4; S-01, S-02).

Rules: energised only while LOCKED ∧ engine not running ∧ drive cycle ended ∧ (crank sensed, or on a
one-touch start the first 60 s after an ignition-on this guard saw). Motion or an engine run drops it until
the next ended drive cycle; below 9 V it drops for the rest of that crank, so that a starter is never
chopped. Whatever is unknown leaves the car startable. Cars made `ready` (hybrid, electric) are never
inhibited (S-10).

`Relay` compares feedback with command: unequal for longer than it settles, or no feedback while commanded,
is a fault, and the caller releases. This module does not write a pin. It has no annotations, see
`strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> guard = Guard(floors)
    >>> guard.coil(LOCKED, 700, True, True, False, False, True, "turn-key", 12_600)
    True
"""

from protocol.orders_vocabulary import LOCKED

TURN_KEY, ONE_TOUCH = "turn-key", "one-touch"  # start types of vehicle profiles that have a starter


class Guard:
    """The coil rule; it remembers an ignition-on, a drop and a brown-out, nothing else."""

    def __init__(self, floors):
        self.floors = floors
        self._ignition = self._on_at = None
        self._is_dropped = self._is_browned = False

    def coil(self, state, now_s, ignition, crank, engine, moving, drive_cycle_ended, start_type, supply_mv):
        """Return whether the coil may be energised now; call it at every step.

        Args:
            state: of the order, a number of `orders_vocabulary`.
            now_s: the device's own count, s.
            ignition: own wire, None when not sensed.
            crank: own wire, None when not sensed.
            engine: own sense of a running engine, None when not sensed.
            moving: whether the car moves (`at_rest.Motion`).
            drive_cycle_ended: by `drive_cycle.DriveCycle`.
            start_type: of the vehicle's profile.
            supply_mv: mV, None when not sensed.
        """
        self._follow(now_s, ignition, engine, moving, drive_cycle_ended)
        wants = self._is_start(now_s, ignition, crank, start_type)
        if not wants:
            self._is_browned = False
        elif supply_mv is None or supply_mv < self.floors.BROWN_OUT_MV:
            self._is_browned = True
        if state != LOCKED or engine is not False or moving is not False or drive_cycle_ended is not True:
            return False
        if ignition is None or self._is_dropped or self._is_browned:
            return False
        return wants

    def _follow(self, now_s, ignition, engine, moving, drive_cycle_ended):
        if ignition is True and self._ignition is False:
            self._on_at = now_s
        elif ignition is not True:
            self._on_at = None
        self._ignition = ignition
        if engine is True or moving is True:
            self._is_dropped = True
        elif drive_cycle_ended is not True:
            self._is_dropped = False

    def _is_start(self, now_s, ignition, crank, start_type):
        if start_type not in (TURN_KEY, ONE_TOUCH):
            return False
        if crank is True:
            return True
        if start_type != ONE_TOUCH or ignition is not True or self._on_at is None:
            return False
        return 0 <= now_s - self._on_at < self.floors.ONE_TOUCH_S


class Relay:
    """What the relay's feedback says about the command."""

    def __init__(self, floors):
        self.floors = floors
        self._since = None

    def is_faulty(self, now_s, commanded, sensed):
        """Return whether feedback contradicted the command too long; None proves no coil that is on."""
        agrees = sensed is commanded or (sensed is None and commanded is False)
        if agrees:
            self._since = None
            return False
        if self._since is None or now_s < self._since:
            self._since = now_s
        return now_s - self._since >= self.floors.RELAY_SETTLE_S
