"""`tbox lender key`: make an officer's key, show its public half."""

from pathlib import Path
from typing import Annotated

import typer

from backend.lender.files import write_new
from backend.lender.keys import TOKEN_SCHEME, make_key, open_key, public_key_file, read_public_key
from backend.lender.output import AsJson, Config, Module, PassphraseFile, ReportingGroup, ask_passphrase, show
from backend.lender.settings import module_path
from protocol.ids import cose_key_bytes, thumbprint

key_app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    help="Your own key: made here, it never leaves this machine or token.",
)

KeyRef = Annotated[str, typer.Argument(help="Key file, or pkcs11:token=NAME;object=LABEL.")]


@key_app.command("new", epilog="Example: tbox lender key new maker.key")
def key_new(
    *,
    key: KeyRef,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a key: an encrypted file, or a key in a token that cannot be taken out."""
    kid = make_key(key, ask_passphrase(passphrase_file), module_path(module, config))
    show({"key": key, "kid": kid.hex()}, as_json=as_json)


@key_app.command("show", epilog="Example: tbox lender key show maker.key --out maker.pub")
def key_show(
    *,
    key: KeyRef,
    out: Annotated[Path | None, typer.Option("--out", help="Write the public key for the ceremony.")] = None,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show a public key; of a key file without its passphrase."""
    if key.startswith(TOKEN_SCHEME):
        with open_key(key, ask_passphrase(passphrase_file), module_path(module, config)) as signer:
            public_key = signer.public_key
    else:
        public_key = read_public_key(Path(key))
    if out is not None:
        write_new(out, public_key_file(public_key))
    show(
        {"kid": thumbprint(public_key).hex(), "cose_key": cose_key_bytes(public_key).hex()}
        | ({} if out is None else {"public key": str(out)}),
        as_json=as_json,
    )
