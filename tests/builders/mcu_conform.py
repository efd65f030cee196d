"""`tbox conform` without a port: a board in this process, and firmware that is wrong on purpose.

Example:
    failed = judge(image, folder, groups=("replay",))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_tools.conform.checks import CUTS, GROUPS, run
from firmware_tools.conform.subject import Subject
from protocol.vectors.keys import published_scalar
from simulators.mcu_bench import act
from simulators.mcu_board import PROGRAM, McuBoard

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_tools.conform.trials import Result

READ_S = 0.2

ONE_SIGNER_IS_ENOUGH = """
from device.mcu import main
from protocol import orders_reader
first = orders_reader.first_failure
def lenient(*about):
    found = first(*about)
    return None if found == "SIGNER_SET" else found
orders_reader.first_failure = lenient
main.main()
"""
ACTS_ON_REPLAYS = """
from device.mcu import main
from protocol import orders_reader
first = orders_reader.first_failure
def forgetful(order, signers, holders, ticket, device):
    device.done = {}
    device.heads = [0, 0, 0]
    found = first(order, signers, holders, ticket, device)
    return None if found in ("CHALLENGE", "CHAIN_GAP") else found
orders_reader.first_failure = forgetful
main.main()
"""

FORGETS_PLACES = """
from device.mcu import main
from device.mcu import interlock
judged = interlock.judge
def careless(seen, *about):
    seen.zone = 0
    return judged(seen, *about)
interlock.judge = careless
main.main()
"""
FORGETS_RELEASES = """
from device.mcu import main
from device.mcu.board_rp2 import Board
read = Board.blob_read
def blind(self, name):
    return None if name in ("released", "windows") else read(self, name)
Board.blob_read = blind
main.main()
"""
SIGNS_FOR_ANYONE = """
from device.mcu import main
from device.mcu import fitting
def generous(brain, payload):
    protected = fitting.cose_sign.protected_header(brain.key.kid, fitting.MCU)
    signed = brain.key.sign(fitting.cose_sign.sig_structure("command", payload, protected))
    return {3: fitting.hashlib.sha256(payload).digest(), 4: protected, 5: signed}
fitting._bind_part = generous
main.main()
"""
WRITES_NOTHING = """
from device.mcu import main
from device.mcu.store import Store
saved = Store.save
def lazy(self, body):
    return saved(self, body) if self.generation < 12 else True
Store.save = lazy
main.main()
"""


class DirectLine:
    """The board's line; reading lets time pass."""

    def __init__(self, board: McuBoard) -> None:
        self.board = board

    def write(self, data: bytes) -> None:
        self.board.write_line(data)

    def read(self) -> bytes:
        self.board.run(READ_S)
        return self.board.read_line()


class DirectBench:
    """The board's car."""

    def __init__(self, board: McuBoard) -> None:
        self.board = board

    def do(self, *words: object) -> dict[str, object]:
        return act(self.board, str(words[0]), *words[1:])


def judge(
    image: Path, folder: Path, *, groups: tuple[str, ...] = GROUPS, program: str = PROGRAM, cuts: int = CUTS
) -> list[Result]:
    """Return all results of a fresh board."""
    with McuBoard(image, folder, key=published_scalar("mcu-1"), program=program) as board:
        board.power_on()
        return list(run(Subject(DirectLine(board)), DirectBench(board), groups, cuts=cuts))
