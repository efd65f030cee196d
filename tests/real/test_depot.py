"""A tray of boxes: images, a machine behind a real SSH server with a real agent, a board on a pty."""

import getpass
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from device.mcu.brain import HELLO
from protocol import mcu_link
from protocol.label import make_serial, read_label
from simulators.mcu_usb import McuUsb, UsbBoard
from simulators.pki import CertificateAuthority
from tests.builders.agent_http import Answer, Json, Server, good_answer
from tests.builders.depot import SshServer, everything, image, running_sshd
from tests.builders.firmware import small_release
from tests.builders.mcu import Box

pytestmark = pytest.mark.real
TBOX = Path(sys.executable).with_name("tbox")
SERIALS = [make_serial("TB", number) for number in range(1, 5)]
ICCID = "89882390000012345678"
TOKEN = "tboxe_" + "ab" * 24


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with running_sshd(tmp_path) as running:
        yield running


class Depot:
    """Somebody at a table with a tray of boxes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tray = folder / "tray.toml"
        self.out = folder / "tray.depot"

    def lays(self, *boxes: dict[str, object]) -> None:
        rows = ["\n".join(f"{name} = {json.dumps(value)}" for name, value in box.items()) for box in boxes]
        self.tray.write_text("".join(f"[[box]]\n{row}\n" for row in rows))
        self.tray.chmod(0o600)

    def runs(self, *words: object, code: int = 0) -> dict[str, Any]:
        """Run `tbox install depot` and return the boxes by serial."""
        command = [str(TBOX), "install", "depot", str(self.tray), *map(str, words), "--json"]
        environment = {**os.environ, "TBOX_API_KEY": "key-of-the-depot"}
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False, env=environment
        )
        assert run.returncode == code, run.stdout + run.stderr
        return {box["serial"]: box for box in json.loads(run.stdout)["boxes"]}


def states(box: dict[str, Any]) -> dict[str, str]:
    return {check["step"]: check["state"] for check in box["checks"]}


def _logs_in(server: SshServer, home: Path) -> list[object]:
    """Return how the depot reaches the machine, and whose home its agent has there."""
    words = ["--ssh-config", server.config, "--tbox", TBOX, "--home", home, "--user", getpass.getuser()]
    return [*words]


def _only(*steps: str) -> list[object]:
    return [word for step in steps for word in ("--only", step)]


def an_image(folder: Path) -> Path:
    root = image(folder)
    (root / "opt/tbox/bin").mkdir(parents=True)
    (root / "opt/tbox/bin/tbox").write_text("#!/bin/sh\n")
    return root


@contextmanager
def board_on_a_line(board: Box | None = None) -> Iterator[str]:
    """Run a board, fresh if none is given, that answers HELLO on a pty; yield the port of the box's end."""
    board = board or Box()
    far, near = os.openpty()
    port = os.ttyname(near)

    def answer() -> None:
        decoder = mcu_link.Decoder()
        while data := os.read(far, 512):
            for kind, body in decoder.feed(data):
                for reply, content in board.send(kind, body) if kind == HELLO else []:
                    os.write(far, mcu_link.encode_frame(reply, content))
                if kind != HELLO:
                    return

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield port
    finally:
        os.write(near, b"\0" + mcu_link.encode_frame(255, b"end"))
        thread.join(timeout=10)
        os.close(far)
        os.close(near)


def test_a_tray_of_images_is_written_in_one_go_and_a_bad_one_does_not_stop_the_others(tmp_path: Path) -> None:
    depot = Depot(tmp_path)
    roots = [an_image(tmp_path / name) for name in "abc"]
    (tmp_path / "empty").mkdir()
    (roots[2] / "opt/tbox/bin/tbox").unlink()
    places = [*roots, tmp_path / "empty"]
    depot.lays(*({"serial": s, "where": str(p)} for s, p in zip(SERIALS, places, strict=True)))
    before = everything(tmp_path)
    shown = depot.runs("--dry-run", code=1)
    assert everything(tmp_path) == before
    assert "+Description=T-Box agent" in shown[SERIALS[0]]["difference"]

    done = depot.runs(code=1)
    assert states(done[SERIALS[0]])["LINUX"] == "PASS"
    assert states(done[SERIALS[0]])["KEYS"] == "LATER"
    assert [done[serial]["checks"][-1]["error"] for serial in SERIALS[2:]] == ["NO_SOFTWARE", "NOT_LINUX"]
    written = everything(roots[0])
    again = depot.runs(code=1)
    assert again[SERIALS[0]]["difference"] == ""
    assert everything(roots[0]) == written
    assert "KEYS      LATER" in (depot.out / SERIALS[1] / "report.txt").read_text()


def test_a_tray_that_was_killed_half_way_goes_on_and_ends_as_if_it_never_was(tmp_path: Path) -> None:
    depot, serials = Depot(tmp_path), [make_serial("TB", number) for number in range(10, 26)]
    places = [an_image(tmp_path / serial) for serial in serials]
    depot.lays(*({"serial": s, "where": str(p)} for s, p in zip(serials, places, strict=True)))
    process = subprocess.Popen([str(TBOX), "install", "depot", str(depot.tray)], stdout=subprocess.DEVNULL)
    while not list(depot.out.glob("*/report.json")):
        assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.wait()
    done = depot.runs(code=3)
    assert {states(box)["LINUX"] for box in done.values()} == {"PASS"}
    contents = [{path: entry[:2] for path, entry in everything(place).items()} for place in places]
    assert all(content == contents[0] for content in contents)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(("tbox-new", ".new"))]


