"""Is the car still? A LIS3DH, read by its registers; a sensor in doubt has failed.

Rules: moving is a step away from the running mean of any axis, and for `MOVING_S` after the last one. The
sensor has failed when it does not answer, is not the chip, its mean is not about 1 g, or it says exactly the
same for ten seconds, which no real one does. A failed sensor is set up again once a second.

It decides nothing about a lock. It has no annotations, see `strict_cbor`.

Example:
    >>> WHO, STEP_MG
    (51, 50)

Source: ST, LIS3DH data sheet, §7 and §8 (registers), table 4 (1 mg a digit at ±2 g, high resolution).
"""

WHO = 0x33
STEP_MG = 50  # an engine that idles shakes its car by more; wind and a passing lorry by less
MOVING_MS = 2_000  # one bump is no drive: the brain wants it for seconds
SETTLING_MS = 500  # the running mean needs so long after the set-up
G_MIN_MG, G_MAX_MG = 700, 1_300
FROZEN_MS = 10_000  # noise of 2 mg changes the last digit many times a second
_RETRY_MS = 1_000
_WHO_AM_I, _CTRL1, _CTRL4, _OUT = 0x0F, 0x20, 0x23, 0xA8  # 0xA8: OUT_X_L, counting up
_SETUP = ((_CTRL1, 0x57), (_CTRL4, 0x88))  # 100 Hz, three axes; whole samples, high resolution


class Accelerometer:
    """The sensor on an I²C bus."""

    def __init__(self, bus, address):
        self._bus, self._address = bus, address
        self._mean = self._last = None
        self._set_up_ms = self._moved_ms = self._tried_ms = None
        self._changed_ms = 0

    def read(self, now_ms):
        """Return "still", "moving" or "failed"."""
        try:
            if self._set_up_ms is None:
                if self._tried_ms is not None and now_ms - self._tried_ms < _RETRY_MS:
                    return "failed"
                self._set_up(now_ms)
            data = self._bus.readfrom_mem(self._address, _OUT, 6)
        except OSError:
            self._set_up_ms, self._tried_ms = None, now_ms
            return "failed"
        return self._judge(now_ms, [_signed(data[at] | data[at + 1] << 8) >> 4 for at in (0, 2, 4)], data)

    def _set_up(self, now_ms):
        self._tried_ms = now_ms
        if self._bus.readfrom_mem(self._address, _WHO_AM_I, 1)[0] != WHO:
            raise OSError("another chip")
        for register, value in _SETUP:
            self._bus.writeto_mem(self._address, register, bytes([value]))
        self._set_up_ms = self._changed_ms = now_ms
        self._mean = self._moved_ms = None

    def _judge(self, now_ms, axes, data):
        if data != self._last:
            self._last, self._changed_ms = data, now_ms
        if self._mean is None:
            self._mean = [16 * axis for axis in axes]
        is_step = False
        for index in range(3):
            off = axes[index] - self._mean[index] // 16
            is_step = is_step or off > STEP_MG or off < -STEP_MG
            self._mean[index] += off
        if now_ms - self._set_up_ms < SETTLING_MS:
            return "failed"
        mean = [axis // 16 for axis in self._mean]
        square = mean[0] * mean[0] + mean[1] * mean[1] + mean[2] * mean[2]
        if is_step:
            self._moved_ms = now_ms
        if self._moved_ms is not None and now_ms - self._moved_ms < MOVING_MS:
            return "moving"
        is_frozen = now_ms - self._changed_ms >= FROZEN_MS
        if is_frozen or not G_MIN_MG * G_MIN_MG <= square <= G_MAX_MG * G_MAX_MG:
            return "failed"
        return "still"


def _signed(value):
    return value - 65_536 if value & 0x8000 else value
