"""`link.json`: what a reader gives and counts, written here by hand, on both interpreters."""

import json
from typing import Any

import pytest

from protocol.vectors import generate
from tests.builders.micropython import run_cpython, run_micropython

PROGRAM = """
import json
from protocol.mcu_link import Decoder
for line in sys.stdin:
    decoder = Decoder()
    data, found = bytes.fromhex(line.strip()), []
    for at in range(0, len(data), 100):
        found += decoder.feed(data[at : at + 100])
    bad = ["%s %d" % (word, decoder.bad[word]) for word in sorted(decoder.bad) if decoder.bad[word]]
    print(",".join([str(kind) for kind, _ in found]), ";", ",".join(bad))
"""
LINES = {
    "two-frames": "1,6 ; ",
    "zeros-between": "1,6 ; ",
    "noise-then-zero": "1 ; stuffing 1",
    "noise-without-zero": "6 ; stuffing 1",
    "flipped-bit": "1 ; crc 1",
    "cut-frame": "6 ; stuffing 1",
    "cut-and-zero": "1 ; stuffing 1",
    "only-a-crc": "1 ; short 1",
    "kind-0": "1 ; short 1",
    "length-beyond-the-end": "1 ; stuffing 1",
    "too-long": "1 ; too_long 1",
    "not-ended": " ; ",
}


def vectors() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((generate.FOLDER / "link.json").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("run", [run_cpython, run_micropython], ids=["cpython", "micropython"])
def test_lines_that_are_not_whole_give_what_is_whole_and_count_the_rest(run: Any) -> None:
    lines = {item["name"].removeprefix("line/"): item for item in vectors() if "line/" in item["name"]}
    assert set(lines) == set(LINES)
    said = run(PROGRAM, [lines[name]["hex"] for name in LINES])
    assert dict(zip(LINES, said, strict=True)) == LINES


def test_every_frame_of_the_vectors_reads_as_itself() -> None:
    frames = [item for item in vectors() if item["name"].startswith("frame/")]
    assert len(frames) >= 9
    for item in frames:
        assert len(item["frames"]) == 1
        assert item["bad"] == {}
        assert len(item["hex"]) <= 2 * 4_096
