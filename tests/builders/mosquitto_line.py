"""The whole line as an operator and an installer type it, on a real mosquitto: processes only.

Example:
    with Line(tmp_path) as line:
        line.set_off()
        line.broker.kill()
        line.broker.start()
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from simulators import drive_cycles
from simulators.api_client import ApiClient
from simulators.box import Box
from simulators.car import Car, CarOnPorts
from simulators.processes import Process, run_tool, tbox
from simulators.stored import Stored
from tests.builders.mosquitto import Mosquitto, free_port
from tests.builders.mosquitto_site import until

if TYPE_CHECKING:
    from pathlib import Path

HURRY = """
[uplink]
receipt_wait_s = 1.0
resend_first_s = 0.5
resend_longest_s = 2.0
"""


class Line:
    """Backend, broker, bridge, box and car; a context manager that runs all but the car.

    Args:
        folder: of everything.
        seconds: how long the car has a route for.
    """

    def __init__(self, folder: Path, *, seconds: int = 60) -> None:
        self.home = folder / "backend"
        self.logs = folder / "logs"
        self.admin_key = folder / "admin.key"
        self.box = Box(home=folder / "box", logs=self.logs, batch_age_s=0.5)
        self.car = CarOnPorts(Car(seed=3, legs=drive_cycles.city(3, seconds), utc_start_us=0))
        self._stack = contextlib.ExitStack()
        self._port = free_port()
        self._api_port = 0
        with ThreadPoolExecutor(1) as aside:  # takes seconds, and nothing but the agent waits for it
            compiling = aside.submit(self.box.compile_table)
            self.broker = self._set_up(folder / "broker")
            compiling.result()

    @property
    def api(self) -> ApiClient:
        """The API, asked as the administrator."""
        return ApiClient(port=self._api_port, key_file=self.admin_key)

    @property
    def stored(self) -> Stored:
        """What the server shows of the box."""
        return Stored(api=self.api, device=self.box.device)

    def set_off(self) -> None:
        """Let the car drive."""
        self._stack.enter_context(self.car)

    def reading(self, name: str) -> int:
        """Return a counter that the agent wrote last; 0 when it never did."""
        try:
            status = json.loads((self.box.home / "status.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):  # not yet, or being replaced
            return 0
        return int(status["readings"].get(name) or 0)

    def drive_until_stored(self, more: int) -> None:
        """Wait until so many batches more are stored."""
        wanted = len(self.stored.batches()) + more

        def is_stored() -> bool:
            self.box.agent.check()
            return len(self.stored.batches()) >= wanted

        until(is_stored, seconds=60)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self, folder: Path) -> Mosquitto:
        """Type what the operator's guide says, once."""
        said = run_tool(tbox("backend", "init", "--home", str(self.home), "--json"))
        self.admin_key.touch(mode=0o600)
        self.admin_key.write_text(json.loads(said)["admin_key"], "ascii")
        (self.home / "settings.toml").write_text(
            f'broker_host = "127.0.0.1"\nbroker_port = {self._port}\nbroker_folder = "{folder}"\n'
        )
        user = pwd.getpwuid(os.geteuid()).pw_name
        words = ("broker", "config", "--home", str(self.home), "--address", "127.0.0.1", "--user", user)
        run_tool(tbox("backend", *words))
        return Mosquitto(folder, port=self._port, log=self.logs / "mosquitto.log")

    def _start(self) -> None:
        self._stack.enter_context(self.broker)
        api, bridge = (
            Process(name, tbox("backend", *words, "--home", str(self.home)), log=self.logs / f"{name}.log")
            for name, words in (("api", ("serve", "--port", "0", "--json")), ("bridge", ("bridge",)))
        )
        self._stack.enter_context(api)
        self._stack.enter_context(bridge)
        self._api_port = int(api.wait_for_line(r'"url": "http://127\.0\.0\.1:(\d+)"').group(1))
        bridge.wait_for_line("broker connected")
        url = f"http://127.0.0.1:{self._api_port}"
        token = str(self.api.post("/v1/enrolment-tokens", {"count": 1})["items"][0]["token"])
        self.box.enrol(api_url=url, token=token)
        self.box.configure(
            api_url=url, broker_port=self._port, can=self.car.can.path, nmea=self.car.nmea.path
        )
        with (self.box.home / "agent.toml").open("a") as settings:
            settings.write(HURRY)
        self._stack.enter_context(self.box.agent)
        self.box.wait_until_ready()
