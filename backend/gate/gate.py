"""The gate: third signature and go token, or a no with rule, fact and the earliest lawful time (R4, B-02).

Rules (§4.4, README §1.6, §1.16, §2.5; C-02, C-12, C-15, C-20, P-06, P-07): the loan system is asked anew at
screen, review and go, with a fresh nonce; then everything is judged at once within one transaction of the
gate's own storage, and what was decided is durable before the answer leaves. The same order asked again gets
the same part, or none while it is frozen. A held order is never signed. What the car itself would refuse is
not signed. Releasing asks for a reason and for nothing else: no notice, no hour, no breaker, no log.

This module reads no HTTP and no file. `Gate` may be called from several threads.

Example:
    >>> Gate(trust=trust, packs=shelf, signer=signer, store=store, loans=loans, forecasts=NoForecast(),
    ...      clock=SystemClock()).review(request).verdict
    <Verdict.SIGNED: 'SIGNED'>
"""

import secrets
from collections.abc import Callable

from backend.gate.asking import LoanDesk
from backend.gate.desk import Desk
from backend.gate.forms import (
    Answer,
    BindRequest,
    CommissioningRequest,
    GoRequest,
    ReleaseRequest,
    ReviewRequest,
    ScreenRequest,
    TicketRequest,
)
from backend.gate.going import Goer
from backend.gate.installing import Fitting
from backend.gate.ports import Clock, Forecasts, LoanSystems
from backend.gate.releasing import Releaser
from backend.gate.reviewing import Reviewer
from backend.gate.store import GateStore, Transaction
from backend.gate.trust import PackShelf, Trust
from protocol.envelope import Signer


class Gate:
    """The policy gate.

    Args:
        trust: whom it believes.
        packs: the jurisdictions' rules.
        signer: its key.
        store: its storage.
        loans: the lenders' loan systems.
        forecasts: the weather.
        clock: the time.
        random: gives nonces; of the operating system.
    """

    def __init__(
        self,
        *,
        trust: Trust,
        packs: PackShelf,
        signer: Signer,
        store: GateStore,
        loans: LoanSystems,
        forecasts: Forecasts,
        clock: Clock,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.trust, self.packs, self.signer, self.store = trust, packs, signer, store
        self.clock, self.random = clock, random
        self._desk = Desk(trust=trust, packs=packs, signer=signer, store=store, clock=clock)
        self.book, self.records, self.freezes = self._desk.book, self._desk.records, self._desk.freezes
        loans_desk = LoanDesk(trust=trust, loans=loans, clock=clock, random=random)
        self._fitting = Fitting(self._desk, store)
        self._reviewer = Reviewer(self._desk, loans_desk, store, self._fitting)
        self._goer = Goer(self._desk, loans_desk, store, forecasts=forecasts)
        self._releaser = Releaser(self._desk, loans_desk, store)

    @property
    def delegation(self) -> bytes:
        """Hash of the gate's delegation."""
        return self._desk.delegation

    def clock_doubt(self, at: Transaction) -> str | None:
        """Return what is wrong with the clock, or None."""
        return self._desk.watch.doubt(latest_s=at.mark("latest_s"))

    def screen(self, request: ScreenRequest) -> Answer:
        """Say whether an order would be signed as the loan stands now, and note when its maker had signed."""
        return self._reviewer.screen(request)

    def review(self, request: ReviewRequest) -> Answer:
        """Sign an order that people have signed, or say why not."""
        return self._reviewer.review(request)

    def go(self, request: GoRequest) -> Answer:
        """Give a go token for an order that waits armed, or say no: for good by a token, for now without."""
        return self._goer.go(request)

    def release(self, request: ReleaseRequest) -> Answer:
        """Sign an UNLOCK or CANCEL, for a reason."""
        return self._releaser.release(request)

    def ticket(self, request: TicketRequest) -> Answer:
        """Give a ticket for one BENCH order of a job, or say why not."""
        return self._fitting.ticket(request)

    def bind(self, request: BindRequest) -> Answer:
        """Sign a BIND of a job, or say why not."""
        return self._fitting.bind(request)

    def commissioned(self, request: CommissioningRequest) -> tuple[bool, str]:
        """Take a commissioning record.

        Raises:
            DocumentRefusedError: it does not hold.
        """
        return self._fitting.commissioned(request)

    def heard(self, data: bytes, mcu_key: bytes) -> tuple[bool, str]:
        """Take note of a disposition: an order that is over frees its car.

        Raises:
            BadRequestError: not a disposition, or not signed by that key.
        """
        return self._releaser.heard(data, mcu_key)

    def lift(self, freeze_id: bytes, *, operator: str) -> None:
        """End a freeze whose end a safety officer has asked for.

        Raises:
            DocumentRefusedError: no such freeze; nobody has asked who may; the operator is none.
        """
        with self.store.writing() as at:
            self.freezes.lift(
                at,
                freeze_id,
                operator=operator,
                record_id=self.random(16),
                delegation=self.delegation,
                signer=self.signer,
                now_s=self.clock.now_s(),
            )
