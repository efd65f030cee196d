"""Orders and go tokens that are authentic and still not acted on, each with the signed code it gets.

Rules: see `orders_refused`. Every signature verifies, except where the unsigned code says otherwise.

This module writes no file: see `orders_messages`.

Example:
    >>> next(rejected_orders()).code
    'SIGNER_SET'
"""

from collections.abc import Iterator

from protocol import cose_sign
from protocol.envelope import Kind
from protocol.orders import (
    OrderSigner,
    OrderType,
    Role,
    sign_document,
    sign_order,
)
from protocol.vectors.forge import forge
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import (
    COMMISSIONING,
    administering,
    commissioning,
    go_fields,
    good_orders,
    lock_signers,
    releasing,
    restricting,
    ticket,
)
from protocol.vectors.orders_story import (
    CHALLENGE,
    CHALLENGE_TICK_S,
    DAY_S,
    MCU,
    NOW_S,
    OTHER_LENDER_ID,
    TICK_S,
    digest,
    revocation,
    signer,
)
from protocol.vectors.orders_tried import Tried, link, reject
from protocol.vectors.story import fixed_bytes

LOCK, UNLOCK, QUERY = OrderType.LOCK, OrderType.UNLOCK, OrderType.QUERY
BIND, BENCH, TRACE = OrderType.BIND, OrderType.BENCH, OrderType.TRACE


def rejected_orders() -> Iterator[Tried]:
    """Yield every order that verifies and is rejected or known, in a fixed order."""
    yield from _signer_sets()
    yield from _delegations()
    yield from _identities()
    yield from _times()
    yield from _contents()
    yield from _commissionings()
    yield from _repeats()


def tried_go_tokens() -> Iterator[Tried]:
    """Yield go tokens for the good LOCK, armed for a minute; the first is good."""
    gate = published_signer("gate-1")

    def token(**changes: object) -> bytes:
        fields = go_fields() | {int(key.removeprefix("key_")): value for key, value in changes.items()}
        return sign_document(Kind.GO, fields, gate)

    good = token()
    yield Tried(name="go", message=good, outcome="GO", code="OK")
    for name, code, message in (
        ("no-go", "NO_GO", token(key_5=2)),
        ("other-order", "NO_GO", token(key_3=fixed_bytes("another order", 32))),
        ("other-parking", "NO_GO", token(key_4=fixed_bytes("another parking"))),
        ("other-device", "WRONG_DEVICE", token(key_2=fixed_bytes("another device", 32))),
    ):
        yield Tried(name=f"go/{name}", message=message, outcome="GO", code=code)
    yield Tried(name="go/old", message=good, outcome="GO", code="NO_GO", changes={"tick": TICK_S + 841})
    maker = sign_document(Kind.GO, go_fields() | {9: digest("maker")}, published_signer("maker-1"))
    yield Tried(name="go/by-the-maker", message=maker, outcome="GO", code="DELEGATION_SCOPE")
    stranger = sign_document(Kind.GO, go_fields(), published_signer("stranger"))
    yield Tried(name="go/by-a-stranger", message=stranger, outcome="LINK", code="UNKNOWN_KEY")
    other_kind = forge(Kind.TICKET, cose_sign.read_sign1(good)[2], gate)
    yield Tried(name="go/of-another-kind", message=other_kind, outcome="LINK", code="BAD_SIG")
    yield Tried(name="go/cut", message=good[:-1], outcome="LINK", code="BAD_ENCODING")


def _signer_sets() -> Iterator[Tried]:
    """Each of these verifies; none is the set that its type asks for (C-02, C-09)."""
    lock, unlock = restricting(LOCK), releasing(UNLOCK)
    maker, checker, gate = lock_signers()
    ombuds = signer("ombuds")
    for name, order, signers in (
        ("no-gate", lock, (maker, checker)),
        ("no-checker", lock, (maker, gate)),
        ("no-maker", lock, (checker, gate)),
        ("gate-alone", lock, (gate,)),
        ("ombuds-more", lock, (maker, checker, gate, ombuds)),
        ("checker-twice", lock, (maker, checker, checker, gate)),
        ("unlock-by-two", unlock, (maker, checker)),
        ("unlock-twice-by-one", unlock, (ombuds, ombuds)),
        ("unlock-by-installer", unlock, (signer("installer"),)),
        ("decommission-without-gate", releasing(OrderType.DECOMMISSION), (maker,)),
        ("decommission-by-both", releasing(OrderType.DECOMMISSION), (maker, checker, signer("gate"))),
        ("query-by-two", administering(QUERY), (maker, ombuds)),
        ("trace-by-maker", administering(TRACE), (maker,)),
    ):
        yield reject(f"signers/{name}", "SIGNER_SET", sign_order(order, *signers))
    as_checker, same_person = signer("maker-as-checker"), signer("same-person")
    yield reject("signers/one-key-two-roles", "ROLE_CONFLICT", sign_order(lock, maker, as_checker, gate))
    yield reject("signers/one-person-two-keys", "ROLE_CONFLICT", sign_order(lock, maker, same_person, gate))


