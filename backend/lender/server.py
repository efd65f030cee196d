"""The server as an officer's machine sees it: a courier whose answers are checked elsewhere.

Rules: one plain HTTP client over TLS with a pinned authority; no redirect is followed, no answer without a
bound is read. Each POST of orders carries an idempotency key, so that asking again never orders twice. The
API key travels in one header and stands in no message or log.

This module believes nothing: whoever uses an answer verifies it.

Example:
    >>> server = open_server(settings)
    >>> server.command(device)["mcu_id"]

Source: RFC 9457 (problem+json).
"""

import hashlib
import http.client
import json
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Port
from urllib.parse import quote, urlencode, urlsplit

from backend.lender.errors import NotThereError, ServerError, SettingsError
from backend.lender.files import read_secret
from backend.lender.limits import (
    ANSWER_BYTES_MAX,
    DISPOSITION_PAGES_MAX,
    DISPOSITIONS_A_PAGE,
    SERVER_TIMEOUT_S,
)
from backend.lender.plain import member, shown
from backend.lender.settings import Settings
from protocol.base64url import to_text

Json = dict[str, Any]
_NOT_FOUND = 404
_ERRORS_FROM = 300  # no redirect is followed: it would carry the API key elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Transport(Port):
    """Carries one request."""

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Return the answer.

        Raises:
            ServerError: there is none.
        """
        ...


class HttpTransport:
    """Carries requests to one address, a connection each.

    Attributes:
        address: https://host[:port][/path], or http to this machine.
    """

    def __init__(self, address: str, ca: Path | None) -> None:
        self.address = address
        self._parts = urlsplit(address)
        self._context = None
        if self._parts.scheme == "https":
            try:
                self._context = ssl.create_default_context(cafile=None if ca is None else str(ca))
            except (OSError, ssl.SSLError) as failed:
                raise SettingsError(f"{ca} is not a PEM of an authority") from failed

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Return the answer.

        Raises:
            ServerError: unreachable, not trusted, or an answer without a bound.
        """
        host, port = self._parts.hostname or "", self._parts.port
        connection = (
            http.client.HTTPConnection(host, port, timeout=SERVER_TIMEOUT_S)
            if self._context is None
            else http.client.HTTPSConnection(host, port, timeout=SERVER_TIMEOUT_S, context=self._context)
        )
        try:
            connection.request(method, self._parts.path + path, body, headers)
            response = connection.getresponse()
            data = response.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as failed:
            raise ServerError(f"{self.address} cannot be reached: {shown(failed)}") from failed
        finally:
            connection.close()
        if len(data) > ANSWER_BYTES_MAX:
            raise ServerError(f"{self.address} sent more than {ANSWER_BYTES_MAX} bytes")
        return Answer(status=response.status, body=data)


