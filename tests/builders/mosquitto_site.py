"""One site as an operator sets it up: backend, its own authority, mosquitto with our files, boxes, bridges.

Example:
    with Site(tmp_path) as site:
        box = site.enrol()
        with site.bridge() as bridge, site.client(box) as car:
            car.publish(box.up, box.chain().next().payload)
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import func, select

from backend.bridge.link import BrokerLink, LinkSettings
from backend.bridge.pump import Pump
from backend.clock import utc_us
from backend.domain.broker_rules import CONFIGURATION
from backend.settings import SETTINGS_FILE, load_settings
from backend.store.batches import BATCH
from backend.store.database import open_database
from backend.usecases.issue_certificates import issue_client_certificate
from backend.usecases.set_up_broker import set_up_broker
from backend.usecases.tell_broker import tell_broker
from protocol.receipts import Receipt, open_receipt
from protocol.topics import Down, Up, down_topic, up_topic
from simulators.mqtt_probe import lets_in
from simulators.pki import Credential
from tests.builders import backend as registry
from tests.builders import ingest
from tests.builders.mosquitto import Mosquitto, plan_in
from tests.builders.sim import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20.0  # for another process to do something; a healthy run never waits this long


@dataclass(frozen=True, kw_only=True)
class SiteBox:
    """An enrolled box: what it signs with, and its TLS files."""

    signing: ingest.Box
    credential: Credential

    @property
    def device(self) -> str:
        return self.signing.device

    @property
    def up(self) -> str:
        return up_topic(self.signing.device, Up.BATCH)

    @property
    def down(self) -> str:
        return down_topic(self.signing.device, Down.RECEIPT)

    def chain(self) -> ingest.Chain:
        return self.signing.chain()


class RunningBridge:
    """The real bridge in a thread of its own."""

    def __init__(self, site: Site, name: str) -> None:
        credential = site.service(name)
        database = open_database(site.backend.settings.database_url)
        link = BrokerLink(
            LinkSettings(
                host="127.0.0.1",
                port=site.broker.port,
                ca_file=site.ca,
                cert_file=credential.cert,
                key_file=credential.key,
                client_id=name,
            )
        )
        self.link = link
        self.pump = Pump(
            database=database, signer=site.backend.identity.receipt_signer, link=link, clock=utc_us
        )
        self._database = database
        self._thread = threading.Thread(target=self.pump.run)

    @property
    def outcomes(self) -> dict[str, int]:
        """What became of the messages so far."""
        return dict(self.pump.health.outcomes)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.link.wait_ready(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.pump.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._database.close()


class Site:
    """Backend home, broker's folder and broker; a context manager that runs the broker.

    Args:
        folder: of this site.
        more: lines that end the broker's configuration and win over it, to show what it is there for.
    """

    def __init__(self, folder: Path, *, more: dict[str, str] | None = None) -> None:
        self.backend = registry.make_backend(folder)
        self.backend.clock.now_us = utc_us()  # mosquitto looks at the real one
        plan = plan_in(folder / "broker")
        with (self.backend.settings.home / SETTINGS_FILE).open("a") as settings:
            settings.write(f'broker_folder = "{plan.folder}"\n')
        self.backend.settings = load_settings(home=self.backend.settings.home)
        self.ca = self.backend.settings.ca_certificate_path
        self.folder = folder
        with self.backend.database() as database:
            set_up_broker(
                database,
                plan=plan,
                names=["127.0.0.1"],
                home=self.backend.settings.home,
                issuer=self.backend.identity.issuer,
                org_id=self.backend.org_id,
                now_us=utc_us(),
            )
        if more:
            _change(folder / "broker" / CONFIGURATION, more)
        self.broker = Mosquitto(folder / "broker", port=plan.port, log=folder / "mosquitto.log")
        self._seed = 0

    def __enter__(self) -> Self:
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.stop()

    def service(self, name: str) -> Credential:
        """Return a certificate for a process of the server; the broker knows `bridge`, others once told."""
        key = ec.generate_private_key(ec.SECP256R1())
        with self.backend.database() as database, database.writing() as session:
            chain = issue_client_certificate(
                session,
                issuer=self.backend.identity.issuer,
                org_id=self.backend.org_id,
                public_key=key.public_key(),
                name=name,
                now_us=utc_us(),
            )
        return self._written(name, chain, key)

    def enrol(self) -> SiteBox:
        """Enrol another box over the API."""
        self._seed += 1
        signing = ingest.Box(seed=self._seed)
        box = registry.Box(agent_key=ec.derive_private_key(self._seed + 1000, ec.SECP256R1()))
        assert box.device_id == signing.device
        with self.backend.client() as client:
            answer = box.enrol(self.backend, client)
        return SiteBox(
            signing=signing, credential=self._written(box.device_id, answer["certificate_pem"], box.tls_key)
        )

    def revoke(self, box: SiteBox) -> None:
        """Revoke a box over the API; the broker's lists follow."""
        with self.backend.client() as client:
            answer = client.post(f"/v1/devices/{box.device}/revoke", headers=self.backend.admin)
        assert answer.json()["status"] == "revoked"

    def tell_broker(self, *, now_us: int | None = None) -> None:
        """Write the broker's lists as of now, or of another time."""
        with self.backend.database() as database:
            folder, issuer = self.broker.folder, self.backend.identity.issuer
            assert tell_broker(database, folder=folder, issuer=issuer, now_us=now_us or utc_us())

    def client(self, box: SiteBox, *, client_id: str | None = None) -> Client:
        """Return an MQTT client (not connected) with the certificate of a box."""
        return Client(
            name=client_id or box.device, port=self.broker.port, ca=self.ca, credential=box.credential
        )

    def bridge(self, name: str = "bridge") -> RunningBridge:
        """Return a bridge (not running)."""
        return RunningBridge(self, name)

    def lets_in(self, credential: Credential | None, *, name: str = "whoever") -> bool:
        """Whether the broker accepts a client with this certificate."""
        cert, key = (credential.cert, credential.key) if credential else (None, None)
        return lets_in(port=self.broker.port, ca=self.ca, client_id=name, cert=cert, key=key)

    def receipts(self, client: Client, box: SiteBox) -> list[Receipt]:
        """Return the verified receipts that a box's client has heard."""
        signer = self.backend.identity.receipt_signer
        keys = {signer.kid: signer.public_key}
        return [open_receipt(payload, keys.get) for topic, payload in client.heard if topic == box.down]

    def stored(self) -> int:
        """Return how many batches the database holds."""
        with self.backend.database() as database, database.reading() as session:
            return int(session.connection().execute(select(func.count()).select_from(BATCH)).scalar_one())

    def _written(self, name: str, chain: str, key: ec.EllipticCurvePrivateKey) -> Credential:
        stem = self.folder / "credentials" / name
        stem.parent.mkdir(exist_ok=True)
        cert_file, key_file = stem.with_suffix(".pem"), stem.with_suffix(".key")
        cert_file.write_text(chain)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key_file.touch(mode=0o600)
        key_file.write_bytes(pem)
        serial = x509.load_pem_x509_certificate(chain.encode()).serial_number
        return Credential(cert=cert_file, key=key_file, serial=serial)


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_S) -> None:
    """Wait until something in another process holds, looked at often, with an end."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.02)


@contextmanager
def both(first: Client, second: Client) -> Iterator[tuple[Client, Client]]:
    """Connect two clients."""
    with first, second:
        yield first, second


def _change(configuration: Path, more: dict[str, str]) -> None:
    lines = configuration.read_text().splitlines()
    kept = [line for line in lines if line.partition(" ")[0] not in more]
    assert len(kept) == len(lines) - len(more), "every setting that is changed was there"
    changed = [f"{name} {value}".strip() for name, value in more.items() if value]
    configuration.write_text("\n".join([*kept, *changed]) + "\n")
