"""Hex with an explanation beside each item, as SPEC.md shows it.

Rules: each line is one head or one item, indented by depth, with its meaning after `#`; long strings are
broken. The comment is for people: whoever executes the block takes the hex before `#`.

It reads only what our own codec wrote, and tags 18 and 98.

Example:
    >>> print(annotate(bytes.fromhex("a10102"), {1: "version"}))
    a1                                                       # map of 1
      01 02                                                  # 1 version: 2
"""

import struct
from collections.abc import Iterator, Mapping

_COMMENT_AT = 56
_BYTES_A_LINE = 16
_TAG_SIGN1, _TAG_SIGN = b"\xd2", b"\xd8\x62"
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: "false", 21: "true", 22: "null"}
_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP = range(6)


def annotate(data: bytes, labels: Mapping[int, str] | None = None) -> str:
    """Return the annotated hex of one item.

    Args:
        data: deterministic CBOR, or a tagged COSE_Sign1 or COSE_Sign.
        labels: names of the integer keys of the outermost map.
    """
    lines: list[str] = []
    if data[:1] == _TAG_SIGN1:
        lines.append(_line(data[:1], 0, "tag 18: COSE_Sign1"))
        _walk(data, 1, 0, "", labels or {}, lines)
    elif data[:2] == _TAG_SIGN:
        lines.append(_line(data[:2], 0, "tag 98: COSE_Sign"))
        _walk(data, 2, 0, "", labels or {}, lines)
    else:
        _walk(data, 0, 0, "", labels or {}, lines)
    return "\n".join(lines)


def hex_of(block: str) -> bytes:
    """Return the bytes of an annotated block."""
    return bytes.fromhex("".join(line.split("#")[0] for line in block.splitlines()))


def _line(data: bytes, depth: int, comment: str) -> str:
    return f"{'  ' * depth + data.hex(' '):<{_COMMENT_AT}} # {comment}"


def _head(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return major type, additional information, argument, and where the head ends."""
    major, info = data[at] >> 5, data[at] & 31
    size = 1 << info - 24 if info in range(24, 28) else 0
    end = at + 1 + size
    return major, info, int.from_bytes(data[at + 1 : end], "big") if size else info, end


def _walk(data: bytes, at: int, depth: int, name: str, labels: Mapping[int, str], lines: list[str]) -> int:
    """Append the lines of the item at `at`; return where it ends."""
    major, info, argument, end = _head(data, at)
    match major:
        case 0 | 1:
            value: object = argument if major == _UINT else -1 - argument
            lines.append(_line(data[at:end], depth, f"{name}{value}"))
        case 2 | 3:
            lines.extend(
                _string_lines(data[at:end], data[end : end + argument], depth, name, is_text=major == _TEXT)
            )
            end += argument
        case 4:
            lines.append(_line(data[at:end], depth, f"{name}array of {argument}"))
            for _ in range(argument):
                end = _walk(data, end, depth + 1, "", {}, lines)
        case 5:
            lines.append(_line(data[at:end], depth, f"{name}map of {argument}"))
            for _ in range(argument):
                end = _member(data, end, depth + 1, labels, lines)
        case _:
            text = _SIMPLE.get(info) or str(struct.unpack(_FLOATS[info], data[at + 1 : end])[0])
            lines.append(_line(data[at:end], depth, f"{name}{text}"))
    return end


def _member(data: bytes, at: int, depth: int, labels: Mapping[int, str], lines: list[str]) -> int:
    """Append a map's member: key and value on one line if they fit, the value's further lines below."""
    major, _, argument, key_end = _head(data, at)
    if major == _TEXT:
        key_end += argument
        name = f'"{data[key_end - argument : key_end].decode()}": '
    else:
        key = argument if major == _UINT else -1 - argument
        name = f"{key} {labels[key]}: " if key in labels else f"{key}: "
    below: list[str] = []
    end = _walk(data, key_end, depth, name, {}, below)
    pad = "  " * depth
    first_hex, _, comment = below[0].partition(" #")
    joined = pad + data[at:key_end].hex(" ") + " " + first_hex.strip()
    lines.append(f"{joined:<{_COMMENT_AT}} #{comment}")
    lines.extend(below[1:])
    return end


def _string_lines(head: bytes, content: bytes, depth: int, name: str, *, is_text: bool) -> Iterator[str]:
    what = f'"{content.decode()}"' if is_text else f"{len(content)} bytes"
    if len(head) + len(content) <= _BYTES_A_LINE:
        yield _line(head + content, depth, f"{name}{what}")
        return
    yield _line(head, depth, f"{name}{what}")
    for start in range(0, len(content), _BYTES_A_LINE):
        yield "  " * (depth + 1) + content[start : start + _BYTES_A_LINE].hex(" ")
