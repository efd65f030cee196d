"""What stands around every request: security headers on each answer, and an end to large bodies.

Nothing is cached, sniffed, framed or run. Source: OWASP REST Security Cheat Sheet, *Security Headers*.
"""

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_TOO_LARGE: Final = 413
_PHOTO: Final = re.compile(r"/v1/jobs/[0-9a-f]{32}/photos/[0-9a-f]{64}")


class SecurityHeaders:
    """ASGI middleware that adds the headers an answer does not have yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the headers added to the start of the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BodyLimit:
    """ASGI middleware that refuses a body above the limit, by its announced length or while it arrives.

    It stands inside the exception handlers' reach: it stops the reader with an `HTTPException`, which the
    framework hands on and `problems` turns into an answer.
    """

    def __init__(self, app: ASGIApp, *, bytes_max: int, photo_bytes_max: int) -> None:
        self._app = app
        self._bytes_max, self._photo_bytes_max = bytes_max, photo_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        received = 0
        is_photo = scope["method"] == "PUT" and _PHOTO.fullmatch(scope["path"]) is not None
        bytes_max = self._photo_bytes_max if is_photo else self._bytes_max

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bytes_max or (announced.isdigit() and int(announced) > bytes_max):
                raise HTTPException(_TOO_LARGE)
            return message

        await self._app(scope, receive_counted, send)
