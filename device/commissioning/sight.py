"""What a step sees, and how it ends.

Rules: a `Sight` is one STATUS of the microcontroller; a `Watch` takes them in order and says how its step
ended, or None while it is not known. A watch says PASS only of sights that it was shown.

This module knows no step.

Example:
    >>> Outcome.fail("IGNITION_DEAD").state
    <StepState.FAIL: 'FAIL'>
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from protocol.install_vocabulary import StepState

if TYPE_CHECKING:
    from device.orders.link import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at the wires.

    Attributes:
        t_us: when, by the box's own count.
        supply_mv: at the box; None when not measured.
        ignition, crank, engine: whether each wire is live; None when not sensed.
        accel: `still`, `moving` or `failed`; None while it says nothing.
        is_coil_on: the microcontroller holds the relay.
        is_contact_open: what the relay's second contact says; None without one.
        bench: the newest BENCH as the microcontroller counted it; None before the first.
    """

    t_us: int
    supply_mv: int | None = None
    ignition: bool | None = None
    crank: bool | None = None
    engine: bool | None = None
    accel: str | None = None
    is_coil_on: bool = False
    is_contact_open: bool | None = None
    bench: Bench | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a step ended; texts as a report shows them."""

    state: StepState
    code: str = ""
    expected: str = ""
    measured: str = ""
    unit: str = ""

    @classmethod
    def passed(cls, *, expected: str, measured: str, unit: str = "", code: str = "") -> Self:
        """Return a PASS, which always says what was measured."""
        assert measured, "PASS without something seen"
        return cls(state=StepState.PASS, code=code, expected=expected, measured=measured, unit=unit)

    @classmethod
    def fail(cls, code: str, *, expected: str = "", measured: str = "", unit: str = "") -> Self:
        """Return a FAIL with its finding."""
        return cls(state=StepState.FAIL, code=code, expected=expected, measured=measured, unit=unit)


class Watch(Protocol):
    """One step in progress.

    Attributes:
        asks: what the fitter shall do now, a key of `install_words.ASKS`.
    """

    asks: str

    def look(self, sight: Sight) -> Outcome | None:
        """Take the next sight; return how the step ended, or None."""
        ...

    def late(self) -> Outcome:
        """Return how the step ends when its time is over."""
        ...
