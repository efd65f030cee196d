"""The box's own client and the real server, over TLS on loopback: they agree on the whole exchange."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backend.api.app import create_app
from backend.usecases.issue_certificates import issue_server_certificate
from device.adapters.enrolment_http import EnrolmentClient
from device.adapters.https_json import HttpError
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes, device_id
from tests.builders.backend import Backend, make_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


@contextmanager
def serving(backend: Backend, folder: Path) -> Iterator[str]:
    """Run the API in a thread with a certificate of its own CA, and give its address."""
    key = ec.generate_private_key(ec.SECP256R1())
    with backend.database() as database, database.writing() as session:
        chain = issue_server_certificate(
            session,
            issuer=backend.identity.issuer,
            org_id=backend.org_id,
            public_key=key.public_key(),
            names=["localhost", "127.0.0.1"],
            now_us=backend.clock(),
        )
    (folder / "api.pem").write_text(chain)
    (folder / "api.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(backend.settings, clock=backend.clock),
        log_config=None,
        ssl_certfile=folder / "api.pem",
        ssl_keyfile=folder / "api.key",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_the_boxs_client_enrols_renews_and_is_told_when_it_is_revoked(
    backend: Backend, tmp_path: Path
) -> None:
    agent_key, tls_key, next_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    device = device_id(agent_key.public_key())
    with serving(backend, tmp_path) as url:
        # The tests' day is not the machine's, so dates say nothing here.
        client = EnrolmentClient(url, ca_file=backend.settings.ca_certificate_path, check_dates=False)
        d2 = SoftwareSigner(agent_key)
        enrolled = client.enrol(token=backend.token(), d2=d2, tls_key=tls_key, label="TB-1")
        assert enrolled.device == device
        assert enrolled.receipt_keys == (cose_key_bytes(backend.identity.receipt_signer.public_key),)
        assert enrolled.policy_keys == (cose_key_bytes(backend.identity.policy_signer.public_key),)
        assert (enrolled.broker_host, enrolled.broker_port) == ("localhost", 8883)

        renewed = client.renew(device=device, d2=SoftwareSigner(agent_key), tls_key=next_key)
        own = x509.load_pem_x509_certificates(renewed.certificate_pem.encode())[0]
        assert own.public_key() == next_key.public_key()

        with backend.client() as http:
            http.post(f"/v1/devices/{device}/revoke", headers=backend.admin)
        with pytest.raises(HttpError) as refused:
            client.renew(device=device, d2=SoftwareSigner(agent_key), tls_key=next_key)
        assert refused.value.status == 403


def test_a_client_that_lost_the_answer_asks_again_with_the_same_token(
    backend: Backend, tmp_path: Path
) -> None:
    agent_key, tls_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    token = backend.token()
    with serving(backend, tmp_path) as url:
        client = EnrolmentClient(url, ca_file=backend.settings.ca_certificate_path, check_dates=False)
        first = client.enrol(token=token, d2=SoftwareSigner(agent_key), tls_key=tls_key)
        assert client.enrol(token=token, d2=SoftwareSigner(agent_key), tls_key=tls_key) == first
        with pytest.raises(HttpError) as refused:
            client.enrol(token=token, d2=SoftwareSigner(tls_key), tls_key=agent_key)
        assert refused.value.status == 409
