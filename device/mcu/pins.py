"""Which pin of the RP2040 is what: the wiring of the board as data.

Rules: inputs of the car come through dividers and opto-couplers and are high when the wire says yes. The coil
driver has a pull-down: a pin that nobody drives, as in a reset, opens the coil, and its contact is closed at
rest. Both sides of the relay's second contact are read, so that a broken wire is neither answer.

This module decides nothing. It has no annotations, see `strict_cbor`.

Example:
    >>> COIL != RELAY_OPEN
    True
"""

UART_TX, UART_RX = 0, 1  # UART0, to the Linux board
BAUD = 115_200  # bit/s; an order of 2 KB takes 0.2 s
UART_ROOM = 8_192  # bytes that may come in while a signature is checked

I2C_SDA, I2C_SCL = 4, 5  # I2C0: accelerometer and clock
I2C_HZ = 400_000
ACCELEROMETER_ADDRESS = 0x18  # LIS3DH, SA0 low
CLOCK_ADDRESS = 0x52  # RV-3028-C7

SPI_SCK, SPI_MOSI, SPI_MISO, FRAM_CS = 18, 19, 16, 17  # SPI0: the FRAM
SPI_HZ = 8_000_000

IGNITION, CRANK, ENGINE = 6, 7, 8  # terminal 15, terminal 50 before the relay, alternator (D+)
BUTTON = 9  # emergency start, to ground
COIL = 10
RELAY_CLOSED, RELAY_OPEN = 11, 12  # second contact: high at rest; high while the coil is pulled in
WARN, WARN_SENSE = 13, 14  # buzzer and lamp; their current
LAMP = 25  # on the box itself: for whoever fits or looks for it
LINUX = 15  # supply switch of the Linux board

SUPPLY = 26  # ADC0
SUPPLY_RATIO = 11  # divider 100 kΩ : 10 kΩ
ADC_FULL_MV = 3_300

KEY_FILE = "key"  # in the flash: the private scalar and its hash, 64 bytes; made there, never read out

WATCHDOG_MS = 2_000  # a hung program holds the coil no longer; the chip's own longest is 8,388
