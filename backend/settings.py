"""One frozen object with every setting of the server, read once, all problems reported together.

Rules:
- Order of precedence: arguments (`--home`) > environment (`TBOX_...`) > `<home>/settings.toml` > default.
- Secrets are paths, never values: keys lie in files of mode 0600 under the home, a database's password in a
  file that its address names (`passfile=…`) or where libpq looks for one.
- Nothing is created or opened here; `tbox backend init` does that.

A home holds `tbox.sqlite`, `ca/{ca.pem,ca.key}`, `keys/{receipt.key,policy.key,log.key,nonce.key}`,
`tls/bridge.{pem,key}` and perhaps `settings.toml`.

Example:
    >>> settings = load_settings(home=Path("/srv/tbox"))
    >>> settings.database_url
    'sqlite+pysqlite:////srv/tbox/tbox.sqlite'
"""

import ipaddress
import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from backend.errors import SettingsError

DEFAULT_HOME = Path("tbox-home")
SETTINGS_FILE = "settings.toml"


class Settings(BaseSettings):
    """Where the server keeps things, where it listens, and what it tells a box at enrolment."""

    model_config = SettingsConfigDict(
        env_prefix="TBOX_", frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    home: Path = Field(default=DEFAULT_HOME, description="Folder of this instance: database, CA, keys.")
    demo: bool = Field(
        default=False,
        description="A demonstration: published example keys are accepted. Never in production.",
    )
    database: str | None = Field(
        default=None,
        description="Address of the database, `postgresql://user@host/name` or a SQLAlchemy one; default: "
        "SQLite file `tbox.sqlite` in the home.",
    )
    api_host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(default=8080, ge=0, le=65535, description="Port of the API; 0 picks a free one.")
    api_tls_cert: Path | None = Field(default=None, description="PEM certificate chain of the API.")
    api_tls_key: Path | None = Field(default=None, description="PEM private key of the API, mode 0600.")
    broker_host: str = Field(
        default="localhost", description="Broker as the boxes reach it, told at enrolment."
    )
    broker_port: int = Field(
        default=8883, ge=1, le=65535, description="Broker's mTLS port, told at enrolment."
    )
    broker_folder: Path | None = Field(
        default=None,
        description="Folder of the broker's files, see `tbox backend broker`; default: `broker` in the home.",
    )

    gate_url: str | None = Field(
        default=None, description="Address of the gate, for installations; without it none can be bound."
    )
    gate_token: Path | None = Field(default=None, description="File with the gate's token, mode 0600.")
    gate_ca: Path | None = Field(default=None, description="PEM of the authority of the gate's certificate.")
    gate_cert: Path | None = Field(
        default=None, description="PEM of our certificate for a gate beyond this machine."
    )
    gate_key: Path | None = Field(default=None, description="PEM of its private key, mode 0600.")
    demo_probation_passed: bool = Field(
        default=False,
        description="Cars count as commissioned and past their probation. In a demonstration only.",
    )
    enrol_hook: str | None = Field(
        default=None,
        description="Asked before a box is enrolled, may refuse with a sentence: a command's absolute path "
        "or an http address on this machine.",
    )

    log_origin: str = Field(
        default="log.example/tbox",
        pattern=r"^[^\s+]{1,256}$",
        description="Name of this instance's log, an address without schema; fixed by the first checkpoint.",
    )
    witnesses_file: Path | None = Field(
        default=None, description="Witnesses of the log; default: `witnesses.json` in the home, if it exists."
    )

    @field_validator("database")
    @classmethod
    def _without_password(cls, address: str | None) -> str | None:
        """Refuse a password in the address, which ends up in process lists, logs and copies of settings."""
        try:
            has_password = address is not None and make_url(address).password is not None
            has_password |= address is not None and "password" in make_url(address).query
        except ArgumentError as wrong:
            raise ValueError("not an address of a database") from wrong
        if has_password:
            raise ValueError(
                "a password does not belong here; put it into a file of mode 0600 as libpq reads it, and "
                "name that: postgresql://user@host/name?passfile=/srv/tbox/keys/pgpass"
            )
        return address

    @model_validator(mode="after")
    def _only_in_a_demonstration(self) -> Self:
        if self.demo_probation_passed and not self.demo:
            raise ValueError("demo_probation_passed exists in a demonstration only (demo = true)")
        if (self.gate_url is None) != (self.gate_token is None):
            raise ValueError("gate_url and gate_token belong together")
        if (self.gate_cert is None) != (self.gate_key is None):
            raise ValueError("gate_cert and gate_key belong together")
        return self

    @property
    def database_url(self) -> str:
        """The SQLAlchemy address of the database."""
        if self.database is not None:
            return self.database
        return f"sqlite+pysqlite:///{(self.home / 'tbox.sqlite').absolute()}"

    @property
    def ca_certificate_path(self) -> Path:
        """Certificate of the own CA, PEM."""
        return self.home / "ca" / "ca.pem"

    @property
    def ca_key_path(self) -> Path:
        """Private key of the own CA, PEM PKCS#8, mode 0600."""
        return self.home / "ca" / "ca.key"

    @property
    def receipt_key_path(self) -> Path:
        """Private key that signs receipts, signed time and evidence manifests, PEM PKCS#8, mode 0600."""
        return self.home / "keys" / "receipt.key"

    @property
    def policy_key_path(self) -> Path:
        """Private key that signs collection policies, PEM PKCS#8, mode 0600."""
        return self.home / "keys" / "policy.key"

    @property
    def log_key_path(self) -> Path:
        """Private key that signs the log's checkpoints, Ed25519 in PEM PKCS#8, mode 0600."""
        return self.home / "keys" / "log.key"

    @property
    def witnesses_path(self) -> Path:
        """Witnesses of the log, JSON: {"witnesses": [{"key": text, "url": address}]}."""
        return self.witnesses_file if self.witnesses_file is not None else self.home / "witnesses.json"

    @property
    def nonce_secret_path(self) -> Path:
        """Secret that makes renewal nonces, 32 random bytes, mode 0600."""
        return self.home / "keys" / "nonce.key"

    @property
    def bridge_certificate_path(self) -> Path:
        """Certificate with which the bridge shows itself to the broker, PEM, CN `bridge`."""
        return self.home / "tls" / "bridge.pem"

    @property
    def bridge_key_path(self) -> Path:
        """Private key of that certificate, PEM PKCS#8, mode 0600."""
        return self.home / "tls" / "bridge.key"

    @property
    def broker_path(self) -> Path:
        """Folder of the broker's files; a revocation is written there when it exists."""
        return (self.broker_folder if self.broker_folder is not None else self.home / "broker").absolute()

    @property
    def listens_beyond_loopback(self) -> bool:
        """Whether anyone but this machine can reach the API."""
        if self.api_host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.api_host).is_loopback
        except ValueError:
            return True  # a name we have not resolved may be anything, so it counts as reachable


def load_settings(*, home: Path | None = None, **overrides: object) -> Settings:
    """Read the settings once.

    Args:
        home: The instance's folder; None leaves it to `TBOX_HOME`, then to the default.
        overrides: Single settings from the command line; None means not given.

    Raises:
        SettingsError: One or more settings are wrong; the message has a line for each.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if home is not None:
        given["home"] = home
    problems: list[str] = []
    try:
        folder = Settings(**given).home  # type: ignore[arg-type]  # pydantic checks what a mapping holds
        from_file = _read_file(folder / SETTINGS_FILE)
        named_in_environment = Settings(**given).model_fields_set  # type: ignore[arg-type]
        merged = {
            name: value for name, value in from_file.items() if name not in named_in_environment
        } | given
        return Settings(**merged)  # type: ignore[arg-type]
    except ValidationError as wrong:
        problems.extend(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in wrong.errors())
    raise SettingsError(what="the settings are not usable:\n  " + "\n  ".join(problems))


def _read_file(path: Path) -> dict[str, object]:
    """Return what `settings.toml` says, or nothing when there is none."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise SettingsError(what=f"{path} cannot be read: {broken}") from broken
