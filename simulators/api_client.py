"""A small HTTP client of the server's API, as any user could write one: JSON, and the key from a file.

Rules: one connection a request, loopback only, plain HTTP; an answer that is not 2xx raises with what the
server said. It shares no code with the server.

Example:
    api = ApiClient(port=8080, key_file=Path("admin.key"))
    for device in api.all("/v1/devices"): ...
"""

from __future__ import annotations

import http.client
import json
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ANSWER_SECONDS_MAX = 20.0
OK_FIRST, OK_LAST = 200, 299


class ApiRefusedError(Exception):
    """The server answered with an error.

    Attributes:
        status: HTTP status.
        problem: the problem+json body, or empty.
    """

    def __init__(self, what: str, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{what}: {status} {problem.get('title', '')} {problem.get('detail', '')}".strip())
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiClient:
    """One user of the API.

    Attributes:
        port: on 127.0.0.1.
        key_file: holds the API key; None sends none.
    """

    port: int
    key_file: Path | None

    def get(self, path: str, **query: str | int | None) -> Any:  # noqa: ANN401 - JSON, typed by its reader
        """Return the JSON of one GET."""
        return json.loads(self.raw("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - as above
        """Return the JSON of one POST, None when it has no body."""
        answer = self.raw("POST", path, body=body or {})
        return json.loads(answer) if answer else None

    def all(self, path: str, **query: str | int | None) -> Iterator[Any]:
        """Yield the items of every page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the bytes of one answer.

        Raises:
            ApiRefusedError: the status is not 2xx.
            OSError: nobody answered.
        """
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urllib.parse.urlencode(asked)}" if asked else path
        sent = dict(headers or {})
        if self.key_file is not None:
            sent["Authorization"] = f"Bearer {self.key_file.read_text('ascii').strip()}"
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request(method, target, body=data, headers=sent)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if not OK_FIRST <= response.status <= OK_LAST:
            raise ApiRefusedError(f"{method} {target}", response.status, _problem(answer))
        return answer


def _problem(answer: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(answer)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
