"""The chains of a box: what is stored, lost and missing; integrity events; what was turned away."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from backend.api.deps import CurrentCaller, OwnDevice, ReadSession, allow
from backend.api.paging import Page, Paging
from backend.api.schemas import EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import to_datetime
from backend.domain.access import Permission
from backend.domain.integrity import IntegrityKind, cause_name
from backend.store.chains import StoredChain, list_chains
from backend.store.integrity_events import StoredEvent, page_of_events
from backend.store.quarantine import counters
from protocol.receipts import RefusalCode

router = APIRouter(tags=["telemetry"])

_RANGES_SHOWN = 1_000  # of a chain with more holes than anyone reads; the counts say how many there are


class ChainOut(BaseModel):
    """One chain of a box: how complete it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "chain": "01" * 16,
                    "opened_at": EXAMPLE_TIME,
                    "first_received_at": EXAMPLE_TIME,
                    "last_received_at": EXAMPLE_TIME,
                    "upto": 812,
                    "stored_count": 812,
                    "stored": [[1, 812]],
                    "lost": [],
                    "lost_by_later_chains": [],
                    "holes": [],
                    "refused": {},
                }
            ]
        }
    )

    chain: str = Field(description="Chain id, hex.")
    opened_at: datetime | None = Field(description="When its first batch was stored; null before that.")
    first_received_at: UtcTime
    last_received_at: UtcTime
    upto: int = Field(description="Highest stored number below which all is stored or in `lost`.")
    stored_count: int = Field(description="How many batches are stored.")
    stored: list[tuple[int, int]] = Field(description="Ranges of stored numbers.")
    lost: list[tuple[int, int]] = Field(description="Ranges that batches of this chain declare lost.")
    lost_by_later_chains: list[tuple[int, int]] = Field(
        description="Ranges that later chains of the box declare lost, after it had ended this one: no holes,"
        " and no part of `upto`. A batch that comes after all and proves itself is in `stored` as well."
    )
    holes: list[tuple[int, int]] = Field(
        description="Ranges below the highest that are neither stored nor declared lost by any chain."
    )
    refused: dict[int, str] = Field(description="Refused numbers that are missing, with their code.")

    @classmethod
    def of(cls, chain: StoredChain) -> Self:
        """Show a chain."""
        state = chain.state
        return cls(
            chain=chain.chain.hex(),
            opened_at=optional_time(chain.opened_us),
            first_received_at=to_datetime(chain.first_received_us),
            last_received_at=to_datetime(chain.last_received_us),
            upto=state.upto,
            stored_count=state.stored.total,
            stored=list(state.stored.pairs[:_RANGES_SHOWN]),
            lost=list(state.lost.pairs[:_RANGES_SHOWN]),
            lost_by_later_chains=list(state.lost_later.pairs[:_RANGES_SHOWN]),
            holes=list(state.holes[:_RANGES_SHOWN]),
            refused={seq: cause_name(RefusalCode, code) for seq, code in state.refused.items()},
        )


@router.get(
    "/devices/{device_id}/chains",
    summary="Chains of a box",
    dependencies=[allow(Permission.DEVICE_READ)],
)
def read_chains(
    device: OwnDevice, caller: CurrentCaller, session: ReadSession, paging: Paging
) -> Page[ChainOut]:
    """Return the box's chains, oldest first, with what is stored, declared lost, missing and refused."""
    scope = f"chains:{device.device_id}"
    after = paging.after_number(scope)
    rows = list_chains(session, org_id=caller.org_id, device_id=device.device_id)
    later = [row for row in rows if after is None or row.chain_ref > after]
    return paging.page(
        later[: paging.limit + 1], scope=scope, key=lambda row: [row.chain_ref], show=ChainOut.of
    )


class EventOut(BaseModel):
    """One finding about a chain."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "gap_declared",
                    "chain": "01" * 16,
                    "seq": 7,
                    "at": EXAMPLE_TIME,
                    "detail": {"boot": "b0" * 16, "start_us": 60_000_000, "end_us": None, "cause": "power"},
                }
            ]
        }
    )

    kind: IntegrityKind = Field(description="What was found.")
    chain: str = Field(description="Chain id, hex.")
    seq: int | None = Field(description="The batch concerned.")
    at: UtcTime
    detail: dict[str, str | int | bool | None] = Field(description="What is known about it.")

    @classmethod
    def of(cls, event: StoredEvent) -> Self:
        """Show an event."""
        return cls(
            kind=event.kind,
            chain=event.chain.hex(),
            seq=event.seq,
            at=to_datetime(event.at_us),
            detail=dict(event.detail),
        )


@router.get(
    "/devices/{device_id}/integrity-events",
    summary="Integrity events of a box",
    dependencies=[allow(Permission.DEVICE_READ)],
)
def read_integrity_events(
    device: OwnDevice, caller: CurrentCaller, session: ReadSession, paging: Paging
) -> Page[EventOut]:
    """Return what was found about the completeness and truth of the chains, in the order it was found."""
    scope = f"integrity:{device.device_id}"
    rows = page_of_events(
        session,
        org_id=caller.org_id,
        device_id=device.device_id,
        after=paging.after_number(scope),
        limit=paging.limit + 1,
    )
    return paging.page(rows, scope=scope, key=lambda row: [row.event_id], show=EventOut.of)


class CountersOut(BaseModel):
    """Messages of a box that were turned away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"turned_away": {"BAD_SIG": 2}}]})

    turned_away: dict[str, int] = Field(description="How many, by cause.")


@router.get(
    "/devices/{device_id}/ingest-counters",
    summary="What was turned away of a box's messages",
    dependencies=[allow(Permission.DEVICE_READ)],
)
def read_counters(device: OwnDevice, caller: CurrentCaller, session: ReadSession) -> CountersOut:
    """Return how many messages on the box's topics were neither stored nor quarantined, by cause."""
    return CountersOut(turned_away=dict(counters(session, org_id=caller.org_id, device_id=device.device_id)))
