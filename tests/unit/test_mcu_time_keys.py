"""The keys that sign time for the microcontroller: how one hands over to the next (SPEC §12, K-04)."""

import pytest

from device.mcu import brain as link
from device.mcu import time_keys
from protocol import strict_cbor
from protocol.ids import cose_key_bytes
from protocol.key_succession import KeyRole, KeySuccession, sign_key_succession
from protocol.orders import check_signature
from protocol.signed_time import TimeToken, sign_time_token
from protocol.vectors.keys import published_signer
from tests.builders.mcu import Box

OLD, NEW, NEXT, STRANGER = (
    published_signer(name) for name in ("receipt-1", "maker-1", "checker-1", "stranger")
)


def succession(signer=OLD, new=NEW, *, role: int = KeyRole.RECEIPT, valid_from_s: int = 0) -> bytes:  # noqa: ANN001 - of the vectors
    successor = cose_key_bytes(new.public_key)
    return sign_key_succession(
        KeySuccession(role=role, successor=successor, valid_from_us=valid_from_s * 1_000_000), signer
    )


def give(box: Box, document: bytes) -> str:
    box.run(40)
    box.send(link.AUTHORITY, strict_cbor.dumps([6, document]))
    return box.events()[-1]


def answer_time(box: Box, signer=NEW) -> str:  # noqa: ANN001 - of the vectors
    """Return the word for a signed time by a key."""
    before = dict(box.brain.counters)
    nonce = box.brain.clock.nonce(box.brain.tick, box.board.random)
    box.send(link.TIME, sign_time_token(TimeToken(nonce=nonce, utc_us=box.now_s * 1_000_000), signer))
    return next(name for name, count in box.brain.counters.items() if count > before.get(name, 0))


def provisioned() -> Box:
    box = Box()
    box.provision()
    box.run(70)
    return box


def test_a_successor_signs_time_after_a_reset_too_and_the_key_before_it_is_then_refused() -> None:
    box = provisioned()
    assert answer_time(box) == "time_unknown_key"
    assert give(box, succession()) == "AUTHORITY_OK"
    assert answer_time(box, OLD) == "time_ok", "both stand while they overlap"
    box.reset("power")
    box.run(70)
    assert answer_time(box) == "time_ok"
    assert answer_time(box, OLD) == "time_unknown_key"
    assert give(box, succession(OLD, NEXT)) == "AUTHORITY_UNKNOWN_KEY", "it names nobody any more"
    assert give(box, succession(NEW, NEXT)) == "AUTHORITY_OK"
    assert answer_time(box, NEXT) == "time_ok"


def test_a_successor_does_not_sign_before_its_time() -> None:
    box = provisioned()
    give(box, succession(valid_from_s=box.now_s + 500))
    assert answer_time(box) == "time_not_yet"
    box.run(600)
    assert answer_time(box) == "time_ok"


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (succession(STRANGER), "UNKNOWN_KEY"),
        (succession(role=KeyRole.POLICY), "NOT_SUCCESSOR"),
        (succession(OLD, OLD), "NOT_SUCCESSOR"),
        (succession()[:-1] + b"\x00", "BAD_SIG"),
        (succession()[:-70], "BAD_ENCODING"),
        (b"", "BAD_ENCODING"),
    ],
)
def test_a_link_that_is_none_changes_nothing(document: bytes, word: str) -> None:
    box = provisioned()
    keys = box.brain.record.time_keys
    assert give(box, document) == f"AUTHORITY_{word}"
    assert box.brain.record.time_keys == keys


def test_a_repeat_changes_nothing_and_the_oldest_other_key_makes_room() -> None:
    names = ("ombuds-1", "gate-1", "installer-1")
    keys = [cose_key_bytes(published_signer(name).public_key) for name in names]
    entries = time_keys.first([*keys, cose_key_bytes(OLD.public_key)])
    word, entries = time_keys.succeed(entries, succession(), check_signature)
    assert (word, len(entries)) == ("OK", time_keys.KEYS_MAX)
    assert time_keys.find(entries, published_signer("ombuds-1").kid) is None
    assert time_keys.find(entries, OLD.kid) is not None
    assert time_keys.succeed(entries, succession(), check_signature) == ("SAME", entries)
