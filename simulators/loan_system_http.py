"""The process around the simulated loan system: its key in a file, HTTP on loopback, a clerk's commands.

Rules: `POST /facts` is what the gate asks (SPEC §21) and answers signed bytes, 503 when the system does not
answer. Under `/clerk/` is what happens to loans: only a demonstration or a test speaks it, and the gate knows
no such path. The key is made on the first start, mode 0600; its public half lies beside it.

Example:
    $ python -m simulators.loan_system_http --home build/loans
    {"url": "http://127.0.0.1:41234"}
"""

from __future__ import annotations

import argparse
import base64
import json
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from protocol.envelope import SoftwareSigner
from protocol.errors import ProtocolError
from protocol.loan_facts import BlockEnding, Flag, read_question
from simulators.loan_system import DAY_S, LoanSystem, Mode, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

BODY_BYTES_MAX = 4_096
KEY, PUBLIC = "loan.key", "loan.pub"


def load_signer(home: Path) -> SoftwareSigner:
    """Return the integration key of a folder, made there when it is new."""
    path = home / KEY
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = generate_private_key(SECP256R1())
        path.touch(mode=0o600)
        path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (home / PUBLIC).write_bytes(public)
    key = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey), f"{path} is not our key"
    return SoftwareSigner(key)


class Clerk:
    """What happens to loans, by name; every answer is a JSON object."""

    def __init__(self, system: LoanSystem) -> None:
        self.system = system
        self.delay_s = 0.0

    def open(self, contract: bytes, *, due_minor: int, days: int) -> dict[str, Any]:
        """Open an account that has been behind for so many days."""
        self.system.open_loan(contract, due_minor=due_minor, due_since_s=int(time.time()) - days * DAY_S)
        return {}

    def serve_notices(self, contract: bytes, *, episode: str, age_s: int) -> dict[str, Any]:
        """Note that first and final notice were served so many seconds ago, by two channels."""
        at_s = int(time.time()) - age_s
        records = self.system.serve_all(contract, bytes.fromhex(episode), at_s=at_s)
        return {"records": [base64.b64encode(record).decode() for record in records]}

    def basis(self, contract: bytes) -> dict[str, Any]:
        """Make a basis bundle for an order."""
        return {"basis": base64.b64encode(self.system.basis(contract)).decode()}

    def pay(self, contract: bytes, *, amount_minor: int, is_posted: bool) -> dict[str, Any]:
        """Take a payment."""
        record = self.system.pay(contract, amount_minor, is_posted=is_posted)
        return {"record": base64.b64encode(record).decode()}

    def due(self, contract: bytes, *, due_minor: int, days: int) -> dict[str, Any]:
        """Let something fall due again."""
        loan = self.system.loans[contract]
        loan.due_minor, loan.due_since_s = due_minor, int(time.time()) - days * DAY_S
        loan.revision += 1
        return {}

    def block(self, contract: bytes, *, flag: str, until_s: int | None = None) -> dict[str, Any]:
        """Block a loan: a promise with its date, a dispute, hardship."""
        block_id, record = self.system.block(contract, Flag[flag], until_s=until_s)
        return {"block": block_id.hex(), "record": base64.b64encode(record).decode()}

    def end_block(
        self, contract: bytes, *, block: str, by: str, how: str, document: str | None = None
    ) -> dict[str, Any]:
        """End a block: answered in writing, or on a document, whose hash is given."""
        record = self.system.end_block(
            contract,
            bytes.fromhex(block),
            by=by,
            how=BlockEnding[how],
            document=None if document is None else bytes.fromhex(document),
        )
        return {"record": base64.b64encode(record).decode()}

    def behave(self, contract: bytes, *, mode: str, delay_s: float = 0.0) -> dict[str, Any]:
        """Answer the gate in another mode from now on, and so many seconds late."""
        del contract
        self.system.mode, self.delay_s = Mode(mode), delay_s
        return {}

    def questions(self, contract: bytes) -> dict[str, Any]:
        """Say what was asked about a loan, oldest first."""
        asked = [at.purpose.name for at in self.system.questions if at.contract_ref == contract]
        return {"purposes": asked}


def serve(home: Path) -> None:
    """Answer until SIGTERM."""
    clerk = Clerk(LoanSystem(load_signer(home), now_s=lambda: int(time.time())))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(clerk))

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        threading.Thread(target=server.shutdown).start()  # it waits for the loop that this interrupts

    signal.signal(signal.SIGTERM, end)
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}"}) + "\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.1)
    server.server_close()


def _handler(clerk: Clerk) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(min(length, BODY_BYTES_MAX))
            try:
                if self.path == "/facts" and clerk.delay_s:
                    time.sleep(clerk.delay_s)
                with lock:
                    data = self._answer(body)
            except NoAnswerError:
                self.send_error(503)
            except (ProtocolError, ValueError, KeyError, TypeError, AttributeError) as wrong:
                self.send_error(400, str(wrong)[:100])
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def _answer(self, body: bytes) -> bytes:
            if self.path == "/facts":
                return clerk.system.facts(read_question(body))
            name = self.path.removeprefix("/clerk/")
            if not name.isidentifier() or name.startswith("_"):
                raise ValueError(self.path)
            words = json.loads(body)
            contract = bytes.fromhex(words.pop("contract"))
            return json.dumps(getattr(clerk, name)(contract, **words)).encode()

        def log_message(self, *words: object) -> None:
            sys.stderr.write(f"{self.path} {words[1:]}\n")

    return Handler


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the process."""
    parser = argparse.ArgumentParser(description="A simulated loan system on loopback.")
    parser.add_argument("--home", type=Path, required=True, help="folder of its key; made when missing")
    serve(parser.parse_args(arguments).home)


if __name__ == "__main__":
    main()
