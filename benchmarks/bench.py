"""What a bench is: the goals it measures and how it is run.

Rules: a bench yields rows as it finds them. It leaves out what it cannot run, with the reason, and raises
only when it is broken itself. It prepares before it times, and everything it writes is in its own folder.

Example:
    BENCH = Bench(ids=("A1",), title="CAN frames to arrays", run=run)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.harness import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.recordings import Recordings
    from benchmarks.result import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how large.

    Attributes:
        recordings: Real data, when it is there.
        folder: Scratch space on the disk whose speed counts.
        is_tiny: As small as it can be and still go through every line: for tests, never for figures.
        rounds: How often each candidate is timed.
    """

    recordings: Recordings
    folder: Path
    is_tiny: bool = False
    rounds: int = ROUNDS

    def size(self, full: int, tiny: int) -> int:
        """Return a size for this run."""
        return tiny if self.is_tiny else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Goals by name, a title for the progress line, and the work."""

    ids: tuple[str, ...]
    title: str
    run: Callable[[Setting], Iterator[Line]]
