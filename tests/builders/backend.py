"""Pieces for tests of the server: a home that is set up, a clock that stands still, a client, boxes.

Example:
    def test_something(tmp_path: Path) -> None:
        backend = make_backend(tmp_path)
        with backend.client() as client:
            box = Box()
            box.enrol(backend, client)
            assert client.get(f"/v1/devices/{box.device_id}", headers=backend.admin).status_code == 200
"""

from __future__ import annotations

import atexit
import base64
import functools
import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi.testclient import TestClient
from sqlmodel import select

from backend.api.app import create_app
from backend.domain.access import Role
from backend.domain.refusal import Refusal
from backend.settings import SETTINGS_FILE, Settings, load_settings
from backend.store.certificates import Certificate, RenewalNonce
from backend.store.database import open_database
from backend.store.devices import Device, DeviceKey
from backend.usecases.create_api_key import create_api_key
from backend.usecases.create_organisation import create_organisation
from backend.usecases.issue_enrolment_tokens import issue_enrolment_tokens
from backend.usecases.service_identity import ServiceIdentity, load_identity
from backend.usecases.set_up_home import set_up_home
from protocol.enrolment import (
    RenewalProof,
    enrolment_proof,
    sign_enrolment_proof,
    sign_renewal_proof,
)
from protocol.envelope import SoftwareSigner
from protocol.ids import device_id
from tests.builders.databases import Engine, current_engine, database_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from backend.store.database import Database

SECOND = 1_000_000
DAY = 86_400 * SECOND
TODAY_US = 1_795_500_000_000_000  # 2026-11-24, an arbitrary day


@dataclass
class StillClock:
    """A clock that moves when a test says so."""

    now_us: int = TODAY_US

    def __call__(self) -> int:
        return self.now_us

    def pass_seconds(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND)


@dataclass
class Backend:
    """A home that is set up, with one organisation and its administrator's key."""

    settings: Settings
    org_id: str
    admin_key: str
    clock: StillClock = field(default_factory=StillClock)

    @property
    def admin(self) -> dict[str, str]:
        """Headers of the administrator."""
        return bearer(self.admin_key)

    @property
    def identity(self) -> ServiceIdentity:
        return load_identity(self.settings)

    @contextmanager
    def database(self) -> Iterator[Database]:
        database = open_database(self.settings.database_url)
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        """Return a client in this process; a failing server answers 500 as it would outside."""
        app = create_app(self.settings, clock=self.clock)
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client

    def organisation(self, name: str) -> str:
        """Make another organisation and return its id."""
        with self.database() as database, database.writing() as session:
            made = create_organisation(session, name=name, is_platform=False, now_us=self.clock())
        assert not isinstance(made, Refusal)
        return made.org_id

    def key(self, role: Role, *, org_id: str | None = None, life_days: int | None = None) -> dict[str, str]:
        """Make an API key and return its headers."""
        with self.database() as database, database.writing() as session:
            made = create_api_key(
                session,
                org_id=org_id or self.org_id,
                name=f"a test's {role}",
                role=role,
                life_days=life_days,
                roles=frozenset(Role),
                now_us=self.clock(),
            )
        assert not isinstance(made, Refusal)
        return bearer(made.text)

    def token(self, *, org_id: str | None = None, life_s: int | None = None) -> str:
        """Make a one-time token and return its text."""
        with self.database() as database, database.writing() as session:
            made = issue_enrolment_tokens(
                session,
                org_id=org_id or self.org_id,
                issued_by="test",
                count=1,
                life_s=life_s,
                now_us=self.clock(),
            )
        assert not isinstance(made, Refusal)
        return made[0].text


