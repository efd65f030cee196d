"""Maps of an installation, read and signed: exactly the keys of a form, or one refusal that names the key.

Rules: `strict_cbor`; a key more, a key fewer, a type or a range is refused; a version that is not ours is
UNSUPPORTED_VERSION. What `sign_form` signs, `read_form` accepts: it looks before it signs.

This module knows no message.

Example:
    >>> from protocol import strict_cbor
    >>> read_form("example", strict_cbor.dumps({1: 1, 2: "x"}), {1: UINT, 2: WORD})[2]
    'x'
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from protocol import orders_payload, strict_cbor
from protocol.envelope import Kind, Signer, sign1
from protocol.errors import ProtocolError, Reject
from protocol.install_vocabulary import Step
from protocol.limits import (
    COUNT_MAX,
    INSTALL_ARGUMENT_BYTES_MAX,
    INSTALL_DEPTH_MAX,
    INSTALL_FACTS_MAX,
    INSTALL_WORD_BYTES_MAX,
    SIGN1_BYTES_MAX,
    TEXT_BYTES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

VERSION: Final = 1
SECONDS: Final = ("uint", 0, (1 << 40) - 1)
UINT: Final = ("uint", 0, COUNT_MAX)
ID: Final = ("bytes", 16, 16)
HASH: Final = ("bytes", 32, 32)
NULL: Final = ("null",)
TEXT: Final = ("text", 0, TEXT_BYTES_MAX)
WORD: Final = ("text", 1, INSTALL_WORD_BYTES_MAX)
VIN: Final = ("text", 17, 17)
VERSION_FORM: Final = ("uint", VERSION, VERSION)
BYTES: Final = ("bytes", 0, INSTALL_ARGUMENT_BYTES_MAX)
STEP_ROWS: Final = ("list", ("tuple", WORD, WORD, TEXT, TEXT, TEXT, TEXT, UINT), 0, len(Step))
"""Name, state, code, expected, measured, unit, milliseconds of each step."""

_E = TypeVar("_E", bound="StrEnum")


def read_form(
    kind: str,
    payload: bytes,
    forms: Mapping[int, tuple[object, ...]],
    *,
    also: Callable[[dict[int, Any]], bool] | None = None,
) -> dict[int, Any]:
    """Read a payload that has exactly the keys of its form.

    Args:
        kind: for messages.
        payload: `strict_cbor`.
        forms: key to form, see `orders_payload.fits`.
        also: checks key 10, which is then expected beside `forms`: a map with keys of its own.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD, UNSUPPORTED_VERSION.
    """
    try:
        fields = strict_cbor.loads(payload, SIGN1_BYTES_MAX, INSTALL_DEPTH_MAX)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"{kind}: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError(Reject.BAD_FIELD, f"{kind}: a map is expected")
    if orders_payload.fits(fields.get(1), UINT) and fields[1] != VERSION:
        raise ProtocolError(Reject.UNSUPPORTED_VERSION, f"{kind}: version {fields[1]}")
    wrong = [key for key in forms if key not in fields or not orders_payload.fits(fields[key], forms[key])]
    wrong += [key for key in fields if key not in forms and not (also is not None and key == 10)]  # noqa: PLR2004
    if wrong:
        raise ProtocolError(Reject.BAD_FIELD, f"{kind}[{wrong[0]}]")
    if also is not None and not also(fields):
        raise ProtocolError(Reject.BAD_FIELD, f"{kind}[10]")
    return fields


def sign_form(
    kind: Kind,
    fields: dict[int, Any],
    forms: Mapping[int, tuple[object, ...]],
    signer: Signer,
    *,
    also: Callable[[dict[int, Any]], bool] | None = None,
) -> bytes:
    """Sign what a reader will accept; anything else is our own mistake."""
    payload = bytes(strict_cbor.dumps(fields))
    try:
        read_form(kind, payload, forms, also=also)
    except ProtocolError as error:
        raise ValueError(str(error)) from error
    return sign1(kind, payload, signer)


def word(words: type[_E], value: str, what: str) -> _E:
    """Return the enum's member.

    Raises:
        ProtocolError: BAD_FIELD for a word it does not have.
    """
    try:
        return words(value)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, f"{what}: not one of {', '.join(words)}") from error


def check_facts(fields: dict[int, Any]) -> bool:
    """Return whether key 10 is a map of texts to texts within its limits."""
    facts = fields.get(10)
    return (
        isinstance(facts, dict)
        and len(facts) <= INSTALL_FACTS_MAX
        and all(orders_payload.fits(key, WORD) and orders_payload.fits(facts[key], TEXT) for key in facts)
    )


def digest(message: bytes) -> bytes:
    """Return SHA-256 of a message, by which others name it."""
    return hashlib.sha256(message).digest()
