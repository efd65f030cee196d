"""What the depot asks of the office: to keep a box's label with its keys, before the box enrols.

Rules: one request, whose repetition changes nothing. HTTPS, or plain HTTP on this machine. The key of the
depot comes from the environment, never from a command line.

Example:
    LabelOffice(url="https://fleet.example", api_key=key).register(report, iccid=None)
"""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from firmware_tools.cli_errors import Exit, ToolError
from firmware_tools.depot_codes import DepotCode
from protocol.limits import DEPOT_ANSWER_BYTES_MAX, DEPOT_HTTP_S_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_tools.depot_report import Report

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for the office that was named, and for no other."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOffice:
    """The backend.

    Attributes:
        url: without a slash at its end.
        api_key: of the depot.
        authority: the server's own CA, PEM; None for those that the machine trusts.
    """

    url: str
    api_key: str
    authority: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what would send the key in the clear.

        Raises:
            ToolError: the address is neither HTTPS nor on this machine.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            sentence = (
                f"{self.url} is not https: our key would travel in the clear; write the office's address."
            )
            raise ToolError(DepotCode.OFFICE_REFUSED, sentence)

    def register(self, report: Report, *, iccid: str | None) -> None:
        """Have a label kept.

        Raises:
            ToolError: the office refuses, or is away.
        """
        body = {
            "label": report.serial,
            "device": report.device,
            "mcu_id": report.mcu_id,
            "iccid": iccid,
            "report_sha256": report.sha256(),
        }
        data = json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self.api_key}",
            "Content-Type": "application/json",
            "Idempotency-Key": hashlib.sha256(data).hexdigest(),  # the same request is the same request
        }
        request = urllib.request.Request(  # noqa: S310 - checked above
            f"{self.url}/v1/labels", data=data, headers=headers, method="POST"
        )
        context = ssl.create_default_context(cafile=str(self.authority) if self.authority else None)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect
        )
        try:
            with opener.open(request, timeout=DEPOT_HTTP_S_MAX) as answer:
                answer.read(DEPOT_ANSWER_BYTES_MAX)
        except urllib.error.HTTPError as refused:
            said = _reason(refused.read(DEPOT_ANSWER_BYTES_MAX), refused.code)
            sentence = f"The office does not keep the label {report.serial}: {said}"
            raise ToolError(DepotCode.OFFICE_REFUSED, sentence) from refused
        except OSError as away:
            sentence = (
                f"The office at {self.url} does not answer ({away}): run again when there is a network."
            )
            raise ToolError(DepotCode.OFFICE_AWAY, sentence, Exit.CUT_SHORT) from away


def _reason(body: bytes, status: int) -> str:
    try:
        problem = json.loads(body)
        said = str(problem.get("detail") or problem["title"])
    except (ValueError, AttributeError, KeyError):
        said = f"status {status}"
    return said if said.endswith(".") else f"{said}."
