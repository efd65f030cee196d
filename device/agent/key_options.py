"""Which chip holds the box's key: the options that `tbox agent keys` and `tbox agent enrol` share.

Rules: without options it is a file, or whatever this home's record says. An option of another store than the
one named is a mistake, and said.

Example:
    $ tbox agent keys --home /var/lib/tbox --key-store tpm --tpm-handle 0x81000001
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device.adapters.key_store import KeyStoreError
from device.adapters.key_store_record import Place, StoreKind, TokenPlace, parse_handle
from device.adapters.tpm_key import DEFAULT_HANDLE, DEFAULT_TCTI, TpmPlace, parse_tcti

if TYPE_CHECKING:
    from device.agent.home import AgentHome

Store = Annotated[
    StoreKind | None, typer.Option("--key-store", help="What makes and keeps the box's signing key.")
]
Tpm = Annotated[str | None, typer.Option(help="The TPM, as tpm2-tools name it.", show_default=DEFAULT_TCTI)]
TpmHandle = Annotated[
    str | None, typer.Option(help="Persistent handle of the key.", show_default=f"0x{DEFAULT_HANDLE:08x}")
]
Module = Annotated[Path | None, typer.Option("--pkcs11-module", help="Library of the PKCS#11 token.")]
Token = Annotated[str | None, typer.Option("--pkcs11-token", help="Label of the token.")]
KeyLabel = Annotated[str | None, typer.Option("--pkcs11-label", help="Label of the key.", show_default="d2")]
PinFile = Annotated[Path | None, typer.Option("--pkcs11-pin-file", help="File of the PIN, mode 0600.")]


def place_of(
    home: AgentHome,
    store: StoreKind | None,
    *,
    tpm: tuple[str | None, str | None],
    token: tuple[Path | None, str | None, str | None, Path | None],
) -> Place | None:
    """Return which chip is meant; None is a file.

    Args:
        home: whose record decides when no store is named.
        store: as the option says.
        tpm: name of the chip, and handle.
        token: library, token, key and file of the PIN.

    Raises:
        KeyStoreError: the options do not name one place.
    """
    if store is None and not any((*tpm, *token)):
        return home.keys.place()
    match store:
        case StoreKind.TPM if not any(token):
            return _tpm_place(*tpm)
        case StoreKind.PKCS11 if not any(tpm):
            module, name, label, pin_file = token
            if module is None or name is None or pin_file is None:
                raise _mistake("a token is named by --pkcs11-module, --pkcs11-token and --pkcs11-pin-file")
            return TokenPlace(
                module=module.absolute(), token=name, label=label or "d2", pin_file=pin_file.absolute()
            )
        case StoreKind.FILE if not any((*tpm, *token)):
            return None
        case _:
            raise _mistake("--tpm… goes with --key-store tpm, and --pkcs11-… with --key-store pkcs11")


def _tpm_place(tcti: str | None, handle: str | None) -> TpmPlace:
    place = tcti or DEFAULT_TCTI
    parse_tcti(place)
    try:
        return TpmPlace(tcti=place, handle=DEFAULT_HANDLE if handle is None else parse_handle(handle))
    except ValueError as wrong:
        raise _mistake(str(wrong)) from wrong


def _mistake(what: str) -> KeyStoreError:
    return KeyStoreError(
        what, is_transient=False, meaning="no key was made", next_step="correct the options, see --help"
    )
