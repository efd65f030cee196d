"""`strict_cbor` on the real MicroPython: the same file, the same vectors, the same answers as on CPython."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from protocol import limits, strict_cbor
from protocol.vectors import generate

MICROPYTHON = Path(sys.executable).parent / "micropython"

# Reads the folder of the module, then one hex item a line; writes the canonical bytes and a rendering of the
# value, or the word of refusal.
PROGRAM = """
import sys
sys.path.insert(0, sys.stdin.readline().strip())
import strict_cbor

def show(value):
    if isinstance(value, dict):
        return "{" + ",".join(sorted([show(key) + ":" + show(item) for key, item in value.items()])) + "}"
    if isinstance(value, list):
        return "[" + ",".join([show(item) for item in value]) + "]"
    if isinstance(value, bytes):
        return "h" + "".join(["%02x" % byte for byte in value])
    if isinstance(value, str):
        return "t" + "".join(["%02x" % byte for byte in value.encode()])
    return str(value)

for line in sys.stdin:
    data = bytes.fromhex(line.strip())
    try:
        value = strict_cbor.loads(data)
        written = strict_cbor.dumps(value)
        print("".join(["%02x" % byte for byte in written]), show(value))
    except strict_cbor.CBORError as error:
        print("refused", error.args[0])
"""


def run(interpreter: Path | str, hexes: list[str]) -> list[str]:
    lines = [str(Path(strict_cbor.__file__).parent), *hexes, ""]
    done = subprocess.run(
        [str(interpreter), "-c", PROGRAM], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def inputs() -> list[str]:
    """Order vectors, and every good order with each bit flipped and cut at each byte."""
    vectors = json.loads((generate.FOLDER / "orders.json").read_text(encoding="utf-8"))
    hexes = [vector["hex"] for vector in vectors]
    for vector in vectors:
        data = bytes.fromhex(vector["hex"])
        if "refused" not in vector:
            hexes += [data[:size].hex() for size in range(len(data))]
            hexes += [
                bytes([*data[: bit // 8], data[bit // 8] ^ 1 << bit % 8, *data[bit // 8 + 1 :]]).hex()
                for bit in range(8 * len(data))
            ]
    return hexes


def test_micropython_and_cpython_give_the_same_answers() -> None:
    assert MICROPYTHON.is_file(), "the pinned MicroPython unix port is part of the dev dependencies"
    hexes = inputs()
    assert len(hexes) > 1_500
    on_micropython, on_cpython = run(MICROPYTHON, hexes), run(sys.executable, hexes)
    assert len(on_micropython) == len(hexes)
    assert on_micropython == on_cpython
    assert sum(not line.startswith("refused") for line in on_cpython) > 200


@pytest.mark.data
def test_micropython_reads_the_rfc_examples_as_cpython_does(test_data: Path) -> None:
    path = test_data / "vectors" / "cbor" / "rfc_appendix_a.json"
    hexes = [example["hex"] for example in json.loads(path.read_text(encoding="utf-8"))]
    assert len(hexes) == 82
    assert run(MICROPYTHON, hexes) == run(sys.executable, hexes)


def test_it_imports_nothing_and_repeats_the_limits_it_cannot_import() -> None:
    text = Path(strict_cbor.__file__).read_text(encoding="utf-8")
    assert "\nimport " not in text
    assert "\nfrom " not in text
    assert (strict_cbor.MAX_LEN, strict_cbor.MAX_DEPTH) == (limits.ORDER_BYTES_MAX, limits.ORDER_DEPTH_MAX)
