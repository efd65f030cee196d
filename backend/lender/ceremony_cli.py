"""`tbox lender root | delegation | revoke`: the offline ceremonies, alike for the platform and for a lender.

Each officer signs on his own machine: draft, sign, carry the part back, assemble.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.lender.ceremony import (
    Draft,
    assemble,
    draft_file,
    part_file,
    read_delegations,
    read_draft,
    read_part,
    sign,
)
from backend.lender.ceremony_fields import (
    DelegationAsk,
    SnapshotAsk,
    delegation_payloads,
    revocation_fields,
    snapshot_payload,
)
from backend.lender.ceremony_text import describe
from backend.lender.clock import now_s
from backend.lender.errors import LenderError, RefusesError, WrongUsageError
from backend.lender.files import read_file, write_new
from backend.lender.keys import open_key, read_public_key
from backend.lender.output import (
    AsJson,
    Config,
    Module,
    Out,
    PassphraseFile,
    ReportingGroup,
    Yes,
    ask_passphrase,
    confirm,
    say,
    show,
)
from backend.lender.roots import ProtocolRoot, fingerprint, issuer_of, make_anchor, read_root_file, root_file
from backend.lender.settings import module_path
from protocol import orders_authority, orders_payload
from protocol.cose_sign import read_sign
from protocol.envelope import Kind
from protocol.orders import OrderType, Role, SignKind, check_signature, sign_document

root_app = typer.Typer(cls=ReportingGroup, no_args_is_help=True, help="A root: its keys, its snapshots.")
delegation_app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    help="Who may sign what: drafted, signed by officers, assembled.",
)

RootFile = Annotated[Path, typer.Option("--root", help="Root file that is pinned.")]
DraftFile = Annotated[Path, typer.Argument(help="Draft, as `draft` or `snapshot` wrote it.")]
PartFiles = Annotated[list[Path], typer.Argument(help="Parts of the officers.")]
RootKey = Annotated[str, typer.Option("--key", help="Your root key: file, or pkcs11:token=…;object=….")]
Kids = Annotated[list[str] | None, typer.Option("--kid", help="Key to revoke, 64 hex digits; repeatable.")]
Persons = Annotated[list[str] | None, typer.Option("--person", help="Person to revoke; repeatable.")]


@root_app.command(
    "new",
    epilog="Example: tbox lender root new --issuer lender:00112233aabbccdd --officer a.pub --officer b.pub "
    "--officer c.pub --threshold 2 --out lender-root.json",
)
def root_new(
    *,
    issuer: Annotated[str, typer.Option(help="`platform`, or `lender:` and 16 hex digits.")],
    officer: Annotated[list[Path], typer.Option(help="Public key of a root officer; repeatable.")],
    threshold: Annotated[int, typer.Option(min=2, max=5, help="How many of them must sign.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Write the file that pins a root. Compare its fingerprint by voice with every officer."""
    anchor = make_anchor(issuer_of(issuer), [read_public_key(path) for path in officer], threshold)
    write_new(out, root_file(anchor))
    show({"root": str(out), "issuer": anchor.issuer, "fingerprint": fingerprint(anchor)}, as_json=as_json)


@root_app.command("show", epilog="Example: tbox lender root show lender-root.json")
def root_show(*, file: Annotated[Path, typer.Argument(help="Root file.")], as_json: AsJson = False) -> None:
    """Show a root and its fingerprint."""
    anchor = read_root_file(file)
    show(
        {
            "issuer": anchor.issuer,
            "threshold": f"{anchor.threshold} of {len(anchor.keys)}",
            "fingerprint": fingerprint(anchor),
        },
        as_json=as_json,
    )


@root_app.command(
    "snapshot",
    epilog="Example: tbox lender root snapshot --root lender-root.json --number 1 --days 90 "
    "--online online.pub --out snapshot-1.draft",
)
def root_snapshot(
    *,
    root: RootFile,
    number: Annotated[int, typer.Option(min=1, help="Higher than the snapshot in force.")],
    out: Out,
    days: Annotated[int, typer.Option(min=1, max=732, help="Days it is in force.")] = 90,
    online: Annotated[
        Path | None, typer.Option(help="Public key that may add revocations between snapshots.")
    ] = None,
    kid: Kids = None,
    person: Persons = None,
    taken_in: Annotated[
        int, typer.Option(min=0, help="Last addition of the online key that is included.")
    ] = 0,
    new_root: Annotated[
        Path | None, typer.Option(help="Root file that replaces this one: officers of both then sign.")
    ] = None,
    pack: Annotated[str | None, typer.Option(help="Pack in force: JUR:VERSION:HASH; platform only.")] = None,
    zones: Annotated[str | None, typer.Option(help="Zones in force: VERSION:HASH; platform only.")] = None,
    metadata: Annotated[str, typer.Option(help="Hash of the full metadata, 64 hex digits.")] = "00" * 32,
    as_json: AsJson = False,
) -> None:
    """Draft what cars are told of a root: keys, revocations, pack, zones. Officers then sign the draft."""
    anchor = read_root_file(new_root or root)
    if anchor.issuer != read_root_file(root).issuer:
        raise WrongUsageError("old and new root are of different issuers")
    begin_s = now_s()
    payload = snapshot_payload(
        SnapshotAsk(
            anchor=anchor,
            number=number,
            issued_s=begin_s,
            expires_s=begin_s + days * 86_400,
            revoked=_revoked(kid, person),
            online=None if online is None else read_public_key(online),
            taken_in=taken_in,
            pack=_pack(pack),
            zones=_zones(zones),
            metadata=_hash(metadata),
        )
    )
    _write_draft(Draft(kind=SignKind.AUTHORITY, payloads=(payload,)), out, as_json=as_json)


