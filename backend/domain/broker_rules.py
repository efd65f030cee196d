"""What mosquitto is told: who may say what, how much it keeps, and where its files are.

Rules:
- A client is its certificate: the common name is the user name and the client id, so that no box can end
  another's session. A box publishes below its own `up` and hears its own `down`, a bridge the reverse for
  all.
- A revoked box is refused by the revocation list when it connects, and denied every topic while it is still
  connected: mosquitto looks at the list at the handshake only.
- Nothing is retained, nobody is anonymous, a payload is at most what the protocol allows.
- Queues are sized for an absent bridge. What does not fit is dropped, and one line of the broker's log says
  so, nobody else: no box counts on the broker to keep anything, it sends again until it holds a receipt.

Tried with mosquitto 2.0.11. This module writes no file and knows no database.

Example:
    >>> print(access_list(bridges=["bridge"], revoked=[]).splitlines()[-3])
    user bridge

Source: mosquitto.conf(5), version 2.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocol.limits import (
    BRIDGE_QUEUE_MAX,
    BROKER_AUTOSAVE_S,
    BROKER_OTHER_CONNECTIONS,
    BROKER_QUEUED_BYTES_PER_BOX,
    BROKER_QUEUED_PER_BOX,
    DEVICE_CERTIFICATE_LIFE_DAYS,
    PAYLOAD_BYTES_MAX,
    TOPIC_BYTES_MAX,
)
from protocol.topics import ALL_UP, PREFIX

CONFIGURATION: Final = "mosquitto.conf"
"""What `mosquitto -c` is given, in the broker's folder."""

ACCESS_LIST: Final = "acl"
REVOCATION_LIST: Final = "crl.pem"

DATA: Final = "data"
"""Where mosquitto keeps its snapshots; its user's own."""

PUBLISH_OVERHEAD_BYTES: Final = 4
"""Bytes beside topic and payload in a PUBLISH: topic length and packet id. Source: MQTT 3.1.1 §3.3.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPlan:
    """One broker.

    Attributes:
        folder: absolute path; holds every file.
        user: whom mosquitto becomes when root starts it.
        port: mTLS port.
        address: to listen on, None for all of the machine's.
        boxes: how many it is sized for.
    """

    folder: str
    user: str
    port: int
    address: str | None
    boxes: int


def configuration(plan: BrokerPlan) -> str:
    """Return `mosquitto.conf`; the same plan gives the same text."""
    address = f" {plan.address}" if plan.address is not None else ""
    return f"""\
# Written by `tbox backend broker config`, which would overwrite changes. For mosquitto 2.0.

# --- Who gets in: TLS 1.2 or newer, a certificate of our authority that is not revoked. Nobody else.
per_listener_settings false
listener {plan.port}{address}
protocol mqtt
tls_version tlsv1.2
cafile {plan.folder}/ca.pem
certfile {plan.folder}/broker.pem
keyfile {plan.folder}/broker.key
crlfile {plan.folder}/{REVOCATION_LIST}
require_certificate true
allow_anonymous false
allow_zero_length_clientid false

# --- Who is who: the certificate's common name is the user, and the client id whatever the client says.
# Without the second line a box could end another's session by using its client id.
use_identity_as_username true
use_username_as_clientid true
acl_file {plan.folder}/{ACCESS_LIST}

# --- How much: sized for {plan.boxes} boxes. The default, 1000 queued, drops when the bridge is
# away, and only this log says so.
max_connections {plan.boxes + BROKER_OTHER_CONNECTIONS}
max_queued_messages {plan.boxes * BROKER_QUEUED_PER_BOX}
max_queued_bytes {plan.boxes * BROKER_QUEUED_BYTES_PER_BOX}
# As many as the bridge holds at once, where the default of 20 would not fill its first groups.
max_inflight_messages {BRIDGE_QUEUE_MAX}
# The protocol's largest payload; a larger one is dropped. A packet that could hold no such payload ends the
# connection before it is read.
message_size_limit {PAYLOAD_BYTES_MAX}
max_packet_size {PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + PUBLISH_OVERHEAD_BYTES}

# --- What is kept: sessions and their queues, in a snapshot; nothing retained. A session that has not been
# heard of for as long as a certificate lives is forgotten.
retain_available false
persistence true
persistence_location {plan.folder}/{DATA}
autosave_interval {BROKER_AUTOSAVE_S}
persistent_client_expiration {DEVICE_CERTIFICATE_LIFE_DAYS}d

# --- The process.
user {plan.user}
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages true
"""


def access_list(*, bridges: Sequence[str], revoked: Sequence[str]) -> str:
    """Return the access list.

    Args:
        bridges: common names of the bridges' certificates.
        revoked: ids of revoked boxes.
    """
    lines = [
        "# Written by `tbox backend broker config`, and afresh with each revocation. Read on SIGHUP.",
        f"pattern write {PREFIX}/%u/up/#",
        f"pattern read {PREFIX}/%u/down/#",
    ]
    for name in bridges:
        lines += ["", f"user {name}", f"topic read {ALL_UP}", f"topic write {PREFIX}/+/down/#"]
    if revoked:
        lines += ["", "# Revoked: what such a box still has open is worth nothing."]
    for device in revoked:
        lines += [f"user {device}", "topic deny #"]
    return "\n".join(lines) + "\n"
