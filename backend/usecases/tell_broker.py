"""A revocation reaches the broker: its revocation list and its access list are written afresh.

Rules:
- Written into the broker's folder if `tbox backend broker config` has made one; without it there is nothing
  to do here, and the operator carries `tbox backend ca crl` to his broker himself.
- One writer at a time reads the registry and writes, so that of two revocations at once the later file has
  both.
- Each file is replaced whole, the revocation list last: who watches it finds the access list in place.

The broker reads both on SIGHUP; this process may not signal another user's, so a watcher does (operator's
guide).

Example:
    >>> tell_broker(database, folder=settings.broker_path, issuer=identity.issuer, now_us=utc_us())
    False
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backend.domain.broker_rules import ACCESS_LIST, CONFIGURATION, REVOCATION_LIST, access_list
from backend.domain.certificates import Issuer, is_bridge_name
from backend.errors import BackendError, SecretError
from backend.store.certificates import list_service_names
from backend.store.database import Database
from backend.store.devices import list_revoked_ids
from backend.store.key_files import replace_public
from backend.usecases.issue_certificates import publish_crl

LOG = logging.getLogger(__name__)

_LOCK: Final = ".lock"


def tell_broker(database: Database, *, folder: Path, issuer: Issuer, now_us: int) -> bool:
    """Write both lists from what the registry says now; return whether there is a folder to write to.

    Raises:
        BackendError: The folder cannot be written.
    """
    if not (folder / CONFIGURATION).is_file():
        return False
    try:
        with _alone(folder):
            write_lists(database, folder=folder, issuer=issuer, now_us=now_us)
    except (OSError, SecretError) as failed:
        raise BackendError(
            what=f"{folder} cannot be written: {failed}",
            meaning="the registry is right, and the broker does not know it yet",
            next_step="let this user write there, then run `tbox backend broker refresh`",
        ) from failed
    return True


def try_to_tell_broker(database: Database, *, folder: Path, issuer: Issuer, now_us: int) -> None:
    """Do the same where the registry's change stands whether or not the broker hears of it."""
    try:
        tell_broker(database, folder=folder, issuer=issuer, now_us=now_us)
    except BackendError as failed:
        LOG.error("broker not told of a revocation: %s", failed.diagnostics())  # noqa: TRY400 - says it all


def write_lists(database: Database, *, folder: Path, issuer: Issuer, now_us: int) -> None:
    """Write both lists; the caller makes sure that nobody else does.

    Raises:
        OSError: The folder cannot be written.
        SecretError: The same.
    """
    with database.reading() as session:
        crl = publish_crl(session, issuer=issuer, now_us=now_us)
        bridges = [name for name in list_service_names(session, now_us=now_us) if is_bridge_name(name)]
        acl = access_list(bridges=bridges, revoked=list_revoked_ids(session))
    replace_public(folder / ACCESS_LIST, acl.encode())
    replace_public(folder / REVOCATION_LIST, crl.encode())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other writers of this folder out."""
    with (folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
