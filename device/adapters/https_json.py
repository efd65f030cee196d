"""One JSON request to a server, over HTTPS checked against an authority of our choice.

Rules:
- Plain HTTP only to this machine: what is sent here may be a secret.
- No redirect and no proxy of the environment is followed: either would carry our request to someone we did
  not choose.
- The answer is bounded, and an object, or it is an error. What a server says in problem+json (RFC 9457) is
  passed on to the person who reads the error.

It knows no service; see `enrolment_http`.

Example:
    service = JsonService("https://fleet.example:8443", ca_file=Path("ca.pem"))
    answer = service.post("/v1/renewals/nonce", {"device": "9f…"})
"""

from __future__ import annotations

import http
import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, NoReturn

from device.adapters.tls import leave_dates_unchecked
from device.errors import EdgeError
from protocol.limits import HTTP_ANSWER_BYTES_MAX

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path
    from typing import IO

WAIT_S = 20.0  # for connecting and for each read: a mobile network at its worst
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

MEANINGS = {
    400: "the server did not understand the request",
    401: "the server does not know the token",
    403: "the server refuses this box",
    404: "there is no such service at this address",
    409: "the token was used, or the box belongs to someone else",
    410: "the token has expired",
    422: "the server did not accept what was sent",
    429: "too many requests at once",
}


class HttpError(EdgeError):
    """The server was not reached, refused, or answered something unusable.

    Attributes:
        status: HTTP status code when the server refused, else None.
    """

    status: int | None = None


class JsonService:
    """A server that takes and gives JSON objects.

    Args:
        base: where the server is, `https://host[:port]`.
        ca_file: PEM of the authority that vouches for it; None uses the system's.
        check_dates: False while nobody vouches for the clock.

    Raises:
        HttpError: the address cannot be used, or the authority file cannot be read.
    """

    def __init__(self, base: str, *, ca_file: Path | None = None, check_dates: bool = True) -> None:
        parts = urllib.parse.urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HttpError(
                f"not an address: {base}",
                is_transient=False,
                meaning="the server cannot be asked",
                next_step="write it like https://fleet.example:8443",
            )
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise HttpError(
                f"plain HTTP to another machine: {base}",
                is_transient=False,
                meaning="whoever reads the token on the way could enrol in our place",
                next_step="use https, with --ca if the server has an authority of its own",
            )
        self._base = base.rstrip("/")
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=_context(ca_file, check_dates=check_dates)),
            _NoRedirect(),
        )

    def post(self, path: str, body: dict[str, str | None]) -> dict[str, object]:
        """Send an object and return the object that comes back.

        Raises:
            HttpError: not reached, not trusted, refused, or not an object of bounded size.
        """
        raw = self._exchange(path, json.dumps(body).encode())
        if len(raw) > HTTP_ANSWER_BYTES_MAX:
            raise_unusable("it is too long")
        try:
            answer = json.loads(raw)
        except ValueError:
            raise_unusable("it is not JSON")
        if not isinstance(answer, dict):
            raise_unusable("it is not an object")
        return answer

    def _exchange(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked: http(s) only
            self._base + path,
            data=body,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=WAIT_S) as response:
                return bytes(response.read(HTTP_ANSWER_BYTES_MAX + 1))
        except urllib.error.HTTPError as refused:
            with refused:
                _raise_refusal(refused)
        except ssl.SSLError as failure:
            _raise_tls(failure)
        except urllib.error.URLError as failure:
            if isinstance(failure.reason, ssl.SSLError):
                _raise_tls(failure.reason)
            raise HttpError(
                f"server not reached: {self._base}: {failure.reason}",
                is_transient=True,
                meaning="nothing was sent, or no answer came; a token not yet used stays good",
                next_step="check the address and the network, then run the command again",
            ) from failure
        except (OSError, http.client.HTTPException) as failure:
            raise HttpError(
                f"connection lost: {self._base}: {failure}",
                is_transient=True,
                meaning="the server may have taken the request; asking again from the same home does no harm",
                next_step="run the command again; if the token is refused as used, ask for a fresh one",
            ) from failure


def raise_unusable(why: str) -> NoReturn:
    """Say that an answer is not what this service would say.

    Raises:
        HttpError: always.
    """
    raise HttpError(
        f"answer not usable: {why}",
        is_transient=False,
        meaning="this is not the service we asked for, or another version of it",
        next_step="check the address; nothing was kept",
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect stays the error it is."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        """Follow nothing."""
        del req, fp, code, msg, headers, newurl


def _context(ca_file: Path | None, *, check_dates: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as failure:
        raise HttpError(
            f"authority file not usable: {ca_file}: {failure}",
            is_transient=False,
            meaning="the server cannot be checked",
            next_step="give the PEM file that the server's operator published",
        ) from failure
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not check_dates:
        leave_dates_unchecked(context)
    return context


def _raise_tls(failure: ssl.SSLError) -> NoReturn:
    raise HttpError(
        f"server not trusted: {failure}",
        is_transient=False,
        meaning="its certificate is not from an authority we know, is for another name, or has expired",
        next_step="give the operator's authority with --ca; check this machine's clock",
    ) from failure


def _raise_refusal(refused: urllib.error.HTTPError) -> NoReturn:
    """Say what the server said, else what its status code says."""
    try:
        problem = json.loads(refused.read(HTTP_ANSWER_BYTES_MAX))
    except (ValueError, OSError, http.client.HTTPException):
        problem = None
    said = problem if isinstance(problem, dict) else {}
    title, detail = said.get("title"), said.get("detail")
    code = refused.code
    is_transient = code >= http.HTTPStatus.INTERNAL_SERVER_ERROR or code == http.HTTPStatus.TOO_MANY_REQUESTS
    error = HttpError(
        f"refused with {code}: {title or refused.reason}",
        is_transient=is_transient,
        meaning=MEANINGS.get(code, "the server is in trouble" if is_transient else "the server says no"),
        next_step=str(detail) if detail else "ask the operator",
    )
    error.status = code
    raise error from refused
