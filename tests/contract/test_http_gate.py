"""The backend's client of the gate writes what the gate's forms read, and reads what they write."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

import protocol
from backend.errors import SettingsError
from backend.gate import forms
from backend.lender.words import REASON_CODES
from backend.usecases.gate_port import GateAwayError, GatePart, LogPlace
from backend.usecases.http_gate import HttpGate
from protocol.base64url import to_text
from protocol.checker_reasons import CheckerReason
from simulators.pki import CertificateAuthority

PART = GatePart(protected=b"p" * 40, signature=b"s" * 64, delegation=b"d" * 300)
SIGNED = forms.Answer(
    verdict=forms.Verdict.SIGNED,
    rules=[1],
    part=forms.Part(protected=to_text(b"header"), signature=to_text(b"x" * 64)),
    delegation=to_text(b"delegation"),
    facts="ab" * 32,
)
GO = forms.Answer(verdict=forms.Verdict.GO, token=to_text(b"token"))
LATER = forms.Answer(verdict=forms.Verdict.REFUSED, rule="QUIET", detail="night", earliest=1_800_000_000)
ROUTES: dict[str, tuple[type[BaseModel] | None, BaseModel]] = {
    "/screen": (forms.ScreenRequest, LATER),
    "/review": (forms.ReviewRequest, SIGNED),
    "/go": (forms.GoRequest, GO),
    "/release": (forms.ReleaseRequest, SIGNED),
    "/dispositions": (forms.Disposition, forms.Recorded(is_new=True, state="kept")),
    "/releases": (
        None,
        forms.Releases(
            items=[forms.Release(cmd_hash="01" * 32, mcu_id="02" * 32, contract_ref="03" * 32, since=1)]
        ),
    ),
}


class Gate(BaseHTTPRequestHandler):
    """Reads with the gate's own forms and answers with them."""

    heard: ClassVar[list[BaseModel]] = []

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        form, said = ROUTES[self.path]
        status = 200 if self.headers["Authorization"] == "Bearer secret" else 401
        if form is not None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.heard.append(form.model_validate_json(body))
        data = said.model_dump_json().encode() if status == 200 else b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        del format, args


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_question_has_the_gates_form_and_every_answer_is_understood(url: str) -> None:
    gate = HttpGate(url, token="secret")
    screened = gate.screen(payload=b"order", basis=b"b" * 5_000, part=PART)
    assert (screened.verdict, screened.rule, screened.earliest_s) == ("REFUSED", "QUIET", 1_800_000_000)
    place = LogPlace(checkpoint=b"log\n1\nroot\n", index=3, salt=b"s" * 16, proof=[b"h" * 32])
    signed = gate.review(
        payload=b"order",
        parts=[PART, PART],
        basis=b"basis",
        log=place,
        challenge=b"challenge",
        mcu_key=b"k" * 75,
        reason_code=CheckerReason.NOTICES,
    )
    assert signed.part == GatePart(protected=b"header", signature=b"x" * 64, delegation=b"delegation")
    assert signed.facts == b"\xab" * 32
    assert gate.go(go_request=b"asked", place=(341, -1_183)).token == b"token"
    assert gate.release(payload=b"unlock").part == signed.part
    (paid,) = gate.releases()
    assert (paid.cmd_hash, paid.mcu_id) == (b"\x01" * 32, b"\x02" * 32)
    gate.disposition(document=b"said", mcu_key=b"k" * 75)
    decommission = gate.review(
        payload=b"order", parts=[PART], basis=None, log=None, challenge=None, mcu_key=b"k", reason_code=None
    )
    assert decommission.verdict == "SIGNED"


def test_a_wrong_token_and_a_gate_that_is_gone_are_no_answer(url: str) -> None:
    with pytest.raises(GateAwayError, match="401"):
        HttpGate(url, token="another").go(go_request=b"asked", place=None)
    with pytest.raises(GateAwayError):
        HttpGate("http://127.0.0.1:1", token="secret").releases()


def test_a_gate_beyond_this_machine_needs_tls() -> None:
    with pytest.raises(SettingsError, match="neither https"):
        HttpGate("http://gate.example", token="secret")


def test_a_gate_on_another_machine_wants_a_certificate_and_gets_it(tmp_path: Path) -> None:
    authority = CertificateAuthority.create(tmp_path)
    own, worker = authority.issue_server("gate"), authority.issue_client("orders")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca_file))
    context.load_cert_chain(own.cert, own.key)
    context.verify_mode = ssl.CERT_REQUIRED
    server = HTTPServer(("127.0.0.1", 0), Gate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address, ca = f"https://127.0.0.1:{server.server_port}", str(authority.ca_file)
        shown = HttpGate(address, token="secret", ca=ca, certificate=(str(worker.cert), str(worker.key)))
        assert shown.go(go_request=b"asked", place=None).token == b"token"
        with pytest.raises(GateAwayError):
            HttpGate(address, token="secret", ca=ca).go(go_request=b"asked", place=None)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with pytest.raises(SettingsError, match=r"none\.pem"):
        HttpGate(address, token="secret", ca=str(tmp_path / "none.pem"))


def test_the_checkers_reasons_are_one_list_from_screen_to_text() -> None:
    numbered = ", ".join(f"{reason.value} {reason.name}" for reason in CheckerReason)
    assert numbered in (Path(protocol.__file__).parent / "SPEC.md").read_text("utf-8")
    assert set(REASON_CODES) == set(CheckerReason.__members__)
