"""`order-messages.json`: the device's side as data, the documents it holds, every message and its answer.

Rules: whoever implements the reader, in any language, builds the device from `anchors`, `documents` and
`device`, applies a message's `changes`, reads the message, and must give `outcome` and `code`. `reader` is
`order`, or `go` for a token that answers the good LOCK.

This module writes no file: see `generate`.

Example:
    >>> sorted(content())
    ['anchors', 'device', 'documents', 'go', 'mcu', 'messages']
"""

from collections.abc import Iterator

from protocol.ids import cose_key_bytes
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import CHAL2, CHAL2_TICK_S, good_documents, good_orders, lock_hash
from protocol.vectors.orders_refused import refused_orders
from protocol.vectors.orders_rejected import rejected_orders, tried_go_tokens
from protocol.vectors.orders_story import ANCHORS, DEVICE_STATE, MCU, documents
from protocol.vectors.orders_tried import Tried


def accepted_orders() -> Iterator[Tried]:
    """Yield each good order with the device that accepts it."""
    for name, (message, changes) in good_orders().items():
        yield Tried(name=name, message=message, outcome="ACCEPT", code="OK", changes=changes)


def content() -> dict[str, object]:
    """Return the file's content."""
    tried = [
        *(("order", case) for case in (*accepted_orders(), *refused_orders(), *rejected_orders())),
        *(("go", case) for case in tried_go_tokens()),
    ]
    return {
        "mcu": cose_key_bytes(MCU.public_key).hex(),
        "anchors": [
            {
                "issuer": issuer,
                "keys": [cose_key_bytes(published_signer(name).public_key).hex() for name in names],
                "threshold": threshold,
            }
            for issuer, (names, threshold) in ANCHORS.items()
        ],
        "documents": [
            {"name": name, "hex": data.hex()} for name, data in {**documents(), **good_documents()}.items()
        ],
        "device": dict(DEVICE_STATE),
        "go": {"cmd_hash": lock_hash().hex(), "chal2": CHAL2.hex(), "chal2_tick": CHAL2_TICK_S},
        "messages": [
            {
                "name": case.name,
                "reader": reader,
                "changes": dict(case.changes),
                "outcome": case.outcome,
                "code": case.code,
                "hex": case.message.hex(),
            }
            for reader, case in tried
        ],
    }
