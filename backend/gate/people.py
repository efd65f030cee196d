"""Who has signed an order: exactly the roles its type asks for, each a person with a key of its own.

Rules (C-02, C-02a, C-09, P-06): every signature is verified, none may be missing or superfluous; no key and
no person in two roles, the gate's own included; delegations in force now, for this type and this lender; no
service account. The signatures are the very bytes that go into the order.

Example:
    people = verify_people(order, payload, parts, book=book, own=own, roles=roles, officers=None, now_s=now_s)
    people.maker.person, people.nos
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.gate.authority import AuthorityBook, is_service_account
from backend.gate.names import folded
from backend.gate.rules import No, Rule
from protocol import cose_sign
from protocol.orders import OrderType, Role, SignKind, check_signature
from protocol.orders_authority import lender_cohort

Parts = Sequence[tuple[bytes, bytes]]
"""Protected header and signature of each signer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One who signed.

    Attributes:
        role: maker or checker.
        kid: 32 bytes.
        person: the delegation's subject.
        per_day: orders a day by the delegation.
    """

    role: Role
    kid: bytes
    person: str
    per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who signed, and what speaks against it."""

    signed: tuple[Person, ...]
    nos: tuple[No, ...]

    @property
    def maker(self) -> Person:
        """The maker, or whoever signed alone."""
        return min(self.signed, key=lambda person: person.role)

    @property
    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(person.person for person in self.signed)


def verify_people(
    order: Mapping[int, Any],
    payload: bytes,
    parts: Parts,
    *,
    book: AuthorityBook,
    own: tuple[bytes, str],
    roles: Sequence[tuple[Role, ...]],
    officers: frozenset[str] | None,
    now_s: int,
) -> People:
    """Return who signed.

    Args:
        order: the payload's fields.
        payload: its bytes.
        parts: signatures of people; the gate's own is not among them.
        book: roots and delegations.
        own: kid and person of the gate.
        roles: each set of roles that may have signed so far, ascending.
        officers: the lender's register of persons; None without one.
        now_s: POSIX seconds.
    """
    nos: list[No] = []
    found: list[Person] = []
    for protected, signature in parts:
        person, wrong = _verify_part(order, payload, (protected, signature), book=book, now_s=now_s)
        if person is not None:
            found.append(person)
        if wrong is not None:
            nos.append(No(rule=Rule.SIGNERS, detail=wrong))
    if not nos and tuple(sorted(person.role for person in found)) not in roles:
        nos.append(No(rule=Rule.SIGNERS, detail="not exactly the roles that this order needs"))
    kids = [own[0], *(person.kid for person in found)]
    names = [folded(own[1]), *(folded(person.person) for person in found)]
    if len(set(kids)) != len(kids) or len(set(names)) != len(names):
        nos.append(No(rule=Rule.SIGNERS, detail="one key or one person stands in two roles"))
    nos += [
        No(rule=Rule.NATURAL_PERSON, detail=f"the {person.role.name.lower()} is no registered person")
        for person in found
        if is_service_account(person.person, officers)
    ]
    return People(signed=tuple(found), nos=tuple(nos))


def _verify_part(
    order: Mapping[int, Any], payload: bytes, part: tuple[bytes, bytes], *, book: AuthorityBook, now_s: int
) -> tuple[Person | None, str | None]:
    """Return one signer and what is wrong with it."""
    try:
        signer = cose_sign.Signer(*part)
    except ValueError as error:
        return None, f"a signer's header is not of its form: {error}"
    holder = book.holder(signer.delegation) if signer.delegation is not None else None
    is_lenders = signer.role in (Role.MAKER, Role.CHECKER) and signer.log_ref is None
    if not is_lenders or holder is None or holder.kid != signer.kid:
        return None, "a signer is no maker or checker, or its delegation is unknown or of another key"
    digest = cose_sign.signed_digest(SignKind.COMMAND.value, payload, signer.protected)
    if check_signature(holder.xy, digest, signer.signature) != "OK":
        return None, "a signature does not verify"
    role = Role(signer.role)
    person = Person(
        role=role,
        kid=signer.kid,
        person=holder.person,
        per_day=book.per_day[holder.digest],
    )
    if not book.is_valid(holder, role, now_s):
        return person, f"the {role.name.lower()}'s delegation is revoked, early, over or of another role"
    if int(OrderType(order[3])) not in holder.types or holder.cohort != lender_cohort(order[4]):
        return person, f"the {role.name.lower()}'s delegation is of other orders or another lender"
    return person, None
