"""Keys of the emergency codes, held in trust: one file a microcontroller, and the codes that follow from it.

Rules (O-02; README §2.1): whoever provisions a microcontroller gives the same 32 bytes to the gate's operator
and to the ombuds, so that no lender can withhold a code. A file is 0600, named by `mcu_id`, written once and
never replaced: another key for a known microcontroller is a mistake or an attack, and a person must look.
Codes are computed when they are asked for and kept nowhere; the journal says for which car, never the digits.

    escrow/<mcu_id>.key      64 hex digits, one line

It does not say which code the car takes next: only the microcontroller knows.

Example:
    >>> codes(bytes(32), bytes(16), 2)
    ('705177246', '831436494')

Source: `protocol.orders_override`.
"""

from pathlib import Path
from typing import Final

from backend.errors import RefusedError, SecretError
from backend.gate.home import read_private, write_private
from protocol.orders_override import code

ESCROW: Final = "escrow"
KEY_BYTES: Final = 32
CODES_MAX: Final = 16
"""Codes of an episode: no order may name more (`ovr` 1, SPEC §18)."""


def read_key(path: Path) -> bytes:
    """Read K_ovr from a file that only its owner can read: 32 bytes, or 64 hex digits.

    Raises:
        SecretError: it is missing, open to others, or not such a key.
    """
    data = read_private(path)
    if len(data) != KEY_BYTES:
        try:
            data = bytes.fromhex(data.decode("ascii").strip())
        except ValueError:
            data = b""
    if len(data) != KEY_BYTES or len(set(data)) == 1:
        raise SecretError(
            what=f"{path} is no key of emergency codes",
            meaning="codes of another key do not open the car",
            next_step="give the file with 64 hex digits that the microcontroller was provisioned from",
        )
    return data


def add_key(home: Path, mcu_id: bytes, key: bytes) -> Path:
    """Keep the key of a microcontroller in a home; the same one again is no harm.

    Raises:
        SecretError: it cannot be written.
        RefusedError: another key is there.
    """
    path = _path(home, mcu_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        if read_key(path) != key:
            raise RefusedError(
                what=f"another key of {mcu_id.hex()} is in {path}",
                meaning="one of the two does not open this car; nothing was changed",
                next_step="find out which one the microcontroller was provisioned with",
            )
        return path
    write_private(path, f"{key.hex()}\n".encode())
    return path


def find_key(home: Path, mcu_id: bytes) -> bytes:
    """Return the key of a microcontroller.

    Raises:
        SecretError: none is held here, or its file is open to others.
    """
    path = _path(home, mcu_id)
    if not path.exists():
        raise SecretError(
            what=f"no key of {mcu_id.hex()} in {path.parent}",
            meaning="its codes cannot be computed here; the ombuds holds the same key",
            next_step="tbox backend gate escrow add --mcu ID --key FILE",
        )
    return read_key(path)


def held(home: Path) -> tuple[str, ...]:
    """Return the mcu_ids whose keys are held, in order."""
    return tuple(sorted(path.stem for path in (home / ESCROW).glob("*.key")))


def codes(key: bytes, episode: bytes, count: int) -> tuple[str, ...]:
    """Return codes 1 to `count` of an episode (16 bytes), nine digits each."""
    return tuple(str(code(key, episode, number)) for number in range(1, count + 1))


def _path(home: Path, mcu_id: bytes) -> Path:
    return home / ESCROW / f"{mcu_id.hex()}.key"
