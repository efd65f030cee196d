"""Roots as officers keep them: the pinned keys and threshold of an issuer, in a file compared by voice.

Rules (C-02a, K-03): a root file is what a lender's or the platform's officers agreed on in a room, and every
other officer's machine pins. Its fingerprint covers issuer, threshold and all keys, and is read aloud when
the file is handed over. A file whose members do not fit one another is refused.

Example:
    >>> root = read_root_file(Path("lender-root.json"))
    >>> fingerprint(root)[:4]
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.lender.errors import LenderError, WrongUsageError
from backend.lender.files import read_json, to_json
from protocol import orders_authority, strict_cbor
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes, public_key_from_cose
from protocol.orders import Role

ProtocolRoot = Any
"""An `orders_authority.Root`: that module runs on MicroPython and has no types."""

MARK: Final = "tbox_root"
ROOT_KEYS_MAX: Final = 5
_LENDER_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A root as it is pinned.

    Attributes:
        issuer: "platform", or "lender:" and 16 hex digits.
        keys: COSE_Keys, 75 bytes each, at most five.
        threshold: how many must sign.
    """

    issuer: str
    keys: tuple[bytes, ...]
    threshold: int

    @property
    def role(self) -> Role:
        """What its keys sign as."""
        return Role(orders_authority.root_role(self.issuer))

    @property
    def lender_id(self) -> bytes:
        """The 8 bytes of a lender's issuer; empty for the platform."""
        return bytes.fromhex(self.issuer.partition(":")[2])

    def to_root(self) -> ProtocolRoot:
        """Return it as the reader of the protocol knows it."""
        return orders_authority.Root(self.issuer, list(self.keys), self.threshold)


def make_anchor(issuer: str, keys: Sequence[EllipticCurvePublicKey], threshold: int) -> Anchor:
    """Return an anchor of public keys.

    Raises:
        WrongUsageError: no issuer's name, twice the same key, too many keys, or a threshold that they cannot
            meet or that one officer alone would meet.
    """
    anchor = Anchor(issuer=issuer, keys=tuple(map(cose_key_bytes, keys)), threshold=threshold)
    _check(anchor)
    if threshold < 2:  # noqa: PLR2004  # two people: the point of a root
        raise WrongUsageError("a threshold of one lets a single officer make a maker and a checker")
    return anchor


def issuer_of(lender_id: str) -> str:
    """Return the issuer of a lender's 16 hex digits; "platform" stays.

    Raises:
        WrongUsageError: neither.
    """
    if lender_id == orders_authority.PLATFORM:
        return lender_id
    digits = lender_id.removeprefix("lender:")
    if len(digits) != _LENDER_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise WrongUsageError("an issuer is `platform`, or `lender:` and 16 lowercase hex digits")
    return f"lender:{digits}"


def root_file(anchor: Anchor) -> bytes:
    """Return the file that pins a root."""
    keys = [key.hex() for key in anchor.keys]
    return to_json(
        {
            MARK: 1,
            "issuer": anchor.issuer,
            "threshold": anchor.threshold,
            "keys": keys,
            "fingerprint": fingerprint(anchor),
        }
    )


def read_root_file(path: Path) -> Anchor:
    """Read a root file.

    Raises:
        LenderError: another file, or one whose members do not fit.
    """
    content = read_json(path, MARK)
    try:
        keys = tuple(bytes.fromhex(key) for key in content["keys"])
        anchor = Anchor(issuer=str(content["issuer"]), keys=keys, threshold=int(content["threshold"]))
        _check(anchor)
    except (KeyError, TypeError, ValueError, ProtocolError, WrongUsageError) as broken:
        raise LenderError(f"{path} is damaged: {broken}") from broken
    if content.get("fingerprint") != fingerprint(anchor):
        raise LenderError(f"{path} is damaged: its fingerprint is of another root")
    return anchor


def fingerprint(anchor: Anchor) -> str:
    """Return what two officers compare by voice: 32 hex digits in groups of four."""
    content = bytes(strict_cbor.dumps([anchor.issuer, anchor.threshold, list(anchor.keys)]))
    digits = hashlib.sha256(b"tbox root " + content).hexdigest()[:32]
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _check(anchor: Anchor) -> None:
    if orders_authority.root_role(anchor.issuer) is None:
        raise WrongUsageError("an issuer is `platform`, or `lender:` and 16 lowercase hex digits")
    for key in anchor.keys:
        public_key_from_cose(key)
    if not 1 <= len(anchor.keys) <= ROOT_KEYS_MAX or len(set(anchor.keys)) != len(anchor.keys):
        raise WrongUsageError(f"a root has 1 to {ROOT_KEYS_MAX} different keys")
    if not 1 <= anchor.threshold <= len(anchor.keys):
        raise WrongUsageError("the threshold is between 1 and the number of keys")
