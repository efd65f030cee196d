"""The witness on HTTP: one address, small bodies, a thread for each request.

Rules: only `POST /add-checkpoint` with a length; a body above ADD_CHECKPOINT_BYTES_MAX is not read. A request
that stalls is dropped. TLS is a proxy's before it: a checkpoint is signed, and its answer too.

Example:
    >>> server = WitnessServer(witness, host="127.0.0.1", port=0)
    >>> server.serve_forever()
"""

from __future__ import annotations

import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from protocol.limits import ADD_CHECKPOINT_BYTES_MAX

if TYPE_CHECKING:
    from backend.witness.witness import Witness

LOG = logging.getLogger(__name__)

PATH = "/add-checkpoint"
_NOT_FOUND, _LENGTH_REQUIRED, _TOO_LARGE = 404, 411, 413
_STALL_S = 10.0


class WitnessServer(ThreadingHTTPServer):
    """Answers with a witness's words; bound when made."""

    daemon_threads = True

    def __init__(self, witness: Witness, *, host: str, port: int) -> None:
        self.witness = witness
        super().__init__((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tbox-witness"
    sys_version = ""
    timeout = _STALL_S
    server: WitnessServer

    def do_POST(self) -> None:  # the library's name
        """Answer a checkpoint."""
        length = self.headers.get("Content-Length", "")
        if self.path != PATH:
            self._say(_NOT_FOUND, b"only POST /add-checkpoint\n")
        elif not (length.isascii() and length.isdigit()):
            self._say(_LENGTH_REQUIRED, b"a length is needed\n")
        elif int(length) > ADD_CHECKPOINT_BYTES_MAX:
            self._say(_TOO_LARGE, b"too large\n")
        else:
            answer = self.server.witness.add_checkpoint(self.rfile.read(int(length)))
            self._say(answer.status, answer.body, answer.media_type)

    def _say(self, status: int, body: bytes, media_type: str = "text/plain; charset=utf-8") -> None:
        if status in (_NOT_FOUND, _LENGTH_REQUIRED, _TOO_LARGE):
            self.close_connection = True  # its body was not read
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  # the library's signature
        """Log as everyone else does."""
        LOG.info("request %s", format % args)
