"""Whom this machine believes: pinned roots, brought up to date by snapshots that those roots have signed.

Rules (K-03, K-05): the pins come from root files; snapshots and revocations may come through the server,
since each is verified by the root before it, with the car's own reader. A version never goes back: what was
seen once is kept in the notebook. A snapshot that has run out signs nothing that restricts, as in the car.

Example:
    >>> trust = open_trust(settings, notebook)
    >>> trust.learn(server)
    >>> trust.delegation(document, now_s=now)
"""

import hashlib
from pathlib import Path
from typing import Any

from backend.lender.errors import NotThereError, RefusesError, SettingsError
from backend.lender.notebook import Notebook
from backend.lender.plain import member, read_digest, shown, to_bytes
from backend.lender.roots import Anchor, ProtocolRoot, read_root_file
from backend.lender.server import Json, Server
from backend.lender.settings import Settings
from protocol import orders_authority
from protocol.orders import Role, check_signature

Delegation = Any
"""An `orders_authority.Delegation`: that module runs on MicroPython and has no types."""


class Trust:
    """The roots in force as far as this machine has seen.

    Attributes:
        lender: the lender's pinned root.
        roots: issuer to root in force.
    """

    def __init__(self, lender: Anchor, platform: Anchor | None, notebook: Notebook) -> None:
        self.lender = lender
        self.roots: dict[str, ProtocolRoot] = {lender.issuer: lender.to_root()}
        if platform is not None:
            self.roots[platform.issuer] = platform.to_root()
        self._notebook = notebook
        for issuer in self.roots:
            self._take(issuer, *notebook.authority(issuer))

    def learn(self, server: Server) -> None:
        """Take in what the server has of the roots' documents.

        Raises:
            RefusesError: a document that no pinned root has signed.
        """
        for issuer in self.roots:
            try:
                answer = server.issuer(issuer)
            except NotThereError:
                continue  # nothing was published yet
            known_snapshots, known_revocations = self._notebook.authority(issuer)
            snapshot = to_bytes(member(answer, "document", str), "snapshot")
            snapshots = [] if snapshot in known_snapshots else [snapshot]
            revocations = self._additions(server, answer, known_revocations)
            self._take(issuer, snapshots, revocations)
            root = self.roots[issuer]
            kept = [*known_snapshots, *snapshots]
            if root.version == 0:
                kept = []
            self._notebook.note_authority(issuer, kept, [*known_revocations, *revocations])

    def delegation(self, document: bytes) -> Delegation:
        """Return a delegation that a pinned root has signed and nobody has revoked.

        Raises:
            RefusesError: it is not, or its key or person is revoked.
        """
        try:
            found = orders_authority.read_delegation(document, self.roots, check_signature)
        except orders_authority.AuthorityError as refused:
            raise RefusesError(
                f"a delegation is refused: {refused}",
                meaning="the pinned root did not sign it, so whoever signed the order is nobody",
            ) from refused
        if orders_authority.is_revoked(found, self.roots):
            raise RefusesError(f"the key or person of {shown(found.person)} is revoked")
        return found

    def require_current(self, now_s: int) -> None:
        """Refuse where the car would say METADATA_STALE.

        Raises:
            RefusesError: a root has no snapshot, or its snapshot has run out.
        """
        for issuer, root in self.roots.items():
            if now_s >= root.expires:
                raise RefusesError(
                    f"the snapshot of {issuer} has run out, or none was ever seen",
                    meaning="the car would refuse a restricting order: METADATA_STALE",
                    next_step="its officers sign a new one: `root snapshot`, then `authority publish`",
                )

    def _additions(self, server: Server, answer: Json, known: list[bytes]) -> list[bytes]:
        """Return the additions that the server lists and this machine has not seen."""
        seen = {hashlib.sha256(one).hexdigest() for one in known}
        found = []
        for digest in member(answer, "revocations", list):
            if digest not in seen:
                answer_of = server.document(read_digest(digest))
                found.append(to_bytes(member(answer_of, "document", str), "revocation"))
        return found

    def _take(self, issuer: str, snapshots: list[bytes], revocations: list[bytes]) -> None:
        for data in snapshots:
            try:
                self.roots[issuer] = orders_authority.read_snapshot(data, self.roots[issuer], check_signature)
            except orders_authority.AuthorityError as refused:
                if str(refused) == "REPLAY_CTR":
                    continue  # older than what was seen: kept is the newer one
                raise RefusesError(f"a snapshot of {issuer} is refused: {refused}") from refused
        for data in revocations:
            try:
                orders_authority.read_revocation(data, self.roots[issuer], check_signature)
            except orders_authority.AuthorityError as refused:
                raise RefusesError(f"a revocation of {issuer} is refused: {refused}") from refused


def open_trust(settings: Settings, notebook: Notebook) -> Trust:
    """Return whom the settings pin.

    Raises:
        SettingsError: a root is not pinned, or is the other one.
    """
    lender = _anchor(settings.lender_root, "lender_root")
    platform = _anchor(settings.platform_root, "platform_root")
    if lender.role is not Role.LENDER_ROOT or platform.role is not Role.PLATFORM_ROOT:
        raise SettingsError("lender_root and platform_root are exchanged, or one is pinned twice")
    return Trust(lender, platform, notebook)


def _anchor(path: Path | None, name: str) -> Anchor:
    if path is None:
        raise SettingsError(f"lender.toml pins no {name}")
    return read_root_file(path)
