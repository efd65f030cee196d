"""How long to wait before trying again: longer each time, never all cars at once.

Rules: the wait doubles from `first_s` to `longest_s`, and each is drawn evenly from its upper half, so that a
fleet which lost its broker together does not come back together. `succeeded` starts over.

Example:
    >>> waits = BackOff(first_s=1.0, longest_s=60.0, seed=1)
    >>> first, second = waits.next_s(), waits.next_s()
    >>> 0.5 <= first <= 1.0 <= second <= 2.0
    True
"""

from __future__ import annotations

import random


class BackOff:
    """The waits between attempts at one thing.

    Args:
        first_s: longest first wait, seconds.
        longest_s: longest wait ever, seconds.
        seed: what the jitter is drawn from; None takes the system's entropy.
    """

    def __init__(self, *, first_s: float, longest_s: float, seed: int | None = None) -> None:
        assert 0 < first_s <= longest_s
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0
        self._random = random.Random(seed)  # noqa: S311 - spreads load, protects nothing

    def next_s(self) -> float:
        """Return how long to wait after one more failure, seconds."""
        ceiling = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._random.uniform(ceiling / 2, ceiling)

    def succeeded(self) -> None:
        """Start over: the next failure waits briefly again."""
        self._failures = 0
