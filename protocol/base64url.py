r"""Bytes as text in JSON: base64url without padding, each in its one spelling.

Rules: what is not the spelling that `to_text` gives is refused, so that equal bytes are always equal text.

Example:
    >>> to_text(b"\xff\xfe"), to_bytes("__4")
    ('__4', b'\xff\xfe')

Source: RFC 4648 §5, §3.2.
"""

import base64
import binascii


def to_text(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    """Read base64url without padding, in its one spelling.

    Raises:
        ValueError: another spelling.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if to_text(data) != text:
        raise ValueError("not base64url without padding")
    return data
