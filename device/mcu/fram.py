"""The secure record's home: an FRAM of 128 KB on SPI, two slots, and what else must survive the flash.

Rules: an FRAM takes each byte as it comes and wears out after 10¹³ writes; a flash sector that held the
record of each minute would be gone in a year (docs/adr/0044). A write that is cut leaves the first bytes
new and the rest old: slots are therefore never read without their hash. A slot whose head was never written
reads as None.

It knows magic and length of a slot, to read no more than is there, and nothing else of it. It has no
annotations, see `strict_cbor`.

Example:
    >>> SLOT_AT[1] - SLOT_AT[0] >= 24_576
    True

Source: Fujitsu, MB85RS1MT data sheet (op-codes).
"""

from device.mcu.store import SLOT_BYTES_MAX

SLOT_AT = (0x00000, 0x08000)
CLOCK_BASE_AT = 0x10000  # u32
_BLANK = (b"\x00" * 12, b"\xff" * 12)
_WREN, _WRITE, _READ = 0x06, 0x02, 0x03
_PIECE = 1_024  # bytes between two feedings of the watchdog


class Fram:
    """The chip.

    Args: spi; cs: its select pin; feed: called between pieces.
    """

    def __init__(self, spi, cs, feed):
        self._spi, self._cs, self._feed = spi, cs, feed
        cs.value(1)

    def slot_read(self, index):
        """Return what a slot holds, None when it was never written."""
        head = self._read(SLOT_AT[index], 12)
        if head in _BLANK:
            return None
        length = int.from_bytes(head[8:12], "big")
        if head[:4] != b"TBX1" or length > SLOT_BYTES_MAX - 44:
            return head
        return head + self._read(SLOT_AT[index] + 12, length + 32)

    def slot_write(self, index, data):
        """Write a slot, from its first byte to its last."""
        assert len(data) <= SLOT_BYTES_MAX
        self._write(SLOT_AT[index], data)

    def clock_base(self):
        """Return the base of the clock's count."""
        return int.from_bytes(self._read(CLOCK_BASE_AT, 4), "big")

    def set_clock_base(self, value):
        """Keep the base of the clock's count."""
        self._write(CLOCK_BASE_AT, value.to_bytes(4, "big"))

    def _read(self, at, size):
        out = bytearray(size)
        view = memoryview(out)
        for start in range(0, size, _PIECE):
            self._cs.value(0)
            self._spi.write(_command(_READ, at + start))
            self._spi.readinto(view[start : start + _PIECE])
            self._cs.value(1)
            self._feed()
        return bytes(out)

    def _write(self, at, data):
        view = memoryview(data)
        for start in range(0, len(data), _PIECE):
            self._cs.value(0)
            self._spi.write(bytes([_WREN]))
            self._cs.value(1)
            self._cs.value(0)
            self._spi.write(_command(_WRITE, at + start))
            self._spi.write(view[start : start + _PIECE])
            self._cs.value(1)
            self._feed()


def _command(code, at):
    return bytes([code, at >> 16 & 0xFF, at >> 8 & 0xFF, at & 0xFF])
