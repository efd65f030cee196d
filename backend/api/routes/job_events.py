"""What happens in a job, as it happens: a stream for a page that stays open, or one answer that waits.

Rules:
- Events are numbered; `Last-Event-ID` or `after` goes on where a reader stopped, so nothing is missed by a
  link that breaks. Of the box's reports only the newest is kept: the job itself shows it.
- Waiting holds no thread and no database connection: the route is asynchronous, the one of its kind, and asks
  the database once a second. At most JOB_STREAMS_MAX readers wait in one process; a further one is answered
  at once with what there is.

Source: WHATWG HTML §9.2 (server-sent events).
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from backend.api.deps import CurrentServices, ReadSession, Services, allow
from backend.api.install_schemas import EventOut
from backend.api.job_deps import VisibleJob
from backend.api.openapi import Responses
from backend.api.schemas import EXAMPLE_TIME
from backend.domain.access import Permission
from backend.store.jobs import list_events
from protocol.limits import JOB_STREAM_S_MAX, JOB_STREAMS_MAX, JOB_WAIT_S_MAX, PAGE_ITEMS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

router = APIRouter(tags=["installation"])

_ASK_S = 1.0
_BEAT_S = 15.0  # a comment, so that what stands between does not take the stream for dead
_NUMBER_MAX = 2**53


class EventsOut(BaseModel):
    """What has happened since."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"id": 7, "kind": "report", "body": {"seq": 12, "stage": "OPEN"}, "at": EXAMPLE_TIME}
                    ],
                    "after": 7,
                }
            ]
        }
    )

    items: list[EventOut] = Field(description="In order; empty when nothing happened while it waited.")
    after: int = Field(description="Ask next with this.")


_STREAM: Responses = {
    200: {
        "description": "With `after` one JSON answer, without it a stream of events.",
        "model": EventsOut,
        "content": {
            "text/event-stream": {"example": 'id: 7\nevent: report\ndata: {"seq": 12, "stage": "OPEN"}\n\n'}
        },
    }
}


class _Readers:
    """How many wait in this process."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def one(self) -> "Iterator[bool]":
        """Count a reader while it waits; False when there are too many to wait."""
        may_wait = self._count < JOB_STREAMS_MAX
        self._count += may_wait
        try:
            yield may_wait
        finally:
            self._count -= may_wait


_READERS = _Readers()


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses=_STREAM,
    dependencies=[allow(Permission.INSTALL_READ)],
)
async def read_events(
    job: VisibleJob,
    session: ReadSession,
    services: CurrentServices,
    after: Annotated[
        int | None,
        Query(ge=0, le=_NUMBER_MAX, description="Answer once, with what is newer than this event."),
    ] = None,
    wait_s: Annotated[
        int, Query(ge=0, le=JOB_WAIT_S_MAX, description="Seconds to wait for something, with `after`.")
    ] = JOB_WAIT_S_MAX,
    last_event_id: Annotated[
        str, Header(max_length=20, description="Where a stream goes on; sent by browsers.")
    ] = "",
) -> Response:
    """Follow a job: without `after` a stream of server-sent events, with it one answer that may wait."""
    name = (job.org_id, job.job_id)
    await run_in_threadpool(session.close)  # who waits holds no connection
    if after is None:
        start = int(last_event_id) if last_event_id.isascii() and last_event_id.isdecimal() else 0
        return StreamingResponse(
            stream(services, name, min(start, _NUMBER_MAX)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    found = await _wait(services, name, after, wait_s)
    last = found[-1].id if found else after
    return JSONResponse(EventsOut(items=found, after=last).model_dump(mode="json"))


async def _wait(services: Services, name: tuple[str, str], after: int, wait_s: float) -> list[EventOut]:
    until_s = time.monotonic() + wait_s
    with _READERS.one() as may_wait:
        while True:
            found = await run_in_threadpool(_newer, services, name, after)
            if found or not may_wait or time.monotonic() >= until_s:
                return found
            await asyncio.sleep(min(_ASK_S, max(0.0, until_s - time.monotonic())))


async def stream(services: Services, name: tuple[str, str], after: int) -> AsyncIterator[str]:
    """Yield server-sent events of a job, newer than one of them, until it is time to come back."""
    until_s = time.monotonic() + JOB_STREAM_S_MAX
    yield "retry: 1000\n\n"
    while (left_s := until_s - time.monotonic()) > 0:
        found = await _wait(services, name, after, min(_BEAT_S, left_s))
        for event in found:
            after = event.id
            body = json.dumps(event.model_dump(mode="json"))
            yield f"id: {event.id}\nevent: {event.kind}\ndata: {body}\n\n"
        if not found:
            yield ": still here\n\n"
            await asyncio.sleep(_ASK_S)


def _newer(services: Services, name: tuple[str, str], after: int) -> list[EventOut]:
    with services.database.reading() as session:
        rows = list_events(session, org_id=name[0], job_id=name[1], after=after, limit=PAGE_ITEMS_MAX)
        return [EventOut.of(row) for row in rows]
