r"""`link.json`: frames between agent and microcontroller, and how a reader takes lines that are not whole.

Rules: `hex` is what comes over the line; `frames` are the pairs of kind and body that a reader gives, `bad`
how many it counts and drops, by what is wrong with them.

This module writes no file: see `generate`.

Example:
    >>> FRAMES["hello"]
    (1, b'\xa0')
"""

import zlib

from protocol import strict_cbor
from protocol.mcu_link import BODY_BYTES_MAX, FRAME_BYTES_MAX, Decoder, encode_frame

FRAMES = {
    "hello": (1, b"\xa0"),
    "acknowledge": (8, strict_cbor.dumps({1: 5})),
    "facts": (
        6,
        strict_cbor.dumps(
            {1: [0, 1], 2: [0, 0, 0], 3: [0, 10, 3], 4: [215, 60], 5: 600, 6: True}
            | {7: False, 8: False, 9: False, 10: False, 11: False}
        ),
    ),
    "part-question": (12, strict_cbor.dumps({1: 1, 2: 0, 3: bytes(range(32))})),
    "indicate": (13, strict_cbor.dumps({1: 5, 2: 3, 3: True})),
    "run-of-253": (2, b"\x01" * 248),
    "run-of-254": (2, b"\x01" * 249),
    "run-of-255": (2, b"\x01" * 250),
    "zeros": (2, bytes(5)),
    "empty": (1, b""),
    "longest": (2, b"\x55" * BODY_BYTES_MAX),
}  # fmt: skip


def lines() -> dict[str, bytes]:
    """Return lines by name: noise, damage and cuts around frames."""
    hello, facts = encode_frame(*FRAMES["hello"]), encode_frame(*FRAMES["facts"])
    rest = b"hello" + zlib.crc32(b"\0hello").to_bytes(4, "little")  # no zero in it: one run
    flipped = bytes([facts[0], facts[1] ^ 1]) + facts[2:]
    return {
        "two-frames": hello + facts,
        "zeros-between": b"\0\0" + hello + b"\0" + facts,
        "noise-then-zero": b"\x07noise\0" + hello,
        "noise-without-zero": b"\x07" + hello + facts,
        "flipped-bit": flipped + hello,
        "cut-frame": facts[:-9] + hello + facts,
        "cut-and-zero": facts[:-9] + b"\0" + hello,
        "only-a-crc": b"\x05\x11\x22\x33\x44\0" + hello,
        "kind-0": b"\x01" + bytes([len(rest) + 1]) + rest + b"\0" + hello,
        "length-beyond-the-end": b"\xf0\x01\0" + hello,
        "too-long": b"\x02" * FRAME_BYTES_MAX + b"\0" + hello,
        "not-ended": facts[:-1],
    }


def content() -> list[dict[str, object]]:
    """Return the file's content."""
    tried = {f"frame/{name}": encode_frame(*frame) for name, frame in FRAMES.items()}
    tried |= {f"line/{name}": data for name, data in lines().items()}
    return [_read(name, data) for name, data in tried.items()]


def _read(name: str, data: bytes) -> dict[str, object]:
    decoder = Decoder()
    frames = [[kind, body.hex()] for kind, body in decoder.feed(data)]
    bad = {word: count for word, count in decoder.bad.items() if count}
    return {"name": name, "hex": data.hex(), "frames": frames, "bad": bad}
