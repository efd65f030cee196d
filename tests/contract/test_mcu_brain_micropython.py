"""The brain on the real MicroPython: one script of messages and wires, the same words out, byte for byte."""

import json
from collections.abc import Callable
from pathlib import Path

from firmware_tools.image import Floors, build
from protocol.orders import State
from protocol.vectors.keys import published_scalar
from tests.builders.mcu import FIRMWARE, Box
from tests.builders.micropython import run_cpython, run_micropython

LIFE_HEAP_KB = 288
"""64-bit words and the code in the heap; 256 was enough in most runs, and once not: see ADR 0042."""

# Reads the folder that it imports from, the folder of its flash, the scalar of D1, then a step of the script
# a line; prints kind and SHA-256 of everything sent.
PROGRAM = """
import gc, hashlib, json
sys.path.insert(0, sys.stdin.readline().strip())
from device.mcu import brain, floors, p256, sign

if hasattr(gc, "threshold"):
    gc.threshold(32768)  # as `main` does: what stays then lies together

class Flash:
    def __init__(self, folder): self.folder = folder
    def get(self, name):
        try:
            with open(self.folder + "/" + str(name), "rb") as file: return file.read()
        except OSError: return None
    def put(self, name, data):
        with open(self.folder + "/" + str(name), "wb") as file: file.write(data)

class Board:
    def __init__(self):
        self.now_ms = self.boot_ms = 0
        self.cause, self.coil, self.warn, self.count = "power", False, False, 1 << 32
        self.flash = Flash(sys.stdin.readline().strip())
        self.wires = [12600, False, False, False, False, "still"]
    def ticks_ms(self): return self.now_ms - self.boot_ms
    def rtc_s(self): return 1000000 + self.now_ms // 1000
    def supply_mv(self): return self.wires[0]
    def ignition(self): return self.wires[1]
    def crank(self): return self.wires[2]
    def engine_running(self): return self.wires[3]
    def button(self): return self.wires[4]
    def accel(self): return self.wires[5]
    def relay_sensed(self): return self.coil
    def warn_heard(self): return self.warn
    def set_coil(self, on): self.coil = on
    def set_warn(self, on): self.warn = on
    def set_lamp(self, on): self.lamp = on
    def wake_linux(self, on): pass
    def feed(self): pass
    def random(self, count):
        self.count += 1
        return hashlib.sha256((self.count - 1).to_bytes(8, "big")).digest()[:count]
    def slot_read(self, index): return self.flash.get(index)
    def slot_write(self, index, data): self.flash.put(index, data)
    def blob_read(self, name): return self.flash.get(name)
    def blob_write(self, name, data): self.flash.put(name, data)
    def reset_cause(self): return self.cause

board = Board()
scalar, firmware = int(sys.stdin.readline(), 16), bytes.fromhex(sys.stdin.readline().strip())

def start():
    return brain.Brain(board, sign.SigningKey(scalar), floors, p256.verify, {"firmware": firmware})

made = start()
while True:
    line = sys.stdin.readline().strip()
    if not line:
        break
    what = json.loads(line)
    line = None
    gc.collect()
    if what[0] == "message":
        made.receive(what[1], bytes.fromhex(what[2]))
    elif what[0] == "step":
        board.now_ms, board.wires = what[1], what[2]
        made.step()
    else:
        made = None
        board.coil = board.warn = False
        board.cause, board.boot_ms, board.now_ms = what[1], what[2], what[2]
        gc.collect()
        made = start()
    what = None
    for kind, body in made.outgoing():
        print(kind, "".join(["%02x" % byte for byte in hashlib.sha256(body).digest()[:8]]), board.coil)
"""


def test_a_lock_lives_on_micropython_as_on_cpython(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    box = Box.locked()
    box.reset("watchdog")
    box.run(20)
    box.send_order(box.unlock())
    assert box.last.state is State.DONE
    lines = [f"{published_scalar('mcu-1'):x}", FIRMWARE.hex(), *(json.dumps(step) for step in box.script)]
    for name in ("cpython", "micropython"):
        (tmp_path / name).mkdir()
    image = build(tmp_path / "image", Floors.PRODUCTION).folder  # compiled, as on a board
    expected = run_cpython(PROGRAM, ["", str(tmp_path / "cpython"), *lines])
    assert len(expected) > 300
    record_property("mcu_brain_heap_kb", LIFE_HEAP_KB)
    answered = run_micropython(
        PROGRAM, [str(image), str(tmp_path / "micropython"), *lines], heap_kb=LIFE_HEAP_KB
    )
    assert answered == expected
    sent = [line.split()[0] for line in expected]
    assert sent.count("130") >= len(box.dispositions)