@pytest.mark.slow
def test_a_board_of_the_tray_gets_its_release_and_keeps_it(tmp_path: Path) -> None:
    depot = Depot(tmp_path)
    release = small_release(tmp_path / "release", number=1)
    words = ("--release", release.folder, "--demo", "--no-car", *_only("FLASH"))
    with McuUsb(UsbBoard(tmp_path / "board", link=tmp_path / "tty")) as usb:
        depot.lays({"serial": SERIALS[0], "where": str(tmp_path), "board": str(usb.board.link)})
        first = depot.runs(*words)[SERIALS[0]]["checks"][0]
        again = depot.runs(*words)[SERIALS[0]]["checks"][0]
    assert first["expected"] == f"release 1 on {tmp_path}/tty"
    assert first["measured"].startswith("FLASHED, ")
    assert again["measured"].startswith("UP_TO_DATE, 0 written")


@pytest.mark.slow
def test_a_running_box_makes_its_keys_names_its_board_gets_its_label_and_enrols(
    server: SshServer, tmp_path: Path
) -> None:
    depot, home = Depot(tmp_path), tmp_path / "home"
    authority = CertificateAuthority.create(tmp_path / "ca")
    asked: list[tuple[str, Json]] = []

    def answer(path: str, body: Json) -> Answer:
        asked.append((path, body))
        return (201, {}) if path == "/v1/labels" else (201, good_answer(authority, body))

    words = _logs_in(server, home)
    steps = _only("KEYS", "MCU", "LABEL", "REGISTER", "ENROL")
    with Server() as office, board_on_a_line() as port:
        office.answer = answer
        box = {"serial": SERIALS[0], "where": server.url, "mcu_port": port, "token": TOKEN, "iccid": ICCID}
        depot.lays(box)
        done = depot.runs(*words, *steps, "--api", office.url)[SERIALS[0]]
        assert set(states(done).values()) == {"PASS"}
        assert [path for path, _ in asked] == ["/v1/labels", "/v1/enrol"]
        label = read_label(done["label"])
        assert label.is_of_device(done["device"])
        assert label.is_of_mcu(done["mcu_id"])
        assert asked[0][1] | {"report_sha256": ""} == {
            "label": SERIALS[0],
            "device": done["device"],
            "mcu_id": done["mcu_id"],
            "iccid": ICCID,
            "report_sha256": "",
        }
        assert asked[1][1]["label"] == SERIALS[0]
        assert (home / "keys" / "d2.key").stat().st_mode & 0o777 == 0o600

        again = depot.runs(*words, *_only("KEYS", "ENROL"), "--api", office.url)[SERIALS[0]]
        assert again["device"] == done["device"]
        assert next(c for c in again["checks"] if c["step"] == "ENROL")["measured"] == "enrolled already"
        assert len(asked) == 2

    results = b"".join(path.read_bytes() for path in depot.out.rglob("*") if path.is_file())
    assert TOKEN.encode() not in results
    assert b"key-of-the-depot" not in results
    assert (depot.out / "labels-1.svg").read_text().count(SERIALS[0]) == 1

    words = _logs_in(server, tmp_path / "other")
    exchanged = depot.runs(*words, *_only("KEYS"), code=1)[SERIALS[0]]
    assert exchanged["checks"][0]["error"] == "OTHER_BOX"


@pytest.mark.slow
def test_an_office_that_refuses_or_is_away_is_said_and_the_next_run_goes_on(
    server: SshServer, tmp_path: Path
) -> None:
    depot = Depot(tmp_path)
    words = _logs_in(server, tmp_path / "home")
    steps = ("KEYS", "MCU", "LABEL", "REGISTER")
    with Server() as office, board_on_a_line() as port:
        depot.lays({"serial": SERIALS[0], "where": server.url, "mcu_port": port})
        office.answer = lambda *_: (409, {"title": "Label in use", "detail": "another box has it"})
        refused = depot.runs(*words, *_only(*steps), "--api", office.url, code=1)[SERIALS[0]]["checks"][-1]
        assert refused["sentence"] == f"The office does not keep the label {SERIALS[0]}: another box has it."
        url = office.url
    words += _only("REGISTER")
    away = depot.runs(*words, "--api", url, code=3)[SERIALS[0]]["checks"][-1]
    assert away["error"] == "OFFICE_AWAY"
    with Server() as office:
        office.answer = lambda *_: (201, {})
        assert states(depot.runs(*words, "--api", office.url)[SERIALS[0]])["REGISTER"] == "PASS"


@pytest.mark.slow
def test_a_board_that_belonged_to_a_car_and_a_silent_line_are_refused(
    server: SshServer, tmp_path: Path
) -> None:
    depot = Depot(tmp_path)
    words = _logs_in(server, tmp_path / "home") + _only("MCU")
    with board_on_a_line(Box.bound()) as port:
        depot.lays({"serial": SERIALS[0], "where": server.url, "mcu_port": port})
        bound = depot.runs(*words, code=1)[SERIALS[0]]["checks"][-1]
    assert bound["sentence"] == "The microcontroller is ACTIVE: it belonged to a car; use a fresh board."
    far, near = os.openpty()
    depot.lays({"serial": SERIALS[0], "where": server.url, "mcu_port": os.ttyname(near)})
    silent = depot.runs(*words, code=3)[SERIALS[0]]["checks"][-1]
    assert "nobody answers on" in silent["sentence"]
    for end in (far, near):
        os.close(end)
    depot.lays({"serial": SERIALS[0], "where": server.url, "mcu_port": "/dev/there-is-none"})
    assert "line not usable" in depot.runs(*words, code=1)[SERIALS[0]]["checks"][-1]["sentence"]
