"""The relay proof: held, the car does not start; free, it does; running, it runs on.

Rules (S-12): what is held is held by the microcontroller under a BENCH order; these watches only look. An
engine that starts while the relay is held, or stops because it is, is said at once and needs no second sight.
A PASS of a held relay needs the coil on, the contact not seen closed, and cranking that was seen meanwhile,
by a sight or by the microcontroller's own count.

Example:
    >>> watch = HeldWatch()
    >>> _ = watch.look(Sight(t_us=0, crank=False, engine=False))
    >>> watch.look(Sight(t_us=1, is_coil_on=True, crank=True, engine=True)).code
    'RELAY_BRIDGED'
"""

from __future__ import annotations

from device.commissioning.sight import Outcome, Sight

SENSE_IN_A_ROW = 3  # sights at least a quarter of a second apart: a relay moves in 8 ms
RUN_S = 3  # the engine must run on under the held relay
_RUN_US = RUN_S * 1_000_000
FREE_CRANK_US = 6_000_000  # a start that takes longer is none


class HeldWatch:
    """Held: the starter is tried and the engine does not start."""

    asks = "KEY_OFF"

    def __init__(self) -> None:
        self._stood = False
        self._was_on = False
        self._closed = 0
        self._has_cranked = False
        self._rest = 0

    @property
    def is_ready(self) -> bool:
        """The engine stands: only now is a BENCH worth asking for."""
        return self._stood

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        if not sight.is_coil_on:
            if self._was_on:
                return self._over(sight)
            self._stood = sight.engine is False and sight.crank is not True
            self.asks = "PERMISSION" if self._stood else "KEY_OFF"
            return None
        self._was_on, self.asks = True, "CRANK_HELD"
        return self._mistake(sight) or self._proof(sight)

    def _mistake(self, sight: Sight) -> Outcome | None:
        if sight.engine is True and not self._stood:
            return Outcome.fail("NOT_DONE", expected="no start while held", measured="engine ran before")
        if sight.engine is True:
            return Outcome.fail("RELAY_BRIDGED", expected="no start", measured="engine started")
        if sight.engine is None:
            return Outcome.fail("ENGINE_UNKNOWN", expected="engine sensed")
        self._closed = self._closed + 1 if sight.is_contact_open is False else 0
        if self._closed >= SENSE_IN_A_ROW:
            return Outcome.fail("COIL_OPEN", expected="contact open", measured="contact closed")
        return None

    def _proof(self, sight: Sight) -> Outcome | None:
        counted = sight.bench.crank_s if sight.bench is not None else 0
        if sight.crank is True or counted >= 1:
            self._has_cranked = True
        self._rest = self._rest + 1 if self._has_cranked and sight.crank is False else 0
        if self._rest < SENSE_IN_A_ROW or sight.is_contact_open is False:
            return None
        return Outcome.passed(expected="no start while held", measured=f"cranked {counted} s, no start")

    def _over(self, sight: Sight) -> Outcome:
        if sight.engine is True:
            return Outcome.fail("RELAY_BRIDGED", expected="no start", measured="engine started")
        return Outcome.fail("BENCH_OVER", expected="no start while held", measured="not tried in time")

    def late(self) -> Outcome:
        """Return what it means that nothing more was seen."""
        return Outcome.fail("BENCH_OVER" if self._was_on else "NOT_DONE", expected="no start while held")


class FreeWatch:
    """Free again: the same key starts the engine."""

    asks = "WAIT_COIL"

    def __init__(self) -> None:
        self._phase = 0
        self._crank_us: int | None = None

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        if sight.is_coil_on:
            self._phase, self.asks = 0, "WAIT_COIL"
            return None
        if self._phase == 0:
            if sight.engine is True:  # it ran before: only a start that is seen counts
                self.asks = "KEY_OFF"
            elif sight.crank is False:
                self._phase, self.asks = 1, "CRANK_FREE"
            return None
        if sight.crank is True and self._crank_us is None:
            self._crank_us = sight.t_us
        if sight.engine is True and self._crank_us is not None:
            return Outcome.passed(expected="starts", measured="cranked and started")
        is_long = self._crank_us is not None and sight.t_us - self._crank_us > FREE_CRANK_US
        return Outcome.fail("NO_START", expected="starts", measured="no start") if is_long else None

    def late(self) -> Outcome:
        """Return what it means that no start was seen."""
        code = "NOT_DONE" if self._crank_us is None else "NO_START"
        return Outcome.fail(code, expected="starts")


class RunningWatch:
    """The engine runs, the relay is held, and the engine runs on.

    The microcontroller lets go at once when the engine stops, so that the coil may be off again before a
    sight shows it on: once the order was handed on, an engine that stands is one that the relay stopped.

    Attributes:
        is_handed_on: the BENCH order is with the microcontroller.
    """

    asks = "START_ENGINE"

    def __init__(self) -> None:
        self._held_us: int | None = None
        self._ran_before = False
        self._closed = 0
        self.is_handed_on = False

    @property
    def is_ready(self) -> bool:
        """The engine was seen running: only now is a BENCH worth asking for."""
        return self._ran_before

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight."""
        is_stopped = self.is_handed_on and self._ran_before and sight.engine is False
        if self._held_us is None and not sight.is_coil_on and not is_stopped:
            self._ran_before = sight.engine is True
            self.asks = "PERMISSION" if self._ran_before else "START_ENGINE"
            return None
        if sight.engine is not True:
            code = "RELAY_STOPS_ENGINE" if self._ran_before else "NOT_DONE"
            return Outcome.fail(code, expected="engine runs on", measured="engine stopped")
        if not sight.is_coil_on:
            return Outcome.fail("BENCH_OVER", expected=f"{RUN_S} s held", measured="released before")
        self.asks = "ENGINE_STAYS"
        self._closed = self._closed + 1 if sight.is_contact_open is False else 0
        if self._closed >= SENSE_IN_A_ROW:
            return Outcome.fail("COIL_OPEN", expected="contact open", measured="contact closed")
        self._held_us = sight.t_us if self._held_us is None else self._held_us
        held_us = sight.t_us - self._held_us
        if held_us < _RUN_US or not self._ran_before or sight.is_contact_open is False:
            return None
        return Outcome.passed(expected=f"{RUN_S} s", measured=f"{held_us // 1_000_000} s", unit="s")

    def late(self) -> Outcome:
        """Return what it means that it was not seen."""
        return Outcome.fail("NOT_DONE", expected="engine runs on")
