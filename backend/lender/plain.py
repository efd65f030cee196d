r"""Bytes as text between this tool and the server, and foreign text made safe to show.

Rules: ids and hashes are lowercase hex, messages base64url without padding, each in its one spelling. What a
server or a document says is text of somebody else: what cannot be printed, or turns the direction of writing
round, is shown as its escape and never reaches the terminal as a command.

Example:
    >>> to_bytes("__4", "basis"), shown("a\x1b[2Jb")
    (b'\xff\xfe', 'a\\x1b[2Jb')
"""

from typing import Any

from backend.lender.errors import ServerError
from protocol import base64url

SHOWN_CHARS_MAX = 500
DIGEST_BYTES = 32


def to_bytes(text: object, what: str) -> bytes:
    """Read base64url without padding.

    Raises:
        ServerError: it is not.
    """
    try:
        return base64url.to_bytes(text if isinstance(text, str) else "=")
    except ValueError as broken:
        raise ServerError(f"the server sent a {what} that is not base64url") from broken


def member(answer: Any, name: str, kind: type[Any]) -> Any:  # noqa: ANN401  # JSON of a server, judged here
    """Return a member of a server's JSON object.

    Raises:
        ServerError: it is missing or of another type.
    """
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ServerError(
            f"the server's answer has no proper {name!r}", next_step="is this tool as new as the server?"
        )
    return value


def read_digest(text: object) -> bytes:
    """Read a SHA-256 in hex.

    Raises:
        ServerError: it is not.
    """
    try:
        value = bytes.fromhex(str(text))
    except ValueError:
        value = b""
    if len(value) != DIGEST_BYTES:
        raise ServerError("the server sent a hash that is none")
    return value


def shown(text: object) -> str:
    """Return foreign text as it may be shown: one line, printable, bounded."""
    safe = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text))
    return safe if len(safe) <= SHOWN_CHARS_MAX else safe[:SHOWN_CHARS_MAX] + "…"
