"""The lenders' loan systems and the weather over HTTP: one request, a short wait, a bounded answer.

Rules: plain HTTP on loopback only, HTTPS elsewhere; no redirect is followed; an answer that is late, long or
of another status is no answer. What the bytes mean, others decide: loan facts are verified by their
signature, a forecast can only veto.

Example:
    >>> HttpLoanSystems({lender_id: "https://loans.example"}).facts(lender_id, question)
"""

import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, Final
from urllib.parse import urlsplit

from backend.errors import SettingsError
from backend.gate.ports import LoanSystemError
from protocol.limits import ORDER_BYTES_MAX
from protocol.loan_facts import FactsQuestion, encode_question

WAIT_S: Final = 5.0
"""How long an answer may take: a go token is waited for by a car that stands armed for 15 minutes."""

_DEGREES: Final = 90


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever answers somewhere else is not the system that was configured."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow nothing."""
        del req, fp, code, msg, headers, newurl


_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def check_url(name: str, url: str) -> str:
    """Return a URL that may be asked.

    Raises:
        SettingsError: not http on loopback, nor https.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return url.rstrip("/")
    raise SettingsError(what=f"{name}: {url} is neither https nor http on this machine")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpLoanSystems:
    """Loan systems by their URLs.

    Args:
        urls: lender_id to URL without path.
    """

    def __init__(self, urls: Mapping[bytes, str]) -> None:
        self._urls = {lender: check_url(f"lender {lender.hex()}", url) for lender, url in urls.items()}

    def facts(self, lender_id: bytes, question: FactsQuestion) -> bytes:
        """Return the signed answer, unverified.

        Raises:
            LoanSystemError: None came in time.
        """
        url = self._urls.get(lender_id)
        if url is None:
            raise LoanSystemError("no address is set for it")
        request = urllib.request.Request(  # noqa: S310 - `check_url` allows http and https only
            f"{url}/facts",
            data=encode_question(question),
            headers={"Content-Type": "application/cbor", "Accept": "application/cose"},
        )
        try:
            return _fetch(request)
        except (OSError, HTTPException) as error:
            raise LoanSystemError(type(error).__name__) from error


class HttpForecasts:
    """A weather service: tenths of a degree in the query, {"lowest", "highest"} in °C in the answer."""

    def __init__(self, url: str) -> None:
        self._url = check_url("forecast", url)

    def next_12_h(self, place: tuple[int, int], now_s: int) -> tuple[int, int] | None:
        """Return the lowest and highest °C of the next 12 hours; None when nothing sensible came."""
        url = f"{self._url}?north={place[0]}&east={place[1]}&from={now_s}"
        try:
            answer = json.loads(_fetch(urllib.request.Request(url)))  # noqa: S310 - see `check_url`
            found = answer["lowest"], answer["highest"]
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return None
        if not all(isinstance(value, int) and abs(value) <= _DEGREES for value in found):
            return None
        return found if found[0] <= found[1] else None


def _fetch(request: urllib.request.Request) -> bytes:
    """Return the body of an answer.

    Raises:
        OSError: none, late, of another status, or too long.
    """
    with _OPENER.open(request, timeout=WAIT_S) as response:
        body = response.read(ORDER_BYTES_MAX + 1)
    if len(body) > ORDER_BYTES_MAX:
        raise OSError("the answer is too long")
    return bytes(body)
