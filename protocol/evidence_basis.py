"""What an order's basis says, in sentences: the pack, the notices and how they were delivered.

Rules (C-12; README §1.13): the bundle is the one that the people signed, by its hash. Facts and records carry
the loan system's signature, whose key a trust file does not name, so each sentence says that it is the loan
system's word. A channel counts by the state that the record gives it: queued or bounced never counts. What
cannot be read is said to be so; it makes nothing else false.

This module judges nothing: whether the loan was eligible, the gate has said by its signature.

Example:
    >>> basis_sentences(b"no bundle")
    ['What it rests on is in a form that this reader does not know.']
"""

from datetime import UTC, datetime

from protocol import cose_sign
from protocol.errors import ProtocolError
from protocol.loan_facts import Delivery, LoanRecord, Notice, read_basis, read_loan_record

_SHOWN = (Delivery.DELIVERED, Delivery.SERVED)


def basis_sentences(bundle: bytes) -> list[str]:
    """Return what a bundle says of pack, opinion and notices."""
    try:
        basis = read_basis(bundle)
        records = [_record(data) for data in basis.records]
    except (ProtocolError, ValueError):
        return ["What it rests on is in a form that this reader does not know."]
    found = []
    if basis.pack is not None:
        name, version, digest = basis.pack
        found.append(
            f"It was judged by the jurisdiction pack {name} version {version}, {digest.hex()[:16]}…."
        )
    if basis.opinion is not None:
        found.append(f"It names counsel's opinion {basis.opinion.hex()[:16]}….")
    notices = [record.body for record in records if isinstance(record.body, Notice)]
    found += [_told(notice) for notice in sorted(notices, key=lambda notice: notice.at_s)]
    return found or ["The bundle names no pack and holds no notice."]


def _record(data: bytes) -> LoanRecord:
    return read_loan_record(cose_sign.read_sign1(data)[2])


def _told(notice: Notice) -> str:
    word = notice.state.name.lower()
    counts = "" if notice.state in _SHOWN else ", which does not count"
    return (
        f"By the loan system's word the {notice.type.name.lower()} notice was {word} "
        f"by {notice.channel.name.lower().replace('_', ' ')} at {_time(notice.at_s)}{counts}."
    )


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
