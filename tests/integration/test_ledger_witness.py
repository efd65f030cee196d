"""Witnesses: a log that forked or was rolled back is caught by the witness, and stops itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from backend import ledger
from backend.ledger import LeafType, LedgerHaltedError
from backend.ledger.witnesses import post_over_http
from backend.store.log_keys import WitnessPlace
from backend.usecases.keep_ledger import LedgerKeeper, halt, publish, resume, witnesses_content
from backend.witness.home import WitnessHomeError, make_home, open_home
from backend.witness.server import WitnessServer
from backend.witness.store import WitnessStore
from backend.witness.witness import Witness
from protocol.checkpoint import (
    AddCheckpoint,
    Checkpoint,
    encode_add_checkpoint,
    open_checkpoint,
    sign_checkpoint,
)
from tests.builders.ingest import Backend, Box
from tests.builders.ledger import NOW_US, ORIGIN, enter, log_signer, naive_root, open_log, witness_signer

if TYPE_CHECKING:
    from types import TracebackType

    from backend.store.database import Database
    from protocol.checkpoint import NoteSigner

LOG = log_signer()
TBOX = Path(sys.executable).parent / "tbox"


class RunningWitness:
    """A witness on a free port of this machine."""

    def __init__(self, folder: Path, signer: NoteSigner, *, log: NoteSigner = LOG) -> None:
        self.store = WitnessStore(folder / f"{signer.key.name.replace('/', '-')}.sqlite")
        witness = Witness(store=self.store, signer=signer, logs=[log.key], clock=lambda: 1_795_500_000)
        self._server = WitnessServer(witness, host="127.0.0.1", port=0)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.place = WitnessPlace(key=signer.key, url=f"http://127.0.0.1:{self._server.server_port}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def ask(self, body: bytes) -> tuple[int, bytes]:
        return post_over_http(f"{self.place.url}/add-checkpoint", body)


def published(
    database: Database, *witnesses: RunningWitness, signer: NoteSigner = LOG
) -> ledger.SignedCheckpoint:
    places = [witness.place for witness in witnesses]
    return publish(database, signer=signer, witnesses=places, now_us=NOW_US)


def test_two_witnesses_follow_a_growing_log_and_cosign_each_checkpoint(tmp_path: Path) -> None:
    second = witness_signer("witness.example/w2")
    with (
        open_log(tmp_path) as database,
        RunningWitness(tmp_path, witness_signer()) as one,
        RunningWitness(tmp_path, second) as two,
    ):
        for number in range(4):
            enter(database, *(b"%d/%d" % (number, at) for at in range(number + 1)))
            signed = published(database, one, two)
            assert signed.witnessed == 2
        assert published(database, one, two) == signed, "nothing new: the same checkpoint, asked of nobody"
        opened = open_checkpoint(signed.note, LOG.key, [one.place.key, two.place.key])
        assert {seen.witness for seen in opened.cosignatures} == {"witness.example/w1", "witness.example/w2"}


def test_each_change_of_the_witnesses_is_a_leaf_before_they_cosign(tmp_path: Path) -> None:
    with open_log(tmp_path) as database, RunningWitness(tmp_path, witness_signer()) as one:
        enter(database, b"order")
        assert published(database).size == 1  # none configured, none ever were
        assert published(database, one).size == 2
        assert published(database, one).size == 2
        assert published(database).size == 3
        with database.reading() as session:
            leaves = [ledger.read_leaf(session, index) for index in (1, 2)]
            assert {leaf.leaf_type for leaf in leaves if leaf} == {LeafType.WITNESSES}
            opened = ledger.open_leaf(session, 1)
            assert opened is not None
            assert opened[1] == witnesses_content([one.place])


def test_a_log_that_rewrote_a_leaf_is_refused_by_its_witness_and_halts(tmp_path: Path) -> None:
    """The same key, the same size, another history: what a backend that was taken over would do."""
    (tmp_path / "true").mkdir()
    (tmp_path / "false").mkdir()
    with (
        RunningWitness(tmp_path, witness_signer()) as witness,
        open_log(tmp_path / "true") as true,
        open_log(tmp_path / "false") as false,
    ):
        enter(true, b"lock", b"unlock")
        assert published(true, witness).witnessed == 1
        enter(false, b"lock", b"another")
        with pytest.raises(LedgerHaltedError, match="knows another tree"):
            published(false, witness)
        with pytest.raises(LedgerHaltedError), false.writing() as session, session.begin():
            ledger.append(session, LeafType.ORDER, b"lock", at_us=NOW_US)
        ((_, kept, shown),) = witness.store.forks(ORIGIN)
        first, second = open_checkpoint(kept, LOG.key), open_checkpoint(shown, LOG.key)
        assert first.checkpoint.size == second.checkpoint.size
        assert first.checkpoint.root != second.checkpoint.root, "two signed notes prove the fork to anybody"


def test_a_fork_that_has_grown_on_has_no_proof(tmp_path: Path) -> None:
    (tmp_path / "true").mkdir()
    (tmp_path / "false").mkdir()
    with (
        RunningWitness(tmp_path, witness_signer()) as witness,
        open_log(tmp_path / "true") as true,
        open_log(tmp_path / "false") as false,
    ):
        enter(true, b"lock", b"unlock")
        published(true, witness)
        enter(false, b"lock", b"another", b"more", b"and more", b"still more")
        with pytest.raises(LedgerHaltedError, match="422"):
            published(false, witness)
        assert published(true, witness).witnessed == 1, "the true log goes on"


def test_a_log_that_was_rolled_back_is_told_by_its_witness_and_halts(tmp_path: Path) -> None:
    """The database restored from yesterday: it has forgotten what it signed, the witness has not."""
    with RunningWitness(tmp_path, witness_signer()) as witness:
        with open_log(tmp_path) as database:
            enter(database, b"a", b"b")
            published(database, witness)
        shutil.copyfile(tmp_path / "tbox.sqlite", tmp_path / "yesterday")
        with open_log(tmp_path) as database:
            enter(database, b"c", b"d", b"e")
            published(database, witness)
        for leftover in tmp_path.glob("tbox.sqlite*"):
            leftover.unlink()
        (tmp_path / "yesterday").rename(tmp_path / "tbox.sqlite")
        with open_log(tmp_path) as database:
            enter(database, b"c")
            with pytest.raises(LedgerHaltedError, match="knows 6 leaves"):
                published(database, witness)
            with database.writing() as session:
                resume(session)
            enter(database, b"d", b"e")
            with pytest.raises(LedgerHaltedError, match="knows another tree"):
                published(database, witness)


def test_a_silent_witness_costs_a_cosignature_and_nothing_else(tmp_path: Path) -> None:
    with RunningWitness(tmp_path, witness_signer()) as gone:
        place = gone.place
    with open_log(tmp_path) as database:
        enter(database, b"order")
        signed = publish(database, signer=LOG, witnesses=[place], now_us=NOW_US)
        assert (signed.size, signed.witnessed) == (2, 0)


def test_an_answer_that_is_no_cosignature_of_this_witness_counts_as_silence(tmp_path: Path) -> None:
    place = WitnessPlace(key=witness_signer().key, url="http://127.0.0.1:1")
    with open_log(tmp_path) as database:
        enter(database, b"order")
        for body in (b"", b"hello\n", "— witness.example/w1 AAAAAAAA\n".encode(), b"\xff" * 100):
            signed = publish(
                database,
                signer=LOG,
                witnesses=[place],
                now_us=NOW_US,
                post=lambda *_, said=(200, body): said,
            )
            assert signed.witnessed == 0


@pytest.mark.parametrize(
    ("old", "size", "status"),
    [(3, 3, 409), (0, 5, 409), (1, 5, 409), (9, 5, 400), (2, 5, 422), (2, 2, 409)],
)
def test_a_witness_answers_as_the_standard_says(tmp_path: Path, old: int, size: int, status: int) -> None:
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=2, root=naive_root([b"a", b"b"])), LOG)
    other = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=naive_root([b"x"] * size)), LOG)
    with RunningWitness(tmp_path, witness_signer()) as witness:
        assert witness.ask(encode_add_checkpoint(AddCheckpoint(old_size=0, proof=(), note=note)))[0] == 200
        found = witness.ask(encode_add_checkpoint(AddCheckpoint(old_size=old, proof=(), note=other)))
        assert found[0] == status
        if status == 409 and old != 2:
            assert found[1] == b"2\n"


def test_a_witness_knows_its_logs_and_takes_their_signature_only(tmp_path: Path) -> None:
    root = naive_root([b"a"])
    with RunningWitness(tmp_path, witness_signer()) as witness:
        for signer, status in ((log_signer("log.example/other"), 404), (log_signer(seed="thief"), 403)):
            note = sign_checkpoint(Checkpoint(origin=signer.key.name, size=1, root=root), signer)
            body = encode_add_checkpoint(AddCheckpoint(old_size=0, proof=(), note=note))
            assert witness.ask(body)[0] == status
        assert witness.ask(b"nonsense")[0] == 400
        assert witness.ask(b"x" * 40_000)[0] == 413
        assert post_over_http(f"{witness.place.url}/other", b"")[0] == 404


def test_the_keeper_enters_one_leaf_of_chain_heads_a_box_in_ten_minutes(tmp_path: Path) -> None:
    box = Box(seed=1)
    chain = box.chain()
    with Backend(tmp_path, boxes=[box]) as backend:
        clock = [backend.now_us]
        keeper = LedgerKeeper(database=backend.database, signer=LOG, witnesses=(), clock=lambda: clock[0])
        backend.take(*chain.many(3))
        first = keeper.turn()
        backend.take(*chain.many(2))
        clock[0] += 60_000_000
        assert keeper.turn() == first, "not before ten minutes are over"
        clock[0] += 600_000_000
        second = keeper.turn()
        clock[0] += 700_000_000
        assert keeper.turn() == second, "nothing moved"
        assert [signed.size for signed in (first, second) if signed] == [1, 2]
        with backend.database.reading() as session:
            leaf = ledger.read_leaf(session, 1)
        assert leaf is not None
        assert leaf.leaf_type == LeafType.BATCH


def test_the_keeper_says_that_the_ledger_is_halted_and_goes_on_when_it_is_not(tmp_path: Path) -> None:

    with open_log(tmp_path) as database:
        keeper = LedgerKeeper(database=database, signer=LOG, witnesses=(), clock=lambda: NOW_US)
        with database.writing() as session:
            halt(session, reason="a drill")
        assert keeper.turn() is None
        with database.writing() as session:
            resume(session)
        assert keeper.turn() is not None
        assert keeper.counts["ledger_failed"] == 1


@pytest.mark.slow
def test_the_witness_as_a_process_keeps_its_memory_over_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "w"
    init = [str(TBOX), "backend", "witness", "init", "--home", str(home), "--name", "witness.example/w1"]
    made = subprocess.run(
        [*init, "--log", LOG.key.to_text()], capture_output=True, text=True, timeout=60, check=True
    )
    assert made.stdout.strip() == open_home(home).signer.key.to_text()
    assert (home / "witness.key").stat().st_mode & 0o777 == 0o600
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=1, root=naive_root([b"a"])), LOG)
    body = encode_add_checkpoint(AddCheckpoint(old_size=0, proof=(), note=note))
    statuses = []
    for _ in range(2):
        process = subprocess.Popen(
            [str(TBOX), "backend", "witness", "run", "--home", str(home), "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        statuses.append(post_over_http(f"{address}/add-checkpoint", body)[0])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert statuses == [200, 409], "after the restart it knows the size, so `old 0` is a conflict"


def test_a_witness_never_loses_its_key_to_a_second_set_up(tmp_path: Path) -> None:
    make_home(tmp_path, name="witness.example/w1", logs=[LOG.key])
    with pytest.raises(WitnessHomeError, match="keeps its key"):
        make_home(tmp_path, name="witness.example/w1", logs=[LOG.key])
    (tmp_path / "witness.key").chmod(0o644)
    with pytest.raises(WitnessHomeError, match="chmod 600"):
        open_home(tmp_path)
