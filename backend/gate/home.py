"""A gate's home: its key, its token, whom it trusts (`gate.toml`), its packs, its storage.

Rules: key and token are files of mode 0600 that `tbox backend gate init` makes once; a published example key
is refused outside a demonstration, and so is a log without witnesses. Packs are signed files under `packs/`;
one that does not verify stops the start: a gate that lost a place's rules would fall back to others.

    gate.key  token  gate.toml  gate.delegation  packs/*.cose  gate.sqlite

Example:
    >>> home = read_home(Path("/srv/gate"))
    >>> home.trust.is_demo
    False
"""

import os
import secrets
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.domain.published_keys import is_published
from backend.errors import SecretError, SettingsError
from backend.gate.logged import LogTrust
from backend.gate.pack import PackError, open_pack
from backend.gate.remote import check_url
from backend.gate.trust import Lender, PackShelf, Trust
from protocol.checkpoint import NoteError, NoteKey
from protocol.envelope import SoftwareSigner
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose, thumbprint
from protocol.limits import ORDER_BYTES_MAX, PACK_BYTES_MAX, SETTINGS_BYTES_MAX
from protocol.orders_authority import PLATFORM, lender_issuer

_PRIVATE: Final = 0o600
KEY, TOKEN, TOML, DELEGATION = "gate.key", "token", "gate.toml", "gate.delegation"
PACKS, STORE = "packs", "gate.sqlite"

_CoseKey = Annotated[str, Field(pattern=r"^[0-9a-f]{150}$")]
_LenderId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Root(_Table):
    keys: Annotated[list[_CoseKey], Field(min_length=1, max_length=5)]
    threshold: Annotated[int, Field(ge=1, le=5)]


class _Log(_Table):
    key: str
    witnesses: list[str] = []
    quorum: Annotated[int, Field(ge=0, le=16)] = 1


class _Lender(_Table):
    id: _LenderId
    url: str
    integration_keys: Annotated[list[_CoseKey], Field(min_length=1, max_length=4)]
    root: _Root
    officers: list[str] | None = None


class GateFile(_Table):
    """`gate.toml`. Keys are COSE_Keys of 75 bytes in hex, log and witness keys as notes write them."""

    demo: bool = False
    platform: _Root
    log: _Log
    lender: list[_Lender] = []
    pack_keys: Annotated[list[_CoseKey], Field(min_length=1)]
    counsel_keys: list[_CoseKey] = []
    forecast: str | None = None
    work_ticket_keys: list[_CoseKey] = []
    demo_probation_passed: bool = False
    operators: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateHome:
    """What a gate starts with.

    Attributes:
        signer: its key.
        token: what the backend shows.
        trust, packs: see `trust`.
        urls: of loan systems by lender.
        forecast: URL of the weather; None for none.
        store: path of the storage.
    """

    signer: SoftwareSigner
    token: str
    trust: Trust
    packs: PackShelf
    urls: Mapping[bytes, str]
    forecast: str | None
    store: Path


