"""A whole simulated world: car, box and cloud, wired as in production, with faults to switch on.

Rules: the product runs as its real processes and knows nothing of the world; the car's truth stays here.
Whatever is started ends with the world, in the reverse order of its start, and no process is left behind.

Example:
    with World(home=Path("build/demo"), seed=7, legs=drive_cycles.city(7, 60)) as world:
        world.set_off()
        world.suffer(Fault(kind=FaultKind.BROKER_AWAY, at_s=0, lasts_s=2))
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Self, assert_never

from simulators.box import Box
from simulators.car import Car, CarOnPorts
from simulators.cloud import Cloud
from simulators.courier_faults import Eavesdropper
from simulators.disk import full_disk
from simulators.faults import Fault, FaultKind
from simulators.mqtt_probe import lets_in
from simulators.network import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from simulators.disk import DatabaseImage
    from simulators.drive_cycles import Leg
    from simulators.processes import Process

POLL_SECONDS = 0.2
SLOW_BYTES_PER_SECOND = 4_000  # a modem at the edge of a cell


class World:
    """Car, box and cloud; a context manager that starts cloud and box, and ends everything.

    Args:
        home: folder of this world; kept from run to run.
        seed: of the car.
        legs: the driver's wishes.
        batch_age_s: how old the box lets a batch become, in seconds.
    """

    def __init__(self, *, home: Path, seed: int, legs: tuple[Leg, ...], batch_age_s: float = 2.0) -> None:
        self.home = home
        self.logs = home / "logs"
        self.cloud = Cloud(folder=home / "backend", logs=self.logs)
        self.car = CarOnPorts(
            Car(seed=seed, legs=legs, utc_start_us=0),
            can_link=home / "dev" / "can0",
            nmea_link=home / "dev" / "gnss0",
        )
        self.box = Box(home=home / "box", logs=self.logs, batch_age_s=batch_age_s)
        self.eavesdropper = Eavesdropper()
        self._stack = contextlib.ExitStack()
        self._link: Link | None = None
        self._set_off_at: float | None = None

    @property
    def link(self) -> Link:
        """The mobile link between box and broker."""
        assert self._link is not None, "start first"
        return self._link

    def processes(self) -> tuple[Process, ...]:
        """Return the processes that should be running."""
        return (*self.cloud.processes(), self.box.agent)

    def start(self) -> None:
        """Start the cloud, enrol the box when it is new, and start its agent."""
        with ThreadPoolExecutor(1) as aside:  # takes seconds, and nothing but the agent waits for it
            compiling = aside.submit(self.box.compile_table)
            self._start_cloud()
            compiling.result()
        self._start_box()

    def _start_box(self, mcu: Path | None = None) -> None:
        """Write the box's settings, with the line of a microcontroller if it has one, and start its agent."""
        self.box.configure(
            api_url=self.cloud.api_url,
            broker_port=self.link.port,
            can=self.car.can.path,
            nmea=self.car.nmea.path,
            mcu=mcu,
        )
        self._stack.enter_context(self.box.agent)
        self.box.wait_until_ready()

    def _start_cloud(self) -> None:
        """Start server, broker and link, and enrol the box when it is new."""
        self._stack.enter_context(self.cloud)
        self.cloud.broker.courier.sees = self.eavesdropper.hear
        self._link = self._stack.enter_context(Link(upstream_port=self.cloud.broker.port))
        if not self.box.is_enrolled:
            self.box.enrol(api_url=self.cloud.api_url, token=self.cloud.enrolment_token())

    def set_off(self) -> None:
        """Start the car, and with it the time that faults are planned in."""
        self._stack.enter_context(self.car)
        self._set_off_at = time.monotonic()

    def drive_until(self, seconds: float) -> None:
        """Wait until the drive is this old, and make sure on the way that everything runs.

        Raises:
            ProcessDiedError: a process ended by itself.
        """
        assert self._set_off_at is not None, "set off first"
        while (left := self._set_off_at + seconds - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.2))

    def check(self) -> None:
        """Make sure that every process runs.

        Raises:
            ProcessDiedError: one ended by itself.
        """
        for process in self.processes():
            process.check()

    def crash_box(self) -> None:
        """Kill the agent in the middle of what it does, and start it again."""
        self.box.agent.kill()
        self.car.hang_up()
        self.revive_box()

    def revive_box(self) -> None:
        """Start the agent again after it was stopped or killed."""
        self.box.agent.start()
        self.box.wait_until_ready()

    def is_let_in(self, cert: Path | None, key: Path | None) -> bool:
        """Return whether the broker accepts someone who says he is the box and shows this certificate."""
        port, ca = self.cloud.broker.port, self.cloud.files.ca
        return lets_in(port=port, ca=ca, client_id=self.box.device, cert=cert, key=key)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until `condition` holds, at most this long; returns whether it does. Processes are watched.

        Raises:
            ProcessDiedError: one ended by itself.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def suffer(self, fault: Fault) -> None:
        """Let one fault happen, and return when it has passed."""
        with self._faulty(fault):
            until = time.monotonic() + fault.lasts_s
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(left, 0.1))

    # One line for each kind: splitting the table would hide that it is complete.
    @contextlib.contextmanager
    def _faulty(self, fault: Fault) -> Iterator[None]:  # noqa: C901
        """Make it so, and undo it."""
        match fault.kind:
            case FaultKind.AGENT_KILLED:
                begin, end = self.crash_box, _nothing
            case FaultKind.BROKER_AWAY:
                begin, end = self.cloud.broker.go_away, self.cloud.broker.come_back
            case FaultKind.BROKER_CRASHED:
                begin, end = self.cloud.broker.stop, self.cloud.broker.start
            case FaultKind.LINK_CUT:
                begin, end = self.link.cut, self.link.flow
            case FaultKind.LINK_STALLED:
                begin, end = self.link.stall, self.link.flow
            case FaultKind.LINK_SLOW:
                begin, end = partial(self.link.flow, SLOW_BYTES_PER_SECOND), self.link.flow
            case FaultKind.BRIDGE_KILLED:
                begin, end = self.cloud.bridge.kill, self.cloud.resume
            case FaultKind.BACKEND_RESTORED:
                begin, end = _nothing, partial(self.cloud.restore, self.cloud.take_image())
            case FaultKind.SPOOL_REPLACED:
                begin, end = _nothing, partial(self._replace_spool, self._image_of_spool())
            case FaultKind.DISK_FULL:
                with full_disk(self.box.agent.pid):
                    yield
                return
            case (
                FaultKind.BATCH_LOST
                | FaultKind.BATCH_REPLAYED
                | FaultKind.RECEIPT_LOST
                | FaultKind.RECEIPT_FORGED
                | FaultKind.RECEIPT_REPLAYED
            ):
                with self.eavesdropper.meddling(fault.kind, self.cloud.broker):
                    yield
                return
            case _ as never:
                assert_never(never)
        begin()
        yield
        end()

    def _image_of_spool(self) -> DatabaseImage:
        """Stop the box in good order, copy its storage, and start it again."""
        self.box.agent.stop()
        image = self.box.take_image()
        self.revive_box()
        return image

    def _replace_spool(self, old: DatabaseImage) -> None:
        """Crash the box and start it with an older image of its storage."""
        self.box.agent.kill()
        self.car.hang_up()
        old.put_back()
        self.revive_box()

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
        """End everything, last started first."""
        self._stack.close()


def _nothing() -> None:
    """Do nothing: the fault is its end, or its beginning."""
