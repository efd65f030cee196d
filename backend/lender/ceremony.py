"""The ceremony of roots: a draft, each officer's part from his own machine, the assembled document.

Rules (ADR 0041; K-03, README §2.2): nothing here needs a network. A draft holds up to three payloads; an
officer sees each decoded before he signs and his part names the payloads by their hash; assembling takes
exactly as many parts as the threshold asks and reads the result with the car's own reader against the pinned
root. Signing the same draft again is harmless.

This module prints nothing: see `ceremony_text` and the commands.

Example:
    >>> draft = Draft(kind=SignKind.DELEGATION, payloads=(payload,))
    >>> document = assemble(draft, [part_1, part_2], root)
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from backend.lender.errors import LenderError, RefusesError
from backend.lender.files import read_json, to_json
from backend.lender.keys import KeySigner
from backend.lender.limits import DELEGATIONS_MAX
from backend.lender.roots import ProtocolRoot
from protocol import cose_sign, orders_authority, orders_payload
from protocol.orders import OrderSigner, Role, SignKind, check_signature, sign_part
from protocol.orders import assemble as put_together

DRAFT_MARK: Final = "tbox_draft"
PART_MARK: Final = "tbox_part"
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the officers are asked to sign.

    Attributes:
        kind: delegation or authority.
        payloads: one to three, each exactly of its form.
    """

    kind: SignKind
    payloads: tuple[bytes, ...]

    def fields(self) -> tuple[dict[int, Any], ...]:
        """Return the payloads decoded by the car's reader.

        Raises:
            RefusesError: one is not exactly of its form; nobody signs it then.
        """
        try:
            return tuple(orders_payload.read_document(self.kind.value, payload) for payload in self.payloads)
        except ValueError as unknown:
            raise RefusesError(f"the draft cannot be decoded, so it cannot be shown: {unknown}") from unknown

    @property
    def issuer(self) -> str:
        """Whose root is to sign: of all payloads the same."""
        key = 1 if self.kind is SignKind.DELEGATION else 2
        issuers = {str(fields[key]) for fields in self.fields()}
        if len(issuers) != 1:
            raise RefusesError("the draft mixes documents of several issuers")
        return issuers.pop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One officer's signatures of a draft.

    Attributes:
        kid: whose.
        signatures: by SHA-256 of the payload, protected header and signature.
    """

    kid: bytes
    signatures: dict[bytes, tuple[bytes, bytes]]


def draft_file(draft: Draft) -> bytes:
    """Return the file in which a draft travels between officers."""
    payloads = [b64encode(payload).decode() for payload in draft.payloads]
    return to_json({DRAFT_MARK: 1, "kind": draft.kind.value, "payloads": payloads})


def read_draft(path: Path) -> Draft:
    """Read a draft.

    Raises:
        LenderError: another file.
    """
    content = read_json(path, DRAFT_MARK)
    try:
        kind = SignKind(content["kind"])
        payloads = tuple(b64decode(text, validate=True) for text in content["payloads"])
    except (KeyError, TypeError, ValueError) as broken:
        raise LenderError(f"{path} is damaged") from broken
    if kind is SignKind.COMMAND or not 1 <= len(payloads) <= DELEGATIONS_MAX:
        raise LenderError(f"{path} is no draft of one to {DELEGATIONS_MAX} delegations or of a snapshot")
    return Draft(kind=kind, payloads=payloads)


def sign(draft: Draft, key: KeySigner) -> Part:
    """Sign every payload of a draft as a root's officer."""
    role = orders_authority.root_role(draft.issuer)
    if role is None:
        raise RefusesError(f"{draft.issuer} is no issuer")
    by = OrderSigner(signer=key, role=Role(role))
    return Part(
        kid=key.kid,
        signatures={_name(payload): sign_part(draft.kind, payload, by) for payload in draft.payloads},
    )


def part_file(part: Part) -> bytes:
    """Return the file in which an officer's part travels."""
    signatures = [
        {"payload": name.hex(), "protected": protected.hex(), "signature": signature.hex()}
        for name, (protected, signature) in part.signatures.items()
    ]
    return to_json({PART_MARK: 1, "kid": part.kid.hex(), "signatures": signatures})


def read_part(path: Path) -> Part:
    """Read an officer's part.

    Raises:
        LenderError: another file.
    """
    content = read_json(path, PART_MARK)
    try:
        signatures = {
            bytes.fromhex(one["payload"]): (bytes.fromhex(one["protected"]), bytes.fromhex(one["signature"]))
            for one in content["signatures"]
        }
        part = Part(kid=bytes.fromhex(content["kid"]), signatures=signatures)
        named = {cose_sign.Signer(*pair).kid for pair in signatures.values()}
    except (KeyError, TypeError, ValueError) as broken:
        raise LenderError(f"{path} is damaged") from broken
    if named != {part.kid}:
        raise LenderError(f"{path} is damaged: it names another key than it was signed with")
    return part


def assemble(draft: Draft, parts: Sequence[Part], root: ProtocolRoot) -> list[bytes]:
    """Put a draft and parts together to the documents that cars verify.

    Of more parts than needed, as many are taken as the threshold asks.

    Args:
        draft: what was signed.
        parts: of different officers.
        root: the root in force, pinned.

    Returns:
        The COSE_Sign of each payload, in the draft's order.

    Raises:
        RefusesError: no choice of the parts satisfies the root; the reason is the one of the nearest.
    """
    read = _reader(draft.kind, root)
    return [_assemble_one(payload, parts, read) for payload in draft.payloads]


def read_delegations(documents: Iterable[bytes], root: ProtocolRoot) -> Iterator[Any]:
    """Read delegations against a root, one by one.

    Raises:
        RefusesError: one is refused.
    """
    for document in documents:
        try:
            yield orders_authority.read_delegation(document, {root.issuer: root}, check_signature)
        except orders_authority.AuthorityError as refused:
            raise RefusesError(f"the delegation is refused: {refused}") from refused


def _reader(kind: SignKind, root: ProtocolRoot) -> Callable[[bytes], object]:
    if kind is SignKind.DELEGATION:
        return lambda data: orders_authority.read_delegation(data, {root.issuer: root}, check_signature)
    return lambda data: orders_authority.read_snapshot(data, root, check_signature)


def _assemble_one(payload: bytes, parts: Sequence[Part], read: Callable[[bytes], object]) -> bytes:
    name = _name(payload)
    by_officer = {part.kid: part.signatures[name] for part in parts if name in part.signatures}
    if len(by_officer) < len({part.kid for part in parts}):
        raise RefusesError("a part was signed for another draft", next_step="sign this very draft again")
    reason = "no part was given"
    for count in range(1, len(by_officer) + 1):
        for chosen in combinations(by_officer.values(), count):
            try:
                message = put_together(payload, chosen)
                read(message)
            except ValueError as refused:  # an AuthorityError is one
                reason = str(refused)
            else:
                return message
    raise RefusesError(
        f"these {len(by_officer)} parts do not make a valid document: {reason}",
        meaning="the car would refuse it; SIGNER_SET: too few officers, UNKNOWN_KEY: a stranger to the root",
        next_step="collect the missing officers' parts, and check which root is pinned",
    )


def _name(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()