def _delegations() -> Iterator[Tried]:
    lock, unlock = restricting(LOCK), releasing(UNLOCK)
    maker, checker, gate = lock_signers()
    posing = OrderSigner(signer=checker.signer, role=Role.MAKER, delegation=checker.delegation)
    scoped: tuple[tuple[str, tuple[OrderSigner, ...]], ...] = (
        ("over", (maker, signer("checker-over"), gate)),
        ("early", (maker, signer("checker-early"), gate)),
        ("of-other-types", (maker, signer("checker-unlock-only"), gate)),
        ("of-another-lender", (signer("maker-of-other-lender"), checker, gate)),
    )
    for name, signers in scoped:
        yield reject(f"delegation/{name}", "DELEGATION_SCOPE", sign_order(lock, *signers))
    yield reject("delegation/of-another-role", "DELEGATION_SCOPE", sign_order(unlock, posing))
    revoked = revocation(1, "person maker-1").hex()
    yield reject(
        "delegation/person-revoked",
        "KEY_REVOKED",
        sign_order(lock, maker, checker, gate),
        revocations=[revoked],
    )
    yield reject("delegation/revoked-unlock", "KEY_REVOKED", sign_order(unlock, maker), revocations=[revoked])
    key = revocation(2, published_signer("checker-1").kid).hex()
    yield reject(
        "delegation/key-revoked", "KEY_REVOKED", sign_order(lock, maker, checker, gate), revocations=[key]
    )


def _identities() -> Iterator[Tried]:
    other = fixed_bytes("another", 32)
    for name, code, change in (
        ("device", "WRONG_DEVICE", {5: other}),
        ("vin", "VIN_MISMATCH", {6: other}),
        ("lender", "WRONG_LENDER", {4: OTHER_LENDER_ID}),
        ("contract", "WRONG_LENDER", {7: other}),
        ("epoch", "WRONG_EPOCH", {8: other[:16]}),
        ("old-ctr", "REPLAY_CTR", {9: 10}),
        ("far-ctr", "CTR_JUMP", {9: 10 + (1 << 32) + 1}),
    ):
        yield reject(f"identity/{name}", code, sign_order(restricting(LOCK) | change, *lock_signers()))
    for name, code, unlock_change in (
        ("unlock-old-ctr", "REPLAY_CTR", {9: 20}),
        ("unlock-of-the-epoch-before", "WRONG_EPOCH", {8: other[:16]}),
    ):
        yield reject(
            f"identity/{name}", code, sign_order(releasing(UNLOCK) | unlock_change, signer("ombuds"))
        )


def _times() -> Iterator[Tried]:
    lock = restricting(LOCK)

    def signed(**changes: object) -> bytes:
        order = lock | {int(key.removeprefix("key_")): value for key, value in changes.items()}
        return sign_order(order, *lock_signers())

    good = signed()
    yield reject("time/other-challenge", "CHALLENGE", signed(key_13=fixed_bytes("another challenge")))
    yield reject("time/no-challenge-open", "CHALLENGE", good, chal=None)
    yield reject("time/tick-over", "EXPIRED", good, tick=CHALLENGE_TICK_S + DAY_S + 1)
    yield reject("time/tick-too-far", "TTL_TOO_LONG", signed(key_14=CHALLENGE_TICK_S + DAY_S + 1))
    yield reject("time/life-too-long", "TTL_TOO_LONG", signed(key_12=NOW_S - 600 + DAY_S + 1))
    yield reject("time/over", "EXPIRED", good, earliest=NOW_S + DAY_S, latest=NOW_S + DAY_S + 2)
    yield reject("time/perhaps-over", "CLOCK_UNCERTAIN", signed(key_12=NOW_S + 1))
    yield reject("time/early", "NOT_YET", signed(key_11=NOW_S + 60))
    yield reject("time/perhaps-early", "CLOCK_UNCERTAIN", signed(key_11=NOW_S))
    yield reject("time/no-clock", "CLOCK_UNCERTAIN", good, earliest=None, latest=None)
    yield reject("time/wide-clock", "CLOCK_UNCERTAIN", good, earliest=NOW_S - 200, latest=NOW_S + 101)
    query = administering(QUERY)
    ombuds = signer("ombuds")
    yield reject(
        "time/query-no-clock", "CLOCK_UNCERTAIN", sign_order(query, ombuds), earliest=None, latest=None
    )
    yield reject("time/query-over", "EXPIRED", sign_order(query | {12: NOW_S - 60}, ombuds))
    yield reject("time/query-tick-null", "TTL_TOO_LONG", sign_order(query | {13: CHALLENGE}, ombuds))


