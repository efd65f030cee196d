"""What the microcontroller was too busy for, or could not judge yet: handed to it again.

Rules: a microcontroller checks few signatures at a time and says BUSY to what is above, and
DELEGATION_MISSING to a go token whose delegation it lacks. It names what it means by SHA-256 of the body.
Such a body is handed on again after a pause, a bounded number of times; whatever is never named was taken.
The newest few are remembered, no more.

Orders are not kept here: see `arrivals`.

Example:
    >>> from device.effects import SendMcu
    >>> resend = Resend()
    >>> _ = resend.remember([SendMcu(kind=4, body=b"document")])
    >>> resend.note("BUSY", hashlib.sha256(b"document").digest(), now_us=0), len(resend.due(20_000_000))
    (True, 1)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.effects import SendMcu
from device.orders.link import LinkKind
from protocol.limits import MCU_BODIES_KEPT_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device.effects import Effect

SECOND_US = 1_000_000
AGAIN_US = 10 * SECOND_US  # a microcontroller regains a signature each four seconds
TRIES_MAX = 30  # five minutes: a bundle of sixteen documents takes less

_AGAIN_CODES = frozenset({"BUSY", "DELEGATION_MISSING"})
_KINDS = frozenset({LinkKind.GO, LinkKind.AUTHORITY, LinkKind.CHALLENGE_QUESTION, LinkKind.TIME})


@dataclass(slots=True, kw_only=True)
class _Sent:
    effect: SendMcu
    tries: int = 0
    due_us: int | None = None


class Resend:
    """The newest bodies that were handed on."""

    def __init__(self) -> None:
        self._sent: dict[bytes, _Sent] = {}
        self.counts: Counter[str] = Counter()

    def remember(self, effects: Sequence[Effect]) -> list[Effect]:
        """Note what is handed on now; returns the same effects."""
        for effect in effects:
            if isinstance(effect, SendMcu) and effect.kind in _KINDS:
                digest = hashlib.sha256(effect.body).digest()
                self._sent.pop(digest, None)
                self._sent[digest] = _Sent(effect=effect)
        for digest in list(self._sent)[: max(0, len(self._sent) - MCU_BODIES_KEPT_MAX)]:
            del self._sent[digest]
        return list(effects)

    def note(self, code: str, digest: bytes | None, *, now_us: int) -> bool:
        """The microcontroller did not take this body; returns whether it is handed on again."""
        sent = None if digest is None else self._sent.get(digest)
        if sent is None or digest is None:
            return False
        sent.tries += 1
        if code not in _AGAIN_CODES or sent.tries > TRIES_MAX:
            del self._sent[digest]
            return False
        sent.due_us = now_us + AGAIN_US
        return True

    def forget(self) -> None:
        """The line is new: whoever asked asks again."""
        self._sent.clear()

    def due(self, now_us: int) -> list[Effect]:
        """Return what is to be handed on again now."""
        effects: list[Effect] = []
        for sent in self._sent.values():
            if sent.due_us is not None and sent.due_us <= now_us:
                sent.due_us = None
                effects.append(sent.effect)
        self.counts["mcu_bodies_sent_again"] += len(effects)
        return effects