class Server:
    """The API's routes that officers use; each method returns the JSON object as it came."""

    def __init__(self, transport: Transport, api_key: str) -> None:
        self._transport = transport
        self._authorization = f"Bearer {api_key}"

    def command(self, device: str) -> Json:
        """Return what the server knows for an order to a car."""
        return self._ask("GET", f"/v1/devices/{quote(device)}/command")

    def ask_challenge(self, device: str) -> Json:
        """Let the box be asked for a challenge."""
        return self._ask("POST", f"/v1/devices/{quote(device)}/challenge", {}, key=secrets.token_hex(16))

    def post_order(self, device: str, body: Json, *, key: str) -> Json:
        """Hand in a signed order."""
        return self._ask("POST", f"/v1/devices/{quote(device)}/orders", body, key=key)

    def approve(self, cmd_id: str, body: Json, *, key: str) -> Json:
        """Hand in the checker's part."""
        return self._ask("POST", f"/v1/orders/{quote(cmd_id)}/approvals", body, key=key)

    def withdraw(self, cmd_id: str, *, key: str) -> Json:
        """Take an order back that has not been sent."""
        return self._ask("POST", f"/v1/orders/{quote(cmd_id)}/withdraw", {}, key=key)

    def order(self, cmd_id: str) -> Json:
        """Return an order with all that belongs to it."""
        return self._ask("GET", f"/v1/orders/{quote(cmd_id)}")

    def orders(
        self, *, device: str | None = None, stage: str | None = None, after: str | None = None
    ) -> Json:
        """Return a page of orders."""
        asked = {"device": device, "stage": stage, "after": after}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return self._ask("GET", f"/v1/orders?{query}" if query else "/v1/orders")

    def newest_order(self, device: str) -> Json:
        """Return a car's newest order as the server lists it, the newest first; empty without any.

        Ids do not tell: they are of a second, and of whatever clock their maker had.
        """
        items = member(self.orders(device=device), "items", list)
        return next((one for one in items if isinstance(one, dict)), {})

    def dispositions(self, device: str) -> list[Any]:
        """Return all of a car's dispositions, page by page, as they arrived.

        Raises:
            ServerError: it has more pages than a car's life fills.
        """
        found: list[Any] = []
        path = f"/v1/devices/{quote(device)}/dispositions?limit={DISPOSITIONS_A_PAGE}"
        cursor: str | None = ""
        for _ in range(DISPOSITION_PAGES_MAX):
            answer = self._ask("GET", f"{path}&cursor={quote(cursor)}" if cursor else path)
            found += member(answer, "items", list)
            cursor = answer.get("next_cursor")
            if not cursor:
                return found
        raise ServerError(f"the server shows more than {DISPOSITION_PAGES_MAX} pages of one car's answers")

    def consistency(self, first: int, second: int) -> list[Any]:
        """Return the proof that the log's larger tree begins with the smaller."""
        asked = urlencode({"first": first, "second": second})
        return list(member(self._ask("GET", f"/v1/ledger/proofs/consistency?{asked}"), "proof", list))

    def publish(self, kind: str, document: bytes) -> Json:
        """Hand in a delegation, snapshot or revocation."""
        body = {"kind": kind, "document": to_text(document)}
        key = hashlib.sha256(document).hexdigest()
        return self._ask("POST", "/v1/authority/documents", body, key=f"authority-{key}")

    def document(self, digest: bytes) -> Json:
        """Return an authority document by its hash."""
        return self._ask("GET", f"/v1/authority/documents/{digest.hex()}")

    def issuer(self, issuer: str) -> Json:
        """Return the snapshot and revocations in force of an issuer."""
        return self._ask("GET", f"/v1/authority/issuers/{quote(issuer)}")

    def checkpoint(self, *, witnessed: int = 0) -> str:
        """Return the log's newest checkpoint, a signed note; the newest with so many cosignatures."""
        asked = urlencode({"witnessed": witnessed})
        return self._send("GET", f"/v1/ledger/checkpoint?{asked}", None, {}).decode("utf-8", "replace")

    def inclusion(self, index: int, size: int) -> list[Any]:
        """Return the proof that a leaf stands in the log's tree of a size."""
        asked = urlencode({"index": index, "size": size})
        return list(member(self._ask("GET", f"/v1/ledger/proofs/inclusion?{asked}"), "proof", list))

    def post_record(self, path: str, document: bytes, delegation: bytes) -> Json:
        """Hand a signed record to the gate, with the delegation that it names: the gate may not know it."""
        return self._ask("POST", path, {"document": to_text(document), "delegation": to_text(delegation)})

    def _ask(self, method: str, path: str, body: Json | None = None, *, key: str | None = None) -> Json:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            value = json.loads(self._send(method, path, body, headers) or b"{}")
        except ValueError as broken:
            raise ServerError("the server's answer is not JSON") from broken
        if not isinstance(value, dict):
            raise ServerError("the server's answer is not a JSON object")
        return value

    def _send(self, method: str, path: str, body: Json | None, headers: dict[str, str]) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": self._authorization, "Accept": "application/json", **headers}
        if content is not None:
            sent["Content-Type"] = "application/json"
        answer = self._transport.send(method, path, sent, content)
        if answer.status >= _ERRORS_FROM:
            raise _problem(answer)
        return answer.body


def open_server(settings: Settings) -> Server:
    """Return the server of the settings.

    Raises:
        SettingsError: no server or API key is set.
        KeyFileError: the key's file is open to others.
    """
    if settings.server is None or settings.api_key_file is None:
        raise SettingsError("lender.toml names no server or no api_key_file")
    api_key = read_secret(settings.api_key_file).decode("ascii", "replace").strip()
    return Server(HttpTransport(settings.server, settings.ca), api_key)


def open_gate(settings: Settings) -> Server:
    """Return the gate of the settings, for records that people sign.

    Raises:
        SettingsError: none is set.
    """
    if settings.gate is None:
        raise SettingsError(
            "lender.toml names no gate", next_step='set gate = "https://…", or hand the record over as a file'
        )
    token = "" if settings.gate_token_file is None else read_secret(settings.gate_token_file).decode().strip()
    return Server(HttpTransport(settings.gate, settings.gate_ca), token)


def _problem(answer: Answer) -> ServerError | NotThereError:
    """Return the error for a refusal; its words are the server's, made safe to show."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    words = [str(said[name]) for name in ("title", "detail", "rule") if isinstance(said.get(name), str)]
    reason = shown(": ".join(words) or f"status {answer.status}")
    if answer.status == _NOT_FOUND:
        return NotThereError(f"the server does not know this: {reason}")
    return ServerError(f"the server said no ({answer.status}): {reason}", status=answer.status)
