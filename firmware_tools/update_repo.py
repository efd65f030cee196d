"""The signed repository of releases: The Update Framework with a key for each role, root by two of three.

Rules: metadata lies in `metadata/`, bundles in `targets/` under the hash of their content; snapshots are
consistent, so that a reader never mixes two states. What is written is written in the order in which it is
trusted, the timestamp last: who reads meanwhile sees the old state or the new one. Keys are files of mode
0600, one a role, outside the repository; roots belong on other machines, and `rotate` needs two of them.
A number of a release is given once and grows; floors never fall. Time is an argument.

It serves nothing: any server of files does. It builds no firmware.

Example:
    >>> import tempfile, datetime as dt
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as place:
    ...     made = UpdateRepo.init(Path(place, "repo"), Path(place, "keys"), now=dt.datetime.now(dt.UTC))
    ...     made.root().signed.roles["root"].threshold
    2

Source: The Update Framework specification 1.0, §4, §6.1, §6.2 (consistent snapshots).
"""

from __future__ import annotations

import datetime as dt
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from firmware_tools.cli_errors import Exit, ToolError
from protocol.errors import ProtocolError
from protocol.update_bundle import Needs, read_bundle, read_needs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAYS: Final = {"root": 365, "targets": 90, "snapshot": 30, "timestamp": 7}
"""Days until each expires. A box that meets an expired one installs nothing; `publish` renews."""

ROOTS, ROOT_THRESHOLD = 3, 2  # one key may be lost, and one may be stolen
ONLINE = ("targets", "snapshot", "timestamp")
KEY_SUFFIX = ".pem"


class RepoCode(StrEnum):
    """Why the repository's tool refuses."""

    REPO_EXISTS = "REPO_EXISTS"
    NO_REPO = "NO_REPO"
    NO_KEY = "NO_KEY"
    BAD_KEY = "BAD_KEY"
    BAD_BUNDLE = "BAD_BUNDLE"
    NUMBER_TAKEN = "NUMBER_TAKEN"
    FLOOR_FALLS = "FLOOR_FALLS"
    FEW_ROOTS = "FEW_ROOTS"
    DISK = "DISK"


