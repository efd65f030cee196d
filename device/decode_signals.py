"""What Ctrl-C and SIGTERM do to `tbox decode`.

Rules:
- Of a log that comes through a pipe, the first Ctrl-C ends only its writer, which hears it too: what it wrote
  is decoded to the end. A second one stops at once, as the first does with a file.
- Stopped by Ctrl-C the command leaves no file and exits with 130; by SIGTERM, with 143.

It changes nothing when signals are ignored, as in the background of a shell script.

Example:
    >>> with orderly_end(is_pipe=False): decode_log(dbc, log, out)                     # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM


@contextlib.contextmanager
def orderly_end(*, is_pipe: bool) -> Iterator[None]:
    """Handle both signals by the rules above, until the block ends."""
    is_waiting = is_pipe

    def terminate(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(EXIT_TERMINATED)

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal is_waiting
        if not is_waiting:
            raise SystemExit(EXIT_INTERRUPTED)
        is_waiting = False

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in ((signal.SIGINT, interrupt), (signal.SIGTERM, terminate)):
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
