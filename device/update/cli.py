"""`tbox-keeper`: run the agent of the confirmed release, take a bundle by hand, say how updates stand.

Rules: installed with the operating system and not with a release. `install` is the depot's: it makes the
first release of a box, from a bundle whose hash somebody gives, and refuses a box that has one.

Exit codes: 0 done, 2 a file, setting or argument cannot be used, 4 not now, 5 refused.

Example:
    $ tbox-keeper install tbox-7.tar --sha256 5f3c… --root /var/lib/tbox/update
    $ tbox-keeper run --root /var/lib/tbox/update
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from device.adapters.https_json import JsonService
from device.adapters.key_store import KeyName
from device.agent.home import AgentHome
from device.errors import EdgeError
from device.update.asking import Asking
from device.update.forms import Record
from device.update.keeper import Keeper
from device.update.mcu_writer import McuWriter
from device.update.repository import HttpFiles, Repository
from device.update.settings import ROOT, KeeperSettings, read_keeper_settings
from device.update.slots import Slots
from protocol.errors import ProtocolError
from protocol.limits import UPDATE_BUNDLE_BYTES_MAX, UPDATE_METADATA_BYTES_MAX
from protocol.update_bundle import read_bundle

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from protocol.update_bundle import Bundle, Needs

FOLDER = Path("/var/lib/tbox/update")
DONE, UNUSABLE, NOT_NOW, REFUSED = 0, 2, 4, 5
EXITS = "Exit: 0 done, 2 file, setting or argument not usable, 4 not now, 5 refused."


class OurSource:
    """Backend and repository of the settings."""

    def __init__(self, root: Path, settings: KeeperSettings, repository: str, backend: str) -> None:
        home = AgentHome(settings.home)
        authority = None if settings.ca_file is None else str(settings.ca_file)
        files = HttpFiles(root / "tuf" / "parts", urllib3.PoolManager(ca_certs=authority))
        self._asking = Asking(
            JsonService(backend, ca_file=settings.ca_file),
            device=home.read_trust().device,
            signer=home.keys.signer(KeyName.D2),
        )
        with (root / ROOT).open("rb") as file:
            pinned = file.read(UPDATE_METADATA_BYTES_MAX)
        self._repository = Repository(root / "tuf", url=repository, root=pinned, fetcher=files)

    def ask(self, record: Record, *, now_s: int) -> int | None:
        """Ask the backend."""
        return self._asking.ask(record, now_s=now_s)

    def needs(self, release: int, *, now: dt.datetime) -> Needs:
        """Ask the repository."""
        return self._repository.needs(release, now=now)

    def bundle(self, release: int, *, now: dt.datetime) -> Bundle:
        """Load from the repository."""
        return self._repository.bundle(release, now=now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the words say, and return the exit code."""
    parser = argparse.ArgumentParser(prog="tbox-keeper", description="Keep a box's releases.", epilog=EXITS)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the agent, and updates", epilog="tbox-keeper run --root DIR")
    install = commands.add_parser(
        "install",
        help="make a box's first release",
        epilog="tbox-keeper install tbox-7.tar --sha256 HEX --root DIR",
    )
    status = commands.add_parser("status", help="say how updates stand", epilog="tbox-keeper status --json")
    for command in (run, install, status):
        command.add_argument("--root", type=Path, default=FOLDER, help="folder of updates")
        command.add_argument("--json", action="store_true", help="print one JSON object")
    install.add_argument("bundle", type=Path)
    install.add_argument("--sha256", required=True, help="of the bundle, as the repository names it")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "run":
                return _run(options.root)
            case "install":
                return _install(options.root, options.bundle, options.sha256, as_json=options.json)
            case _:
                return _status(options.root, as_json=options.json)
    except EdgeError as error:
        sys.stderr.write(error.diagnostics() + "\n")
        return NOT_NOW if error.is_transient else UNUSABLE


def _run(root: Path) -> int:
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level="INFO", format=form)
    settings = read_keeper_settings(root)
    slots = Slots(root)
    slots.make()
    source = None
    if settings.repository is not None and settings.backend is not None:
        source = OurSource(root, settings, settings.repository, settings.backend)
    keeper = Keeper(
        slots,
        home=settings.home,
        writer=McuWriter(settings.write_mcu, settings.write_mcu_back),
        source=source,
        board=settings.board,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    keeper.run(stop)
    return DONE


def _install(root: Path, path: Path, digest: str, *, as_json: bool) -> int:
    try:
        with path.open("rb") as file:
            data = file.read(UPDATE_BUNDLE_BYTES_MAX + 1)
        bundle = read_bundle(data)
    except (OSError, ProtocolError) as failure:
        sys.stderr.write(f"{path} is no bundle ({failure}): build it again\n")
        return UNUSABLE
    if hashlib.sha256(data).hexdigest() != digest.lower():
        sys.stderr.write(f"{path} is not the bundle of that hash: copy it again\n")
        return REFUSED
    slots = Slots(root)
    slots.make()
    if slots.record() != Record():
        sys.stderr.write("this box has a release: let the rollout bring the next one\n")
        return REFUSED
    slot = slots.unpack(bundle)
    slots.keep(
        replace(
            Record(), confirmed=slot.release, mcu=slot.mcu, measurement=slot.measurement, floor=slot.floor
        )
    )
    slots.point(slot.release)
    _say({"release": slot.release, "root": str(root)}, as_json=as_json)
    return DONE


def _status(root: Path, *, as_json: bool) -> int:
    record = Slots(root).record()
    said: dict[str, object] = {
        "confirmed": record.confirmed,
        "stage": record.stage.value,
        "new": None if record.new is None else record.new.release,
        "floor": record.floor,
        "failed": [[release, outcome.value] for release, outcome in record.failed],
        "current": Slots(root).current(),
    }
    _say(said, as_json=as_json)
    return DONE


def _say(said: dict[str, object], *, as_json: bool) -> None:
    lines = [json.dumps(said)] if as_json else [f"{name:<10} {value}" for name, value in said.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
