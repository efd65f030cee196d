"""The cars an officer may order, pinned: whose key D1 is believed, and what an order must name.

Rules (C-06, C-07): a pin comes from the installation record or the contract, never from the server. The VIN
is an address for people: with the salt of the installation it must hash to vin_bind, else only vin_bind is
shown. An order for a car without a pin is not signed, not even a release: nobody could say which car it is.

Example:
    >>> cars = read_cars(Path("cars.json"))
    >>> cars.by_mcu(mcu_id).last4
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.lender.errors import LenderError, NotThereError, SettingsError, WrongUsageError
from backend.lender.files import PRIVATE, read_json, to_json, write_over
from protocol.errors import ProtocolError
from protocol.ids import parse_device_id, public_key_from_cose, thumbprint

MARK: Final = "tbox_cars"
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """One pinned car.

    Attributes:
        device: its box's id, 64 hex digits.
        mcu_key: COSE_Key of D1.
        vin_bind, contract_ref: 32 bytes each.
        jur: jurisdiction pack it is registered for.
        vin: for people; None when it was not pinned.
        vin_salt: with which the VIN hashes to vin_bind; None without a VIN.
        epoch: 16 bytes from the installation record, for a release before the server was ever reached.
    """

    device: str
    mcu_key: bytes
    vin_bind: bytes
    contract_ref: bytes
    jur: str
    vin: str | None = None
    vin_salt: bytes | None = None
    epoch: bytes | None = None

    @property
    def public_key(self) -> EllipticCurvePublicKey:
        """D1."""
        return public_key_from_cose(self.mcu_key)

    @property
    def mcu_id(self) -> bytes:
        """Thumbprint of D1."""
        return thumbprint(self.public_key)

    @property
    def ref(self) -> str:
        """What people know the car by: the VIN, else vin_bind in hex."""
        return self.vin or self.vin_bind.hex()

    @property
    def last4(self) -> str:
        """The last four characters of `ref`: what the checker types."""
        return self.ref[-4:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cars:
    """All pinned cars, by device id."""

    by_device: dict[str, Car]

    def of(self, device: str) -> Car:
        """Return the car of a device id.

        Raises:
            NotThereError: it is not pinned.
        """
        try:
            found = self.by_device.get(parse_device_id(device))
        except ProtocolError as wrong:
            raise WrongUsageError(f"{device!r} is no device id: {wrong}") from wrong
        if found is None:
            raise _no_pin(device)
        return found

    def by_mcu(self, mcu_id: bytes) -> Car:
        """Return the car whose D1 has this thumbprint.

        Raises:
            NotThereError: none is pinned.
        """
        for car in self.by_device.values():
            if car.mcu_id == mcu_id:
                return car
        raise _no_pin(mcu_id.hex())


def read_cars(path: Path) -> Cars:
    """Read the pinned cars; a missing file has none.

    Raises:
        SettingsError: the file is damaged.
    """
    if not path.exists():
        return Cars(by_device={})
    try:
        content = read_json(path, MARK)
        listed = [_car(device, one) for device, one in content["cars"].items()]
    except (LenderError, ProtocolError, AttributeError, KeyError, TypeError, ValueError) as broken:
        raise SettingsError(f"{path} is damaged: {broken}") from broken
    return Cars(by_device={car.device: car for car in listed})


def write_cars(path: Path, cars: Cars) -> None:
    """Write the pinned cars in place of the older file."""
    content = {device: _fields(car) for device, car in sorted(cars.by_device.items())}
    write_over(path, to_json({MARK: 1, "cars": content}), mode=PRIVATE)


def bind_vin(vin: str, salt: bytes) -> bytes:
    """Return vin_bind of a VIN: SHA-256(salt ‖ VIN)."""
    return hashlib.sha256(salt + vin.encode()).digest()


def _car(device: str, fields: dict[str, Any]) -> Car:
    epoch, salt = fields.get("epoch"), fields.get("vin_salt")
    car = Car(
        device=parse_device_id(device),
        mcu_key=bytes.fromhex(fields["mcu_key"]),
        vin_bind=bytes.fromhex(fields["vin_bind"]),
        contract_ref=bytes.fromhex(fields["contract_ref"]),
        jur=str(fields["jur"]),
        vin=fields.get("vin"),
        vin_salt=None if salt is None else bytes.fromhex(salt),
        epoch=None if epoch is None else bytes.fromhex(epoch),
    )
    if len(car.vin_bind) != _HASH_BYTES or len(car.contract_ref) != _HASH_BYTES:
        raise ValueError(f"{device}: vin_bind and contract_ref have 32 bytes each")
    if car.vin is not None and bind_vin(car.vin, car.vin_salt or b"") != car.vin_bind:
        raise ValueError(f"{device}: the VIN does not hash to vin_bind")
    public_key_from_cose(car.mcu_key)
    return car


def _fields(car: Car) -> dict[str, str]:
    fields = {
        "mcu_key": car.mcu_key.hex(),
        "vin_bind": car.vin_bind.hex(),
        "contract_ref": car.contract_ref.hex(),
        "jur": car.jur,
    }
    optional = {"vin": car.vin, "vin_salt": _hex(car.vin_salt), "epoch": _hex(car.epoch)}
    return fields | {name: value for name, value in optional.items() if value is not None}


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _no_pin(name: str) -> NotThereError:
    return NotThereError(
        f"the car {name} is not pinned on this machine",
        next_step="pin it from its installation record: tbox lender car pin --help",
    )
