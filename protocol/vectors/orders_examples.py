"""What SPEC.md shows of orders: bytes by name, and the table of states as text.

Rules: see `generate`, which calls this; an example is one of the good orders or documents, seen whole or in
parts.

Example:
    >>> orders_example("order-payload", "unlock/ombuds")[:3].hex()
    'ae0101'
    >>> states_table(OrderType.UNLOCK).splitlines()[0]
    'NONE             arrived           RECEIVED'
"""

from protocol import cose_sign
from protocol.orders import OrderType, SignKind
from protocol.orders_vocabulary import STATES, TRANSITIONS
from protocol.vectors.orders_good import good_documents, good_orders
from protocol.vectors.orders_story import documents


def orders_example(view: str, subject: str) -> bytes:
    """Return the bytes of an example.

    Args:
        view: `order`, `order-payload`, `order-signer` (of the last signer, of the first `order-signer-1`),
            `order-signed`, `document` or `document-payload`.
        subject: the name of a good order or document.
    """
    if view.startswith("document"):
        message = {**documents(), **good_documents()}[subject]
        if view == "document":
            return message
        is_sign1 = message.startswith(cose_sign.TAG_SIGN1)
        return bytes(cose_sign.read_sign1(message)[2] if is_sign1 else cose_sign.read_sign(message)[0])
    message = good_orders()[subject][0]
    payload, signers = cose_sign.read_sign(message)
    protected: bytes = signers[-1].protected
    views: dict[str, bytes] = {
        "order": message,
        "order-payload": payload,
        "order-signer": protected,
        "order-signer-1": bytes(signers[0].protected),
        "order-signed": bytes(cose_sign.sig_structure(SignKind.COMMAND.value, payload, protected)),
    }
    return views[view]


def states_table(order_type: OrderType) -> str:
    """Return one line for each change of state: before, event, after; in the order of their numbers."""
    table: dict[tuple[int, str], int] = TRANSITIONS[order_type]
    return "\n".join(
        f"{STATES[before]:<16} {event:<17} {STATES[after]}"
        for (before, event), after in sorted(table.items())
    )
