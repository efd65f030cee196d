"""The product's own way into its database, as the bridge goes it, without a broker.

Rules: a migrated database, boxes enrolled, then `ingest` group by group: verify, judge, store, commit, sign
receipts; `project` derives latest values and roll-ups. Nothing is switched off.

Example:
    with ProductStore(url, fleet) as store:
        store.take(fleet.in_order_of_arrival()[:100])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.asymmetric import ec

from backend.store.database import open_database
from backend.store.devices import Device, DeviceKey
from backend.store.migrate import upgrade
from backend.store.organisations import Organisation
from backend.usecases.ingest import Inbound, Taken, ingest
from backend.usecases.project import project
from benchmarks.harness import require_same
from benchmarks.signed_batches import START_US
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes, device_id
from protocol.limits import GROUP_COMMIT_MESSAGES_MAX
from protocol.topics import Up, up_topic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from benchmarks.signed_batches import Fleet, MadeBatch

ORG = "0f" * 16
RECEIPT_KEY = 7  # a private scalar known to everyone, for benchmarks only
GROUP = GROUP_COMMIT_MESSAGES_MAX


class ProductStore:
    """One database of the product that knows a fleet; a context manager."""

    def __init__(self, url: str, fleet: Fleet) -> None:
        self.database = open_database(url)
        self._signer = SoftwareSigner(ec.derive_private_key(RECEIPT_KEY, ec.SECP256R1()))
        self.now_us = START_US
        upgrade(self.database)
        with self.database.writing() as session, session.begin():
            session.add(Organisation(org_id=ORG, name="Example Leasing", created_us=0))
            session.flush()
            for signer in fleet.signers:
                device = device_id(signer.public_key)
                session.add(Device(device_id=device, org_id=ORG, status="enrolled", created_us=0))
                session.flush()
                session.add(
                    DeviceKey(
                        kid=signer.kid.hex(),
                        org_id=ORG,
                        device_id=device,
                        role="d2",
                        cose_key=cose_key_bytes(signer.public_key),
                        valid_from_us=0,
                        valid_to_us=None,
                    )
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.database.close()

    def take(self, batches: Sequence[MadeBatch]) -> Taken:
        """Take in one group, at most `GROUP`.

        Raises:
            BenchBrokenError: the store did not take every one as new.
        """
        self.now_us += 1_000
        messages = [
            Inbound(topic=up_topic(batch.device, Up.BATCH), payload=batch.payload) for batch in batches
        ]
        taken = ingest(self.database, messages, signer=self._signer, now_us=self.now_us)
        require_same("what became of a group", dict(taken.outcomes), {"store": len(batches)})
        return taken

    def take_all(self, batches: Sequence[MadeBatch]) -> None:
        """Take in any number, group by group, and derive everything from them."""
        for start in range(0, len(batches), GROUP):
            self.take(batches[start : start + GROUP])
        while project(self.database, now_us=self.now_us):
            pass
