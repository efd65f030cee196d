"""Where the box's signing key is, as a small file beside the others: `d2.json`. No file means a key file.

Rules: it holds no secret; the PIN or the key's own password are in files of their own, mode 0600. It is
written after the key was made and tried, so that a home never names a key that is not there.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_place(folder, TpmPlace(tcti="device:/dev/tpmrm0", handle=0x81000001))
    >>> read_place(folder)
    TpmPlace(tcti='device:/dev/tpmrm0', handle=2164260865)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from device.adapters.durable_file import write_durably
from device.adapters.key_store_errors import KeyStoreError
from device.adapters.tpm_key import HANDLES, TpmPlace, parse_tcti
from protocol.limits import SETTINGS_BYTES_MAX

NAME: Final = "d2.json"
_SCHEMA: Final = 1


class StoreKind(StrEnum):
    """What holds D2."""

    FILE = "file"
    PKCS11 = "pkcs11"
    TPM = "tpm"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """A key in a PKCS#11 token: the library, the token's and the key's label, the file of the PIN."""

    module: Path
    token: str
    label: str
    pin_file: Path


Place = TokenPlace | TpmPlace
"""A chip that holds D2."""


def kind_of(place: Place | None) -> StoreKind:
    """Return the kind of a place; None is a file."""
    if place is None:
        return StoreKind.FILE
    return StoreKind.TPM if isinstance(place, TpmPlace) else StoreKind.PKCS11


def read_place(folder: Path) -> Place | None:
    """Return where D2 is; None for a file of this folder.

    Raises:
        KeyStoreError: the record is not one of ours.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(SETTINGS_BYTES_MAX))
        if found["schema"] != _SCHEMA:
            raise ValueError("of another version")  # noqa: TRY301 - one sentence for whatever is wrong with it
        match StoreKind(found["store"]):
            case StoreKind.TPM:
                place: Place = TpmPlace(tcti=found["tcti"], handle=parse_handle(found["handle"]))
                parse_tcti(found["tcti"])
            case StoreKind.PKCS11:
                module, pin_file = Path(found["module"]), Path(found["pin_file"])
                place = TokenPlace(
                    module=module, token=found["token"], label=found["label"], pin_file=pin_file
                )
            case StoreKind.FILE:
                raise ValueError("a key file needs no record")  # noqa: TRY301 - as above
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise KeyStoreError(
            f"not readable: {path}: {failure}",
            is_transient=False,
            meaning="the agent does not know where its key is",
            next_step="restore the home from its backup, or enrol a new one",
        ) from failure
    return place


def write_place(folder: Path, place: Place) -> None:
    """Keep where D2 is.

    Raises:
        OSError: the disk refused.
    """
    if isinstance(place, TpmPlace):
        content = {"store": StoreKind.TPM, "tcti": place.tcti, "handle": f"0x{place.handle:08x}"}
    else:
        content = {
            "store": StoreKind.PKCS11,
            "module": str(place.module),
            "token": place.token,
            "label": place.label,
            "pin_file": str(place.pin_file),
        }
    text = json.dumps({"schema": _SCHEMA, **content}, indent=2) + "\n"
    write_durably(folder / NAME, text.encode(), mode=0o600)


def parse_handle(text: str) -> int:
    """Read a persistent handle of the owner, `0x81000001`.

    Raises:
        ValueError: it is something else.
    """
    handle = int(text, 16)
    if handle not in HANDLES:
        raise ValueError(f"a persistent handle is 0x{HANDLES.start:x} … 0x{HANDLES.stop - 1:x}, not {text}")
    return handle
