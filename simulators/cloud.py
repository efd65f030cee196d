"""The server side of a simulated world: the real backend's processes, and a simulated broker before them.

Rules: the backend is set up and started by the commands an operator types (`tbox backend …`) and asked over
HTTP; nothing of it is called inside. The broker and the bridge get their certificates from the backend's
own authority, issued here to save the seconds of two commands, and the broker follows its revocation list.
Each part can be stopped, crashed and brought back, and the whole can be set back to an older copy of its
database.

Example:
    with Cloud(folder=home / "backend", logs=home / "logs") as cloud:
        token = cloud.enrolment_token()
        cloud.broker.stop()
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from simulators.api_client import ApiClient
from simulators.broker import Broker
from simulators.broker_access import BRIDGE
from simulators.disk import DatabaseImage
from simulators.pki import CertificateAuthority, Credential
from simulators.processes import Process, run_tool, tbox

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

ORGANISATION = "Gulf Leasing"  # invented, as the road is


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFiles:
    """Where the server side keeps its files; the layout is the backend's own, plus the keys shown once."""

    home: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.home / "ca" / "ca.pem"

    @property
    def crl(self) -> Path:
        """The revocation list that the broker follows."""
        return self.home / "tls" / "crl.pem"

    @property
    def admin_key(self) -> Path:
        """The administrator's API key, kept from the one time it was shown."""
        return self.home / "admin.key"

    @property
    def database(self) -> Path:
        """The database."""
        return self.home / "tbox.sqlite"


class Cloud:
    """Backend and broker; a context manager that starts and stops all of it.

    Args:
        folder: the backend's home; kept from run to run, set up when new.
        logs: where the processes' logs go.
        broker_port: the broker's port, 0 for a free one.
    """

    def __init__(self, *, folder: Path, logs: Path, broker_port: int = 0) -> None:
        self.files = CloudFiles(home=folder)
        self._logs = logs
        self.env: dict[str, str] = {}  # further settings of API and bridge, as TBOX_…
        self._broker_port = broker_port
        self._stack = contextlib.ExitStack()
        self._broker: Broker | None = None
        self._api_process: Process | None = None
        self._bridge_process: Process | None = None
        self._beside: list[Process] = []
        self._bridge_credential: Credential | None = None
        self._api_port = 0

    @property
    def broker(self) -> Broker:
        """The broker, running or not."""
        assert self._broker is not None, "start first"
        return self._broker

    @property
    def api(self) -> ApiClient:
        """The API, asked as the administrator."""
        return ApiClient(port=self._api_port, key_file=self.files.admin_key)

    @property
    def api_url(self) -> str:
        """Where the API is, without a path."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def bridge_credential(self) -> Credential:
        """The bridge's own certificate."""
        assert self._bridge_credential is not None, "start first"
        return self._bridge_credential

    @property
    def bridge(self) -> Process:
        """The process between broker and database."""
        assert self._bridge_process is not None, "start first"
        return self._bridge_process

    def processes(self) -> tuple[Process, ...]:
        """Return the processes that should be running."""
        found = (self._api_process, self._bridge_process, *self._beside)
        return tuple(process for process in found if process is not None)

    def start(self) -> None:
        """Set up what is new, then start broker, API and bridge; returns when all of them answer."""
        self._set_up()
        authority = CertificateAuthority.load(
            self.files.home / "tls", cert=self.files.ca, key=self.files.home / "ca" / "ca.key"
        )
        server, self._bridge_credential = authority.issue_server("broker"), authority.issue_client(BRIDGE)
        self._broker = Broker(
            ca=self.files.ca, cert=server.cert, key=server.key, port=self._broker_port, crl=self.files.crl
        )
        self._stack.enter_context(self._broker)
        self._start_processes(self._bridge_credential)

    def run_beside(self, name: str, *words: str) -> Process:
        """Start another process of the backend beside API and bridge, on the same home."""
        process = Process(
            name,
            tbox("backend", *words, "--home", str(self.files.home)),
            log=self._logs / f"{name}.log",
        )
        self._beside.append(process)
        return self._stack.enter_context(process)

    def api_key(self, name: str, role: str) -> str:
        """Return a new API key of a role."""
        return str(self.api.post("/v1/api-keys", {"name": name, "role": role})["key"])

    def enrolment_token(self) -> str:
        """Return a fresh one-time token."""
        made = self.api.post("/v1/enrolment-tokens", {"count": 1})
        return str(made["items"][0]["token"])

    def revoke(self, device: str) -> None:
        """Revoke a device, and publish the revocation list to the broker."""
        self.api.post(f"/v1/devices/{device}/revoke")
        run_tool(tbox("backend", "ca", "crl", "--home", str(self.files.home), "--out", str(self.files.crl)))

    def restart_api(self) -> None:
        """Start the API again, on another port: its settings have changed."""
        assert self._api_process is not None, "start first"
        self._api_process.stop()
        self.resume()

    def take_image(self) -> DatabaseImage:
        """Copy the database as it is now."""
        return DatabaseImage.take(self.files.database, self.files.home / "older.sqlite")

    def restore(self, image: DatabaseImage) -> None:
        """Set the server back to an older copy, as after a lost disk."""
        for process in self.processes():
            process.stop()
        image.put_back()
        self.resume()

    def __enter__(self) -> Self:
        """Start."""
        try:
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything, last started first."""
        self._stack.close()

    def _set_up(self) -> None:
        if self.files.admin_key.exists():
            return
        self.files.home.mkdir(parents=True, exist_ok=True)
        said = run_tool(
            tbox("backend", "init", "--home", str(self.files.home), "--org", ORGANISATION, "--json")
        )
        self.files.admin_key.touch(mode=0o600)
        self.files.admin_key.write_text(json.loads(said)["admin_key"], "ascii")

    def _start_processes(self, bridge: Credential) -> None:
        """Start API and bridge side by side, for each takes seconds on a small machine."""
        assert self._broker is not None
        home = str(self.files.home)
        env = {"TBOX_BROKER_HOST": "127.0.0.1", "TBOX_BROKER_PORT": str(self._broker.port)} | self.env
        self._api_process = Process(
            "api",
            tbox("backend", "serve", "--home", home, "--port", str(self._api_port), "--json"),
            log=self._logs / "api.log",
            env=env,
        )
        self._bridge_process = Process(
            "bridge",
            tbox("backend", "bridge", "--home", home, "--cert", str(bridge.cert), "--key", str(bridge.key)),
            log=self._logs / "bridge.log",
            env=env,
        )
        self.resume()

    def resume(self) -> None:
        """Start what is not running of API and bridge, and wait until both answer."""
        for process in self.processes():
            if not process.is_running:
                self._stack.enter_context(process)
        assert self._api_process is not None
        assert self._bridge_process is not None
        said = self._api_process.wait_for_line(r'"url": "http://127\.0\.0\.1:(\d+)"')
        self._api_port = int(said.group(1))
        self._bridge_process.wait_for_line("connected")
