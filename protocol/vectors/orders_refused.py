"""Orders that nobody authentic sent, each with the unsigned code it gets: containers, fields, signatures.

Rules: each is a good one with one thing changed, so that the change alone is the reason. Three are messages
that popular COSE libraries take for verified (`trap/…`; command-authority §6.2): one whose second signer the
reader does not know, one whose second signature is zeros, one that carries the maker's signature twice.

What is authentic and still not acted on stands in `orders_rejected`. This module writes no file: see
`orders_messages`.

Example:
    >>> next(refused_orders()).name
    'trap/checker-unknown'
"""

from collections.abc import Iterator, Mapping

from protocol import cose_sign, strict_cbor
from protocol.orders import (
    OrderSigner,
    OrderType,
    Role,
    SignKind,
    assemble,
    encode_order,
    sign_order,
    sign_part,
)
from protocol.vectors.forge import with_high_s
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import (
    good_orders,
    lock_signers,
    releasing,
    restricting,
)
from protocol.vectors.orders_story import (
    DAY_S,
    NOW_S,
    digest,
    signer,
)
from protocol.vectors.orders_tried import Tried, link, reject

LOCK, UNLOCK, QUERY = OrderType.LOCK, OrderType.UNLOCK, OrderType.QUERY
BIND, BENCH, TRACE = OrderType.BIND, OrderType.BENCH, OrderType.TRACE


def refused_orders() -> Iterator[Tried]:
    """Yield every order that gets an unsigned code, and three that verify and are not known."""
    yield from _traps()
    yield from _containers()
    yield from _fields()
    yield from _signatures()


def parts_of(order: Mapping[int, object], *signers: OrderSigner) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return an order's payload, and what each signer adds to it."""
    payload = encode_order(order)
    return payload, [sign_part(SignKind.COMMAND, payload, by) for by in signers]


def _traps() -> Iterator[Tried]:
    """The three that libraries accept (command-authority §6.2; C-09)."""
    payload, parts = parts_of(restricting(LOCK), *lock_signers())
    maker, checker, gate = parts
    yield link(
        "trap/checker-unknown",
        assemble(payload, parts),
        "DELEGATION_MISSING",
        missing=["delegation/checker"],
    )
    yield link("trap/checker-zeroed", assemble(payload, [maker, (checker[0], bytes(64)), gate]), "BAD_SIG")
    yield reject("trap/maker-twice", "SIGNER_SET", assemble(payload, [maker, maker, gate]))


def _containers() -> Iterator[Tried]:
    lock = good_orders()["lock"][0]
    payload, parts = parts_of(restricting(LOCK), *lock_signers())
    triples = [[protected, {}, signature] for protected, signature in parts]

    def tagged(*items: object) -> bytes:
        return bytes(cose_sign.TAG_SIGN + strict_cbor.dumps(list(items)))

    body = cose_sign.BODY
    yield link("container/empty", b"")
    yield link("container/untagged", lock[2:])
    yield link("container/tag-18", b"\xd2" + lock[2:])
    yield link("container/trailing", lock + b"\x00")
    yield link("container/too-long", lock + bytes(2_049 - len(lock)))
    yield link("container/detached", tagged(body, {}, None, triples))
    yield link("container/body-header-empty", tagged(b"", {}, payload, triples))
    yield link("container/body-header-with-alg", tagged(b"\xa2\x01\x28\x03\x18\x3c", {}, payload, triples))
    yield link("container/unprotected", tagged(body, {4: b"kid"}, payload, triples))
    yield link("container/no-signer", tagged(body, {}, payload, []))
    yield link("container/nine-signers", tagged(body, {}, payload, [[b"", {}, bytes(64)]] * 9))
    first, rest = triples[0], triples[1:]
    yield link(
        "container/signer-unprotected", tagged(body, {}, payload, [[first[0], {4: b""}, first[2]], *rest])
    )
    yield link("container/short-signature", tagged(body, {}, payload, [[first[0], {}, bytes(63)], *rest]))
    header = strict_cbor.loads(first[0])
    for name, changed in (
        ("es256", header | {1: -7}),
        ("no-alg", {key: value for key, value in header.items() if key != 1}),
        ("short-kid", header | {4: header[4][:31]}),
        ("unknown-parameter", header | {-65550: 1}),
        ("critical", header | {2: [-65550]}),
        ("no-delegation", {key: value for key, value in header.items() if key != cose_sign.DELEGATION}),
        ("role-of-a-root", header | {-65537: 1}),
        ("log-place-without-attestation", header | {-65539: ["log.example/tbox", 1, 2, bytes(32)]}),
    ):
        entry = [strict_cbor.dumps(changed), {}, first[2]]
        yield link(f"container/{name}", tagged(body, {}, payload, [entry, *rest]))
    unlogged = sign_order(restricting(LOCK), signer("maker"), signer("checker"), signer("gate"))
    yield link("container/gate-without-log-place", unlogged)