def make_home(home: Path) -> SoftwareSigner:
    """Make key and token where they are missing; return the key.

    Raises:
        SecretError: a file cannot be written, or is open to others.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / PACKS).mkdir(exist_ok=True)
    if not (home / KEY).exists():
        key = generate_private_key(SECP256R1())
        write_private(home / KEY, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not (home / TOKEN).exists():
        write_private(home / TOKEN, secrets.token_urlsafe(32).encode())
    return SoftwareSigner(load_key(home / KEY))


def read_home(home: Path) -> GateHome:
    """Read all of it.

    Raises:
        SettingsError: `gate.toml`, the delegation or a pack is not usable.
        SecretError: key or token is missing, open to others, or a published example.
    """
    file = _read_file(home / TOML)
    if not file.demo and file.demo_probation_passed:
        raise SettingsError(what=f"{home / TOML}: demo_probation_passed exists in a demonstration only")
    key = load_key(home / KEY)
    if not file.demo and is_published(key):
        raise SecretError(what=f"{home / KEY} holds a published example key")
    if not file.demo and file.log.quorum < 1:
        raise SettingsError(what=f"{home / TOML}: log.quorum 0 exists in a demonstration only")
    try:
        trust = _trust(file, read_public(home / DELEGATION, ORDER_BYTES_MAX))
    except (ProtocolError, NoteError, ValueError) as error:
        raise SettingsError(what=f"{home / TOML}: {error}") from error
    return GateHome(
        signer=SoftwareSigner(key),
        token=read_private(home / TOKEN).decode(),
        trust=trust,
        packs=read_packs(home / PACKS, _keys(file.pack_keys), is_demo=file.demo),
        urls={bytes.fromhex(lender.id): check_url(lender.id, lender.url) for lender in file.lender},
        forecast=file.forecast,
        store=home / STORE,
    )


def read_packs(folder: Path, keys: Mapping[bytes, EllipticCurvePublicKey], *, is_demo: bool) -> PackShelf:
    """Read the signed packs of a folder.

    Raises:
        SettingsError: one does not verify, or there is none.
    """
    found = []
    for path in sorted(folder.glob("*.cose")):
        try:
            found.append(open_pack(read_public(path, PACK_BYTES_MAX), keys.get))
        except PackError as error:
            raise SettingsError(
                what=f"{path}: {error}", next_step="sign it with `tbox backend gate pack sign`"
            ) from error
    if not found:
        raise SettingsError(
            what=f"no signed pack in {folder}", next_step="sign some with `tbox backend gate pack sign`"
        )
    return PackShelf(found, is_demo=is_demo)


def load_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a P-256 key that only its owner can read.

    Raises:
        SecretError: it is missing, open to others, or not such a key.
    """
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as broken:
        raise SecretError(what=f"{path} is not an unencrypted private key in PEM") from broken
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise SecretError(what=f"{path} is not a key on P-256")
    return key


def read_private(path: Path) -> bytes:
    """Read a file that only its owner can read.

    Raises:
        SecretError: it is missing, or open to others.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SecretError(
                what=f"{path} is open to others (mode {mode:04o})", next_step=f"chmod 600 {path}"
            )
        return path.read_bytes()
    except OSError as failed:
        raise SecretError(
            what=f"{path} cannot be read: {failed.strerror}", next_step="run `tbox backend gate init`"
        ) from failed


def write_private(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, for its owner alone, durably.

    Raises:
        SecretError: it exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as failed:
        raise SecretError(what=f"{path} cannot be written: {failed.strerror}") from failed


def read_public(path: Path, limit: int) -> bytes:
    """Read a bounded file.

    Raises:
        SettingsError: it is missing or longer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as failed:
        raise SettingsError(what=f"{path} cannot be read: {failed.strerror}") from failed
    if len(data) > limit:
        raise SettingsError(what=f"{path} has more than {limit} bytes")
    return data


def _read_file(path: Path) -> GateFile:
    try:
        return GateFile.model_validate(tomllib.loads(read_public(path, SETTINGS_BYTES_MAX).decode()))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors(include_input=False)]
        raise SettingsError(what="\n".join([str(path), *lines])) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(what=f"{path} is not TOML: {error}") from error


def _trust(file: GateFile, delegation: bytes) -> Trust:
    roots = {PLATFORM: file.platform}
    roots |= {lender_issuer(bytes.fromhex(lender.id)): lender.root for lender in file.lender}
    return Trust(
        is_demo=file.demo,
        delegation=delegation,
        anchors={
            issuer: (tuple(map(bytes.fromhex, root.keys)), root.threshold) for issuer, root in roots.items()
        },
        log=LogTrust(
            log=NoteKey.from_text(file.log.key),
            witnesses=tuple(map(NoteKey.from_text, file.log.witnesses)),
            quorum=file.log.quorum,
        ),
        lenders={
            bytes.fromhex(lender.id): Lender(
                lender_id=bytes.fromhex(lender.id),
                integration_keys=_keys(lender.integration_keys),
                url=lender.url,
                officers=None if lender.officers is None else frozenset(lender.officers),
            )
            for lender in file.lender
        },
        counsel_keys=_keys(file.counsel_keys),
        policy_keys=_keys(file.work_ticket_keys),
        asks_probation=not file.demo_probation_passed,
        operators=None if file.operators is None else frozenset(file.operators),
    )


def _keys(texts: Sequence[str]) -> dict[bytes, EllipticCurvePublicKey]:
    keys = [public_key_from_cose(bytes.fromhex(text)) for text in texts]
    return {thumbprint(key): key for key in keys}
