"""The gate over HTTP: one request, a short wait, a bounded answer of the form that the gate publishes.

Rules: plain HTTP on loopback only, elsewhere HTTPS with a certificate on both sides; no redirect, no proxy.
An answer that is late, long, of another status or another form is no answer: `GateAwayError`. What the gate
signed is verified by whoever uses it.

Example:
    >>> gate = HttpGate("http://127.0.0.1:8090", token="…")
"""

import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from backend.errors import SettingsError
from backend.usecases.gate_port import (
    GateAwayError,
    GatePart,
    GateSaid,
    GateUnreadableError,
    LogPlace,
    PaidOrder,
    ShownJob,
    ShownRecord,
)
from protocol.base64url import to_bytes, to_text
from protocol.checker_reasons import CheckerReason

WAIT_S: Final = 15.0
"""How long an answer may take: the gate itself asks the loan system and the weather, 5 s each."""

ANSWER_BYTES_MAX: Final = 1 << 20

UNREADABLE_STATUSES: Final = frozenset({400, 409, 413, 422})
"""The gate read what it was sent and will never take it; other statuses may pass."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever answers somewhere else is not the gate that was configured."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


class HttpGate:
    """The gate at an address.

    Args:
        url: Its address, without path.
        token: What stands in its token file.
        ca: PEM of the authority of its certificate; None for the system's.
        certificate: PEM files of the own certificate's chain and its private key; a gate beyond this machine
            asks for one.

    Raises:
        SettingsError: Neither https nor http on this machine; or one of the files cannot be used.
    """

    def __init__(
        self, url: str, *, token: str, ca: str | None = None, certificate: tuple[str, str] | None = None
    ) -> None:
        parts = urlsplit(url)
        is_local = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        if not is_local and not (parts.scheme == "https" and parts.hostname):
            raise SettingsError(what=f"gate: {url} is neither https nor http on this machine")
        self._url = url.rstrip("/")
        self._token = token
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), urllib.request.ProxyHandler({})]
        try:
            context = ssl.create_default_context(cafile=ca)
            if certificate is not None:
                context.load_cert_chain(*certificate)
        except OSError as failed:
            files = ", ".join(file for file in (ca, *(certificate or ())) if file is not None)
            raise SettingsError(what=f"gate: {failed} in one of {files}") from failed
        handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def screen(self, *, payload: bytes, basis: bytes, part: GatePart) -> GateSaid:
        """Ask before the checker looks."""
        return _said(
            self._post(
                "/screen",
                {
                    "payload": to_text(payload),
                    "basis": to_text(basis),
                    "part": _part(part),
                    "delegation": to_text(part.delegation),
                },
            )
        )

    def review(
        self,
        *,
        payload: bytes,
        parts: Sequence[GatePart],
        basis: bytes | None,
        log: LogPlace | None,
        challenge: bytes | None,
        mcu_key: bytes,
        reason_code: CheckerReason | None,
    ) -> GateSaid:
        """Ask for the gate's signature."""
        body: dict[str, Any] = {
            "payload": to_text(payload),
            "parts": [_part(part) for part in parts],
            "delegations": [to_text(part.delegation) for part in parts],
        }
        if basis is not None:
            body["basis"] = to_text(basis)
        if log is not None:
            body["log"] = {
                "checkpoint": log.checkpoint.decode(),
                "index": log.index,
                "salt": log.salt.hex(),
                "proof": [hash_.hex() for hash_ in log.proof],
            }
            body["mcu_key"] = to_text(mcu_key)
        if challenge is not None:
            body["challenge"] = to_text(challenge)
        if reason_code is not None:
            body["reason_code"] = int(reason_code)
        return _said(self._post("/review", body))

    def go(self, *, go_request: bytes, place: tuple[int, int] | None) -> GateSaid:
        """Ask for a go token."""
        where = None if place is None else list(place)
        return _said(self._post("/go", {"go_request": to_text(go_request), "place": where}))

    def releases(self) -> Sequence[PaidOrder]:
        """Return the orders that a payment has overtaken."""
        try:
            return [
                PaidOrder(cmd_hash=bytes.fromhex(item["cmd_hash"]), mcu_id=bytes.fromhex(item["mcu_id"]))
                for item in self._ask(urllib.request.Request(f"{self._url}/releases"))["items"]  # noqa: S310 - http on loopback or https only
            ]
        except (KeyError, TypeError, ValueError) as broken:
            raise GateAwayError("its answer has another form") from broken

    def release(self, *, payload: bytes) -> GateSaid:
        """Ask the gate to sign an UNLOCK."""
        return _said(self._post("/release", {"payload": to_text(payload)}))

    def disposition(self, *, document: bytes, mcu_key: bytes) -> None:
        """Tell the gate what a car said."""
        self._post("/dispositions", {"document": to_text(document), "mcu_key": to_text(mcu_key)})

    def ticket(self, shown: ShownJob) -> GateSaid:
        """Ask for a ticket for one BENCH."""
        return _said(self._post("/ticket", _shown(shown)))

    def bind(self, shown: ShownJob, payload: bytes) -> GateSaid:
        """Ask for the gate's part of a BIND."""
        return _said(self._post("/bind", _shown(shown) | {"payload": to_text(payload)}))

    def commissioned(self, shown: ShownRecord) -> None:
        """Bring a record."""
        self._post(
            "/commissionings",
            {
                "record": to_text(shown.record),
                "attestation": to_text(shown.attestation),
                "mcu_key": to_text(shown.mcu_key),
                "box_key": to_text(shown.box_key),
                "delegation": to_text(shown.delegation),
            },
        )

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - http on loopback or https only
            self._url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        return self._ask(request)

    def _ask(self, request: urllib.request.Request) -> dict[str, Any]:
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=WAIT_S) as answer:
                data = answer.read(ANSWER_BYTES_MAX)
            found = json.loads(data)
        except urllib.error.HTTPError as refused:
            is_final = refused.code in UNREADABLE_STATUSES
            raise (GateUnreadableError if is_final else GateAwayError)(f"status {refused.code}") from refused
        except (OSError, http.client.HTTPException, ValueError) as failed:
            raise GateAwayError(type(failed).__name__) from failed
        if not isinstance(found, dict):
            raise GateAwayError("its answer has another form")
        return found


def _shown(shown: ShownJob) -> dict[str, str]:
    return {
        "work_ticket": to_text(shown.work_ticket),
        "challenge": to_text(shown.challenge),
        "mcu_key": to_text(shown.mcu_key),
        "delegation": to_text(shown.delegation),
    }


def _part(part: GatePart) -> dict[str, str]:
    return {"protected": to_text(part.protected), "signature": to_text(part.signature)}


def _said(answer: dict[str, Any]) -> GateSaid:
    try:
        part = answer.get("part")
        return GateSaid(
            verdict=str(answer["verdict"]),
            rule=answer.get("rule"),
            detail=str(answer.get("detail", "")),
            earliest_s=None if answer.get("earliest") is None else int(answer["earliest"]),
            part=None
            if part is None
            else GatePart(
                protected=to_bytes(part["protected"]),
                signature=to_bytes(part["signature"]),
                delegation=to_bytes(answer["delegation"]),
            ),
            delegation=None if answer.get("delegation") is None else to_bytes(answer["delegation"]),
            token=None if answer.get("token") is None else to_bytes(answer["token"]),
            facts=None if answer.get("facts") is None else bytes.fromhex(answer["facts"]),
        )
    except (KeyError, TypeError, ValueError) as broken:
        raise GateAwayError("its answer has another form") from broken


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
