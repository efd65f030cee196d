"""`tbox lender page`: open the page on loopback."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from backend.lender.keys import open_key
from backend.lender.officer import open_officer, with_delegations
from backend.lender.order_cli import Delegations, key_of
from backend.lender.output import Config, Key, Module, PassphraseFile, ask_passphrase
from backend.lender.page import Page, serving
from backend.lender.settings import load_settings


def page(
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 0,
    address_file: Annotated[
        Path | None,
        typer.Option(help="Write the address here as well, for a browser that is started by hand."),
    ] = None,
    key: Key = None,
    delegation: Delegations = None,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
) -> None:
    """Serve your own page to this machine until Ctrl-C: waiting orders decoded; approve, request, unlock."""
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings)
    with (
        open_key(
            key_of(key, settings), ask_passphrase(passphrase_file), module or settings.pkcs11_module
        ) as by,
        serving(Page(officer, by, settings.language), port) as server,
    ):
        typer.echo(f"Open {server.address}   (only this machine; Ctrl-C ends it)")
        if address_file is not None:
            address_file.touch(mode=0o600)
            address_file.write_text(server.address)
        with suppress(KeyboardInterrupt):
            server.serve()
