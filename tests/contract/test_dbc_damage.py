"""Every DBC of the recordings cut, doubled, and with bytes flipped: one clear error or a table, in time."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from device.dbc_compiler import Compilation, compile_dbc
from device.dbc_file import DbcError
from tests.builders.can import dbc_files

SECONDS_MAX = 20.0  # the largest takes one on a quiet machine


def read(path: Path, content: bytes) -> Compilation | None:
    """Compile damaged content; None when it is refused in the way that is promised."""
    path.write_bytes(content)
    begin = time.monotonic()
    try:
        result: Compilation | DbcError = compile_dbc(path)
    except DbcError as error:
        result = error
    assert time.monotonic() - begin < SECONDS_MAX
    if isinstance(result, Compilation):
        return result
    assert str(result).startswith(str(path))
    assert "\n" not in result.what
    assert result.next_step
    return None


def check(path: Path, work: Path, *, rounds: int) -> tuple[int, int]:
    """Damage one file in every way; return how often it was read and how often refused."""
    content = path.read_bytes()
    damaged = work / f"damaged{path.suffix}"
    rng = random.Random(path.name)
    results = [read(damaged, content + content)]
    for _ in range(rounds):
        results.append(read(damaged, content[: rng.randrange(len(content))]))
        results.append(read(damaged, flipped(content, rng, bits=rng.choice([1, 5, 50]))))
        results.append(read(damaged, overwritten(content, rng, count=rng.choice([1, 5, 50]))))
        results.append(read(damaged, shuffled(content, rng)))
    n_read = sum(result is not None for result in results)
    return n_read, len(results) - n_read


def flipped(content: bytes, rng: random.Random, *, bits: int) -> bytes:
    damaged = bytearray(content)
    for _ in range(bits):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwritten(content: bytes, rng: random.Random, *, count: int) -> bytes:
    damaged = bytearray(content)
    for _ in range(count):
        damaged[rng.randrange(len(damaged))] = rng.choice(b'":;|@()[]m0M_9 \n\\/\x00\xff')
    return bytes(damaged)


def shuffled(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    for _ in range(5):
        lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines))))
    return b"\n".join(lines)


@pytest.mark.data
def test_every_small_dbc_is_read_or_refused_however_it_is_damaged(test_data: Path, tmp_path: Path) -> None:
    totals = [0, 0]
    for path in dbc_files(test_data):
        if path.stat().st_size < 20_000:
            for which, count in enumerate(check(path, tmp_path, rounds=2)):
                totals[which] += count
    assert totals[0] > 400  # a damaged file mostly gives what is left of it
    assert totals[1] > 20


@pytest.mark.data
@pytest.mark.slow
def test_every_dbc_is_read_or_refused_however_it_is_damaged(test_data: Path, tmp_path: Path) -> None:
    totals = [0, 0]
    for path in dbc_files(test_data):
        for which, count in enumerate(check(path, tmp_path, rounds=4 if path.stat().st_size < 60_000 else 1)):
            totals[which] += count
    assert totals[0] > 1_000
    assert totals[1] > 50


@pytest.mark.data
def test_a_doubled_dbc_reads_as_one(test_data: Path, tmp_path: Path) -> None:
    for name in (
        "foobar.dbc",
        "floating_point.dbc",
        "signed.dbc",
        "issue_184_extended_mux_cascaded_dumped.dbc",
    ):
        path = test_data / "dbc" / "cantools" / name
        doubled = read(tmp_path / "doubled.dbc", path.read_bytes() * 2)
        assert doubled is not None
        once = compile_dbc(path).table
        assert (doubled.table.messages, doubled.table.groups) == (once.messages, once.groups)


@pytest.mark.data
@pytest.mark.parametrize("name", ["dbc/cantools/vehicle.dbc", "can/comma2k19_toyota/toyota_new_mc_pt.dbc"])
def test_a_cut_dbc_gives_the_messages_before_the_cut(test_data: Path, tmp_path: Path, name: str) -> None:
    content = (test_data / name).read_bytes()
    whole = compile_dbc(test_data / name).table
    last = content.rindex(b"\nBO_ ")
    for share in (0.2, 0.5, 0.9):
        cut = content[: int(last * share)]
        got = read(tmp_path / "cut.dbc", cut)
        assert got is not None
        begun = cut.count(b"\nBO_ ")
        assert begun - 1 <= len(got.table.messages) <= begun
        assert {message.name for message in got.table.messages} <= {m.name for m in whole.messages}


def columns_of(compilation: Compilation) -> set[tuple[object, ...]]:
    """Return how every signal is read, with the branch that switches it on; a unit may be lost."""
    return {
        (group.can_id, group.branch, replace(column, unit=None))
        for group in compilation.table.groups
        for column in group.columns
    }


@pytest.mark.data
@pytest.mark.parametrize(
    ("lines_each", "at_least"), [(2, 200), pytest.param(20, 2_000, marks=pytest.mark.slow)]
)
def test_a_broken_line_takes_signals_away_and_never_alters_one(
    test_data: Path, tmp_path: Path, lines_each: int, at_least: int
) -> None:
    n_checked = 0
    for path in dbc_files(test_data):
        if path.suffix.lower() != ".dbc" or path.stat().st_size > 12_000:
            continue
        whole = columns_of(compile_dbc(path))
        lines = path.read_bytes().split(b"\n")
        rng = random.Random(path.name)
        places = [n for n, line in enumerate(lines) if line.lstrip().startswith((b"BO_ ", b"SG_ "))]
        for place in rng.sample(places, min(lines_each, len(places))):
            line = lines[place]
            for instead in (b"", b"words", line.replace(b"_", b"#", 1), line.replace(b":", b";"), line[:-9]):
                if instead == line or (instead == b"" and b"SG_ " not in line):
                    continue
                broken = [*lines[:place], instead, *lines[place + 1 :]]
                got = read(tmp_path / "broken.dbc", b"\n".join(broken))
                if got is not None and not is_switch_gone(line, instead):
                    assert columns_of(got) <= whole, (path.name, line, instead)
                    n_checked += 1
    assert n_checked > at_least


def is_switch_gone(line: bytes, instead: bytes) -> bool:
    """Say whether a multiplexer switch vanished without a trace, which nothing can notice."""
    return instead == b"" and b"M" in line.partition(b":")[0].split()[-1]
