"""Deterministic CBOR for orders: one reader and writer, the same file on CPython and on MicroPython.

Rules: integers within 64 bits, byte strings, UTF-8 text, arrays, maps with integer or text keys, true, false,
null. Nothing else exists: no floats, no tags, no other simple values, no indefinite lengths. Integers and
lengths are in their shortest form and map keys strictly ascend by the bytes of their encodings (RFC 8949,
4.2.1), which also rules out duplicates; so whatever `loads` accepts, `dumps` writes again byte for byte. The
first thing wrong ends the reading, with one word that says what it was. Lengths are compared with what is
left before anything is allocated.

It imports nothing and has no type annotations, because the microcontroller has neither `typing` nor room. It
does not know messages; the order's reader refuses unknown keys itself.

Example:
    >>> dumps({4: b"kid", 1: -9}).hex()
    'a2012804436b6964'
    >>> loads(bytes.fromhex("a2012804436b6964"))
    {1: -9, 4: b'kid'}
"""

MAX_LEN = 2048  # bytes; ORDER_BYTES_MAX of limits.py, which the microcontroller cannot import
MAX_DEPTH = 8  # nested containers; ORDER_DEPTH_MAX of limits.py

TOO_LONG = "TOO_LONG"  # more input than allowed
TOO_DEEP = "TOO_DEEP"  # more nested containers than allowed
TRUNCATED = "TRUNCATED"  # a length or count promises more than there is
TRAILING = "TRAILING"  # bytes after the item
NOT_SHORTEST = "NOT_SHORTEST"  # an integer or length in a longer form than it needs
INDEFINITE = "INDEFINITE"  # an indefinite length, or a break
RESERVED = "RESERVED"  # additional information 28 to 30
TAG = "TAG"
FLOAT = "FLOAT"
SIMPLE = "SIMPLE"  # a simple value other than false, true, null
UTF8 = "UTF8"  # a text that is not UTF-8
KEY_TYPE = "KEY_TYPE"  # a map key that is neither integer nor text
KEY_ORDER = "KEY_ORDER"  # map keys that do not ascend
DUPLICATE_KEY = "DUPLICATE_KEY"

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_MAX_UINT = (1 << 64) - 1


class CBORError(ValueError):
    """The bytes are refused; `args[0]` is one of the words above."""


def dumps(value):
    """Return the one encoding of a value.

    Args:
        value: int (64 bits), bytes, str, bool, None, list, tuple or dict of them; dict keys int or str.

    Raises:
        TypeError: another type, also float.
        ValueError: an integer beyond 64 bits.
    """
    out = bytearray()
    _put(value, out)
    return bytes(out)


def _put(value, out):
    """Append a value: one buffer grows, since a board has no room for each member and all their sums."""
    if value is None:
        out.append(0xF6)
    elif value is True:
        out.append(0xF5)
    elif value is False:
        out.append(0xF4)
    elif isinstance(value, int):
        out.extend(_head(_UINT, value) if value >= 0 else _head(_NINT, -1 - value))
    elif isinstance(value, bytes):
        out.extend(_head(_BYTES, len(value)))
        out.extend(value)
    elif isinstance(value, str):
        data = value.encode()
        out.extend(_head(_TEXT, len(data)))
        out.extend(data)
    elif isinstance(value, (list, tuple)):
        out.extend(_head(_ARRAY, len(value)))
        for item in value:
            _put(item, out)
    elif isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, (int, str)):
                raise TypeError("map keys are int or str")
        out.extend(_head(_MAP, len(value)))
        for data, key in sorted([(dumps(key), key) for key in value]):
            out.extend(data)
            _put(value[key], out)
    else:
        raise TypeError("no type of an order")


def loads(data, max_len=MAX_LEN, max_depth=MAX_DEPTH):
    """Read one value, strictly.

    Args:
        data: bytes of the encoded item, nothing before or after it.
        max_len: longest input accepted, bytes.
        max_depth: deepest nesting of arrays and maps accepted; 1 is a flat array.

    Returns:
        int, bytes, str, bool, None, list or dict, nested.

    Raises:
        CBORError: with the word for the first thing that is wrong.
    """
    if len(data) > max_len:
        raise CBORError(TOO_LONG)
    value, end = _item(data, 0, max_depth)
    if end != len(data):
        raise CBORError(TRAILING)
    return value


