"""The bytes of a DBC file as text.

Rules:
- DBC files are written in code page 1252. A byte-order mark, or bytes beyond ASCII that are valid UTF-8, say
  otherwise and are believed; the reading is then a finding.
- Bytes that code page 1252 does not know become U+FFFD and are a finding. They can only stand in names, units
  and comments: all else is ASCII.

Example:
    >>> decode_text(b'VERSION "1"', Findings())
    'VERSION "1"'
"""

from __future__ import annotations

import codecs
import re

from device.dbc_findings import FindingKind, Findings

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def decode_text(content: bytes, findings: Findings) -> str:
    """Return the text, and note what is odd about its encoding.

    Args:
        content: The file.
        findings: Where to note it.
    """
    if content.startswith(codecs.BOM_UTF8):
        findings.add(FindingKind.ENCODING, 1, "begins with a UTF-8 byte-order mark", "read as UTF-8")
        text = content.decode("utf-8-sig", errors="replace")
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        findings.add(FindingKind.ENCODING, 1, "begins with a UTF-16 byte-order mark", "read as UTF-16")
        text = content.decode("utf-16", errors="replace")
    elif content.isascii():
        return content.decode("ascii")
    else:
        text = _utf_8_or_1252(content, findings)
        if _UNKNOWN.encode() in content:
            return text  # it stands in the file itself
    place = text.find(_UNKNOWN)
    if place >= 0:
        line = text.count("\n", 0, place) + 1
        findings.add(FindingKind.ENCODING, line, "bytes that are no character", f"read as {_UNKNOWN}")
    return text


def _utf_8_or_1252(content: bytes, findings: Findings) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")
    beyond = _BEYOND_ASCII.search(content)
    assert beyond is not None, "the caller knows that it is not ASCII"
    line = content.count(b"\n", 0, beyond.start()) + 1
    findings.add(FindingKind.ENCODING, line, "text in UTF-8, not in code page 1252", "read as UTF-8")
    return text