def _fields() -> Iterator[Tried]:
    """Payloads that are signed well and are no order."""

    def signed(order: Mapping[int, object], *signers: OrderSigner) -> bytes:
        payload = bytes(strict_cbor.dumps(dict(order)))
        return assemble(payload, [sign_part(SignKind.COMMAND, payload, by) for by in signers])

    lock, unlock = restricting(LOCK), releasing(UNLOCK)
    ctr, episode = 9, 24
    for name, order in (
        ("key-27", lock | {27: 0}),
        ("no-episode", {key: value for key, value in lock.items() if key != episode}),
        ("ctr-0", lock | {9: 0}),
        ("ctr-beyond", lock | {9: 1 << 53}),
        ("chal-null", lock | {13: None}),
        ("tick-exp-null", lock | {14: None}),
        ("hold-beyond-7-days", lock | {15: 604_801}),
        ("two-override-codes", lock | {23: {1: 2, 2: 86_400}}),
        ("override-below-24-h", lock | {23: {1: 3, 2: 86_399}}),
        ("max-speed-3", lock | {19: {1: 3}}),
        ("pre-key-9", lock | {19: {9: 0}}),
        ("is-true", lock | {9: True}),
        ("text-id", lock | {2: "0123456789abcdef"}),
    ):
        yield link(f"field/{name}", signed(order, *lock_signers()))
    for name, order in (
        ("unlock-that-expires", unlock | {12: NOW_S + DAY_S}),
        ("unlock-with-basis", unlock | {17: bytes(32)}),
        ("unlock-without-ctr", {key: value for key, value in unlock.items() if key != ctr}),
    ):
        yield link(f"field/{name}", signed(order, signer("ombuds")))
    for name, order in (
        ("version-2", unlock | {1: 2}),
        ("type-6", unlock | {3: 6}),
        ("type-10", unlock | {3: 10}),
    ):
        yield reject(f"field/{name}", "UNSUPPORTED", signed(order, signer("ombuds")))
    yield reject("field/type-6-by-the-gate", "UNSUPPORTED", signed(unlock | {3: 6}, signer("gate")))


def _signatures() -> Iterator[Tried]:
    payload, parts = parts_of(restricting(LOCK), *lock_signers())
    maker, checker, gate = parts
    yield link(
        "signature/swapped",
        assemble(payload, [(maker[0], checker[1]), (checker[0], maker[1]), gate]),
        "BAD_SIG",
    )
    yield link("signature/gate-zeroed", assemble(payload, [maker, checker, (gate[0], bytes(64))]), "BAD_SIG")
    high = (maker[0], with_high_s(maker[1]))
    yield link("signature/high-s", assemble(payload, [high, checker, gate]), "HIGH_S")
    other = [sign_part(SignKind.AUTHORITY, payload, by) for by in lock_signers()]
    yield link("signature/of-another-kind", assemble(payload, other), "BAD_SIG")
    changed = encode_order(restricting(LOCK) | {15: 604_800})
    yield link("signature/of-another-payload", assemble(changed, parts), "BAD_SIG")
    stranger = OrderSigner(signer=published_signer("stranger"), role=Role.MAKER, delegation=digest("maker"))
    yield link(
        "signature/stranger", sign_order(restricting(LOCK), stranger, *lock_signers()[1:]), "UNKNOWN_KEY"
    )
    made_up = OrderSigner(signer=published_signer("stranger"), role=Role.OMBUDS, delegation=bytes(32))
    yield link("signature/delegation-made-up", sign_order(releasing(UNLOCK), made_up), "DELEGATION_MISSING")
    yield link("signature/rate", good_orders()["lock"][0], "BUSY", signatures_left=2)
