"""Codes of the emergency start: eight digits of an HMAC and a check digit (README §2.1; O-02).

Rules: code n of an episode is HMAC-SHA256(K_ovr, "EOC1" ‖ episode ‖ n), n one byte from 1; its first eight
bytes as a big-endian number modulo 10⁸ give eight digits, and Damm's digit follows: every single wrong
digit and every swap of neighbours is seen, so that a slip of the finger costs no try. Gate, escrow and
microcontroller share this file. `K_ovr` has 32 bytes and is one device's.

This module does not say which code is next. It has no annotations, see `strict_cbor`.

Example:
    >>> code(bytes(32), bytes(16), 1)
    '705177246'

Source: RFC 2104; H. M. Damm, "Totally anti-symmetric quasigroups", 2004, chapter on the order 10.
"""

import hashlib

DIGITS = 9

_BLOCK = 64
_DAMM = (
    "0317598642", "7092154863", "4206871359", "1750983426", "6123045978",
    "3674209581", "5869720134", "8945362017", "9438617205", "2581436790",
)  # fmt: skip


def code(key, episode, number):
    """Return the nine digits of code `number` (from 1) of an episode (16 bytes)."""
    mac = _hmac(key, b"EOC1" + bytes(episode) + bytes([number]))
    digits = str(int.from_bytes(mac[:8], "big") % 100_000_000)
    digits = "0" * (8 - len(digits)) + digits
    return digits + check_digit(digits)


def check_digit(digits):
    """Return Damm's digit of a text of digits."""
    interim = 0
    for digit in digits:
        interim = int(_DAMM[interim][ord(digit) - 48])
    return str(interim)


def is_well_formed(text):
    """Return whether a text is nine digits of which the last is the check digit."""
    if not isinstance(text, str) or len(text) != DIGITS:
        return False
    for char in text:
        if not "0" <= char <= "9":
            return False
    return check_digit(text[:-1]) == text[-1]


def _hmac(key, message):
    key = bytes(key) + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]) + message).digest()
    return hashlib.sha256(bytes([byte ^ 0x5C for byte in key]) + inner).digest()
