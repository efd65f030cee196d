"""When a drive cycle ended (README §1.1; S-05): a stall, a stop-start, refuelling are never an end.

Rules: it ends 600 s after the engine last ran, with the ignition off by the device's own wire and one more
source that says so or that the engine stands, none contradicting. Ended stays ended through ignition cycles
and cranks; an engine run or motion opens the next one. Ignition cycles without an engine run do not restart
the 600 s. A step at which nobody could say that the engine stands, or a gap longer than `STEP_GAP_S_MAX`,
counts as a run: doubt lets the car start.

After a loss of power a device knows nothing of the time before: a new `DriveCycle` is open. After a reset
of its own (watchdog, soft) the caller may give `ended=True` back from its record.

This module does not switch the coil: see `guard`. It has no annotations, see `strict_cbor`.

Example:
    >>> from device.mcu import floors
    >>> cycle = DriveCycle(floors)
    >>> for now_s in range(0, 601, 5):
    ...     cycle.feed(now_s, False, False, None, None, False, False)
    >>> cycle.ended
    True
"""


class DriveCycle:
    """The drive cycle.

    Attributes: ended (the last one is over), ran_s (s since the engine last ran, or may have).
    """

    def __init__(self, floors, *, ended=False):
        self.floors = floors
        self.ended = ended
        self.ran_s = 0
        self._ran_at = self._last = None

    def feed(self, now_s, ignition, engine, ignition_bus, engine_bus, bus_asleep, moving):
        """Take one step.

        Args:
            now_s: the device's own count, s.
            ignition: own wire, True on, False off, None not sensed.
            engine: own sense of a running engine, None not sensed.
            ignition_bus: by the bus, None when it says nothing.
            engine_bus: by the bus, None when it says nothing.
            bus_asleep: whether the bus fell asleep after a last 0.
            moving: whether the car moves (`at_rest.Motion`).
        """
        is_first = self._last is None
        is_gap = not is_first and not 0 <= now_s - self._last <= self.floors.STEP_GAP_S_MAX
        self._last = now_s
        ran = engine is True or engine_bus is True or moving is not False
        second = engine is False or engine_bus is False
        if ignition is False and (ignition_bus is False or bus_asleep is True):
            second = True
        if ran or not second or is_gap:
            self._ran_at, self.ran_s, self.ended = now_s, 0, False
            return
        if is_first:
            self._ran_at = now_s
        self.ran_s = now_s - self._ran_at
        is_off = ignition is False and ignition_bus is not True
        if is_off and self.ran_s >= self.floors.DRIVE_CYCLE_S:
            self.ended = True
