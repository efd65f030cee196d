"""The sticker on a box: its serial for people, and the QR text that ties the sticker to the keys in the box.

Rules:
- A serial is two letters, six characters and a check character, `TB-000123-Y`. The alphabet has the digits
  and the letters without I, L, O, Q and U, which people take for others: 31 characters, a prime, so that one
  wrong character and two that changed places are always found.
- What a person types is read kindly (small letters, spaces, no hyphens, O for 0, I and L for 1) and kept in
  its one spelling.
- The QR text is `TBOX-L1:SERIAL:DEVICE:MCU:CHECK`: the first 20 hex digits of the device id and of the
  microcontroller's id (the thumbprints of D2 and D1), in capitals, so that the code stays in the small
  alphanumeric form; MCU is empty for a box without one. CHECK is the start of the SHA-256 of what stands
  before it: a torn code that a person completes by hand is noticed.
- 80 bits of a thumbprint say which key is meant; nobody makes another key with the same start (2⁸⁰ trials).

A label proves nothing: anybody can print one. It says which box is meant; the box's own signature says
whether this is that box.

Example:
    >>> serial = make_serial("TB", 123)
    >>> label = BoxLabel.of(serial, device="ab" * 32, mcu_id=None)
    >>> serial, read_label(label.text()) == label, label.is_of_device("ab" * 32)
    ('TB-000123-Y', True, True)
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from protocol.errors import ProtocolError, Reject
from protocol.limits import LABEL_TEXT_CHARS_MAX

SCHEME: Final = "TBOX-L1:"
PREFIX_DIGITS: Final = 20
"""Hex digits of a thumbprint on the label: 80 bits."""

SERIAL_ALPHABET: Final = "0123456789ABCDEFGHJKMNPRSTVWXYZ"
SERIAL_NUMBER_MAX: Final = 999_999
"""The highest number that `make_serial` writes in six decimal digits."""

_BASE: Final = len(SERIAL_ALPHABET)
_SERIAL = re.compile(f"([{SERIAL_ALPHABET[10:]}]{{2}})-?([{SERIAL_ALPHABET}]{{6}})-?([{SERIAL_ALPHABET}])")
_KINDLY: Final = str.maketrans("OIL", "011")
_LETTERS: Final = 2
_CHECK_DIGITS: Final = 4
_PREFIX = re.compile(f"[0-9A-F]{{{PREFIX_DIGITS}}}")
_PARTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLabel:
    """What a label says.

    Attributes:
        serial: in its one spelling.
        device: first 20 hex digits of the device id, lowercase.
        mcu: first 20 hex digits of the microcontroller's id, lowercase; None for a box without one.
    """

    serial: str
    device: str
    mcu: str | None

    @classmethod
    def of(cls, serial: str, *, device: str, mcu_id: str | None) -> "BoxLabel":
        """Return the label of a box.

        Args:
            serial: in its one spelling.
            device: device id, 64 lowercase hex digits.
            mcu_id: id of the microcontroller, 64 lowercase hex digits; None without one.
        """
        return cls(
            serial=read_serial(serial),
            device=device[:PREFIX_DIGITS],
            mcu=None if mcu_id is None else mcu_id[:PREFIX_DIGITS],
        )

    def text(self) -> str:
        """Return the QR text."""
        head = f"{SCHEME}{self.serial}:{self.device.upper()}:{(self.mcu or '').upper()}:"
        return head + _check(head)

    def is_of_device(self, device: str) -> bool:
        """Whether this label names a device id (64 lowercase hex digits)."""
        return device.startswith(self.device)

    def is_of_mcu(self, mcu_id: str | None) -> bool:
        """Whether this label names a microcontroller's id (64 lowercase hex digits), or none for None."""
        return self.mcu is None if mcu_id is None else self.mcu is not None and mcu_id.startswith(self.mcu)


def read_label(text: str) -> BoxLabel:
    """Read the text of a label's QR code.

    Raises:
        ProtocolError: BAD_FIELD with a sentence for the person who scanned it.
    """
    text = text.strip()
    if not text.startswith(SCHEME) or len(text) > LABEL_TEXT_CHARS_MAX:
        raise ProtocolError(Reject.BAD_FIELD, "This is not the code of a box: scan the sticker on the box.")
    parts = text.removeprefix(SCHEME).split(":")
    if len(parts) != _PARTS or _check(text[: len(text) - len(parts[-1])]) != parts[-1]:
        raise ProtocolError(Reject.BAD_FIELD, "The code of the box is damaged: type the serial below it.")
    serial, device, mcu, _ = parts
    if not _PREFIX.fullmatch(device) or (mcu and not _PREFIX.fullmatch(mcu)) or read_serial(serial) != serial:
        raise ProtocolError(Reject.BAD_FIELD, "The code of the box has another form: update this program.")
    return BoxLabel(serial=serial, device=device.lower(), mcu=mcu.lower() or None)


def make_serial(letters: str, number: int) -> str:
    """Return the serial of a number, with its check character.

    Args:
        letters: two letters of the alphabet, the maker's or the depot's.
        number: 0 … 999,999.

    Raises:
        ProtocolError: BAD_FIELD for other letters or a number out of range.
    """
    if not 0 <= number <= SERIAL_NUMBER_MAX:
        raise ProtocolError(Reject.BAD_FIELD, f"A serial's number is 0 … {SERIAL_NUMBER_MAX}.")
    if len(letters) != _LETTERS or not all(c in SERIAL_ALPHABET and c.isalpha() for c in letters):
        raise ProtocolError(Reject.BAD_FIELD, "A serial begins with two capitals, none of I, L, O, Q and U.")
    body = f"{number:06d}"
    return f"{letters}-{body}-{check_character(letters + body)}"


def read_serial(typed: str) -> str:
    """Return a serial in its one spelling, as read from a sticker or typed by a person.

    Raises:
        ProtocolError: BAD_FIELD with a sentence for the person who typed it.
    """
    text = "".join(typed.split()).upper().translate(_KINDLY)
    found = _SERIAL.fullmatch(text)
    if found is None:
        raise ProtocolError(Reject.BAD_FIELD, "A serial looks like TB-000123-Y: read it again.")
    letters, body, check = found.groups()
    if check_character(letters + body) != check:
        raise ProtocolError(Reject.BAD_FIELD, "A character of the serial is wrong: read it again.")
    return f"{letters}-{body}-{check}"


def check_character(characters: str) -> str:
    """Return the check character of up to 29 characters of the alphabet.

    The weights 1, 2, 3 … are all different and not 0 modulo the prime 31: a changed character changes the
    sum, and so do two that changed places, the check character (weight -1) among them.
    """
    values = (SERIAL_ALPHABET.index(character) for character in characters)
    total = sum(weight * value for weight, value in enumerate(values, start=1))
    return SERIAL_ALPHABET[total % _BASE]


def _check(head: str) -> str:
    return hashlib.sha256(head.encode()).hexdigest()[:_CHECK_DIGITS].upper()
