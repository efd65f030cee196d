"""`time` whose clock is the simulator's; see the package."""

from hwsim import call
from utime import *  # noqa: F403 - all else stays MicroPython's own


def ticks_ms():
    """Return ms since the power came."""
    return call("ticks")


def sleep_ms(span_ms):
    """Come back when the simulator's time says so."""
    call("sleep", span_ms)
