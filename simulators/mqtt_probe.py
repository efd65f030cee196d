"""Does a broker let this client in? Asked with a TLS handshake and one CONNECT, written by hand.

Rules: it connects, reads one answer, and goes; it uses no MQTT library, so that an answer is the broker's
and not a client's opinion. Under TLS 1.3 a server refuses a certificate after the client believes the
handshake is done: the refusal is then an alert or a closed connection in place of the CONNACK.

Example:
    is_in = lets_in(port=broker.port, ca=ca.ca_file, client_id=device, cert=None, key=None)
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_SECONDS_MAX = 5.0
ACCEPTED = bytes([0x20, 2, 0, 0])  # CONNACK, no session, return code 0. Source: MQTT 3.1.1 §3.2
CLEAN_SESSION = 0x02
KEEPALIVE_SECONDS = 10


def lets_in(*, port: int, ca: Path, client_id: str, cert: Path | None, key: Path | None) -> bool:
    """Return whether the broker on loopback accepts this client.

    Args:
        port: the broker's.
        ca: PEM of the authority that vouches for the broker.
        client_id: who the client says it is.
        cert: PEM of the client's certificate, None to show none.
        key: PEM of its key.

    Raises:
        ConnectionRefusedError: there is no broker.
        TimeoutError: it does not answer.
    """
    context = ssl.create_default_context(cafile=str(ca))
    if cert is not None:
        context.load_cert_chain(cert, key)
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX) as link:
        try:
            with context.wrap_socket(link, server_hostname="127.0.0.1") as tls:
                tls.sendall(_connect(client_id))
                return tls.recv(len(ACCEPTED)) == ACCEPTED
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return False


def _connect(client_id: str) -> bytes:
    """Return a CONNECT with a clean session and no will. Source: MQTT 3.1.1 §3.1."""
    name = client_id.encode("ascii")
    body = (
        b"\x00\x04MQTT\x04"
        + bytes([CLEAN_SESSION])
        + KEEPALIVE_SECONDS.to_bytes(2, "big")
        + len(name).to_bytes(2, "big")
        + name
    )
    assert len(body) < 128, "one length byte must do"  # noqa: PLR2004 - the first value that needs two
    return bytes([0x10, len(body)]) + body
