"""What a board's USB port speaks: `main.py` once at the start, then the REPL, friendly and raw.

Rules: as MicroPython's own, as far as `mpremote` uses it: Ctrl-A raw, Ctrl-B friendly, Ctrl-C interrupts,
Ctrl-D runs, and raw-paste with a window. A friendly line is not run. The simulator is told when the REPL
waits, and before and after each command, so that it can pull the plug there. Files are opened by way of the
simulator, which may say that the flash is full or cannot be written.

Source: MicroPython documentation, "REPL: raw mode and raw-paste mode".
"""

import builtins
import io
import sys

from hwsim import call

WINDOW = 1_024
BANNER = b"raw REPL; CTRL-B to exit\r\n>"
CTRL_A, CTRL_B, CTRL_D, CTRL_E = b"\x01", b"\x02", b"\x04", b"\x05"
_open = builtins.open


class _File:
    """A file being written."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        """Write as much as the flash has room for."""
        error = call("take", len(data))
        if error:
            raise OSError(error)
        return self._file.write(data)

    def close(self):
        """Close."""
        self._file.close()

    def __enter__(self):
        """Return the file."""
        return self

    def __exit__(self, *_):
        """Close."""
        self.close()


def _opened(name, mode="r", *rest):
    if "w" not in mode and "a" not in mode:
        return _open(name, mode, *rest)
    error = call("take", 0)
    if error:
        raise OSError(error)
    return _File(_open(name, mode, *rest))


_names = {"__name__": "__main__", "open": _opened}


def _write(data):
    sys.stdout.buffer.write(data)


def _run(text):
    """Run a command as the raw REPL does: its output, an end, its traceback, an end."""
    call("command", 1)
    wrong = b""
    try:
        exec(compile(text.decode(), "<stdin>", "exec"), _names)  # noqa: S102 - that is what a REPL is
    except BaseException as error:  # noqa: BLE001 - shown to whoever sent it
        said = io.StringIO()
        sys.print_exception(error, said)
        wrong = said.getvalue().replace("\n", "\r\n").encode()
    call("command", 0)
    _write(CTRL_D + wrong + CTRL_D + b">")


def _pasted():
    """Take a command in windows, so that no byte is lost; return it."""
    _write(b"R\x01" + WINDOW.to_bytes(2, "little"))
    read, text, left = sys.stdin.buffer.read, bytearray(), WINDOW
    while True:
        byte = read(1)
        if byte == CTRL_D or not byte:
            _write(CTRL_D)
            return bytes(text)
        text.extend(byte)
        left -= 1
        if not left:
            left = WINDOW
            _write(CTRL_A)


def _raw():
    read, text = sys.stdin.buffer.read, bytearray()
    _write(BANNER)
    while True:
        byte = read(1)
        if not byte or byte == CTRL_B:
            return
        if byte == CTRL_A:
            _write(BANNER)
            text = bytearray()
        elif byte == CTRL_E and not text:
            read(2)
            _run(_pasted())
        elif byte == CTRL_D and not text:
            _write(b"OK\r\nMPY: soft reboot\r\n" + BANNER)
        elif byte == CTRL_D:
            _write(b"OK")
            _run(text)
            text = bytearray()
        elif byte not in (b"\r", b"\x03") or text:
            text.extend(byte)


def _friendly():
    _write(b"\r\nMicroPython; simulated board\r\n>>> ")
    while True:
        byte = sys.stdin.buffer.read(1)
        if not byte:
            return
        if byte == CTRL_A:
            _raw()
        if byte in b"\r\n\x01\x02\x03":
            _write(b"\r\n>>> ")


def serve():
    """Start as a board does; never returns while the port is there."""
    sys.path.insert(0, "")
    try:
        with _open("main.py") as file:
            text = file.read()
        exec(compile(text, "main.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - the board's own
    except OSError:
        pass  # a board without a program
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - said on the port, then the REPL
        sys.print_exception(error)
    call("repl")
    _friendly()


serve()
