"""What a gate is set up with: its lenders, roots, log, and the packs on its shelf.

Rules: read once at the start, by `home`; nothing here changes while it runs. A pack of a demonstration exists
for a gate of a demonstration alone. A place without a pack of its own has the default one (P-13).

Example:
    >>> shelf.find("US-TX", now_s=now_s).jur
    '*'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.gate.logged import LogTrust
from backend.gate.pack import DEFAULT, Pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """A lender as the gate knows it.

    Attributes:
        lender_id: 8 bytes.
        integration_keys: kid to key of its loan system: the present one, and the next while it changes.
        url: of its loan system, without the path; None when it is called in process.
        officers: its register of persons; None when it keeps none here.
    """

    lender_id: bytes
    integration_keys: Mapping[bytes, EllipticCurvePublicKey]
    url: str | None = None
    officers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom the gate believes, and for what.

    Attributes:
        is_demo: whether demonstration packs, and a log without witnesses, are allowed.
        delegation: the gate's own, whole message.
        anchors: issuer to root keys (COSE_Key) and threshold.
        log: the one log and its witnesses.
        lenders: by lender_id.
        counsel_keys: kid to key of counsel whose opinions count.
        operators: the gate's register of operators; None when it keeps none.
        policy_keys: kid to policy key of the backends whose work ticket shows a job.
        asks_probation: whether a car needs a commissioning record before it can be restricted; settings turn
            it off in a demonstration only.
    """

    is_demo: bool
    delegation: bytes
    anchors: Mapping[str, tuple[tuple[bytes, ...], int]]
    log: LogTrust
    lenders: Mapping[bytes, Lender]
    counsel_keys: Mapping[bytes, EllipticCurvePublicKey]
    operators: frozenset[str] | None = None
    policy_keys: Mapping[bytes, EllipticCurvePublicKey] = field(default_factory=dict)
    asks_probation: bool = True

    def lender_of_key(self, kid: bytes) -> Lender | None:
        """Return the lender whose loan system has a key."""
        return next((at for at in self.lenders.values() if kid in at.integration_keys), None)


class PackShelf:
    """The packs a gate has."""

    def __init__(self, packs: Sequence[Pack], *, is_demo: bool) -> None:
        self._packs = [pack for pack in packs if is_demo or not pack.is_demo]

    def find(self, jur: str, *, now_s: int) -> Pack | None:
        """Return the newest pack in force for a place, else the default one, else None.

        A place whose own pack is over has none: its rules are known, and no longer.
        """
        for name in (jur, DEFAULT):
            own = [pack for pack in self._packs if pack.jur == name]
            if own:
                in_force = [pack for pack in own if pack.is_in_force(now_s)]
                return max(in_force, key=lambda pack: pack.version) if in_force else None
        return None

    def versions(self, now_s: int) -> dict[str, int]:
        """Return the version in force by place."""
        found = {pack.jur: self.find(pack.jur, now_s=now_s) for pack in self._packs}
        return {jur: pack.version for jur, pack in found.items() if pack is not None}
