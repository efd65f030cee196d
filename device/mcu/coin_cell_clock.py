"""Seconds that go on while the board has no power: the counter of an RV-3028-C7 with its coin cell.

Rules: it counts, it is not set to the time of day. When the chip says that its supply was lost, the count
goes on from a new base, further from every count before than a car lives: whoever compares with an older
count sees that the span between is not known. The base is kept in the FRAM.

It has no annotations, see `strict_cbor`.

Example:
    >>> BASE_STEP
    268435456

Source: Micro Crystal, RV-3028-C7 application manual, §3.11 (UNIX time), §3.6 (PORF), §3.15 (backup switch).
"""

BASE_STEP = 1 << 28  # s, 8.5 years; a brain believes at most five
_STATUS, _CONTROL1, _UNIX, _BACKUP = 0x0E, 0x0F, 0x1B, 0x37
_PORF = 0x01  # supply was lost
_EERD = 0x08  # registers are not refreshed from the EEPROM: the switch below stays
_LEVEL_SWITCHING = 0x0C  # take the coin cell when the supply falls below it


class CoinCellClock:
    """The counter on an I²C bus.

    Args: bus, address; base: object with `clock_base()` and `set_clock_base(value)`, u32.
    """

    def __init__(self, bus, address, base):
        self._bus, self._address, self._base = bus, address, base
        self._is_set_up = False

    def read_s(self):
        """Return the count, or None when the chip does not answer."""
        try:
            if not self._is_set_up:
                self._set_up()
            first, second = self._count(), self._count()
        except OSError:
            self._is_set_up = False
            return None
        # The counter may carry between two bytes of a reading; two readings then differ by more than one.
        return second if 0 <= second - first <= 1 else self._count()

    def _set_up(self):
        status = self._bus.readfrom_mem(self._address, _STATUS, 1)[0]
        if status & _PORF:
            base = (self._base.clock_base() + BASE_STEP) & 0xFFFFFFFF
            self._base.set_clock_base(base)
            self._bus.writeto_mem(self._address, _CONTROL1, bytes([_EERD]))
            self._bus.writeto_mem(self._address, _BACKUP, bytes([_LEVEL_SWITCHING]))
            self._bus.writeto_mem(self._address, _UNIX, base.to_bytes(4, "little"))
            self._bus.writeto_mem(self._address, _STATUS, bytes([status & ~_PORF & 0xFF]))
        self._is_set_up = True

    def _count(self):
        return int.from_bytes(self._bus.readfrom_mem(self._address, _UNIX, 4), "little")
