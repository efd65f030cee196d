"""Ask the backend where our chains stand, and know its answer when it comes.

A box cannot see by itself that its storage was replaced by an older image, nor that the backend was restored
from a backup. So it asks (`protocol.standing`), and before the answer it sends nothing of a chain that it
continues from an earlier boot.

Rules:
- Asked at once after a connect, again every few seconds while a chain of an earlier boot waits for the
  answer and may expect one, then every hour.
- A chain waits in vain for `standing_wait_us` of connected time in a boot, not longer: a backend that cannot
  answer must not silence the box.
- The nonce is derived from the chain's secret, the boot and a counter. An answer to any question of this boot
  counts; a receipt without such a nonce may have waited at the broker and says nothing about now.

It judges no receipt and does not know what a chain holds.

Example: see `tests/unit/test_engine_standing.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from typing import TYPE_CHECKING

from device.effects import PublishMessage
from protocol.limits import NONCE_BYTES, STANDING_CHAINS_MAX
from protocol.standing import StandingRequest, sign_standing_request
from protocol.topics import Up

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from device.config import UplinkLimits
    from device.state import ChainId, ChainRecord
    from protocol.envelope import Signer
    from protocol.ids import DeviceId

_COUNTER_BYTES = 8
_NONCES_MAX = 64  # newest questions of one boot whose answers still count; an answer takes seconds


class StandingQuestions:
    """The questions of one boot.

    Args:
        limits: How long to wait and how often to ask.
        device: Who asks.
        signer: Holds the agent's key.
        secret: Secret bytes of this box.
        boot: This boot.
    """

    def __init__(
        self, limits: UplinkLimits, *, device: DeviceId, signer: Signer, secret: bytes, boot: bytes
    ) -> None:
        self._limits = limits
        self._device = device
        self._signer = signer
        self._secret = secret
        self._boot = boot
        self._asked = 0
        self._nonces: deque[bytes] = deque(maxlen=_NONCES_MAX)
        self._connected_us: int | None = None
        self._waited_us = 0
        self._asked_us = -limits.receipt_wait_us
        self._next_us = 0

    def connect(self, now_us: int) -> None:
        """The link is up: ask at once."""
        self._connected_us = now_us
        self._next_us = now_us

    def lose_link(self, now_us: int) -> None:
        """The link is down: nobody can answer."""
        if self._connected_us is not None:
            self._waited_us += now_us - self._connected_us
        self._connected_us = None

    def hurry(self, now_us: int) -> None:
        """Something must be known before an hour is over: ask soon, but not at each receipt."""
        self._next_us = min(self._next_us, max(now_us, self._asked_us + self._limits.receipt_wait_us))

    def ask(
        self, chains: Iterable[ChainRecord], cleared: Container[ChainId], now_us: int
    ) -> PublishMessage | None:
        """Return a question to publish, None when none is due.

        Args:
            chains: All of this box, oldest first.
            cleared: Those that need no answer any more before they are sent.
            now_us: Monotonic.
        """
        if self._connected_us is None or now_us < self._next_us:
            return None
        sealed = [
            (chain.chain, chain.last_seq)
            for chain in chains
            if chain.last_seq > 0 or chain.chain not in cleared
        ]
        newest = tuple(reversed(sealed))[:STANDING_CHAINS_MAX]
        is_waiting = any(chain not in cleared for chain, _ in newest) and not self.has_waited(now_us)
        pause_us = self._limits.receipt_wait_us if is_waiting else self._limits.standing_every_us
        self._next_us = now_us + pause_us
        if not newest:
            return None
        self._asked += 1
        self._asked_us = now_us
        message = b"standing" + self._boot + self._asked.to_bytes(_COUNTER_BYTES)
        nonce = hmac.new(self._secret, message, hashlib.sha256).digest()[:NONCE_BYTES]
        self._nonces.append(nonce)
        request = StandingRequest(device=self._device, nonce=nonce, chains=newest)
        return PublishMessage(kind=Up.REQUEST, payload=sign_standing_request(request, self._signer))

    def is_answer(self, nonce: bytes | None) -> bool:
        """Return whether a verified receipt answers a question of this boot."""
        return nonce is not None and nonce in self._nonces

    def is_answer_to_newest(self, nonce: bytes | None) -> bool:
        """Return whether a verified receipt answers the question asked last."""
        return nonce is not None and bool(self._nonces) and nonce == self._nonces[-1]

    def has_waited(self, now_us: int) -> bool:
        """Whether the connections of this boot have waited long enough for an answer."""
        if self._connected_us is None:
            return False
        return self._waited_us + now_us - self._connected_us >= self._limits.standing_wait_us