def _head(major, argument):
    """Return the initial byte of a major type and its argument, 0 to 2**64 - 1, in shortest form."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    raise ValueError("integer beyond 64 bits")


def _item(data, start, depth):
    """Return the value that begins at `start`, and where it ends; `depth` more containers may be opened."""
    if start >= len(data):
        raise CBORError(TRUNCATED)
    major, info = data[start] >> 5, data[start] & 31
    if major > _TAG:
        return _simple(info), start + 1
    if major == _TAG:
        raise CBORError(TAG)
    argument, at = _argument(data, start + 1, info)
    if major == _UINT:
        return argument, at
    if major == _NINT:
        return -1 - argument, at
    # A string has at least one byte per unit of length, an array one per item, a map two per member.
    if argument * (2 if major == _MAP else 1) > len(data) - at:
        raise CBORError(TRUNCATED)
    if major == _BYTES:
        return bytes(data[at : at + argument]), at + argument
    if major == _TEXT:
        return _text(bytes(data[at : at + argument])), at + argument
    if depth == 0:
        raise CBORError(TOO_DEEP)
    return (_array if major == _ARRAY else _map)(data, at, argument, depth - 1)


def _argument(data, at, info):
    """Return the argument of a head whose additional information is `info`, and where the head ends."""
    if info < 24:
        return info, at
    if info == 31:
        raise CBORError(INDEFINITE)
    if info > 27:
        raise CBORError(RESERVED)
    size = 1 << (info - 24)
    if at + size > len(data):
        raise CBORError(TRUNCATED)
    argument = int.from_bytes(data[at : at + size], "big")
    if argument < 24 or (size > 1 and argument < 1 << 4 * size):
        raise CBORError(NOT_SHORTEST)
    return argument, at + size


def _simple(info):
    """Return false, true or null; all else of major type 7 is refused by name."""
    if info == 20:
        return False
    if info == 21:
        return True
    if info == 22:
        return None
    if info == 31:
        raise CBORError(INDEFINITE)
    if info in (25, 26, 27):
        raise CBORError(FLOAT)
    if info > 27:
        raise CBORError(RESERVED)
    raise CBORError(SIMPLE)


def _array(data, at, count, depth):
    items = []
    for _ in range(count):
        item, at = _item(data, at, depth)
        items.append(item)
    return items, at


def _map(data, at, count, depth):
    members = {}
    last = b""
    for _ in range(count):
        start = at
        if start < len(data) and data[start] >> 5 not in (_UINT, _NINT, _TEXT):
            raise CBORError(KEY_TYPE)
        key, at = _item(data, start, 0)
        encoded = bytes(data[start:at])
        if encoded == last:
            raise CBORError(DUPLICATE_KEY)
        if encoded < last:
            raise CBORError(KEY_ORDER)
        last = encoded
        members[key], at = _item(data, at, depth)
    return members, at


def _text(data):
    """Return the text; checked here because MicroPython lets surrogates and overlong forms pass.

    Source: RFC 3629, 4 (the byte ranges of UTF-8).
    """
    at = 0
    while at < len(data):
        first = data[at]
        if first < 0x80:
            at += 1
            continue
        # How many bytes follow, and the second one's range, which rules out overlong forms and surrogates.
        if 0xC2 <= first <= 0xDF:
            more, low, high = 1, 0x80, 0xBF
        elif 0xE0 <= first <= 0xEF:
            more, low, high = 2, 0xA0 if first == 0xE0 else 0x80, 0x9F if first == 0xED else 0xBF
        elif 0xF0 <= first <= 0xF4:
            more, low, high = 3, 0x90 if first == 0xF0 else 0x80, 0x8F if first == 0xF4 else 0xBF
        else:
            raise CBORError(UTF8)
        if at + more >= len(data) or not low <= data[at + 1] <= high:
            raise CBORError(UTF8)
        for byte in data[at + 2 : at + 1 + more]:
            if byte & 0xC0 != 0x80:
                raise CBORError(UTF8)
        at += 1 + more
    return str(data, "utf-8")
