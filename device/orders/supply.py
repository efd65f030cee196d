"""Documents of authority: what the microcontroller lacks, what was asked for, and what is handed on.

Rules (README §2.7; K-05):
- What came down is handed on in its order, byte for byte, one document a frame; nothing is believed here.
- A delegation that the microcontroller wants is supplied from memory at once, else asked for by its hash,
  with growing pauses. After a connect the documents in force are asked for once.
- Zone set and calendar stay here. They are taken only when their hash stands in a snapshot that was handed
  on; the microcontroller compares the version that FACTS name with its own, verified, snapshot.
- Delegations and revocations are read, unverified, for the early look at an order only.

It does not verify and does not store: after a restart the backend is asked again.

Example:
    >>> Supply().questions(None, now_us=0)
    []
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from device.effects import PublishMessage, SendMcu
from device.orders.link import LinkKind, write_document
from device.orders.local_hours import read_calendar
from device.orders.zones import read_zones
from protocol import cose_sign, orders_payload
from protocol.authority_bundle import (
    FOR_THE_MCU,
    AuthorityQuestion,
    DocumentKind,
    decode_bundle,
    encode_authority_question,
)
from protocol.errors import ProtocolError
from protocol.limits import AUTHORITY_DIGESTS_MAX, DELEGATIONS_KEPT_MAX, REVOKED_MAX
from protocol.orders_authority import Delegation
from protocol.topics import Up

if TYPE_CHECKING:
    from device.effects import Effect
    from device.orders.inbox import Known
    from device.orders.link import Status
    from device.orders.local_hours import Calendar
    from device.orders.zones import ZoneSet

SECOND_US = 1_000_000
ASK_FIRST_US = 30 * SECOND_US
ASK_MOST_US = 600 * SECOND_US


class Supply:
    """The documents on their way through the box."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}
        self._handed: dict[bytes, int] = {}
        self._due_us = 0
        self._pause_us = ASK_FIRST_US
        self._asked: frozenset[bytes] = frozenset()
        self._asks_all = True
        self._zones_hash: bytes | None = None
        self._calendar_hash: bytes | None = None
        self.zones: ZoneSet | None = None
        self.calendar: Calendar | None = None
        self.counts: Counter[str] = Counter()

    def connect(self) -> None:
        """The uplink is up: ask at once, also for what is in force."""
        self._due_us, self._pause_us, self._asks_all = 0, ASK_FIRST_US, True

    def supply(self, wants: tuple[bytes, ...], now_us: int) -> list[Effect]:
        """Hand on what is wanted and here; the same one not more than every half minute."""
        effects: list[Effect] = []
        for digest in wants:
            document = self._kept.get(digest)
            if document is not None and now_us >= self._handed.get(digest, 0):
                self._handed[digest] = now_us + ASK_FIRST_US
                effects.append(_frame(DocumentKind.DELEGATION, document))
        self.counts["delegations_supplied"] += len(effects)
        return effects

    def questions(self, status: Status | None, *, now_us: int) -> list[Effect]:
        """Return the questions to publish now; the caller has an uplink."""
        if status is None:
            return []
        effects: list[Effect] = []
        if self._asks_all:
            self._asks_all = False
            effects.append(_question(status, ()))
        missing = tuple(digest for digest in status.wants if digest not in self._kept)
        if set(missing) - self._asked:  # something new is missing: no reason to wait out an old pause
            self._due_us, self._pause_us = 0, ASK_FIRST_US
        if missing and now_us >= self._due_us:
            self._asked = frozenset(missing)
            self._due_us = now_us + self._pause_us
            self._pause_us = min(2 * self._pause_us, ASK_MOST_US)
            effects += [
                _question(status, missing[at : at + AUTHORITY_DIGESTS_MAX])
                for at in range(0, len(missing), AUTHORITY_DIGESTS_MAX)
            ]
        self.counts["authority_questions"] += len(effects)
        return effects

    def take(self, payload: bytes, known: Known) -> list[Effect]:
        """Take a bundle: hand on what is the microcontroller's, keep the rest.

        Raises:
            ProtocolError: it is no bundle.
        """
        bundle = decode_bundle(payload)
        effects: list[Effect] = []
        for kind, document in bundle:
            if kind in FOR_THE_MCU:
                self._note(kind, document, known)
                effects.append(_frame(kind, document))
        for kind, document in bundle:
            if kind not in FOR_THE_MCU:
                self._take_own(kind, document)
        self.counts["authority_documents"] += len(bundle)
        return effects

    def _note(self, kind: DocumentKind, document: bytes, known: Known) -> None:
        """Read what a document says, for the early look and the agent's own documents."""
        if kind is DocumentKind.DELEGATION:
            self._keep(document, known)
        elif kind is DocumentKind.SNAPSHOT:
            fields = _signed("authority", document)
            if fields is not None:
                self._calendar_hash = self._calendar_hash if fields[10] is None else fields[10][2]
                self._zones_hash = self._zones_hash if fields[11] is None else fields[11][1]
                _revoke(known, fields[8])
        elif kind is DocumentKind.REVOCATION:
            fields = _signed1("revocation", document)
            if fields is not None:
                _revoke(known, fields[5])

    def _keep(self, document: bytes, known: Known) -> None:
        claims = _signed("delegation", document)
        if claims is None:
            self.counts["documents_unreadable"] += 1
            return
        digest = hashlib.sha256(document).digest()
        self._kept[digest] = document
        try:
            known.delegations[digest] = Delegation(digest, claims)
        except ValueError:  # a key that is none: the microcontroller will say so
            self.counts["documents_unreadable"] += 1
        while len(self._kept) > DELEGATIONS_KEPT_MAX:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            known.delegations.pop(oldest, None)
            self._handed.pop(oldest, None)

    def _take_own(self, kind: DocumentKind, document: bytes) -> None:
        wanted = self._zones_hash if kind is DocumentKind.ZONES else self._calendar_hash
        if hashlib.sha256(document).digest() != wanted:
            self.counts["documents_unnamed"] += 1
            return
        try:
            if kind is DocumentKind.ZONES:
                self.zones = read_zones(document)
            else:
                self.calendar = read_calendar(document)
        except ProtocolError:
            self.counts["documents_unreadable"] += 1


def _frame(kind: DocumentKind, document: bytes) -> SendMcu:
    return SendMcu(kind=LinkKind.AUTHORITY, body=write_document(int(kind), document))


def _question(status: Status, digests: tuple[bytes, ...]) -> PublishMessage:
    question = AuthorityQuestion(mcu_id=status.mcu_id, digests=digests)
    return PublishMessage(kind=Up.REQUEST, payload=encode_authority_question(question))


def _revoke(known: Known, entries: list[bytes | str]) -> None:
    if len(known.revoked) + len(entries) <= 2 * REVOKED_MAX:  # both roots'
        known.revoked |= set(entries)


def _signed(kind: str, document: bytes) -> Any | None:  # noqa: ANN401 - fields have the forms of `orders_forms`
    try:
        payload, _ = cose_sign.read_sign(document)
        return orders_payload.read_document(kind, payload)
    except ValueError:
        return None


def _signed1(kind: str, document: bytes) -> Any | None:  # noqa: ANN401 - fields have the forms of `orders_forms`
    try:
        return orders_payload.read_document(kind, cose_sign.read_sign1(document)[2])
    except ValueError:
        return None
