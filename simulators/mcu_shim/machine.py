"""`machine` of an RP2040, as far as the firmware uses it; see the package."""

import binascii

from hwsim import call

PWRON_RESET, WDT_RESET, SOFT_RESET = 1, 3, 5


def reset_cause():
    """Return why the program began."""
    return call("reset_cause")


def reset():
    """Begin anew; the simulator ends this process."""
    call("reset")


def unique_id():
    """Return the chip's own number, 8 bytes."""
    return binascii.unhexlify(call("unique_id"))


class Pin:
    """A pin."""

    IN, OUT, PULL_UP = 0, 1, 1

    def __init__(self, number, mode=None, pull=None, value=None):
        self.number = number
        if value is not None:
            call("set", number, value)

    def value(self, level=None):
        """Return the level, or set it."""
        return call("get", self.number) if level is None else call("set", self.number, level)


class ADC:
    """A converter."""

    def __init__(self, pin):
        self._number = pin.number

    def read_u16(self):
        """Return 0 to 65,535."""
        return call("adc", self._number)


class WDT:
    """The watchdog."""

    def __init__(self, timeout=5_000):
        call("wdt", timeout)

    def feed(self):
        """Begin its time anew."""
        call("feed")


class I2C:
    """A bus; a device that does not answer raises OSError."""

    def __init__(self, number, sda=None, scl=None, freq=0):
        pass

    def readfrom_mem(self, address, register, size):
        """Return bytes of a device's registers."""
        answer = call("i2c_read", address, register, size)
        if answer is None:
            raise OSError(5)
        return binascii.unhexlify(answer)

    def writeto_mem(self, address, register, data):
        """Write a device's registers."""
        if call("i2c_write", address, register, binascii.hexlify(data).decode()) is None:
            raise OSError(5)


class SPI:
    """A bus; which device answers is told by its select pin."""

    def __init__(self, number, baudrate=0, sck=None, mosi=None, miso=None):
        pass

    def write(self, data):
        """Send bytes."""
        call("spi_write", binascii.hexlify(data).decode())

    def readinto(self, buffer):
        """Fill a buffer."""
        buffer[:] = binascii.unhexlify(call("spi_read", len(buffer)))


class UART:
    """The line to the Linux board."""

    def __init__(self, number, baudrate=0, tx=None, rx=None, rxbuf=256, txbuf=256):
        call("uart", rxbuf)

    def read(self):
        """Return what came in, or None."""
        answer = call("uart_read")
        return binascii.unhexlify(answer) if answer else None

    def write(self, data):
        """Send bytes."""
        call("uart_write", binascii.hexlify(data).decode())
