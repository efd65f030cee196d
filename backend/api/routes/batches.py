"""The batches of a box, each verified as it is shown."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from backend.api.deps import CurrentCaller, OwnDevice, ReadSession, allow
from backend.api.paging import Page, Paging
from backend.api.problems import RANGE_REVERSED, ProblemError
from backend.api.ranges import OptionalFromTime, OptionalToTime
from backend.api.routes.state import clock_name
from backend.api.schemas import EXAMPLE_TIME, UtcTime, optional_time
from backend.clock import from_datetime, to_datetime
from backend.domain.access import Permission
from backend.domain.integrity import cause_name
from backend.store.batch_ranges import page_of_batches
from backend.store.chains import list_chains
from backend.usecases.verify_stored import CheckedBatch, ShownSection, verify_batches
from protocol.batch import DropCause, GapCause, LossCause, OriginKind, Section
from protocol.clock import ClockClass

router = APIRouter(tags=["telemetry"])

_BATCH_EXAMPLE: dict[str, JsonValue] = {
    "chain": "01" * 16,
    "seq": 7,
    "hash": "5a" * 32,
    "prev": "4b" * 32,
    "received_at": EXAMPLE_TIME,
    "start": EXAMPLE_TIME,
    "end": "2026-11-24T08:00:10.000000Z",
    "clock": "device",
    "claimed_clock": "gnss",
    "clock_error_us": 1000,
    "boot": "b0" * 16,
    "mono_start_us": 60_000_000,
    "mono_end_us": 70_000_000,
    "counts": {"frames_received": 812, "frames_decoded": 800, "samples": 1600, "fixes": 10, "rows": 800},
    "drops": {"unknown_id": 12},
    "gaps": [],
    "losses": [{"first": 3, "last": 4, "cause": "quota"}],
    "ended_losses": [{"chain": "02" * 16, "first": 41, "last": 42, "cause": "resealed"}],
    "origin": None,
    "sections": [
        {"section": "facts", "state": "PRESENT", "size": 420, "sha256": "6c" * 32, "erased_at": None}
    ],
    "state": "done",
    "verification": {"result": "verified", "kid": "9f" * 32, "follows": True, "problems": []},
}


class SectionOut(BaseModel):
    """One section that the header commits to."""

    section: str = Field(description="`facts`, `signals`, `frames`, `fixes`, `window`.")
    state: ShownSection = Field(description="Whether its bytes are here.")
    size: int = Field(description="Bytes, salt included.")
    sha256: str = Field(description="Hash the box signed, hex.")
    erased_at: datetime | None = Field(description="When it was erased.")


class GapOut(BaseModel):
    """A time the box declares it did not record."""

    boot: str = Field(description="The boot in which it began, hex.")
    start_us: int = Field(description="Last monotonic µs known to be recorded.")
    end_us: int | None = Field(description="Its end in the same boot; null when that boot ended in it.")
    cause: str = Field(description="`power`, `jam`, `storage`, `privacy`, `fault`.")


class LossOut(BaseModel):
    """Batches of this chain that the box declares lost."""

    first: int = Field(description="First number.")
    last: int = Field(description="Last number.")
    cause: str = Field(description="`quota`, `storage`, `refused`, `damaged`.")


class EndedLossOut(BaseModel):
    """Batches of a chain that the box has ended, which will never come under these numbers."""

    chain: str = Field(description="The ended chain's id, hex.")
    first: int = Field(description="First number.")
    last: int = Field(description="Last number.")
    cause: str = Field(
        description="`quota`, `storage`, `refused`, `damaged`, or `resealed`: what they held was sealed again"
        " in a later chain."
    )


class VerificationOut(BaseModel):
    """What checking the stored bytes again came to."""

    result: str = Field(description="`verified`, or `failed`.")
    kid: str = Field(description="The key that signed, hex.")
    follows: bool | None = Field(description="Whether it links to the stored batch below; null without one.")
    problems: list[str] = Field(description="What does not hold, in words.")


class BatchOut(BaseModel):
    """One batch as the box signed it, and what verifying it now came to."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BATCH_EXAMPLE]})

    chain: str = Field(description="Chain id, hex.")
    seq: int = Field(description="Number in the chain.")
    hash: str = Field(description="Head hash: SHA-256 of the signed header, hex.")
    prev: str | None = Field(description="Head hash of the batch before; null for the first.")
    received_at: UtcTime
    start: datetime | None = Field(description="UTC of its start; null while unknown.")
    end: datetime | None = Field(description="UTC of its end; null while unknown.")
    clock: str = Field(description="Where that time comes from: `device`, `inferred`, `unknown`.")
    claimed_clock: str = Field(description="The box's clock class: `gnss`, `network`, `rtc`, `none`.")
    clock_error_us: int | None = Field(description="The box's error bound, µs.")
    boot: str = Field(description="Boot id, hex.")
    mono_start_us: int = Field(description="Monotonic start, µs.")
    mono_end_us: int = Field(description="Monotonic end, µs.")
    counts: dict[str, int] = Field(description="Frames, samples, fixes and rows, as the box counted.")
    drops: dict[str, int] = Field(description="What was left out, by cause.")
    gaps: list[GapOut] = Field(description="Declared gaps.")
    losses: list[LossOut] = Field(description="Declared losses of this chain.")
    ended_losses: list[EndedLossOut] = Field(description="Declared losses of chains that the box has ended.")
    origin: str | None = Field(description="Why the chain begins, on its first batch.")
    sections: list[SectionOut] = Field(description="Every section the header commits to.")
    state: str = Field(description="`done`, `pending`, `undecodable`, `untimed`, `unreadable`.")
    verification: VerificationOut

    @classmethod
    def of(cls, checked: CheckedBatch) -> Self:
        """Show a batch that was checked."""
        stored, header = checked.stored, checked.header
        return cls(
            chain=checked.chain.hex(),
            seq=stored.seq,
            hash=checked.hash.hex(),
            prev=header.prev.hex() if header is not None and header.prev is not None else None,
            received_at=to_datetime(stored.received_us),
            start=optional_time(stored.utc_start_us),
            end=optional_time(stored.utc_end_us),
            clock=clock_name(stored.time_source),
            claimed_clock=cause_name(ClockClass, header.clock) if header is not None else "unknown",
            clock_error_us=header.clock_error_us if header is not None else None,
            boot=stored.boot.hex(),
            mono_start_us=stored.mono_start_us,
            mono_end_us=stored.mono_end_us,
            counts=_counts(checked),
            drops=_drops(checked),
            gaps=_gaps(checked),
            losses=_losses(checked),
            ended_losses=_ended_losses(checked),
            origin=_origin(checked),
            sections=[
                SectionOut(
                    section=cause_name(Section, section.section),
                    state=section.shown,
                    size=section.size,
                    sha256=section.digest.hex(),
                    erased_at=optional_time(section.erased_us),
                )
                for section in checked.sections
            ],
            state=stored.decode_state.name.lower(),
            verification=VerificationOut(
                result="verified" if checked.is_verified else "failed",
                kid=checked.kid.hex(),
                follows=checked.follows,
                problems=checked.problems,
            ),
        )


