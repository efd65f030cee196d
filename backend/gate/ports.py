"""What the gate needs of the world: time, the lenders' loan systems, the weather.

Rules: each answers or raises its own error; the gate decides what silence means (loan facts: no; forecast:
none, which is a veto in the car).

Example:
    >>> Gate(settings, store, loans=HttpLoanSystems(...), forecasts=NoForecast(), clock=SystemClock())
"""

from typing import Protocol as Port

from protocol.loan_facts import FactsQuestion


class LoanSystemError(Exception):
    """A loan system did not answer; says how, without what it said."""


class Clock(Port):
    """The gate's clock."""

    @property
    def boot(self) -> bytes:
        """16 bytes, new each time `mono_s` begins anew."""
        ...

    def now_s(self) -> int:
        """Return POSIX seconds; it may be stepped."""
        ...

    def mono_s(self) -> int:
        """Return seconds that nobody steps, since `boot`."""
        ...


class LoanSystems(Port):
    """The lenders' loan systems."""

    def facts(self, lender_id: bytes, question: FactsQuestion) -> bytes:
        """Return the signed answer, unverified.

        Raises:
            LoanSystemError: None came in time.
        """
        ...


class Forecasts(Port):
    """Outside air where a car stands."""

    def next_12_h(self, place: tuple[int, int], now_s: int) -> tuple[int, int] | None:
        """Return the lowest and highest °C of the next 12 hours; None when there is no forecast.

        Args:
            place: tenths of a degree north and east.
            now_s: POSIX seconds.
        """
        ...


class NoForecast:
    """No weather: go tokens carry none."""

    def next_12_h(self, place: tuple[int, int], now_s: int) -> tuple[int, int] | None:
        """Return None."""
        del place, now_s
        return None
