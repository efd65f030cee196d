"""The doors of the engine: what an adapter or a simulator must offer to be plugged in.

Rules:
- A port never decides. It answers with events, or raises `device.errors.EdgeError`.
- Calls return at once unless their docstring says that they block.
- The signer is `protocol.envelope.Signer`; signing is deterministic computation, so the engine may call it.

Example:
    >>> class Silent:
    ...     def __call__(self, event: SpoolEvent) -> None: ...
    >>> tell: SpoolListener = Silent()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

    from device.effects import SpoolEffect
    from device.events import SpoolEvent
    from device.state import BatchKey, SpoolImage


class SpoolListener(Protocol):
    """Receives the spool's answers; called on the spool's own thread, must not block and must not raise."""

    def __call__(self, event: SpoolEvent, /) -> None:
        """Take one event."""


class Spool(Protocol):
    """Durable store of sealed batches. Carries out effects in the order they were submitted."""

    def load(self) -> SpoolImage:
        """Open (or create) the store and return what it holds. Blocks; once, before anything else.

        Raises:
            SpoolTooNewError: A newer version wrote it; nothing was touched.
            SpoolError: The disk refused.
        """

    def submit(self, effect: SpoolEffect) -> None:
        """Queue one effect. Its answer, if it has one, goes to the listener.

        Raises:
            SpoolError: The thread has ended, or the disk stalled so long that the bounded queue is full.
        """

    def fetch(self, key: BatchKey) -> Future[bytes | None]:
        """Read one batch for publishing, after everything submitted before.

        Returns:
            A future of the payload, verbatim; None when it is gone or damaged. The listener then also gets
            BatchDamaged (unless an eviction removed it on purpose).
        """

    def close(self) -> None:
        """Finish what is queued and close. Blocks."""
