"""What a fitter's terminal asks of the office: leave for the relay test, the binding, to keep the record.

Rules: it moves bytes; `install_seal` checks what comes before the installer signs. Without an office the
terminal goes as far as it can and says what is missing.

Example:
    office = BackendOffice(url="https://fleet.example", api_key=key, job_id=job)
    payload, parts, delegation = office.bench(challenge)

Source: SPEC §22; README §2.4 (who signs BENCH and BIND).
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from firmware_tools.cli_errors import Exit, ToolError
from protocol.base64url import to_bytes, to_text

if TYPE_CHECKING:
    from pathlib import Path

HTTP_S_MAX: Final = 30.0
HTTP_BYTES_MAX: Final = 1_048_576
"""Bytes of an answer: a job with its report and photos' names stays below 100 KiB."""


class OfficeCode(StrEnum):
    """What can be wrong with the office."""

    OFFICE_AWAY = "OFFICE_AWAY"
    OFFICE_REFUSED = "OFFICE_REFUSED"
    OFFICE_GARBLED = "OFFICE_GARBLED"
    NO_OFFICE = "NO_OFFICE"


class Office(Protocol):
    """Whoever speaks for the gate, and keeps the record."""

    def bench(self, challenge: bytes) -> tuple[bytes, bytes]:
        """Return the gate's ticket for one BENCH of this car, and the gate's delegation."""

    def bind(self, challenge: bytes, payload: bytes) -> tuple[tuple[bytes, bytes], bytes]:
        """Return the gate's part of a BIND, header and signature, and the gate's delegation."""

    def keep(self, record: bytes, commissioning: bytes) -> None:
        """Take the signed record."""


class NoOffice:
    """Underground: nobody to ask."""

    def bench(self, challenge: bytes) -> tuple[bytes, bytes]:
        """Refuse.

        Raises:
            ToolError: always.
        """
        del challenge
        raise _nobody("The relay test needs the office's permission")

    def bind(self, challenge: bytes, payload: bytes) -> tuple[tuple[bytes, bytes], bytes]:
        """Refuse.

        Raises:
            ToolError: always.
        """
        del challenge, payload
        raise _nobody("The binding needs the office's signature")

    def keep(self, record: bytes, commissioning: bytes) -> None:
        """Leave the record in its file: it can be handed in later."""
        del record, commissioning


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOffice:
    """The backend, over HTTPS.

    Attributes:
        url: without a slash at its end.
        api_key: of the installer.
        job_id: hex.
        authority: the server's own CA, PEM; None for those that the machine trusts.
    """

    url: str
    api_key: str
    job_id: str
    authority: Path | None = None

    def ticket(self) -> bytes:
        """Return the job's work ticket.

        Raises:
            ToolError: the office refuses or is away.
        """
        return _bytes(self._post("ticket", {}), "ticket")

    def bench(self, challenge: bytes) -> tuple[bytes, bytes]:
        """Ask for a ticket.

        Raises:
            ToolError: the office refuses or is away.
        """
        said = self._post("bench-ticket", {"challenge": to_text(challenge)})
        return _bytes(said, "ticket"), _bytes(said, "delegation")

    def bind(self, challenge: bytes, payload: bytes) -> tuple[tuple[bytes, bytes], bytes]:
        """Ask for the gate's part of a BIND.

        Raises:
            ToolError: the office refuses or is away.
        """
        said = self._post("bind-part", {"challenge": to_text(challenge), "payload": to_text(payload)})
        part = said.get("part", {})
        return (_bytes(part, "protected"), _bytes(part, "signature")), _bytes(said, "delegation")

    def keep(self, record: bytes, commissioning: bytes) -> None:
        """Hand the record in.

        Raises:
            ToolError: the office refuses or is away.
        """
        body = {"record": to_text(record), "attestation": to_text(commissioning), "from": "file"}
        self._send("PUT", "record", body)

    def device_keys(self, device: str) -> list[bytes]:
        """Return the COSE_Keys that the office knows of a box.

        Raises:
            ToolError: the office refuses or is away.
        """
        rows = self.look(f"/v1/devices/{device}").get("keys", [])
        return [bytes.fromhex(row["cose_key"]) for row in rows]

    def look(self, path: str) -> dict[str, Any]:
        """Read something of the office's.

        Raises:
            ToolError: the office refuses or is away.
        """
        return self._ask("GET", path, None)

    def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._send("POST", what, body)

    def _send(self, method: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask(method, f"/v1/jobs/{self.job_id}/{what}", body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers, method=method)  # noqa: S310 - named by its user
        is_tls = self.url.startswith("https:")
        context = ssl.create_default_context(cafile=str(self.authority) if self.authority else None)
        try:
            with urllib.request.urlopen(  # noqa: S310 - as above
                request, timeout=HTTP_S_MAX, context=context if is_tls else None
            ) as answer:
                content: dict[str, Any] = json.loads(answer.read(HTTP_BYTES_MAX) or b"{}")
                return content
        except urllib.error.HTTPError as refused:
            with refused:  # it holds a connection
                said = refused.read(HTTP_BYTES_MAX)
            raise _refused(refused.code, said) from refused
        except (OSError, ValueError) as error:
            sentence = f"The office at {self.url} does not answer ({error}): go where there is a network."
            raise ToolError(OfficeCode.OFFICE_AWAY, sentence, Exit.CUT_SHORT) from error


def _bytes(said: dict[str, Any], name: str) -> bytes:
    try:
        return to_bytes(said[name])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        sentence = f"The office's answer has no {name} in it: update this tool or the backend."
        raise ToolError(OfficeCode.OFFICE_GARBLED, sentence) from error


def _refused(status: int, body: bytes) -> ToolError:
    try:
        problem = json.loads(body)
        said = str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        said = f"status {status}"
    return ToolError(OfficeCode.OFFICE_REFUSED, f"The office refuses: {said}.")


def _nobody(what: str) -> ToolError:
    sentence = f"{what}: run this again with --api where there is a network; the box goes on where it stands."
    return ToolError(OfficeCode.NO_OFFICE, sentence, Exit.CUT_SHORT)