class UpdateRepo:
    """A repository on disk, and the folder of the keys that this machine has.

    Args:
        folder: of the repository.
        keys: of the private keys.
    """

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder, self.keys = folder, keys
        self._metadata, self._targets = folder / "metadata", folder / "targets"

    @classmethod
    def init(cls, folder: Path, keys: Path, *, now: dt.datetime) -> UpdateRepo:
        """Make keys, the first root and an empty state.

        Raises:
            ToolError: REPO_EXISTS, DISK.
        """
        repo = cls(folder, keys)
        if (folder / "metadata").exists():
            raise ToolError(RepoCode.REPO_EXISTS, f"There is a repository in {folder}: use it, or another.")
        try:
            for place in (repo._metadata, repo._targets, keys):
                place.mkdir(parents=True, exist_ok=True)
        except OSError as failure:
            raise _disk(failure) from failure
        roots = [repo._make_key(f"root-{number}") for number in range(1, ROOTS + 1)]
        root = Root(expires=_expiry("root", now), consistent_snapshot=True)
        for signer in roots:
            root.add_key(signer.public_key, "root")
        root.roles["root"].threshold = ROOT_THRESHOLD
        for role in ONLINE:
            root.add_key(repo._make_key(role).public_key, role)
        repo._write_root(Metadata(root), roots)
        repo._write_state(Targets(), now=now, is_first=True)
        return repo

    # --- What it says ---

    def root(self) -> Metadata[Root]:
        """Return the newest root.

        Raises:
            ToolError: NO_REPO.
        """
        return Metadata[Root].from_bytes(self._read(f"{self._newest('root')}.root.json"))

    def root_bytes(self, version: int = 1) -> bytes:
        """Return a root as boxes pin it."""
        return (self._metadata / f"{version}.root.json").read_bytes()

    def releases(self) -> list[Needs]:
        """Return what is published or waits to be, by number.

        Raises:
            ToolError: NO_REPO.
        """
        targets = self._targets_now().signed.targets.values()
        return sorted((_needs(target) for target in targets), key=lambda needs: needs.release)

    # --- What it does ---

    def add(self, bundle: Path, *, now: dt.datetime) -> Needs:
        """Take a bundle in and publish it.

        Raises:
            ToolError: BAD_BUNDLE, NUMBER_TAKEN, FLOOR_FALLS, NO_REPO, NO_KEY, DISK.
        """
        try:
            data = bundle.read_bytes()
            needs = read_bundle(data).needs
        except OSError as failure:
            raise _disk(failure) from failure
        except ProtocolError as wrong:
            sentence = f"{bundle} is no bundle ({wrong}): build it again."
            raise ToolError(RepoCode.BAD_BUNDLE, sentence) from wrong
        before = self.releases()
        if before and needs.release <= before[-1].release:
            newest = before[-1].release
            raise ToolError(
                RepoCode.NUMBER_TAKEN, f"Release {newest} is there already: build this one as {newest + 1}."
            )
        if before and needs.floor < before[-1].floor:
            floor = before[-1].floor
            raise ToolError(RepoCode.FLOOR_FALLS, f"The floor stands at {floor}: build with that, or higher.")
        path = target_path(needs.release)
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = needs.as_json()
        self._write(self._targets / f"{target.hashes['sha256']}.{path}", data)
        targets = self._targets_now().signed
        targets.targets[path] = target
        self._write_state(targets, now=now)
        return needs

    def publish(self, *, now: dt.datetime) -> int:
        """Sign the state again with new dates, so that it does not expire; return the timestamp's version.

        Raises:
            ToolError: NO_REPO, NO_KEY, DISK.
        """
        return self._write_state(self._targets_now().signed, now=now)

    def rotate(
        self, role: str, *, roots: Sequence[Path], now: dt.datetime, old_key: str | None = None
    ) -> int:
        """Give a role a new key, and return the version of the new root.

        Args:
            role: root, targets, snapshot or timestamp.
            roots: files of root keys that sign, at least the threshold.
            now: when.
            old_key: of root: the name of the key that goes; default the first.

        Raises:
            ToolError: FEW_ROOTS, NO_KEY, BAD_KEY, NO_REPO, DISK.
        """
        metadata = self.root()
        root = metadata.signed
        signers = [_load(path) for path in roots]
        known = [signer for signer in signers if signer.public_key.keyid in root.roles["root"].keyids]
        if len({signer.public_key.keyid for signer in known}) < root.roles["root"].threshold:
            need = root.roles["root"].threshold
            raise ToolError(RepoCode.FEW_ROOTS, f"Bring {need} keys of the present root with --root-key.")
        name = old_key or ("root-1" if role == "root" else role)
        old = _load(self._key_path(name)).public_key.keyid
        fresh = self._make_key(name, is_next=True)
        root.revoke_key(old, role)
        root.add_key(fresh.public_key, role)
        root.version += 1
        root.expires = _expiry("root", now)
        self._write_root(metadata, [*known, *([fresh] if role == "root" else [])])
        self._write_key(self._key_path(name), fresh)
        if role != "root":
            self._write_state(self._targets_now().signed, now=now)
        return root.version

    # --- Files ---

    def _write_state(self, targets: Targets, *, now: dt.datetime, is_first: bool = False) -> int:
        versions = {role: 0 if is_first else self._newest(role) for role in ("targets", "snapshot")}
        targets.version, targets.expires = versions["targets"] + 1, _expiry("targets", now)
        snapshot = Snapshot(version=versions["snapshot"] + 1, expires=_expiry("snapshot", now))
        snapshot.meta = {"targets.json": MetaFile(version=targets.version)}
        stamped = 0 if is_first else self._stamped()
        timestamp = Timestamp(version=stamped + 1, expires=_expiry("timestamp", now))
        timestamp.snapshot_meta = MetaFile(version=snapshot.version)
        signers = {role: _load(self._key_path(role)) for role in ONLINE}  # all there before one is written
        for name, data in (
            (f"{targets.version}.targets.json", _signed(Metadata(targets), signers["targets"])),
            (f"{snapshot.version}.snapshot.json", _signed(Metadata(snapshot), signers["snapshot"])),
            ("timestamp.json", _signed(Metadata(timestamp), signers["timestamp"])),
        ):
            self._write(self._metadata / name, data)
        return timestamp.version

    def _write_root(self, metadata: Metadata[Root], signers: Sequence[CryptoSigner]) -> None:
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        self._write(self._metadata / f"{metadata.signed.version}.root.json", metadata.to_bytes())

    def _targets_now(self) -> Metadata[Targets]:
        return Metadata[Targets].from_bytes(self._read(f"{self._newest('targets')}.targets.json"))

    def _stamped(self) -> int:
        return Metadata[Timestamp].from_bytes(self._read("timestamp.json")).signed.version

    def _read(self, name: str) -> bytes:
        try:
            return (self._metadata / name).read_bytes()
        except OSError as failure:
            raise _no_repo(self.folder) from failure

    def _newest(self, role: str) -> int:
        versions = [int(path.name.split(".")[0]) for path in self._metadata.glob(f"*.{role}.json")]
        if not versions:
            raise _no_repo(self.folder)
        return max(versions)

    def _key_path(self, name: str) -> Path:
        return self.keys / f"{name}{KEY_SUFFIX}"

    def _make_key(self, name: str, *, is_next: bool = False) -> CryptoSigner:
        signer = CryptoSigner(ec.generate_private_key(ec.SECP256R1()))
        path = self._key_path(name)
        if not is_next:
            if path.exists():
                return _load(path)
            self._write_key(path, signer)
        return signer

    def _write_key(self, path: Path, signer: CryptoSigner) -> None:
        self._write(path, signer.private_bytes, mode=0o600)

    @staticmethod
    def _write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        beside = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as failure:
            raise _disk(failure) from failure


def target_path(release: int) -> str:
    """Return a release's name in the repository; the box asks for the same."""
    return f"tbox-{release}.tar"


def _signed(metadata: Metadata[Any], signer: CryptoSigner) -> bytes:
    metadata.sign(signer)
    return metadata.to_bytes()


def _needs(target: TargetFile) -> Needs:
    return read_needs(target.unrecognized_fields.get("custom"))


def _expiry(role: str, now: dt.datetime) -> dt.datetime:
    return (now + dt.timedelta(days=DAYS[role])).replace(microsecond=0)


def _load(path: Path) -> CryptoSigner:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as failure:
        sentence = f"There is no key {path}: bring it here for this command."
        raise ToolError(RepoCode.NO_KEY, sentence) from failure
    except (ValueError, TypeError) as failure:
        sentence = f"{path} is no private key that we can read: restore it from its backup."
        raise ToolError(RepoCode.BAD_KEY, sentence) from failure
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ToolError(RepoCode.BAD_KEY, f"{path} is no P-256 key: take the one that `repo init` made.")
    return CryptoSigner(key)


def _no_repo(folder: Path) -> ToolError:
    return ToolError(RepoCode.NO_REPO, f"There is no repository in {folder}: make one with `repo init`.")


def _disk(failure: OSError) -> ToolError:
    return ToolError(RepoCode.DISK, f"{failure}: check the place and run it again.", Exit.CUT_SHORT)
