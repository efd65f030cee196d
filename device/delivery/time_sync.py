"""Ask the backend for signed time while no clock is trusted, and believe only the answer to our own question.

Rules:
- One question is open at a time. Its nonce is derived from the chain's secret, the boot and a counter:
  nobody outside the box can foresee it, and the engine needs no randomness.
- A question without an answer is asked again, with a new nonce, after a pause.
- The answer was true at some moment of the round trip; half of the round trip is its error.

It does not set a clock and does not decide whether time is needed.

Example: see `tests/unit/test_engine_time.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from device.effects import PublishMessage
from protocol.limits import NONCE_BYTES
from protocol.signed_time import TimeRequest, open_time_token, sign_time_request, time_from
from protocol.topics import Up

if TYPE_CHECKING:
    from protocol.clock import Instant
    from protocol.envelope import KeyLookup, Signer
    from protocol.ids import DeviceId

ASK_AGAIN_US = 30_000_000  # an answer takes a second or two; half a minute is an outage, and costs 200 bytes
_COUNTER_BYTES = 8


class TimeSync:
    """The open question, if any.

    Args:
        device: Who asks.
        signer: Holds the agent's key.
        secret: Secret bytes of this box.
        boot: This boot.
    """

    def __init__(self, *, device: DeviceId, signer: Signer, secret: bytes, boot: bytes) -> None:
        self._device = device
        self._signer = signer
        self._secret = secret
        self._boot = boot
        self._asked = 0
        self._nonce: bytes | None = None
        self._asked_us = 0

    def ask(self, now_us: int) -> PublishMessage | None:
        """Return a question to publish, None while one is open and young."""
        if self._nonce is not None and now_us - self._asked_us < ASK_AGAIN_US:
            return None
        self._asked += 1
        message = b"time" + self._boot + self._asked.to_bytes(_COUNTER_BYTES)
        self._nonce = hmac.new(self._secret, message, hashlib.sha256).digest()[:NONCE_BYTES]
        self._asked_us = now_us
        request = TimeRequest(nonce=self._nonce, device=self._device)
        return PublishMessage(kind=Up.REQUEST, payload=sign_time_request(request, self._signer))

    def forget(self) -> None:
        """The link is gone and the question with it; the next one is asked at once."""
        self._nonce = None

    def answer(self, data: bytes, keys: KeyLookup, now_us: int) -> Instant | None:
        """Return the time that a message tells, None when no question is open.

        Raises:
            ProtocolError: It is not the backend's answer to our question; the question stays open.
        """
        if self._nonce is None:
            return None
        token = open_time_token(data, keys, nonce=self._nonce)
        self._nonce = None
        return time_from(token, asked_mono_us=self._asked_us, now_mono_us=now_us)
