"""How a home becomes a box, and how its certificate is renewed.

Rules:
- Keys first, then the question, then what the answer brought, and last the settings: a home with settings is
  enrolled. Asking again after a failure uses the same keys, so the server sees the same box.
- The receipt and policy keys of the first answer are pinned. A later answer brings new keys only by a chain
  of signed successions from the pinned ones; whoever answers in the server's place cannot plant one.
- Settings that exist are kept; a renewal never touches them.

It opens no port and runs no engine.

Example:
    enrol(home, client, token="tboxe_…", label="TB-0001", api="https://fleet.example", ca_file=None)
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from device.adapters.key_store import KeyName
from device.agent.home import HomeError, Trust
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose, thumbprint
from protocol.key_succession import KeyRole, open_key_succession

if TYPE_CHECKING:
    from pathlib import Path

    from device.adapters.enrolment_http import Enrolled, EnrolmentClient
    from device.adapters.key_store_record import Place
    from device.agent.home import AgentHome

_TEMPLATE = """\
# What this box is connected to. `tbox agent run --home DIR` says everything that is wrong with this file at
# once.
schema = 1

[broker]
host = {host}
port = {port}

[api]
url = {api}{ca_line}

# A bus: compile its DBC with `tbox agent compile --dbc car.dbc --out DIR/tables/can0.table`, then take away
# the marks. [[can]]
# bus = "can0"
# interface = "socketcan"        # or slcan, pcan, kvaser, vector, …: any driver of python-can
# channel = "can0"
# table = "tables/can0.table"

# [gnss]
# port = "/dev/ttyUSB1"
# baudrate = 9600

# [vehicle]
# profile = "car.toml"

[collect]
precision = "none"               # none, in_out, cell, exact: how exact positions leave the box
"""


def enrol(
    home: AgentHome,
    client: EnrolmentClient,
    *,
    token: str,
    label: str | None,
    api: str,
    ca_file: Path | None,
    place: Place | None = None,
) -> Enrolled:
    """Enrol a new box.

    Args:
        home: where it will live.
        client: of the server.
        token: one-time token.
        label: serial number on the box.
        api: address of the server, for renewals.
        ca_file: its authority; copied into the home.
        place: the chip that makes and keeps D2; None for a file.

    Raises:
        HomeError: the home is enrolled already, or the disk refused.
        KeyStoreError: a key cannot be used.
        HttpError: the server was not reached, refused, or answered something unusable.
    """
    if home.is_enrolled:
        raise HomeError(
            f"already enrolled: {home.root}",
            is_transient=False,
            meaning="the box has a name and a spool that belong together",
            next_step="use `tbox agent renew` for a new certificate, or another home for another box",
        )
    home.make()
    d2, tls_key = home.keys.make_signer(place), home.keys.load_or_create(KeyName.TLS)
    enrolled = client.enrol(token=token, d2=d2, tls_key=tls_key, label=label)
    _keep_certificates(home, enrolled)
    home.write_trust(
        Trust(device=enrolled.device, receipt_keys=enrolled.receipt_keys, policy_keys=enrolled.policy_keys)
    )
    if not home.settings.exists():
        home.write(home.settings, _settings_text(home, enrolled, api=api, ca_file=ca_file))
    return enrolled


def renew(home: AgentHome, client: EnrolmentClient) -> Enrolled:
    """Get a new certificate, and follow the server's keys.

    Raises:
        HomeError: not enrolled, or the disk refused.
        KeyStoreError: a key cannot be used.
        HttpError: the server was not reached, refused, or answered something unusable.
    """
    trust = home.read_trust()
    renewed = client.renew(
        device=trust.device, d2=home.keys.signer(KeyName.D2), tls_key=home.keys.load(KeyName.TLS)
    )
    _keep_certificates(home, renewed)
    home.write_trust(
        Trust(
            device=trust.device,
            receipt_keys=follow(
                trust.receipt_keys, renewed.receipt_keys, renewed.successions, KeyRole.RECEIPT
            ),
            policy_keys=follow(trust.policy_keys, renewed.policy_keys, renewed.successions, KeyRole.POLICY),
        )
    )
    return renewed


def follow(
    pinned: tuple[bytes, ...], offered: tuple[bytes, ...], successions: tuple[bytes, ...], role: KeyRole
) -> tuple[bytes, ...]:
    """Return which keys to believe from now on.

    Args:
        pinned: keys believed until now.
        offered: keys that the server says are in force.
        successions: signed links, oldest first.
        role: what the keys sign.

    Returns:
        Those offered keys that are pinned or reached by links from pinned ones; the pinned ones when that is
        none.
    """
    reached = {thumbprint(key): key for key in (public_key_from_cose(data) for data in pinned)}
    believed = set(pinned)
    for link in successions:
        try:
            successor = open_key_succession(link, reached.get, role=role).successor
        except ProtocolError:
            continue  # a link of the other role, or from a key we do not believe: it leads nowhere
        key = public_key_from_cose(successor)
        reached[thumbprint(key)] = key
        believed.add(successor)
    return tuple(key for key in offered if key in believed) or pinned


def _keep_certificates(home: AgentHome, enrolled: Enrolled) -> None:
    home.write(home.authority, enrolled.ca_pem)
    home.write(home.certificate, enrolled.certificate_pem)


def _settings_text(home: AgentHome, enrolled: Enrolled, *, api: str, ca_file: Path | None) -> str:
    ca_line = ""
    if ca_file is not None:
        kept = home.root / "tls" / "api-ca.pem"
        try:
            shutil.copyfile(ca_file, kept)
        except OSError as failure:
            raise HomeError(
                f"not copied: {ca_file}: {failure}",
                is_transient=True,
                meaning="renewals could not check the server",
                next_step="check space and rights of the folder, then enrol again with the same token",
            ) from failure
        ca_line = '\nca_file = "tls/api-ca.pem"'
    # JSON's strings are TOML's basic strings: same quotes, same escapes for what can stand in a host name or
    # an address.
    return _TEMPLATE.format(
        host=json.dumps(enrolled.broker_host),
        port=enrolled.broker_port,
        api=json.dumps(api),
        ca_line=ca_line,
    )
