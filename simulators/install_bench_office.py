"""The office's side of a fitter's bench: roots, delegations, snapshots, and a gate's home, made in a moment.

Rules: the same forms as the ceremonies of `tbox lender`, signed here in one place because a bench has nobody
to hold them: these roots are worth nothing outside it. Two keys a root, both needed. The gate knows the
backend's policy key, so that it believes work tickets.

Example:
    office = BenchOffice.make(Path("build/bench/office"))
    office.write_gate(home, policy_keys=[…], log_key="…")
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backend.gate.home import make_home
from backend.gate.pack import sign_pack
from protocol import strict_cbor
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.orders import OrderSigner, OrderType, Role, SignKind, sign_with_root
from simulators.demo.lock_officers import LENDER, LENDER_ID, PLATFORM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PERSON: Final = "P-fitter"  # as the delegation of the fitter's key names him
DAY_S: Final = 86_400
THRESHOLD: Final = 2
FITTER_TYPES: Final = (OrderType.QUERY, OrderType.BIND, OrderType.BENCH)
GATE_TYPES: Final = (
    OrderType.LOCK,
    OrderType.UNLOCK,
    OrderType.RENEW,
    OrderType.CANCEL,
    OrderType.WARN,
    OrderType.QUERY,
    OrderType.DECOMMISSION,
    OrderType.BIND,
    OrderType.BENCH,
)
NOBODY: Final = "http://127.0.0.1:9"  # the loan system of a lender whom nobody asks


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOffice:
    """Everyone who has signed something before the fitter comes.

    Attributes:
        folder: of the fitter's key.
        roots: two keys an issuer.
        fitter, gate: their keys.
        snapshots, delegations: signed documents, by issuer and by name.
    """

    folder: Path
    gate_home: Path
    roots: Mapping[str, tuple[SoftwareSigner, ...]]
    fitter: SoftwareSigner
    gate: SoftwareSigner
    snapshots: dict[str, bytes] = field(default_factory=dict)
    delegations: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> BenchOffice:
        """Make every key and document."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = generate_private_key(SECP256R1())
        key = folder / "fitter.pem"
        key.touch(mode=0o600)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        roots = {
            issuer: tuple(SoftwareSigner(generate_private_key(SECP256R1())) for _ in range(THRESHOLD))
            for issuer in (PLATFORM, LENDER)
        }
        made = cls(
            folder=folder,
            gate_home=folder / "gate",
            roots=roots,
            fitter=SoftwareSigner(private),
            gate=make_home(folder / "gate"),
        )
        for issuer in roots:
            made.snapshots[issuer] = made._snapshot(issuer)
        made.delegations["gate"] = made._delegate("gate", made.gate, Role.GATE, GATE_TYPES)
        made.delegations["fitter"] = made._delegate(PERSON, made.fitter, Role.INSTALLER, FITTER_TYPES)
        return made

    @property
    def fitter_key(self) -> Path:
        """The fitter's own key file."""
        return self.folder / "fitter.pem"

    def root(self, issuer: str) -> tuple[list[bytes], int]:
        """Return an issuer's public keys and threshold."""
        return [cose_key_bytes(signer.public_key) for signer in self.roots[issuer]], THRESHOLD

    def write_gate(self, *, policy_keys: list[str], log_key: str) -> None:
        """Write the settings of the bench's gate."""
        home = self.gate_home
        rules = resources.files("backend").joinpath("gate", "packs", "zz.toml").read_text("utf-8")
        (home / "packs" / "zz.cose").write_bytes(sign_pack(rules, self.roots[LENDER][0]))
        (home / "gate.delegation").write_bytes(self.delegations["gate"])
        listed = {
            issuer: ", ".join(f'"{key.hex()}"' for key in self.root(issuer)[0]) for issuer in self.roots
        }
        listed_policy = ", ".join(f'"{key}"' for key in policy_keys)
        nobody = cose_key_bytes(self.roots[LENDER][0].public_key).hex()
        (home / "gate.toml").write_text(
            "demo = true\n"
            f"work_ticket_keys = [{listed_policy}]\n"
            f'pack_keys = ["{nobody}"]\n'
            f"[platform]\nkeys = [{listed[PLATFORM]}]\nthreshold = {THRESHOLD}\n"
            f'[log]\nkey = "{log_key}"\nquorum = 0\n'
            f'[[lender]]\nid = "{LENDER_ID}"\nurl = "{NOBODY}"\nintegration_keys = ["{nobody}"]\n'
            f"[lender.root]\nkeys = [{listed[LENDER]}]\nthreshold = {THRESHOLD}\n",
            "utf-8",
        )

    def _snapshot(self, issuer: str) -> bytes:
        now_s = int(time.time())
        fields: dict[int, object] = {
            1: 1,
            2: issuer,
            3: 1,
            4: now_s - 60,
            5: now_s + 90 * DAY_S,
            6: self.root(issuer)[0],
            7: THRESHOLD,
            8: [],
            9: None,
            10: None,
            11: None,
            12: hashlib.sha256(issuer.encode()).digest(),
            13: 0,
        }
        return sign_with_root(SignKind.AUTHORITY, fields, self._by_root(issuer))

    def _delegate(
        self, person: str, signer: SoftwareSigner, role: Role, types: tuple[OrderType, ...]
    ) -> bytes:
        now_s = int(time.time())
        claims: dict[int, object] = {
            1: PLATFORM,
            2: person,
            4: now_s + 29 * DAY_S,
            5: now_s - 60,
            7: secrets.token_bytes(16),
            8: {1: strict_cbor.loads(cose_key_bytes(signer.public_key))},
            -65537: int(role),
            -65541: [int(kind) for kind in types],
            -65542: None,
            -65543: 1_000,
        }
        return sign_with_root(SignKind.DELEGATION, claims, self._by_root(PLATFORM))

    def _by_root(self, issuer: str) -> list[OrderSigner]:
        role = Role.PLATFORM_ROOT if issuer == PLATFORM else Role.LENDER_ROOT
        return [OrderSigner(signer=signer, role=role) for signer in self.roots[issuer]]
