"""TLS as the box speaks it: our authorities only, and dates only with a clock to check them by.

Rules: chain, signatures and name are checked always. A box without a trusted clock cannot judge dates, so it
leaves them out, and fetches signed time first thing; a certificate of a foreign authority or for another name
is refused all the same.

Example:
    context = client_context(ca_file=ca, cert_file=cert, key_file=key, check_dates=clock.is_trusted())
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h); Python's ssl has no name for it.
NO_CHECK_TIME = 0x200000


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
        """Send; when the peer has closed, raise the alert in which it said why, if there is one to read.

        With TLS 1.3 a server refuses our certificate after our side of the handshake is done. It then closes,
        and whether our first bytes or its alert come first is chance.
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


def leave_dates_unchecked(context: ssl.SSLContext) -> None:
    """Make a context check everything about a certificate but its dates."""
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)


def credential_problem(*, ca_file: Path, cert_file: Path, key_file: Path) -> str | None:
    """Return which of a client's files cannot be used and why, None when all can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as failure:
        return f"{ca_file}: {_reason(failure)}"
    try:  # OpenSSL says of a pair only that something in it is wrong
        x509.load_pem_x509_certificates(cert_file.read_bytes())
    except OSError as failure:
        return f"{cert_file}: {_reason(failure)}"
    except ValueError:
        return f"{cert_file}: not a certificate in PEM form"
    try:
        context.load_cert_chain(cert_file, key_file)
    except OSError as failure:
        return f"{cert_file} and {key_file} do not fit each other: {_reason(failure)}"
    return None


def _reason(failure: OSError) -> str:
    if isinstance(failure, ssl.SSLError):
        return f"not what it should be ({failure.reason or failure})"
    return failure.strerror or type(failure).__name__


def client_context(*, ca_file: Path, cert_file: Path, key_file: Path, check_dates: bool) -> ssl.SSLContext:
    """Return the context of a client that shows a certificate.

    Args:
        ca_file: PEM of the authorities we believe; nobody else's count.
        cert_file: PEM of our certificate chain.
        key_file: PEM of its key.
        check_dates: False while no one vouches for the clock.

    Raises:
        OSError: a file is missing, unreadable or not what it should be (`ssl.SSLError` is one).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TidySocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file)
    context.load_cert_chain(cert_file, key_file)
    if not check_dates:
        leave_dates_unchecked(context)
    return context
