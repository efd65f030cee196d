"""What the microcontroller runs: board, key, brain and line in one loop, until the power goes.

Rules: a round is read the line, one step, write the line, wait; about every 50 ms. Whatever goes wrong lets
the relay go and ends in a reset: a program that cannot go on must not hold a starter. D1 is made here at the
first start (K-01). Which image this is stands in `image_info`, which the image's builder writes.

It decides nothing about orders. It has no annotations, see `strict_cbor`.

Example:
    from device.mcu import main
    main.main()
"""

import gc
import hashlib
import sys

from device.mcu import floors, image_info, p256
from device.mcu.board_rp2 import Board
from device.mcu.brain import Brain
from device.mcu.pins import KEY_FILE
from device.mcu.sign import SigningKey
from protocol import mcu_link

ROUND_MS = 50
GC_BYTES = 32_768  # collected so often, what stays lies together, and a third less heap is enough (0044)


def main():
    """Run for ever; never returns."""
    gc.threshold(GC_BYTES)
    board = Board()
    try:
        run(board, start(board))
    except Exception as error:  # noqa: BLE001 - the supervisor: whatever it was, the relay goes first
        board.set_coil(False)
        sys.print_exception(error)
        while True:  # the watchdog resets the chip: that counts as its reset
            pass


def start(board):
    """Return the brain of a board that was just switched on."""
    key = SigningKey(scalar(board), board.random, board.feed)
    return Brain(board, key, floors, p256.verify, {"firmware": image_info.MEASUREMENT})


def run(board, brain):
    """Do rounds for ever."""
    decoder = mcu_link.Decoder()
    while True:
        began = board.ticks_ms()
        work(board, brain, decoder.feed(board.link_read()))
        _count(brain, decoder)
        spent = board.ticks_ms() - began
        board.sleep_ms(ROUND_MS - spent if spent < ROUND_MS else 1)


def work(board, brain, frames):
    """Do one round with what came."""
    for kind, body in frames:
        brain.receive(kind, body)
    brain.step()
    for kind, body in brain.outgoing():
        board.link_write(mcu_link.encode_frame(kind, body))


def _count(brain, decoder):
    if decoder.garbled:
        brain.counters["link_garbled"] = decoder.garbled & 0xFFFFFFFF
    for word, count in decoder.bad.items():
        if count:
            brain.counters["link_bad_" + word] = count & 0xFFFFFFFF


def scalar(board):
    """Return D1's private scalar; made and kept at the first start.

    A key that is lost takes the record with it: nobody could order its release any more (README §2, K-01).
    """
    data = board.blob_read(KEY_FILE)
    if data is None or len(data) != 64 or hashlib.sha256(data[:32]).digest() != data[32:]:
        for index in (0, 1):
            if board.slot_read(index) is not None:
                board.slot_write(index, b"key lost" + bytes(36))
        # 384 random bits folded into the group: no bias that anyone can measure (FIPS 186-5 A.2.1).
        value = int.from_bytes(board.random(48), "big") % (p256.N - 1) + 1
        data = value.to_bytes(32, "big")
        data += hashlib.sha256(data).digest()
        board.blob_write(KEY_FILE, data)
    return int.from_bytes(data[:32], "big")
