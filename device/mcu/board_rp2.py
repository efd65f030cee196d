"""The board with an RP2040: what the brain sees of pins, sensors, storage, clock, watchdog and line.

Rules: the coil pin is driven low before anything else happens. What cannot be read is None or "failed", never
a guess. The watchdog runs from the first line on; `feed` is called by whoever works long. Caches are files of
the flash; the secure record is in the FRAM.

It decides nothing. The same file runs on the board and, over a `machine` that a simulator serves, on the unix
port. It has no annotations, see `strict_cbor`.

Example:
    board = Board()
    board.set_coil(False)

Source: MicroPython, quick reference for the RP2.
"""

import os
import time

import machine

from device.mcu import pins
from device.mcu.accelerometer import Accelerometer
from device.mcu.coin_cell_clock import CoinCellClock
from device.mcu.fram import Fram


class Board:
    """See the module; the calls are those of `tests.builders.mcu.FakeBoard`."""

    def __init__(self):
        pin_in, pin_out = machine.Pin.IN, machine.Pin.OUT
        self._coil = machine.Pin(pins.COIL, pin_out, value=0)
        self._wdt = machine.WDT(timeout=pins.WATCHDOG_MS)
        self._warn = machine.Pin(pins.WARN, pin_out, value=0)
        self._lamp = machine.Pin(pins.LAMP, pin_out, value=0)
        self._linux = machine.Pin(pins.LINUX, pin_out, value=0)
        self._ignition = machine.Pin(pins.IGNITION, pin_in)
        self._crank = machine.Pin(pins.CRANK, pin_in)
        self._engine = machine.Pin(pins.ENGINE, pin_in)
        self._button = machine.Pin(pins.BUTTON, pin_in, machine.Pin.PULL_UP)
        self._relay_closed = machine.Pin(pins.RELAY_CLOSED, pin_in)
        self._relay_open = machine.Pin(pins.RELAY_OPEN, pin_in)
        self._warn_sense = machine.Pin(pins.WARN_SENSE, pin_in)
        self._supply = machine.ADC(machine.Pin(pins.SUPPLY))
        self._uart = machine.UART(
            0, pins.BAUD, tx=machine.Pin(pins.UART_TX), rx=machine.Pin(pins.UART_RX),
            rxbuf=pins.UART_ROOM, txbuf=pins.UART_ROOM,
        )  # fmt: skip
        bus = machine.I2C(0, sda=machine.Pin(pins.I2C_SDA), scl=machine.Pin(pins.I2C_SCL), freq=pins.I2C_HZ)
        spi = machine.SPI(
            0, pins.SPI_HZ, sck=machine.Pin(pins.SPI_SCK), mosi=machine.Pin(pins.SPI_MOSI),
            miso=machine.Pin(pins.SPI_MISO),
        )  # fmt: skip
        self._fram = Fram(spi, machine.Pin(pins.FRAM_CS, pin_out, value=1), self.feed)
        self._accelerometer = Accelerometer(bus, pins.ACCELEROMETER_ADDRESS)
        self._clock = CoinCellClock(bus, pins.CLOCK_ADDRESS, self._fram)
        self._last_ms = time.ticks_ms()
        self._ms = 0
        self._cause = machine.reset_cause()

    # --- Time -----------------------------------------------------------------------------------------------

    def ticks_ms(self):
        """Return ms since this start; the port's own go round and must be asked each six days, and are."""
        now = time.ticks_ms()
        self._ms += time.ticks_diff(now, self._last_ms)
        self._last_ms = now
        return self._ms

    def sleep_ms(self, span_ms):
        """Let some ms pass."""
        time.sleep_ms(span_ms)

    def rtc_s(self):
        """Return the coin cell's count, s, or None."""
        return self._clock.read_s()

    def reset_cause(self):
        """Return "power", "watchdog" or "soft"."""
        if self._cause == machine.WDT_RESET:
            return "watchdog"
        return "power" if self._cause == machine.PWRON_RESET else "soft"

    def feed(self):
        """Feed the watchdog."""
        self._wdt.feed()

    # --- The car --------------------------------------------------------------------------------------------

    def supply_mv(self):
        """Return the car's supply, mV."""
        return self._supply.read_u16() * pins.ADC_FULL_MV * pins.SUPPLY_RATIO // 65_535

    def ignition(self):
        """Return whether terminal 15 is live."""
        return self._ignition.value() == 1

    def crank(self):
        """Return whether a start is asked for."""
        return self._crank.value() == 1

    def engine_running(self):
        """Return whether the alternator charges."""
        return self._engine.value() == 1

    def button(self):
        """Return whether the emergency button is held."""
        return self._button.value() == 0

    def accel(self):
        """Return "still", "moving" or "failed"."""
        return self._accelerometer.read(self.ticks_ms())

    def relay_sensed(self):
        """Return whether the starter is cut off; None when the two sides of the contact contradict."""
        closed, opened = self._relay_closed.value() == 1, self._relay_open.value() == 1
        return None if closed == opened else opened

    def set_coil(self, on):
        """Pull the relay in, or let it go."""
        self._coil.value(1 if on else 0)

    def set_warn(self, on):
        """Sound buzzer and lamp."""
        self._warn.value(1 if on else 0)

    def set_lamp(self, on):
        """Light the lamp on the box."""
        self._lamp.value(1 if on else 0)

    def warn_heard(self):
        """Return whether buzzer and lamp draw current now."""
        return self._warn_sense.value() == 1

    def wake_linux(self, on):
        """Switch the Linux board's supply."""
        self._linux.value(1 if on else 0)

    def random(self, count):
        """Return random bytes of the ring oscillator, whitened."""
        return os.urandom(count)

    # --- Storage --------------------------------------------------------------------------------------------

    def slot_read(self, index):
        """Return a slot of the secure record, None when it was never written."""
        return self._fram.slot_read(index)

    def slot_write(self, index, data):
        """Write a slot of the secure record."""
        self._fram.slot_write(index, data)

    def blob_read(self, name):
        """Return a cache, or None."""
        try:
            with open(name, "rb") as file:
                return file.read()
        except OSError:
            return None

    def blob_write(self, name, data):
        """Write a cache; a flash that is full loses it."""
        try:
            with open(name, "wb") as file:
                file.write(data)
        except OSError:
            pass

    # --- Line -----------------------------------------------------------------------------------------------

    def link_read(self):
        """Return what the agent wrote since the last call."""
        return self._uart.read() or b""

    def link_write(self, data):
        """Write to the agent."""
        self._uart.write(data)
