"""Frames on the line between agent and microcontroller: the same file on CPython and on MicroPython.

Rules: a frame is COBS(kind u8 ‖ body ‖ CRC-32, little-endian) and one zero byte, at most 4,096 bytes with
it. A zero ends a frame and nothing else does, so that a reader that starts anywhere, or lost bytes, is in
step again at the next zero. What does not read is counted by what is wrong with it and dropped whole; who
waits for an answer asks again. Two zeros without anything between them are no frame: a writer may begin
with one. The CRC finds accidents, not forgery: nothing on this line is believed for it.

Kinds and bodies of an installation (SPEC §20.4); those of orders are `device.mcu.brain`'s:
- PART_QUESTION {1: 1, 2: BIND (11) or RECORD (0), 3: bytes}: with BIND the payload of a BIND for this device
  and epoch, only while COMMISSIONING; with RECORD the 32 bytes of SHA-256 of a commissioning record's
  payload, while COMMISSIONING or within 3,600 s after BIND.
- PART {1: 1, 2: the same, 3: SHA-256 of the payload, 4: protected header, 5: signature} by D1 in role MCU, to
  be put beside the other signatures; with RECORD {1: 1, 2: 0, 3: the hash, 6: the whole `commissioning`
  COSE_Sign1}. What is refused gets a LINK_CODE about the question's body.
- INDICATE {1: pattern 0 to 15, 2: seconds 0 to 30} and, if wanted, 3: true for the buzzer too. The pattern is
  four quarters of a second, lowest bit first, again and again; 0 ends it. The buzzer only while
  COMMISSIONING or with the ignition on, and nothing while a warning plays.
- STATUS may have 18: [supply in mV or null, ignition, crank, engine (true, false or null each), "still",
  "moving", "failed" or null of the accelerometer, button or null] and, once there was a bench, 19: its
  benches [cmd_id, s held, s of crank while held, starts while held, s the engine ran while held, contact seen
  open], the last four.

It has no annotations, see `strict_cbor`.

Example:
    >>> decoder = Decoder()
    >>> decoder.feed(encode_frame(1, b"hello") + b"noise" + encode_frame(2, bytes(3))[:4])
    [(1, b'hello')]

Source: Cheshire and Baker, Consistent Overhead Byte Stuffing (1999); CRC-32 as in ISO 3309 (binascii.crc32).
"""

import binascii

FRAME_BYTES_MAX = 4_096  # with the ending zero: the microcontroller's buffer
BODY_BYTES_MAX = 4_072  # 4,096 less the zero, kind, CRC, and one byte of stuffing for each 254
TOO_LONG = "too_long"  # no zero in 4,096 bytes
STUFFING = "stuffing"  # a length points beyond the frame
SHORT = "short"  # no kind, or kind 0
CRC = "crc"

PART_QUESTION, INDICATE = 12, 13
PART = 0x87
PART_BIND, PART_RECORD = 11, 0

_CRC_BYTES = 4
_RUN_MAX = 254


def encode_frame(kind, body):
    """Return the bytes of one frame, its ending zero included.

    Args:
        kind: 1 to 255.
        body: at most BODY_BYTES_MAX bytes.

    Raises:
        ValueError: kind or body out of its range.
    """
    if not 1 <= kind <= 255 or len(body) > BODY_BYTES_MAX:
        raise ValueError("frame: kind or body out of range")
    data = bytes([kind]) + body
    return _stuffed(data + (binascii.crc32(data) & 0xFFFFFFFF).to_bytes(_CRC_BYTES, "little")) + b"\0"


class Decoder:
    """Takes bytes as they come.

    Attributes: garbled (frames that did not read), bad (how many of them by what was wrong).
    """

    def __init__(self):
        self.garbled = 0
        self.bad = {TOO_LONG: 0, STUFFING: 0, SHORT: 0, CRC: 0}
        self._pending = bytearray()
        self._skips = False  # too long: until the next zero

    def feed(self, data):
        """Return the frames that are complete now: pairs of kind and body."""
        frames = []
        start = 0
        while True:
            end = data.find(b"\0", start)
            piece = data[start:] if end < 0 else data[start:end]
            if not self._skips and len(self._pending) + len(piece) < FRAME_BYTES_MAX:
                self._pending.extend(piece)
            elif not self._skips:
                self._skips = True
                self._pending = bytearray()
            if end < 0:
                return frames
            self._finish(frames)
            start = end + 1

    def _finish(self, frames):
        stuffed, is_too_long = bytes(self._pending), self._skips
        self._pending, self._skips = bytearray(), False
        if not stuffed and not is_too_long:
            return
        data = None if is_too_long else _unstuffed(stuffed)
        wrong = TOO_LONG if is_too_long else _wrong(data)
        if wrong is None:
            frames.append((data[0], data[1:-_CRC_BYTES]))
        else:
            self.garbled += 1
            self.bad[wrong] += 1


def _wrong(data):
    """Return what is wrong with the content of a frame, or None."""
    if data is None:
        return STUFFING
    if len(data) <= _CRC_BYTES or data[0] == 0:
        return SHORT
    end = len(data) - _CRC_BYTES
    is_whole = binascii.crc32(data[:end]) & 0xFFFFFFFF == int.from_bytes(data[end:], "little")
    return None if is_whole else CRC


def _stuffed(data):
    """Return data without zeros: each run of up to 254 other bytes has its length + 1 before it."""
    out = bytearray()
    start = 0
    while True:
        end = data.find(b"\0", start)
        stop = len(data) if end < 0 else end
        while stop - start >= _RUN_MAX:
            out.append(_RUN_MAX + 1)
            out.extend(data[start : start + _RUN_MAX])
            start += _RUN_MAX
        out.append(stop - start + 1)
        out.extend(data[start:stop])
        if end < 0:
            return bytes(out)
        start = end + 1


def _unstuffed(data):
    """Return the data again, or None where a length points beyond the end."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        end = at + code
        if code == 0 or end > len(data):
            return None
        out.extend(data[at + 1 : end])
        at = end
        if code <= _RUN_MAX and at < len(data):
            out.append(0)
    return bytes(out)
