"""A small HTTP server on loopback that answers enrolments as a test wants."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.enrolment import open_enrolment_proof
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from simulators.pki import CertificateAuthority

Json = dict[str, Any]
Answer = tuple[int, Json | bytes]

DAY = dt.timedelta(days=1)
RECEIPT_SIGNER = SoftwareSigner(ec.derive_private_key(11, ec.SECP256R1()))
RECEIPT_KEY = cose_key_bytes(RECEIPT_SIGNER.public_key)


class Server:
    """An HTTP server on loopback whose answers a test writes; it remembers what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Callable[[str, Json], Answer] = lambda _path, _body: (404, {})
        self.asked: list[tuple[str, Json]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            timeout: ClassVar[float] = 5.0

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append((self.path, body))
                status, content = server.answer(self.path, body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                if status in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign] # a refused handshake is the test's point
        scheme = "http"
        if tls is not None:
            self._http.socket = tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def certificate_for(authority: CertificateAuthority, csr: x509.CertificateSigningRequest) -> str:
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(csr.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + DAY)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def good_answer(authority: CertificateAuthority, body: Json) -> Json:
    """Answer an enrolment or a renewal as the real server would, for whoever asks."""
    device = body.get("device") or open_enrolment_proof(base64.b64decode(body["proof"])).device
    csr = x509.load_pem_x509_csr(body["csr_pem"].encode())
    assert csr.is_signature_valid
    return {
        "device": device,
        "certificate_pem": certificate_for(authority, csr),
        "ca_pem": authority.ca_file.read_text(),
        "receipt_keys": [RECEIPT_KEY.hex()],
        "policy_keys": [],
        "broker": {"host": "broker.example", "port": 8883},
    }
