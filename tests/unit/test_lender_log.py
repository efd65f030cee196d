"""What `tbox lender status` says of the log: its own key, the witnesses it pins, and those it does not."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.lender.errors import NotThereError, RefusesError, SettingsError
from backend.lender.log_word import LogHead, LogPins, look_at_log, read_pins, told
from backend.lender.notebook import Notebook
from backend.lender.settings import load_settings
from protocol.checkpoint import Checkpoint, NoteSigner, add_signatures, cosign, sign_checkpoint
from protocol.merkle import Frontier, Subtree, consistency_ranges, leaf_hash, range_hash

AT_S = 1_795_000_000


def key(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed.encode().ljust(32, b"."))


LOG = NoteSigner.of_log("log.example/t", key("log"))
W1, W2 = (NoteSigner.of_witness(f"witness.example/{name}", key(name)) for name in ("w1", "w2"))
STRANGER = NoteSigner.of_witness("witness.example/x", key("x"))
IMPOSTOR = NoteSigner.of_witness(W1.key.name, key("impostor"))
TWICE = f'["{W1.key.to_text()}", "{IMPOSTOR.key.to_text()}"]'
PINS = LogPins(log=LOG.key, witnesses=(W1.key, W2.key))


@dataclass
class Ledger:
    """A log's server: its leaves, and the checkpoints it has, newest last."""

    leaves: list[bytes] = field(default_factory=list)
    notes: list[tuple[int, bytes]] = field(default_factory=list)

    def grow(self, size: int, *witnesses: NoteSigner, at_s: int = AT_S, other: bytes = b"") -> None:
        """Sign a checkpoint of so many leaves and have it cosigned."""
        self.leaves = [leaf_hash(other + bytes([at])) for at in range(size)]
        tree = Frontier()
        for leaf in self.leaves:
            tree.append(leaf)
        note = sign_checkpoint(Checkpoint(origin=LOG.key.name, size=size, root=tree.root()), LOG)
        lines = [cosign(note, one, at_s=at_s) for one in witnesses]
        self.notes.append((len(lines), add_signatures(note, lines)))

    def checkpoint(self, *, witnessed: int = 0) -> str:
        fitting = [note for count, note in self.notes if count >= witnessed]
        if not fitting:
            raise NotThereError("no such checkpoint")
        return fitting[-1].decode()

    def inclusion(self, index: int, size: int) -> list[str]:
        raise AssertionError(f"no order is looked for here: {index}, {size}")

    def consistency(self, first: int, second: int) -> list[str]:
        tree = Frontier()
        kept: dict[Subtree, bytes] = {at: value for leaf in self.leaves for at, value in tree.append(leaf)}
        return [range_hash(leaves, kept.__getitem__).hex() for leaves in consistency_ranges(first, second)]


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    return Notebook(tmp_path)


def seen(ledger: Ledger, notebook: Notebook, pins: LogPins = PINS) -> LogHead:
    head = look_at_log(ledger, notebook, pins)
    assert head is not None
    return head


def test_an_order_that_pinned_witnesses_have_seen_is_told_with_their_names_and_times(
    notebook: Notebook,
) -> None:
    ledger = Ledger()
    ledger.grow(5, W1, W2)
    ledger.grow(9)
    head = seen(ledger, notebook)
    said = told(head, 4)
    assert said == (
        "leaf 4 of 9, proved by the key of log.example/t; cosigned by witness.example/w1 at"
        " 2026-11-18T11:06:40Z, witness.example/w2 at 2026-11-18T11:06:40Z"
    )
    assert told(head, 5).endswith("NOT WITNESSED: none of 2 pinned has cosigned the log with it yet")


def test_a_cosigner_that_is_not_pinned_is_unknown_and_proves_nothing(notebook: Notebook) -> None:
    ledger = Ledger()
    ledger.grow(5, STRANGER)
    said = told(seen(ledger, notebook), 1)
    assert "NOT WITNESSED" in said
    assert said.endswith("UNKNOWN cosigner witness.example/x: lender.toml does not pin it")
    unpinned = told(seen(ledger, notebook, LogPins(log=LOG.key, witnesses=())), 1)
    assert "no witness checked: lender.toml pins none; UNKNOWN cosigner" in unpinned


def test_another_key_under_a_pinned_name_is_unknown(notebook: Notebook) -> None:
    ledger = Ledger()
    ledger.grow(5, IMPOSTOR)
    said = told(seen(ledger, notebook), 1)
    assert "NOT WITNESSED" in said
    assert "UNKNOWN cosigner witness.example/w1" in said


def test_a_stranger_s_newer_cosignature_does_not_hide_a_pinned_one(notebook: Notebook) -> None:
    ledger = Ledger()
    ledger.grow(5, W1, STRANGER)
    ledger.grow(9, STRANGER)
    assert "cosigned by witness.example/w1" in told(seen(ledger, notebook), 4)


def test_a_cosignature_of_a_pinned_witness_that_does_not_hold_is_refused(notebook: Notebook) -> None:
    ledger = Ledger()
    ledger.grow(5, W1)
    other = Ledger()
    other.grow(5, W1, other=b"fork")
    line = other.notes[0][1].splitlines(keepends=True)[-1]
    own = ledger.notes[0][1].splitlines(keepends=True)[:-1]
    ledger.notes[0] = (1, b"".join([*own, line]))
    with pytest.raises(RefusesError, match=r"witness.example/w1 does not hold"):
        seen(ledger, notebook)


def test_a_log_that_differs_from_the_one_a_witness_saw_is_refused(notebook: Notebook) -> None:
    ledger = Ledger()
    ledger.grow(5, W1)
    ledger.grow(9, other=b"fork")
    with pytest.raises(RefusesError, match=r"5 leaves that witness.example/w1 has seen"):
        seen(ledger, notebook)
    shorter = Ledger()
    shorter.grow(9, W1)
    shorter.grow(5)
    with pytest.raises(RefusesError, match=r"has 5 leaves, witness.example/w1 has seen 9"):
        seen(shorter, notebook)
    assert notebook.log(LOG.key.name) is None


def test_a_time_that_cannot_be_is_shown_as_such(notebook: Notebook) -> None:
    ledger = Ledger()
    ledger.grow(5, W1, at_s=(1 << 63) - 1)
    assert "an impossible time" in told(seen(ledger, notebook), 1)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (f'witnesses = ["{W1.key.to_text()}"]', "no log_key"),
        (f'log_key = "{W1.key.to_text()}"', "is the key of a witness"),
        (f'log_key = "{LOG.key.to_text()}"\nwitnesses = ["{LOG.key.to_text()}"]', "is the key of a log"),
        (f'log_key = "{LOG.key.to_text()}"\nwitnesses = ["w1"]', "no verifier key"),
        (f'log_key = "{LOG.key.to_text()}"\nwitnesses = {TWICE}', "twice"),
        ("witnesses = 5", "must be a list of verifier keys"),
    ],
)
def test_pins_that_mean_nothing_are_named(tmp_path: Path, lines: str, why: str) -> None:
    file = tmp_path / "lender.toml"
    file.write_text(lines)
    with pytest.raises(SettingsError, match=why):
        read_pins(load_settings(file))


def test_pins_are_read_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "lender.toml"
    witnesses = f'["{W1.key.to_text()}", "{W2.key.to_text()}"]'
    file.write_text(f'log_key = "{LOG.key.to_text()}"\nwitnesses = {witnesses}')
    assert read_pins(load_settings(file)) == PINS
