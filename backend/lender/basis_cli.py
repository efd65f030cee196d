"""`tbox lender basis`: what an order rests on, put together from the loan system's signed answers."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from backend.lender.basis_text import open_basis
from backend.lender.errors import RefusesError, WrongUsageError
from backend.lender.files import read_file, write_new
from backend.lender.officer import open_officer
from backend.lender.order_cli import Device
from backend.lender.output import AsJson, Config, Out, ReportingGroup, say, show
from backend.lender.plain import shown
from backend.lender.settings import load_settings
from backend.lender.telling import basis_text
from protocol.errors import ProtocolError
from protocol.limits import BASIS_BYTES_MAX
from protocol.loan_facts import Basis, encode_basis

basis_app = typer.Typer(
    cls=ReportingGroup, no_args_is_help=True, help="What an order rests on: facts, notices, the pack."
)


@basis_app.command(
    "new",
    epilog="Example: tbox lender basis new 9f86…0a08 --facts facts.cose --record final-letter.cose "
    "--record final-sms.cose --pack US-CA:3:HASH --out case.basis",
)
def basis_new(
    *,
    device: Device,
    facts: Annotated[Path, typer.Option(help="Loan facts, as the loan system signed them.")],
    record: Annotated[
        list[Path] | None, typer.Option(help="Notice, block or payment record, signed; repeatable.")
    ] = None,
    pack: Annotated[str | None, typer.Option(help="Jurisdiction pack: JUR:VERSION:HASH.")] = None,
    opinion: Annotated[Path | None, typer.Option(help="Counsel's opinion, whose hash is named.")] = None,
    out: Out,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put signed facts and records together, verified by the pinned key, and show what they say.

    The order names the hash of this file. The gate wants the order written within 15 minutes of the facts.
    """
    settings = load_settings(config)
    officer = open_officer(settings, offline=True)
    pins, car = officer.pins(), officer.cars.of(device)
    basis = Basis(
        facts=read_file(facts),
        records=tuple(read_file(path) for path in record or ()),
        pack=_pack(pack),
        opinion=None if opinion is None else hashlib.sha256(read_file(opinion)).digest(),
    )
    try:
        data = encode_basis(basis)
    except (ProtocolError, ValueError) as broken:
        raise RefusesError(f"these do not make a basis: {broken}") from broken
    if len(data) > BASIS_BYTES_MAX:
        raise WrongUsageError(f"the bundle has {len(data)} bytes, at most {BASIS_BYTES_MAX} are read")
    opened = open_basis(data, car, pins.loan_key)
    for line in basis_text(opened, now_s=officer.now(), language=settings.language):
        say(line, as_json=as_json)
    write_new(out, data)
    show(
        {"basis": str(out), "hash": hashlib.sha256(data).hexdigest(), "episode": opened.episode.hex()},
        as_json=as_json,
    )


def _pack(text: str | None) -> tuple[str, int, bytes] | None:
    if text is None:
        return None
    jurisdiction, _, rest = text.partition(":")
    version, _, digest = rest.partition(":")
    try:
        value = bytes.fromhex(digest)
    except ValueError:
        value = b""
    if not version.isdecimal() or len(value) != hashlib.sha256().digest_size:
        raise WrongUsageError(f"{shown(text)!r} is not JUR:VERSION:HASH")
    return jurisdiction, int(version), value
