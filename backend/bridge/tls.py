"""TLS as the bridge speaks it: our authority only, our certificate shown, and the broker's reasons heard.

Rules: TLS 1.2 or newer; the broker's chain, name and dates are checked. It opens no connection.

Example:
    context = client_context(ca_file=ca, cert_file=cert, key_file=key)
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, and asks why when a write does; paho would do neither."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of the base class
        """Shake hands, or close and raise."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send; when the broker has closed, raise the alert in which it said why, if there is one to read.

        With TLS 1.3 it refuses our certificate after our side of the handshake is done, and closes.
        """
        try:
            return super().send(data, flags)
        except (ssl.SSLEOFError, ConnectionError) as closed:
            try:
                self.recv(1)
            except (ssl.SSLWantReadError, ssl.SSLEOFError, ConnectionError):
                raise closed from None
            except ssl.SSLError as told:
                raise told from closed
            raise


def client_context(*, ca_file: Path, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return the TLS of a client that shows its certificate and checks the broker's chain, name and dates.

    Raises:
        OSError: A file is missing, unreadable or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TidySocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    context.load_cert_chain(cert_file, key_file)
    return context
