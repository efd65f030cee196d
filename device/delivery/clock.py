"""Which UTC a batch gets: the best source at the moment of the seal, mapped over the monotonic clock.

Rules:
- Order, ageing and timers never look here; they are monotonic. UTC is a fact in the header and nothing else.
- Three sources, best first: GNSS (three fixes in a row that agree within a second), the network (signed time
  of the backend, or what the shell says), the battery clock. The class of the shell's instant is the
  shell's word.
- GNSS disciplines the engine here, not in the shell, because only the engine reads the sentences.
- A source that shows less than the floor is not a clock: its UTC is unknown.
- An older anchor is worth less: its error grows with the drift of a cheap oscillator.

It does not set any clock (`SetClock` asks the shell to).

Example:
    >>> keeper = UtcKeeper(floor_us=0)
    >>> keeper.learn_network(mono_us=5, utc_us=1_000, error_us=2)
    >>> keeper.at(Instant(mono_us=10, utc_us=None, clock=ClockClass.NONE, error_us=None)).utc_us
    1005
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.clock import ClockClass, Instant

AGREE_US = 1_000_000  # NMEA comes up to a second after its fix, steadily; more apart is another clock
FIXES_TO_AGREE = 3  # one wrong date after a cold start must not become history
DRIFT_PPM = 100  # cheap crystal from -40 to 85 °C; each anchor loses this much certainty


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchor:
    mono_us: int
    utc_us: int
    error_us: int
    clock: ClockClass

    def at(self, mono_us: int) -> Instant:
        passed = mono_us - self.mono_us
        return Instant(
            mono_us=mono_us,
            utc_us=self.utc_us + passed,
            clock=self.clock,
            error_us=self.error_us + abs(passed) * DRIFT_PPM // 1_000_000,
        )


class UtcKeeper:
    """Holds the engine's own anchors of UTC.

    Args:
        floor_us: No UTC below this is believed, µs since 1970.
    """

    def __init__(self, *, floor_us: int) -> None:
        self._floor_us = floor_us
        self._network: _Anchor | None = None
        self._gnss: _Anchor | None = None
        self._offset_us: int | None = None
        self._agreeing = 0

    def learn_fix(self, *, mono_us: int, utc_us: int) -> None:
        """A receiver with a fix says the time; believed from the third in a row that agrees."""
        if utc_us < self._floor_us:
            return
        offset_us = utc_us - mono_us
        agrees = self._offset_us is not None and abs(offset_us - self._offset_us) <= AGREE_US
        self._agreeing = self._agreeing + 1 if agrees else 1
        self._offset_us = offset_us
        if self._agreeing >= FIXES_TO_AGREE:
            self._gnss = _Anchor(mono_us=mono_us, utc_us=utc_us, error_us=AGREE_US, clock=ClockClass.GNSS)

    def learn_network(self, *, mono_us: int, utc_us: int, error_us: int) -> None:
        """Signed time of the backend says the time."""
        if utc_us >= self._floor_us:
            self._network = _Anchor(
                mono_us=mono_us, utc_us=utc_us, error_us=error_us, clock=ClockClass.NETWORK
            )

    def at(self, now: Instant) -> Instant:
        """Return `now` with the best UTC known: by class, then by the smaller error bound."""
        unknown = Instant(mono_us=now.mono_us, utc_us=None, clock=ClockClass.NONE, error_us=None)
        offered = [unknown]
        if now.utc_us is not None and now.utc_us >= self._floor_us and now.clock != ClockClass.NONE:
            offered.append(now)
        offered += [anchor.at(now.mono_us) for anchor in (self._network, self._gnss) if anchor is not None]
        return max(offered, key=_worth)


def _worth(instant: Instant) -> tuple[int, float]:
    return instant.clock, float("-inf") if instant.error_us is None else -instant.error_us
