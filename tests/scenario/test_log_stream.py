"""A log of any size through `tbox decode`: memory does not grow with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.builders.can import dbc_text

BLOCK_FRAMES = 100_000
BLOCKS = 70  # 46 bytes a frame: 322 MB
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
GROWTH_MAX_MB = 24  # allocators keep some of what they were given; a log held as a whole would take 322


def block() -> bytes:
    return b"".join(
        b"(%d.%06d) can0 %03X#%016X\n" % (1_700_000_000 + row // 1_000, row % 1_000 * 1_000, row % 64, row)
        for row in range(BLOCK_FRAMES)
    )


def resident_mb(pid: int) -> int:
    """Return what a process holds in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES // 2**20


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_three_hundred_megabytes_of_log_take_no_more_memory_than_thirty(tmp_path: Path, form: str) -> None:
    pipe, out, dbc = tmp_path / "pipe", tmp_path / f"out.{form}", tmp_path / "car.dbc"
    os.mkfifo(pipe)
    dbc.write_text(
        dbc_text(
            'BO_ 7 M: 8 ECU\n SG_ A : 0|16@1+ (0.1,0) [0|0] "" ECU\n SG_ B : 16|16@1- (1,0) [0|0] "" ECU\n'
        )
    )
    command = [sys.executable, "-m", "tbox", "decode", "--dbc", str(dbc), "--log", str(pipe)]
    decoder = subprocess.Popen([*command, "--out", str(out), "--json"], stdout=subprocess.PIPE, text=True)
    held: list[int] = []

    def feed() -> None:
        part = block()
        with pipe.open("wb") as file:
            for _ in range(BLOCKS):
                file.write(part)
                file.flush()
                held.append(resident_mb(decoder.pid))

    feeder = threading.Thread(target=feed)
    feeder.start()
    said, _ = decoder.communicate()
    feeder.join()
    account = json.loads(said)
    assert decoder.returncode == 0
    assert account["frames"] == BLOCKS * BLOCK_FRAMES
    assert account["rows"] == 2 * account["decoded"] == 2 * BLOCKS * len(range(7, BLOCK_FRAMES, 64))
    assert account["log_errors"]["count"] == 0
    assert max(held) - held[BLOCKS // 10] <= GROWTH_MAX_MB