@delegation_app.command(
    "draft",
    epilog="Example: tbox lender delegation draft --issuer lender:00112233aabbccdd --role maker "
    "--person M-17 --public maker.pub --count 3 --out maker.draft",
)
def delegation_draft(
    *,
    issuer: Annotated[str, typer.Option(help="`platform`, or `lender:` and 16 hex digits.")],
    role: Annotated[str, typer.Option(help="maker, checker, gate, safety-officer, ombuds or installer.")],
    person: Annotated[str, typer.Option(help="Number or code of the person, no name; at most 32 bytes.")],
    public: Annotated[Path, typer.Option(help="The person's public key, of `key show --out`.")],
    out: Out,
    begin: Annotated[str | None, typer.Option("--from", help="Start, e.g. 2026-12-01; default: now.")] = None,
    days: Annotated[int, typer.Option(min=1, max=30, help="Days of each.")] = 30,
    count: Annotated[int, typer.Option(min=1, max=3, help="How many follow one another.")] = 1,
    per_day: Annotated[int, typer.Option(min=1, max=10_000, help="Orders a day, counted by the gate.")] = 10,
    may: Annotated[
        list[str] | None,
        typer.Option("--may", help="Type it may sign, e.g. UNLOCK; repeatable; default all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draft up to three consecutive delegations for one key and person."""
    ask = DelegationAsk(
        issuer=issuer_of(issuer),
        person=person,
        role=_role(role),
        key=read_public_key(public),
        begin_s=now_s() if begin is None else _instant(begin),
        days=days,
        count=count,
        per_day=per_day,
        types=[_type(name) for name in may or ()],
    )
    _write_draft(Draft(kind=SignKind.DELEGATION, payloads=delegation_payloads(ask)), out, as_json=as_json)


@root_app.command(
    "sign", epilog="Example: tbox lender root sign snapshot-1.draft --key root-a.key --out a.part"
)
@delegation_app.command(
    "sign", epilog="Example: tbox lender delegation sign maker.draft --key root-a.key --out maker-a.part"
)
def sign_draft(
    *,
    draft: DraftFile,
    key: RootKey,
    out: Out,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Sign a draft as a root's officer, after seeing every field of it."""
    content = read_draft(draft)
    _say_draft(content, as_json=as_json)
    confirm(f"Sign this as an officer of {content.issuer}?", yes=yes)
    with open_key(key, ask_passphrase(passphrase_file), module_path(module, config)) as signer:
        part = sign(content, signer)
    write_new(out, part_file(part))
    show({"part": str(out), "kid": part.kid.hex()}, as_json=as_json)


@root_app.command(
    "assemble",
    epilog="Example: tbox lender root assemble snapshot-1.draft a.part b.part --root lender-root.json "
    "--out snapshot-1.cose",
)
def root_assemble(
    *,
    draft: DraftFile,
    parts: PartFiles,
    root: RootFile,
    out: Out,
    previous: Annotated[
        list[Path] | None, typer.Option(help="Snapshots since the root file, oldest first; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a snapshot together and check it as a car would."""
    known = read_root_file(root).to_root()
    for path in previous or ():
        known = _read_snapshot(read_file(path), known)
    _write_assembled(draft, parts, known, [out], SignKind.AUTHORITY, as_json=as_json)


@delegation_app.command(
    "assemble",
    epilog="Example: tbox lender delegation assemble maker.draft a.part b.part --root lender-root.json "
    "--out maker.delegation",
)
def delegation_assemble(
    *, draft: DraftFile, parts: PartFiles, root: RootFile, out: Out, as_json: AsJson = False
) -> None:
    """Put delegations together and check them as a car would; several get -1, -2, -3 before the suffix."""
    count = len(read_draft(draft).payloads)
    names = [out] if count == 1 else [out.with_stem(f"{out.stem}-{at + 1}") for at in range(count)]
    _write_assembled(
        draft, parts, read_root_file(root).to_root(), names, SignKind.DELEGATION, as_json=as_json
    )


@delegation_app.command(
    "show", epilog="Example: tbox lender delegation show maker.delegation --root lender-root.json"
)
def delegation_show(
    *,
    files: Annotated[list[Path], typer.Argument(help="Assembled delegations, or one draft.")],
    root: Annotated[Path | None, typer.Option("--root", help="Root file, to verify by.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show delegations; with a root, verified by it."""
    known = None if root is None else read_root_file(root).to_root()
    for path in files:
        data = read_file(path)
        if data[:1] == b"{":
            _say_draft(read_draft(path), as_json=False)
            continue
        if known is not None:
            next(iter(read_delegations([data], known)))
        record = dict(describe(SignKind.DELEGATION, _payload_of(data, "delegation")))
        show(record | {"verified": known is not None, "file": str(path)}, as_json=as_json)


def revoke(
    *,
    issuer: Annotated[str, typer.Option(help="Whose: `platform`, or `lender:` and 16 hex digits.")],
    number: Annotated[int, typer.Option(min=1, help="Of this addition; one more than the last.")],
    key: Annotated[str, typer.Option("--key", help="The online key named by the snapshot in force.")],
    out: Out,
    kid: Kids = None,
    person: Persons = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a person or a key now, with the online key: it can only add; a snapshot alone takes back."""
    revoked = _revoked(kid, person)
    fields = revocation_fields(issuer_of(issuer), number, now_s(), revoked)
    names = ", ".join(one if isinstance(one, str) else one.hex() for one in revoked)
    confirm(f"Revoke {names}? Only a snapshot signed by the root takes it back.", yes=yes)
    with open_key(key, ask_passphrase(passphrase_file), module_path(module, config)) as signer:
        document = sign_document(Kind.REVOCATION, fields, signer)
    write_new(out, document)
    show({"revocation": str(out), "revoked": list(names.split(", "))}, as_json=as_json)


def _write_draft(draft: Draft, out: Path, *, as_json: bool) -> None:
    _say_draft(draft, as_json=as_json)
    write_new(out, draft_file(draft))
    show({"draft": str(out), "documents": len(draft.payloads)}, as_json=as_json)


def _say_draft(draft: Draft, *, as_json: bool) -> None:
    for number, fields in enumerate(draft.fields(), start=1):
        say(f"{draft.kind.value} {number} of {len(draft.payloads)}", as_json=as_json)
        for name, value in describe(draft.kind, fields):
            say(f"  {name:<18}  {value}", as_json=as_json)


def _write_assembled(
    draft: Path,
    parts: list[Path],
    root: ProtocolRoot,
    names: list[Path],
    kind: SignKind,
    *,
    as_json: bool,  # an `orders_authority.Root`
) -> None:
    content = read_draft(draft)
    if content.kind is not kind:
        raise WrongUsageError(f"{draft} is a draft of kind {content.kind.value}")
    if content.issuer != root.issuer:
        raise RefusesError(f"the draft is of {content.issuer}, the pinned root of {root.issuer}")
    documents = assemble(content, [read_part(path) for path in parts], root)
    for path, document in zip(names, documents, strict=True):
        write_new(path, document)
    show({"documents": [str(path) for path in names]}, as_json=as_json)


def _read_snapshot(data: bytes, known: ProtocolRoot) -> ProtocolRoot:
    try:
        return orders_authority.read_snapshot(data, known, check_signature)
    except orders_authority.AuthorityError as refused:
        raise RefusesError(f"a previous snapshot is refused: {refused}") from refused


def _payload_of(data: bytes, kind: str) -> dict[int, Any]:
    try:
        fields: dict[int, Any] = orders_payload.read_document(kind, read_sign(data)[0])
    except ValueError as broken:
        raise LenderError(f"not a {kind}: {broken}") from broken
    return fields


def _revoked(kids: list[str] | None, persons: list[str] | None) -> tuple[bytes | str, ...]:
    return (*(_hash(kid) for kid in kids or ()), *(persons or ()))


def _hash(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:  # noqa: PLR2004  # SHA-256
        raise WrongUsageError(f"{text!r} is not 64 hex digits")
    return value


def _pack(text: str | None) -> tuple[str, int, bytes] | None:
    if text is None:
        return None
    jurisdiction, _, rest = text.partition(":")
    version, digest = _zones(rest) or (0, b"")
    return jurisdiction, version, digest


def _zones(text: str | None) -> tuple[int, bytes] | None:
    if text is None:
        return None
    version, _, digest = text.partition(":")
    if not version.isdecimal():
        raise WrongUsageError(f"{text!r} does not begin with a version")
    return int(version), _hash(digest)


def _role(name: str) -> Role:
    found = {role.name.lower().replace("_", "-"): role for role in Role if Role.MAKER <= role < Role.MCU}
    if name not in found:
        raise WrongUsageError(f"there is no role {name!r}; roles are {', '.join(found)}")
    return found[name]


def _type(name: str) -> OrderType:
    if name.upper() not in OrderType.__members__:
        raise WrongUsageError(f"there is no type {name!r}; types are {', '.join(OrderType.__members__)}")
    return OrderType[name.upper()]


def _instant(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as broken:
        raise WrongUsageError(f"{text!r} is no date, e.g. 2026-12-01 or 2026-12-01T08:00:00Z") from broken
    return int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())
