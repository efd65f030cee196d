"""What the uplink tells, and how it is set up: values between the MQTT adapter and the agent.

Rules: a connection is told by `Connected` once the subscription is granted, and by `Lost` when it, or an
attempt, has ended. Messages come unread. It holds no client and no thread (`mqtt_connection`, `mqtt_uplink`).

Example:
    >>> Lost(reason=LostReason.SILENT, detail="Keep alive timeout").reason
    <LostReason.SILENT: 'silent'>
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from device.state import BatchKey
    from protocol.ids import DeviceId


class LostReason(StrEnum):
    """Why there is no connection."""

    UNREACHABLE = "unreachable"  # name, route, TCP
    UNTRUSTED = "untrusted"  # the broker's certificate does not convince us, or our own files do not load
    REFUSED = "refused"  # the broker does not want us: our certificate, our name, our subscription
    SILENT = "silent"  # no answer within the time of connecting or keepalive
    CLOSED = "closed"  # the broker or the network ended it
    ENDED = "ended"  # we did


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The broker has accepted us and granted our subscription."""

    is_session_present: bool
    are_dates_checked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The connection ended, or an attempt failed."""

    reason: LostReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """PUBACK for a batch: flow control, never "stored"."""

    key: BatchKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message on a topic of ours, unread."""

    topic: str
    payload: bytes


UplinkEvent: TypeAlias = Connected | Lost | Published | Arrived


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSettings:
    """Where to connect, and as whom.

    Attributes:
        device: our id: client id, topics, CN of the certificate.
        host: name or address as it stands in the broker's certificate.
        port: TCP port.
        ca_file: PEM of the authorities we believe.
        cert_file: PEM of our certificate chain.
        key_file: PEM of our TLS key.
        keepalive_s: silence after which the link is tested, seconds; networks forget a quiet connection after
            minutes.
    """

    device: DeviceId
    host: str
    port: int
    ca_file: Path
    cert_file: Path
    key_file: Path
    keepalive_s: int = 30
