"""What is run on a board while it is loaded: short programs for its own MicroPython.

Rules: each prints one line, JSON where it says more than that it was done. What is put into them is quoted as
a Python literal. Hashing is the board's own, so that what counts is what its flash gives back. A rename is
the only step that changes which image counts.

They judge nothing.

Example:
    >>> "ilistdir" in listing("a")
    True
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

MARK: Final = "boot.json"
HOLD: Final = "hold"
SLOTS: Final = ("a", "b")

IS_RUNNING: Final = "'device.mcu.main' in __import__('sys').modules"

HELPERS: Final = """
import binascii, hashlib, json, os, sys
def digest(path):
    found, view = hashlib.sha256(), memoryview(bytearray(1024))
    with open(path, "rb") as file:
        while True:
            count = file.readinto(view)
            if not count:
                return binascii.hexlify(found.digest()).decode()
            found.update(view[:count])
def text(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None
def digest_or_none(path):
    try:
        return digest(path)
    except OSError:
        return None
def walk(folder):
    try:
        entries = list(os.ilistdir(folder))
    except OSError:
        return
    for entry in entries:
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            yield from walk(path)
            yield path, None
        else:
            yield path, digest(path)
def parents(path):
    at = path.find("/")
    while at >= 0:
        try:
            os.mkdir(path[:at])
        except OSError as error:
            if error.errno != 17:
                raise
        at = path.find("/", at + 1)
print("ready")
"""
"""Names that the other programs use; once after each entry."""

HELLO: Final = f"""
import machine
names = os.uname()
fs = os.statvfs("/")
print(json.dumps({{"sysname": names[0], "machine": names[4],
 "version": list(sys.implementation.version[:2]), "mpy": sys.implementation._mpy & 255,
 "id": binascii.hexlify(machine.unique_id()).decode(), "is_running": {IS_RUNNING},
 "mark": text("{MARK}"), "selector": digest_or_none("main.py"), "free": fs[0] * fs[3]}}))
"""

DONE: Final = 'print("done")'

STATE: Final = """
from machine import SPI, Pin
sys.path.insert(0, {slot!r})
from device.mcu import pins
from device.mcu.fram import Fram
from device.mcu.record import Record
from device.mcu.store import Store
from protocol.orders_vocabulary import LOCK
class Chip:
    def __init__(self):
        spi = SPI(0, pins.SPI_HZ, sck=Pin(pins.SPI_SCK), mosi=Pin(pins.SPI_MOSI), miso=Pin(pins.SPI_MISO))
        fram = Fram(spi, Pin(pins.FRAM_CS, Pin.OUT, value=1), lambda: None)
        self.slot_read = fram.slot_read
found, body = Store(Chip()).load()
record = Record() if found == "EMPTY" else Record.load(body)
print(json.dumps({{"is_bound": record.binding is not None, "is_locked": record.open[LOCK] is not None}}))
"""
"""Reads the secure record by the image's own modules: whether a box is bound to a car, or locked. A record
that was lost, or is another version's, cannot say so, and the program fails."""


def digest(text: str) -> str:
    """Return what the board's `digest` gives for a text file, 64 hex digits."""
    return sha256(text.encode()).hexdigest()


def keep(watchdog_ms: int) -> str:
    """Give the watchdog of a firmware that was interrupted its longest time; without one, start none."""
    return f"import machine\nif {IS_RUNNING}:\n    machine.WDT(timeout={watchdog_ms})\n{DONE}"


def listing(folder: str) -> str:
    """Print {path: hash, or null for a folder} of everything below a folder."""
    return f"print(json.dumps(dict(walk({folder!r}))))"


def hold() -> str:
    """Keep the image from starting at the next start."""
    return f'with open("{HOLD}", "w") as file:\n    file.write("1")\n{DONE}'


def unhold() -> str:
    """Let the image start again, where the program that looks for `hold` was not there yet."""
    return f'try:\n    os.remove("{HOLD}")\nexcept OSError:\n    pass\n{DONE}'


def remove(path: str, *, is_folder: bool) -> str:
    """Remove a file or an empty folder."""
    return f"os.{'rmdir' if is_folder else 'remove'}({path!r})\n{DONE}"


def begin(path: str) -> str:
    """Open a file anew, with the folders it lies in; an empty one is what a cut leaves."""
    return f'parents({path!r})\nout = open({path!r}, "wb")\n{DONE}'


def piece(data: bytes) -> str:
    """Write a piece of the file that is open."""
    return f'out.write(binascii.a2b_base64("{b64encode(data).decode()}"))\n{DONE}'


def end(path: str) -> str:
    """Close the file and print its hash."""
    return f"out.close()\nprint(digest({path!r}))"


def copy(source: str, target: str) -> str:
    """Copy a file within the board and print the copy's hash."""
    return (
        f'parents({target!r})\nout = open({target!r}, "wb")\nwith open({source!r}, "rb") as file:\n'
        f"    while True:\n        data = file.read(1024)\n        if not data:\n            break\n"
        f"        out.write(data)\nout.close()\nprint(digest({target!r}))"
    )


def write_text(path: str, content: str) -> str:
    """Write a short text file and print its hash."""
    return f'with open({path!r}, "w") as file:\n    file.write({content!r})\nprint(digest({path!r}))'


def rename(source: str, target: str) -> str:
    """Give a file the name of another; the other is gone at the same moment."""
    return f"os.rename({source!r}, {target!r})\n{DONE}"
