"""The operator sets up the broker's files: configuration, certificate, access list, revocation list.

Rules:
- Repeatable: the broker's key is kept, its certificate issued anew, everything else written again from the
  registry and the plan. So the yearly renewal is the same command.
- The broker runs as a user of its own, who can read this folder and own the key and the snapshots in it. It
  never reads the home: whoever breaks into the broker finds no key that signs.
- The lists belong to the home's owner, whose processes rewrite them.

It starts no broker.

Example:
    >>> made = set_up_broker(
    ...     database, plan=plan, names=["broker.example"], home=home, issuer=ca, org_id=org, now_us=utc_us()
    ... )
"""

import os
import pwd
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from backend.domain.broker_rules import (
    ACCESS_LIST,
    CONFIGURATION,
    DATA,
    REVOCATION_LIST,
    BrokerPlan,
    configuration,
)
from backend.domain.certificates import Issuer
from backend.errors import SettingsError
from backend.store.database import Database
from backend.store.key_files import load_private_key, make_private_key, replace_public
from backend.usecases.issue_certificates import issue_server_certificate
from backend.usecases.tell_broker import tell_broker

_FOLDER_MODE = 0o755
_DATA_MODE = 0o700


def set_up_broker(
    database: Database,
    *,
    plan: BrokerPlan,
    names: Sequence[str],
    home: Path,
    issuer: Issuer,
    org_id: str,
    now_us: int,
) -> tuple[Path, ...]:
    """Write everything mosquitto reads; return the files.

    Args:
        database: The registry.
        plan: Where, as whom, how large.
        names: Host names and addresses of the broker, as the boxes reach it.
        home: The instance's folder, whose owner will rewrite the lists.
        issuer: The CA.
        org_id: Organisation that the certificate is entered for.
        now_us: Now, µs UTC.

    Raises:
        SettingsError: The user does not exist, or could not reach the folder.
        SecretError: A file cannot be written, or the key is not usable.
        ValueError: A name cannot stand in a certificate.
    """
    folder = Path(plan.folder)
    user = _user(plan)
    _check_way(folder, user)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        (folder / DATA).mkdir(exist_ok=True, mode=_DATA_MODE)
    except OSError as failed:
        raise SettingsError(what=f"{folder} cannot be made: {failed.strerror}") from failed
    key_path = folder / "broker.key"
    key = load_private_key(key_path) if key_path.exists() else make_private_key(key_path)
    with database.writing() as session:
        chain = issue_server_certificate(
            session, issuer=issuer, org_id=org_id, public_key=key.public_key(), names=names, now_us=now_us
        )
    texts = {
        folder / "ca.pem": issuer.certificate.public_bytes(Encoding.PEM).decode(),
        folder / "broker.pem": chain,
        folder / CONFIGURATION: configuration(plan),
    }
    for path, text in texts.items():
        replace_public(path, text.encode())
    tell_broker(database, folder=folder, issuer=issuer, now_us=now_us)
    if os.geteuid() == 0:
        _hand_over(folder, user, home)
    return (key_path, *texts, folder / ACCESS_LIST, folder / REVOCATION_LIST)


def _user(plan: BrokerPlan) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(plan.user)
    except KeyError as unknown:
        raise SettingsError(
            what=f"this machine has no user {plan.user}",
            meaning="the broker could not be started as that user",
            next_step="install mosquitto, or name another user with --user",
        ) from unknown


def _check_way(folder: Path, user: pwd.struct_passwd) -> None:
    """Refuse a folder that the broker's user cannot get to.

    Raises:
        SettingsError: A folder above it is closed to him.
    """
    for above in folder.parents:
        if not above.is_dir() or user.pw_uid == 0:
            continue
        status = above.stat()
        may_enter = status.st_mode & stat.S_IXOTH or (
            status.st_uid == user.pw_uid and status.st_mode & stat.S_IXUSR
        )
        if not may_enter:
            raise SettingsError(
                what=f"{above} is closed to the user {user.pw_name}",
                meaning=f"the broker could not read {folder}",
                next_step="choose a folder outside of the home with --out, e.g. /var/lib/tbox-broker",
            )


def _hand_over(folder: Path, user: pwd.struct_passwd, home: Path) -> None:
    """Give the key and the snapshots to the broker's user, and the rest to the home's owner."""
    owner = home.stat()
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    for path in (folder / "broker.key", folder / DATA):
        os.chown(path, user.pw_uid, user.pw_gid)
