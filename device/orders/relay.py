"""Questions of the microcontroller that only the backend can answer: a go token, and signed time.

Rules (C-15, README §2.9): a go request travels as it came and is sent again until its token came down, while
a token of it could still be fresh. The time is asked with the microcontroller's own nonce, and a token goes
back only if it carries that nonce: it counts as authenticated contact, so with an order open or the car
locked it is asked for every few minutes, else every hour.

It verifies neither: the microcontroller has the keys.

Example:
    >>> GoRelay().again(0)
    []
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from device.effects import PublishMessage
from protocol import codec
from protocol.envelope import read_sign1
from protocol.errors import ProtocolError
from protocol.limits import GO_AGE_S_MAX, SIGN1_BYTES_MAX
from protocol.signed_time import TimeRequest, sign_time_request
from protocol.topics import Up

if TYPE_CHECKING:
    from device.effects import Effect
    from device.orders.link import Status
    from protocol.envelope import Signer
    from protocol.ids import DeviceId

SECOND_US = 1_000_000
GO_AGAIN_US = 30 * SECOND_US
TIME_AGAIN_US = 30 * SECOND_US
TIME_OPEN_US = 300 * SECOND_US  # ten tries in the hour before 24 h without contact would release
TIME_IDLE_US = 3_600 * SECOND_US


class GoRelay:
    """The go request that is out, if any."""

    def __init__(self) -> None:
        self._chal2: bytes | None = None
        self._request = b""
        self._first_us = 0
        self._due_us = 0
        self.counts: Counter[str] = Counter()

    def keep(self, chal2: bytes, request: bytes, now_us: int) -> list[Effect]:
        """Take a request while there is no uplink: it goes out when there is one."""
        if chal2 != self._chal2:
            self._chal2, self._first_us = chal2, now_us
            self.counts["go_requests_taken"] += 1
        self._request, self._due_us = request, min(self._due_us, now_us)
        return []

    def ask(self, chal2: bytes, request: bytes, now_us: int) -> list[Effect]:
        """Take a request and send it, unless the same one has just been sent."""
        is_repeat = chal2 == self._chal2 and now_us < self._due_us
        due_us = self._due_us
        self.keep(chal2, request, now_us)
        if is_repeat:
            self._due_us = due_us
            return []
        return self.again(now_us)

    def connect(self) -> None:
        """The uplink is up: what is out goes out again."""
        self._due_us = 0

    def take(self, chal2: bytes) -> None:
        """A token came down; it ends the asking when it answers what is out."""
        self.counts["go_tokens_relayed"] += 1
        if chal2 == self._chal2:
            self._chal2 = None

    def again(self, now_us: int) -> list[Effect]:
        """Return the request to send now, if one is out and a token of it could still be fresh."""
        if self._chal2 is not None and now_us - self._first_us > GO_AGE_S_MAX * SECOND_US:
            self._chal2 = None
            self.counts["go_requests_unanswered"] += 1
        if self._chal2 is None or now_us < self._due_us:
            return []
        self._due_us = now_us + GO_AGAIN_US
        self.counts["go_requests_sent"] += 1
        return [PublishMessage(kind=Up.REQUEST, payload=self._request)]


class TimeRelay:
    """The microcontroller's question for the time.

    Args:
        device: who asks.
        signer: holds the agent's key.
    """

    def __init__(self, device: DeviceId, signer: Signer) -> None:
        self._device = device
        self._signer = signer
        self._nonce: bytes | None = None
        self._asked_us: int | None = None
        self._first_asked_us: int | None = None
        self._answered_us: int | None = None
        self._answered_nonce: bytes | None = None
        self.counts: Counter[str] = Counter()

    def is_waiting(self, now_us: int) -> bool:
        """Whether the microcontroller's first answer of this line and link is still on its way.

        A restricting order that overtook it would be refused for a clock that is right a second later.
        """
        first_us = self._first_asked_us
        return self._nonce is not None and first_us is not None and now_us - first_us < TIME_AGAIN_US

    def forget(self) -> None:
        """The link is new: an open question is asked again at once."""
        self._asked_us = self._first_asked_us = None

    def restart(self) -> None:
        """The microcontroller may have started anew and lost the time: ask at once."""
        self._asked_us = self._first_asked_us = self._answered_us = None

    def ask(self, status: Status | None, *, is_open: bool, now_us: int) -> list[Effect]:
        """Return the question, when it is due."""
        if status is None or status.nonce is None:
            return []
        every_us = TIME_OPEN_US if is_open else TIME_IDLE_US
        was_lost = status.nonce == self._answered_nonce  # a token that is taken changes the nonce
        is_rested = self._answered_us is None or was_lost or now_us - self._answered_us >= every_us
        is_asked = (
            self._asked_us is not None
            and now_us - self._asked_us < TIME_AGAIN_US
            and status.nonce in (self._nonce, self._answered_nonce)
        )
        if not is_rested or is_asked:
            return []
        self._nonce, self._asked_us = status.nonce, now_us
        if self._first_asked_us is None:
            self._first_asked_us = now_us
        self.counts["mcu_times_asked"] += 1
        request = TimeRequest(nonce=status.nonce, device=self._device)
        return [PublishMessage(kind=Up.REQUEST, payload=sign_time_request(request, self._signer))]

    def answers(self, token: bytes) -> bool:
        """Return whether a token answers the microcontroller's nonce; it is not verified here."""
        if self._nonce is None or self._asked_us is None:
            return False
        try:
            fields = codec.decode(
                read_sign1(token, max_bytes=SIGN1_BYTES_MAX).payload, max_bytes=SIGN1_BYTES_MAX
            )
        except ProtocolError:
            return False
        if not isinstance(fields, dict) or fields.get(2) != self._nonce:
            return False
        self._answered_us, self._answered_nonce, self._nonce = self._asked_us, self._nonce, None
        self.counts["mcu_times_relayed"] += 1
        return True