@dataclass
class Box:
    """A box's two keys, and what it would send."""

    agent_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    tls_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def signer(self) -> SoftwareSigner:
        return SoftwareSigner(self.agent_key)

    @property
    def device_id(self) -> str:
        return device_id(self.agent_key.public_key())

    @functools.cached_property
    def csr(self) -> x509.CertificateSigningRequest:
        return make_csr(self.tls_key, name=self.device_id)

    @property
    def csr_pem(self) -> str:
        return self.csr.public_bytes(Encoding.PEM).decode()

    @property
    def csr_der(self) -> bytes:
        return self.csr.public_bytes(Encoding.DER)

    def request(self, token: str, **changes: Any) -> dict[str, Any]:
        """Return an enrolment request, with fields replaced."""
        proof = enrolment_proof(self.agent_key.public_key(), csr_der=self.csr_der, token=token)
        signed = sign_enrolment_proof(proof, self.signer)
        return {"token": token, "csr_pem": self.csr_pem, "proof": b64(signed), "label": None} | changes

    def enrol(self, backend: Backend, client: TestClient, *, org_id: str | None = None) -> dict[str, Any]:
        """Enrol with a fresh token and return the answer."""
        answer = client.post("/v1/enrol", json=self.request(backend.token(org_id=org_id)))
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def renewal(self, nonce: bytes, **changes: Any) -> dict[str, Any]:
        """Return a renewal request, with fields replaced."""
        proof = RenewalProof(
            device=device_id(self.agent_key.public_key()), csr_sha256=sha256(self.csr_der), nonce=nonce
        )
        signed = sign_renewal_proof(proof, self.signer)
        return {"device": self.device_id, "csr_pem": self.csr_pem, "proof": b64(signed)} | changes

    def ask_nonce(self, client: TestClient) -> bytes:
        answer = client.post("/v1/renewals/nonce", json={"device": self.device_id})
        assert answer.status_code == 200, answer.text
        return bytes.fromhex(answer.json()["nonce"])


def past_probation(settings: Settings) -> Settings:
    """Return settings of a demonstration whose cars count as commissioned: for stories after that."""
    changed = settings.model_dump(exclude_unset=True) | {"demo": True, "demo_probation_passed": True}
    return Settings(**changed)


def make_backend(folder: Path) -> Backend:
    """Return a backend of its own in this folder: a copy of one that is set up once a run and engine."""
    home = folder / "home"
    home.mkdir(mode=0o700, parents=True)
    engine = current_engine()
    url = database_url(home, template="home", make=functools.partial(_set_up, engine))
    template = _templates[engine]
    shutil.copytree(template.settings.home, home, dirs_exist_ok=True)
    if engine is not Engine.SQLITE:
        (home / SETTINGS_FILE).write_text(f'database = "{url}"\n')
    return Backend(settings=load_settings(home=home), org_id=template.org_id, admin_key=template.admin_key)


_templates: dict[Engine, Backend] = {}


def _set_up(engine: Engine, url: str) -> None:
    """Set a home up whose database is at this address, to be copied by `make_backend`."""
    home = Path(tempfile.mkdtemp(prefix="tbox-test-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    settings = load_settings(home=home, database=url)
    done = set_up_home(settings, organisation="Example Leasing", now_us=TODAY_US)
    assert done.admin_key is not None
    _templates[engine] = Backend(settings=settings, org_id=done.org_id, admin_key=done.admin_key.text)


def make_csr(key: ec.EllipticCurvePrivateKey, *, name: str = "anything") -> x509.CertificateSigningRequest:
    """Return a CSR signed by its key."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder(subject_name=subject).sign(key, SHA256())


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def problem(answer: httpx2.Response) -> str:
    """Return the last word of a problem's type, after checking that it is one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    return str(body["type"]).removeprefix("urn:tbox:problem:")


def registry_rows(backend: Backend) -> dict[str, int]:
    """Return how many rows each table of the registry has."""
    tables = (Device, DeviceKey, Certificate, RenewalNonce)
    with backend.database() as database, database.reading() as session:
        return {table.__tablename__: len(session.exec(select(table)).all()) for table in tables}  # type: ignore[misc]


def serial(answer: dict[str, Any]) -> int:
    return x509.load_pem_x509_certificates(answer["certificate_pem"].encode())[0].serial_number
