"""Kill -9 at any moment: what was called stored is there, once, in order; the rest is a declared gap."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from protocol.batch import Section
from protocol.signals import decode_signals
from tests.builders.engine import Box, Ledger

ROOT = Path(__file__).resolve().parents[2]
LIVES = 5
LINES_MAX = 120


class Said(NamedTuple):
    """What a life said before it ended; `ticked_us` is the last tick handed to the disk."""

    stored: list[int]
    covered_us: int
    ticked_us: int
    fed: int


def live_and_die(home: Path, boots_before: int, first: int, lines_until_death: int) -> Said:
    """Run one life until it has said so many lines, then kill it."""
    command = [sys.executable, "-m", "tests.builders.spool_life", str(home), str(boots_before), str(first)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(lines_until_death)]
        finally:
            process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    words = [line.split() for line in lines if line.endswith("\n")]
    stored = [(int(seq), int(end_us)) for kind, seq, end_us in (w for w in words if len(w) == 3)]
    return Said(
        stored=[seq for seq, _ in stored],
        covered_us=max((end_us for _, end_us in stored), default=0),
        ticked_us=max((int(word[1]) for word in words if word[0] == "tick"), default=0),
        fed=max((int(word[1]) for word in words if word[0] == "fed"), default=first),
    )


def numbers(ledger: Ledger) -> list[int]:
    found: list[int] = []
    for _, stored in sorted(ledger.batches.items()):
        data = stored.opened.data(Section.SIGNALS)
        for group in [] if data is None else decode_signals(data):
            found += group.raw[1].tolist()
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_a_process_killed_at_any_moment_loses_nothing_it_had_stored(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    lives: list[Said] = []
    first = 0
    for boot in range(LIVES):
        lives.append(live_and_die(tmp_path, boot, first, moments.randint(1, LINES_MAX)))
        first = lives[-1].fed + 1_000  # more than one life feeds between its last word and its end
    box, ledger = Box(tmp_path, boots_before=LIVES), Ledger()
    stored_seqs = [entry.key.seq for entry in box.image.index]
    box.connect()
    box.drain(ledger)
    box.spool.close()

    told = [seq for life in lives for seq in life.stored]
    assert stored_seqs == list(range(1, len(stored_seqs) + 1)), "no hole, no repetition"
    assert set(told) <= set(stored_seqs), "what was called stored is there"
    assert ledger.upto(box.image.chain.chain) == max(stored_seqs) + 1
    assert not any(ledger.refused.values()), "every batch follows the one before"
    assert numbers(ledger) == sorted(set(numbers(ledger))), "each frame once, in order"

    gaps = {gap.boot: gap for item in ledger.batches.values() for gap in item.opened.header.gaps}
    for boot, life in enumerate(lives, 1):
        gap = gaps[hashlib.sha256(b"boot" + boot.to_bytes(4, "big")).digest()[:16]]  # type: ignore[index]
        assert gap.start_us >= life.covered_us, "what was stored is not called a gap"
        assert gap.end_us is not None
        assert gap.start_us <= gap.end_us <= max(gap.start_us, life.ticked_us), "bounded by the last tick"
