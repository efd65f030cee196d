"""Checkpoints: C2SP's examples, a real log's signature, and every way a note can be wrong."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol.checkpoint import (
    EMPTY_ROOT,
    AddCheckpoint,
    Checkpoint,
    NoteError,
    NoteKey,
    add_signatures,
    cosign,
    decode_add_checkpoint,
    encode_add_checkpoint,
    open_checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from tests.builders.ledger import ORIGIN, log_signer, naive_root, note_key, witness_signer

# C2SP tlog-cosignature, example; the cosignature's time is in its text.
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
LOG_LINE = (
    "example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+"
    "zyWE+xeMcTOAYQ8="
)
WITNESS_LINE = (
    "witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf"
    "5nNo0xUe+mbIUBkBIfZ+qnA=="
)
EXAMPLE = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n\n— {LOG_LINE}\n— {WITNESS_LINE}\n".encode()

# The key of Go's module log, known by every Go installation; C2SP's example is its checkpoint with another
# origin.
GO_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

W1, W2 = witness_signer(), witness_signer("witness.example/w2")
LOG = log_signer()
TREE = Checkpoint(origin=ORIGIN, size=3, root=naive_root([b"a", b"b", b"c"]))
NOTE = sign_checkpoint(TREE, LOG)
DASH = "— ".encode()


def test_the_example_of_the_standard_reads() -> None:
    found = read_checkpoint(EXAMPLE)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root == base64.b64decode(ROOT)
    assert found.text == f"example.com/behind-the-sofa\n20852163\n{ROOT}\n".encode()
    body = base64.b64decode(WITNESS_LINE.split(" ")[1])
    assert int.from_bytes(body[4:12], "big") == 1679315147


def test_the_signature_of_a_real_log_verifies_under_its_public_key() -> None:
    key = NoteKey.from_text(GO_KEY)
    assert key.to_text() == GO_KEY
    text = f"go.sum database tree\n20852163\n{ROOT}\n".encode()
    raw = base64.b64decode(LOG_LINE.split(" ")[1])
    assert raw[:4] == key.key_id
    assert key.verify(text, raw[4:])
    assert not key.verify(text.replace(b"20852163", b"20852164"), raw[4:])


def test_a_checkpoint_is_byte_for_byte_what_the_standards_say() -> None:
    private, public = note_key("log"), LOG.key.public
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    text = f"{ORIGIN}\n3\n{base64.b64encode(TREE.root).decode()}\n".encode()
    line = base64.b64encode(key_id + private.sign(text)).decode()
    assert text + f"\n— {ORIGIN} {line}\n".encode() == NOTE


def test_a_cosignature_is_byte_for_byte_what_the_standard_says() -> None:
    line = cosign(NOTE, W1, at_s=1679315147)
    name, encoded = re.fullmatch("— (\\S+) (\\S+)\n", line.decode()).groups()  # type: ignore[union-attr]
    raw = base64.b64decode(encoded)
    public = W1.key.public
    assert name == "witness.example/w1"
    assert raw[:4] == hashlib.sha256(b"witness.example/w1\n\x04" + public).digest()[:4]
    assert raw[4:12] == (1679315147).to_bytes(8, "big")
    signed = b"cosignature/v1\ntime 1679315147\n" + TREE.text
    Ed25519PublicKey.from_public_bytes(public).verify(raw[12:], signed)


def test_known_witnesses_count_once_each_and_others_do_not() -> None:
    lines = [cosign(NOTE, W1, at_s=10), cosign(NOTE, W1, at_s=20), cosign(NOTE, W2, at_s=30)]
    note = add_signatures(NOTE, [*lines, lines[0]])
    assert note.count("— ".encode()) == 4
    assert len(open_checkpoint(note, LOG.key).cosignatures) == 0
    (seen,) = open_checkpoint(note, LOG.key, [W1.key]).cosignatures
    assert (seen.witness, seen.at_s) == ("witness.example/w1", 20)
    assert len(open_checkpoint(note, LOG.key, [W1.key, W2.key]).cosignatures) == 2


def test_changing_any_byte_of_a_checkpoint_makes_it_false_or_none() -> None:
    note = add_signatures(NOTE, [cosign(NOTE, W1, at_s=10)])
    for at in range(len(note)):
        for flip in (0x01, 0x20, 0x80):
            changed = note[:at] + bytes([note[at] ^ flip]) + note[at + 1 :]
            try:
                found = open_checkpoint(changed, LOG.key, [W1.key])
            except NoteError:
                continue
            assert found.cosignatures == (), "only a witness's name or id may change into a stranger's"


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\n\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE.replace(b"\n3\n", b"\n03\n"),
        NOTE.replace(b"\n3\n", b"\n-3\n"),
        NOTE.replace(b"\n3\n", b"\n9007199254740992\n"),
        NOTE.replace(b"\n3\n", b"\n\n"),
        b"\t" + NOTE,
        NOTE.replace(b"=\n\n", b"\n\n"),
        b"\xff" + NOTE,
        NOTE.replace(DASH, b"- "),
        NOTE * 100,
        NOTE.replace(b"\n\n", b"\n"),
        NOTE[: NOTE.index(DASH)],
        NOTE[: NOTE.index(DASH)] + DASH + b"a b\n",
        NOTE + DASH + b"a AAAA\n",
        NOTE + DASH + b"a  AAAAAAAA\n",
        b"x" * 257 + NOTE,
        NOTE + (DASH + b"a AAAAAAAA\n") * 64,
    ],
)
def test_what_is_no_checkpoint_is_refused(wrong: bytes) -> None:
    with pytest.raises(NoteError):
        open_checkpoint(wrong, LOG.key)


def test_a_checkpoint_of_another_log_or_by_another_key_is_refused() -> None:
    with pytest.raises(NoteError, match="another log"):
        open_checkpoint(NOTE, log_signer("log.example/other").key)
    with pytest.raises(NoteError, match="not signed by the log's key"):
        open_checkpoint(NOTE, log_signer(seed="another").key)


def test_a_false_signature_of_a_known_witness_makes_the_whole_note_false() -> None:
    other = sign_checkpoint(Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT), LOG)
    stolen = cosign(other, W1, at_s=10)
    with pytest.raises(NoteError, match="does not hold"):
        open_checkpoint(NOTE + stolen, LOG.key, [W1.key])
    name = W1.key.name
    short = f"— {name} {base64.b64encode(W1.key.key_id + bytes(8)).decode()}\n".encode()
    with pytest.raises(NoteError, match="another form"):
        open_checkpoint(NOTE + short, LOG.key, [W1.key])


def test_extension_lines_are_signed_with_the_rest() -> None:
    text = TREE.text + b"more\n"
    raw = base64.b64encode(LOG.key.key_id + LOG.private.sign(text)).decode()
    note = text + f"\n— {ORIGIN} {raw}\n".encode()
    line = cosign(note, W1, at_s=5)
    assert len(open_checkpoint(add_signatures(note, [line]), LOG.key, [W1.key]).cosignatures) == 1
    with pytest.raises(NoteError):
        open_checkpoint(note.replace(b"more", b"less"), LOG.key)


def test_a_request_to_a_witness_reads_back_and_nothing_else_reads() -> None:
    body = encode_add_checkpoint(AddCheckpoint(old_size=2, proof=(bytes(32), b"\x01" * 32), note=NOTE))
    assert body.startswith(b"old 2\n" + base64.b64encode(bytes(32)) + b"\n")
    assert decode_add_checkpoint(body).proof[1] == b"\x01" * 32
    hash_line = base64.b64encode(bytes(32)) + b"\n"
    for wrong in (
        b"",
        body.replace(b"old 2", b"old 02"),
        body.replace(b"old 2", b"new 2"),
        body.replace(b"old 2", b"old"),
        b"old 2\n" + hash_line * 64 + b"\n" + NOTE,
        b"old 2\nAAAA\n\n" + NOTE,
        b"old 2\n\n",
        b"old \xb2\n\n" + NOTE,
        b"old 2\n" + NOTE,
    ):
        with pytest.raises(NoteError):
            decode_add_checkpoint(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a+b",
        "a b+00000000+AAAA",
        GO_KEY.replace("033de0ae", "033de0af"),
        GO_KEY[:-4],
        GO_KEY.replace("+Ac", "+Bc"),
        GO_KEY.removeprefix("sum.golang.org"),
        "a+00000000+",
    ],
)
def test_what_is_no_key_is_refused(wrong: str) -> None:
    with pytest.raises(NoteError):
        NoteKey.from_text(wrong)
