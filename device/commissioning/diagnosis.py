"""What a car answers: VIN, fault codes, odometer, from the bytes of OBD-II and UDS.

Rules: an answer that is not the positive one of its question, or too short, is None, never a guess. A VIN has
17 characters without I, O and Q. Codes are sorted texts as `P0420`; UDS codes carry their failure type behind
a hyphen.

It sends nothing: `adapters.obd_isotp` does.

Example:
    >>> vin_of(bytes.fromhex("490201") + b"TBXTEST0000000042")
    'TBXTEST0000000042'
    >>> codes_of(bytes.fromhex("430204200442"))
    ('P0420', 'P0442')

Source: SAE J1979:2017 (services 01, 03, 07, 09), ISO 14229-1:2020 §§ 11.2, 12.3, ISO 15031-6 (codes).
"""

from __future__ import annotations

VIN_LENGTH = 17
VIN_LETTERS = frozenset("ABCDEFGHJKLMNPRSTUVWXYZ0123456789")
_LETTERS = "PCBU"
_CODE_BYTES, _UDS_ROW_BYTES = 2, 4
_ODOMETER_BYTES = 4


def is_vin(text: str) -> bool:
    """Whether a text has the form of a VIN (ISO 3779)."""
    return len(text) == VIN_LENGTH and VIN_LETTERS.issuperset(text)


def vin_of(answer: bytes) -> str | None:
    """Return the VIN of a 49 02 or a 62 F1 90; padding before it is passed over."""
    if answer[:2] == b"\x49\x02" and len(answer) > VIN_LENGTH:
        raw = answer[3:] if len(answer) >= VIN_LENGTH + 3 else answer[2:]
    elif answer[:3] == b"\x62\xf1\x90":
        raw = answer[3:]
    else:
        return None
    text = raw.strip(b"\x00\xff ").decode("ascii", "replace")
    return text if is_vin(text) else None


def codes_of(answer: bytes) -> tuple[str, ...] | None:
    """Return the codes of a 43, 47 or 59 02; None when it is no such answer."""
    if answer[:1] in (b"\x43", b"\x47"):
        body = answer[2:] if len(answer) % _CODE_BYTES == 0 else answer[1:]
        rows = [body[at : at + _CODE_BYTES] for at in range(0, len(body) - 1, _CODE_BYTES)]
        return tuple(sorted({_code(row) for row in rows if row != b"\x00\x00"}))
    if answer[:2] == b"\x59\x02" and len(answer) % _UDS_ROW_BYTES == _UDS_ROW_BYTES - 1:
        body = answer[3:]
        rows = [body[at : at + _UDS_ROW_BYTES] for at in range(0, len(body), _UDS_ROW_BYTES)]
        return tuple(sorted({f"{_code(row[:2])}-{row[2]:02X}" for row in rows}))
    return None


def odometer_km_of(answer: bytes) -> float | None:
    """Return kilometres of a 41 A6, in tenths; None when it is no such answer."""
    if answer[:2] != b"\x41\xa6" or len(answer) < 2 + _ODOMETER_BYTES:
        return None
    return int.from_bytes(answer[2 : 2 + _ODOMETER_BYTES], "big") / 10


def _code(pair: bytes) -> str:
    return f"{_LETTERS[pair[0] >> 6]}{(pair[0] & 0x3F):02X}{pair[1]:02X}"