def _contents() -> Iterator[Tried]:
    good = good_orders()["lock"][0]
    for name, code, change in (
        ("theft", "REASON_REFUSED", {16: 2}),
        ("jurisdiction", "WRONG_JURISDICTION", {18: "US-NJ"}),
        ("prev", "CHAIN_GAP", {21: bytes(32)}),
    ):
        yield reject(f"content/{name}", code, sign_order(restricting(LOCK) | change, *lock_signers()))
    yield reject("content/monitor-only", "MONITOR_ONLY", good, mode=2)
    late = NOW_S + 7 * DAY_S
    fresh = {10: late - 600, 11: late - 300, 12: late + 600}
    stale = sign_order(restricting(LOCK) | fresh, *lock_signers())
    yield reject("content/metadata-stale", "METADATA_STALE", stale, earliest=late - 2, latest=late + 2)
    yield reject("content/no-lender-snapshot", "METADATA_STALE", good, missing=["authority/lender"])


def _commissionings() -> Iterator[Tried]:
    mcu, installer = OrderSigner(signer=MCU, role=Role.MCU), signer("installer")
    gate = signer("gate")

    def tried(name: str, code: str, message: bytes) -> Tried:
        return reject(f"commissioning/{name}", code, message, **COMMISSIONING)

    yield tried("bind-without-gate", "SIGNER_SET", sign_order(commissioning(BIND, None), mcu, installer))
    yield tried("bind-without-device", "SIGNER_SET", sign_order(commissioning(BIND, None), installer, gate))
    yield tried(
        "bind-gate-and-ticket", "SIGNER_SET", sign_order(commissioning(BIND, ticket()), mcu, installer, gate)
    )
    yield tried(
        "bench-of-300-s",
        "TTL_TOO_LONG",
        sign_order(commissioning(BENCH, ticket()) | {14: TICK_S + 270}, installer),
    )
    for name, code, made in (
        ("ticket-over", "EXPIRED", ticket(key_5=29)),
        ("ticket-of-another-installer", "SIGNER_SET", ticket(key_3=bytes(32))),
        ("ticket-of-another-device", "WRONG_DEVICE", ticket(key_2=bytes(32))),
        ("ticket-of-another-visit", "CHALLENGE", ticket(key_4=bytes(16))),
    ):
        yield tried(name, code, sign_order(commissioning(BENCH, made), installer))
    bench = sign_order(commissioning(BENCH, ticket()), installer)
    bound = {"heads": [10, 20, 0], "chal_tick": TICK_S - 30}
    yield reject("commissioning/bench-in-a-bound-car", "WRONG_MODE", bench, **bound)
    broken = ticket()[:-1] + bytes([ticket()[-1] ^ 1])
    message = sign_order(commissioning(BENCH, broken), installer)
    yield link("commissioning/ticket-broken", message, "BAD_SIG", **COMMISSIONING)
    other_mcu = OrderSigner(signer=published_signer("stranger"), role=Role.MCU)
    foreign = sign_order(commissioning(BIND, None), other_mcu, installer, gate)
    yield link("commissioning/another-device-s-key", foreign, "UNKNOWN_KEY", **COMMISSIONING)


def _repeats() -> Iterator[Tried]:
    """A known cmd_id returns what was answered, also when the content differs; nothing acts."""
    lock = restricting(LOCK)
    done = {fixed_bytes("order LOCK 11").hex(): "aa"}
    for name, message in (
        ("lock", good_orders()["lock"][0]),
        ("lock-with-other-content", sign_order(lock | {15: 3_600}, *lock_signers())),
        ("lock-after-a-later-one", sign_order(lock | {9: 3}, *lock_signers())),
    ):
        yield Tried(
            name=f"repeat/{name}", message=message, outcome="REPEAT", code="DUPLICATE", changes={"done": done}
        )