def _counts(checked: CheckedBatch) -> dict[str, int]:
    if checked.header is None:
        return {}
    counts = checked.header.counts
    return {
        "frames_received": counts.frames_received,
        "frames_decoded": counts.frames_decoded,
        "samples": counts.samples,
        "fixes": counts.fixes,
        "rows": counts.rows,
    }


def _drops(checked: CheckedBatch) -> dict[str, int]:
    drops = {} if checked.header is None else checked.header.drops
    return {cause_name(DropCause, cause): count for cause, count in drops.items()}


def _gaps(checked: CheckedBatch) -> list[GapOut]:
    return [
        GapOut(
            boot=gap.boot.hex(),
            start_us=gap.start_us,
            end_us=gap.end_us,
            cause=cause_name(GapCause, gap.cause),
        )
        for gap in (checked.header.gaps if checked.header is not None else ())
    ]


def _losses(checked: CheckedBatch) -> list[LossOut]:
    return [
        LossOut(first=loss.first, last=loss.last, cause=cause_name(LossCause, loss.cause))
        for loss in (checked.header.losses if checked.header is not None else ())
    ]


def _ended_losses(checked: CheckedBatch) -> list[EndedLossOut]:
    return [
        EndedLossOut(
            chain=loss.chain.hex(),
            first=loss.first,
            last=loss.last,
            cause=cause_name(LossCause, loss.cause),
        )
        for loss in (checked.header.ended_losses if checked.header is not None else ())
    ]


def _origin(checked: CheckedBatch) -> str | None:
    if checked.header is None or checked.header.origin is None:
        return None
    return cause_name(OriginKind, checked.header.origin.kind)


@router.get(
    "/devices/{device_id}/batches",
    summary="Batches of a box, each verified",
    dependencies=[allow(Permission.DEVICE_READ)],
)
def read_batches(
    *,
    device: OwnDevice,
    caller: CurrentCaller,
    session: ReadSession,
    paging: Paging,
    begin: OptionalFromTime = None,
    end: OptionalToTime = None,
) -> Page[BatchOut]:
    """Return the batches by chain and number, with signature, hashes and links checked again from the bytes.

    With `from` or `to` only batches that overlap the range, so none whose time is unknown.
    """
    if begin is not None and end is not None and end < begin:
        raise ProblemError(RANGE_REVERSED, "`to` is before `from`")
    chains = list_chains(session, org_id=caller.org_id, device_id=device.device_id)
    scope = f"batches:{device.device_id}"
    after = paging.after(scope, int, int)
    rows = page_of_batches(
        session,
        org_id=caller.org_id,
        chain_refs=[chain.chain_ref for chain in chains],
        after=None if after is None else (int(after[0]), int(after[1])),
        limit=paging.limit + 1,
        from_us=None if begin is None else from_datetime(begin),
        to_us=None if end is None else from_datetime(end),
    )
    checked = verify_batches(session, rows, org_id=caller.org_id, device_id=device.device_id)
    return paging.page(
        checked, scope=scope, key=lambda at: [at.stored.chain_ref, at.stored.seq], show=BatchOut.of
    )
