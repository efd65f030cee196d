"""The Idempotency-Key of a route that orders something: the same request gets the same answer, once done.

Rules: the key is needed; without it a request whose answer got lost could not be sent again safely. What
makes a request the same is method, address and body, as they came.

Example:
    def post_order(repeated: Repeated, ...) -> JSONResponse:
        return repeated.answer(201, OrderStageOut, lambda: request_order(session, ...))
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from backend.api.deps import CurrentCaller, NowUs, WriteSession
from backend.api.problems import from_refusal
from backend.domain.refusal import Refusal
from backend.usecases.repeat_request import Answered, Repeat, with_key
from protocol.limits import IDEMPOTENCY_KEY_CHARS_MAX

Row = TypeVar("Row")

KeyHeader = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=8,
        max_length=IDEMPOTENCY_KEY_CHARS_MAX,
        pattern=r"^[\x21-\x7e]+$",
        description="Made by the caller for this request, e.g. a UUID. The same request with the same key "
        "gets the same answer and does nothing twice; another request with it is refused with 409.",
        examples=["018f6a2e-0000-7000-8000-000000000001"],
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatGuard:
    """Answers a request once."""

    session: WriteSession
    repeat: Repeat

    def answer(
        self, status: int, show: Callable[[Row], BaseModel], work: Callable[[], Row | Refusal]
    ) -> JSONResponse:
        """Do the work in a transaction of its own, or give the answer that it had.

        Raises:
            ProblemError: The rules say no.
        """

        def do() -> Answered | Refusal:
            outcome = work()
            if isinstance(outcome, Refusal):
                return outcome
            return Answered(status=status, body=show(outcome).model_dump(mode="json", by_alias=True))

        answered = with_key(self.session, self.repeat, do)
        if isinstance(answered, Refusal):
            raise from_refusal(answered)
        return JSONResponse(answered.body, status_code=answered.status)


async def _body(request: Request) -> bytes:
    return await request.body()


def _guard(
    request: Request,
    session: WriteSession,
    caller: CurrentCaller,
    now_us: NowUs,
    key: KeyHeader,
    body: Annotated[bytes, Depends(_body)],
) -> RepeatGuard:
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + body).digest()
    return RepeatGuard(
        session=session, repeat=Repeat(caller=caller, key=key, request_sha256=digest, now_us=now_us)
    )


Repeated = Annotated[RepeatGuard, Depends(_guard)]
