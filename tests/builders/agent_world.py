"""A box's home, and behind a real broker the strict ledger as its backend: all an agent needs to live."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as paho
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from device.adapters.durable_file import write_durably
from device.adapters.key_store import KeyName
from device.adapters.tls import client_context
from device.agent.home import AgentHome, Trust
from protocol.ids import cose_key_bytes
from protocol.signed_time import TimeToken, open_time_request, sign_time_token
from protocol.standing import is_standing_request
from protocol.topics import ALL_UP, Down, Up, down_topic, parse_topic
from tests.builders.agent import TODAY_US, WAIT_S
from tests.builders.engine import BACKEND_KEY, DEVICE, DEVICE_KEYS, TABLE, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulators.pki import CertificateAuthority
    from tests.builders.sim import BrokerWorld

D2 = ec.derive_private_key(11, ec.SECP256R1())  # the key that `tests.builders.engine` calls DEVICE_KEY

SETTINGS = """\
schema = 1
[broker]
host = "127.0.0.1"
port = {port}
keepalive_s = 5
[batch]
age_s = 0.2
[collect]
precision = "exact"
{more}
"""


def enrolled_home(folder: Path, authority: CertificateAuthority, *, port: int, more: str = "") -> AgentHome:
    """Return a home as an enrolment and an installer leave it; `more` is the rest of its `agent.toml`."""
    home = AgentHome(folder)
    home.make()
    home.root.joinpath("keys").mkdir(mode=0o700)
    pem = D2.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_durably(home.keys.path(KeyName.D2), pem, mode=0o600)
    own = authority.issue_client(DEVICE)
    write_durably(home.keys.path(KeyName.TLS), own.key.read_bytes(), mode=0o600)
    home.write(home.certificate, own.cert.read_bytes())
    home.write(home.authority, authority.ca_file.read_bytes())
    home.write_trust(Trust(device=DEVICE, receipt_keys=(cose_key_bytes(BACKEND_KEY.public_key),)))
    home.write(home.tables / "can0.table", TABLE.to_bytes())
    home.write(home.settings, SETTINGS.format(port=port, more=more))
    return home


@dataclass
class LedgerBridge:
    """The ledger behind the broker: verifies each batch that arrives, and answers with signed receipts."""

    world: BrokerWorld
    ledger: Ledger = field(default_factory=Ledger)
    answers: bool = True
    utc_us: int | None = TODAY_US
    failures: list[str] = field(default_factory=list)
    statuses: list[bytes] = field(default_factory=list)
    questions: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        authority = self.world.authority
        own = authority.issue_client("bridge")
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bridge", clean_session=False)
        client.tls_set_context(
            client_context(ca_file=authority.ca_file, cert_file=own.cert, key_file=own.key, check_dates=True)
        )
        subscribed = threading.Event()
        client.on_connect = lambda *_: client.subscribe(ALL_UP, qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = self._take
        self._client = client
        client.connect("127.0.0.1", self.world.broker.port, keepalive=30)
        client.loop_start()
        assert subscribed.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, condition: Callable[[Ledger], bool]) -> None:
        """Wait until the ledger shows `condition`; a batch that did not verify ends the wait."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.ledger) or bool(self.failures), WAIT_S), (
                "in vain"
            )
        assert self.failures == []

    def _take(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        _, _, kind = parse_topic(message.topic)
        with self._changed:
            try:
                if kind is Up.BATCH:
                    receipt = self.ledger.take(bytes(message.payload))
                    if self.answers:
                        client.publish(down_topic(DEVICE, Down.RECEIPT), receipt, qos=1)
                elif kind is Up.REQUEST and is_standing_request(bytes(message.payload)):
                    for receipt in self.ledger.answer(bytes(message.payload)):
                        if self.answers:
                            client.publish(down_topic(DEVICE, Down.RECEIPT), receipt, qos=1)
                elif kind is Up.REQUEST:
                    self.questions += 1
                    request = open_time_request(bytes(message.payload), DEVICE_KEYS.get, device=DEVICE)
                    if self.utc_us is not None:
                        token = TimeToken(nonce=request.nonce, utc_us=self.utc_us)
                        client.publish(
                            down_topic(DEVICE, Down.TIME), sign_time_token(token, BACKEND_KEY), qos=1
                        )
                else:
                    self.statuses.append(bytes(message.payload))
            except Exception as failure:  # noqa: BLE001 - paho would only log it; the waiting test must see it
                self.failures.append(repr(failure))
            self._changed.notify_all()
