"""The line to the hardware simulator: one JSON array out, one JSON value back.

An answer that is `INTERRUPT` is Ctrl-C on the board's USB port: it comes between two calls, as on a board it
comes between two instructions.
"""

import json
import os
import socket

INTERRUPT = "!"

_socket = socket.socket()
_socket.connect(socket.getaddrinfo("127.0.0.1", int(os.getenv("HWSIM_PORT")))[0][-1])
_file = _socket.makefile("rwb", 0)


def call(*words):
    """Return what the simulator answers."""
    _file.write(json.dumps(words).encode() + b"\n")
    answer = json.loads(_file.readline())
    if answer == INTERRUPT:
        raise KeyboardInterrupt
    return answer
