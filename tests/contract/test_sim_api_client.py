"""The simulators' API client follows pages, sends the key from a file, and says what the server said."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from simulators.api_client import ApiClient, ApiRefusedError
from simulators.stored import Stored, from_iso, iso

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICE = "ab" * 32
CSV = (
    "time,signal,value,unit\r\n"
    "2026-01-05T08:00:00.000001Z,Vehicle.Speed,42.5,km/h\r\n"
    "2026-01-05T08:00:01.000000Z,Vehicle.Speed,,km/h\r\n"
)


class Answers(BaseHTTPRequestHandler):
    """A server with three rows on two pages, a trace, and an opinion about keys."""

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        if self.headers["Authorization"] != "Bearer tbox_secret":
            self._answer(401, {"title": "unauthenticated", "detail": "no such key"})
        elif target.path.endswith("/trace"):
            assert query["from"] == iso(0)
            self._send(200, CSV.encode())
        elif "cursor" in query:
            self._answer(200, {"items": [3], "next_cursor": None})
        else:
            self._answer(200, {"items": [1, 2], "next_cursor": "two"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201, {"echo": body})

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _answer(self, status: int, body: dict[str, object]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ApiClient]:
    key = tmp_path / "admin.key"
    key.write_text("tbox_secret\n")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield ApiClient(port=server.server_port, key_file=key)
        server.shutdown()
        thread.join()


def test_all_follows_every_page(client: ApiClient) -> None:
    assert list(client.all("/v1/things")) == [1, 2, 3]


def test_a_post_sends_json_and_returns_json(client: ApiClient) -> None:
    assert client.post("/v1/things", {"count": 1}) == {"echo": {"count": 1}}


def test_a_refusal_says_what_the_server_said(client: ApiClient) -> None:
    with pytest.raises(ApiRefusedError, match=r"GET /v1/me: 401 unauthenticated no such key") as refused:
        ApiClient(port=client.port, key_file=None).get("/v1/me")
    assert refused.value.status == 401


def test_a_trace_becomes_samples_and_empty_values_are_left_out(client: ApiClient) -> None:
    samples = Stored(api=client, device=DEVICE).values("Vehicle.Speed", 0, 1)
    assert [(sample.t_us, sample.value) for sample in samples] == [(1_767_600_000_000_001, 42.5)]


def test_times_survive_the_api_to_the_microsecond() -> None:
    for instant_us in (0, 1, 999_999, 1_767_600_000_123_456):
        assert from_iso(iso(instant_us)) == instant_us
