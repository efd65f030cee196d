"""The officer's machine's clock: POSIX seconds.

It dates drafts and orders, and bounds what is believed current; the car has its own clock and decides by it.
"""

import time


def now_s() -> int:
    """Return now, POSIX seconds."""
    return int(time.time())
