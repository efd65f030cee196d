"""The officer's page on loopback: what a browser sends, what another site cannot, what is signed."""

import re
import threading
from collections.abc import Iterator
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from backend.lender.key_file import open_key_file
from backend.lender.officer import open_officer
from backend.lender.order_text import decode, lines
from backend.lender.page import Page, PageServer, serving
from backend.lender.plain import to_bytes
from backend.lender.settings import load_settings
from protocol.orders import State
from tests.builders.lender import PASSPHRASE
from tests.builders.lender_world import VIN, World, furnish, world_in


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    return folder


@pytest.fixture
def world(furnished: Path, tmp_path: Path) -> Iterator[World]:
    with world_in(furnished, tmp_path) as made:
        yield made


class Browser:
    """A browser at an officer's page."""

    def __init__(self, server: PageServer) -> None:
        self.server, self.home = server, server.page.home

    def send(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Return status, content and headers."""
        connection = HTTPConnection(*self.server.host.split(":"), timeout=10)
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{self.server.host}"}
        connection.request(method, path, body, sent | {key.title(): value for key, value in headers.items()})
        response = connection.getresponse()
        content = response.read().decode()
        connection.close()
        return response.status, content, dict(response.getheaders())

    def look(self, path: str = "/") -> str:
        """Return a page that must be there."""
        status, content, _ = self.send("GET", self.home + path)
        assert status == 200, unescape(content)
        return content

    def press(self, content: str, button: str, **filled: str) -> tuple[int, str]:
        """Fill in the form whose action ends with `button` and send it."""
        found = re.search(rf'<form method=post action="([^"]*/{button})".*?</form>', content)
        assert found, button
        hidden = dict(re.findall(r'<input type=hidden name=(\w+) value="([^"]*)"', found[0]))
        status, answer, _ = self.send("POST", found[1], urlencode(hidden | filled))
        return status, unescape(answer)


@pytest.fixture
def browsers(world: World) -> Iterator[dict[str, Browser]]:
    found, threads = {}, []
    for who in ("maker", "checker"):
        officer = open_officer(load_settings(world.desk / f"{who}.toml"))
        server = PageServer(Page(officer, open_key_file(world.desk / f"{who}.key", PASSPHRASE)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        threads.append((server, thread))
        found[who] = Browser(server)
    yield found
    for server, thread in threads:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_maker_requests_and_a_checker_approves_on_their_pages(
    world: World, browsers: dict[str, Browser]
) -> None:
    world.basis()
    maker, checker = browsers["maker"], browsers["checker"]
    car = maker.look(f"/cars/{world.car.device}")
    status, order = maker.press(car, "request", kind="lock", basis=str(world.desk / "case.basis"))
    assert status == 200, order
    assert "LOCK: inhibit" in order
    assert not world.server.orders, "showing signs nothing"
    assert maker.press(order, "sign")[0] == 200
    (cmd_id,) = world.server.orders
    assert cmd_id in checker.look()
    shown = checker.look(f"/orders/{cmd_id}")
    payload = to_bytes(world.server.orders[cmd_id]["payload"], "")
    for line in lines(decode(payload), "en"):
        assert line.value in unescape(shown)
    assert checker.press(shown, "approve", reason="FILE", last4="9999")[0] == 409
    assert len(world.server.orders[cmd_id]["parts"]) == 1
    status, answer = checker.press(shown, "approve", reason="FILE", last4=VIN[-4:])
    assert (status, "AWAITING_LOG" in answer) == (200, True)
    assert len(world.server.orders[cmd_id]["parts"]) == 2


def test_unlock_is_one_step_from_the_first_page(browsers: dict[str, Browser]) -> None:
    status, answer = browsers["checker"].press(browsers["checker"].look(), "unlock")
    assert (status, "QUEUED" in answer) == (200, True)


def test_unlock_is_there_even_if_the_list_is_not(world: World, browsers: dict[str, Browser]) -> None:
    world.server.down = True
    assert "/unlock" in browsers["maker"].look()


def test_a_payload_exchanged_between_look_and_sign_is_refused(
    world: World, browsers: dict[str, Browser]
) -> None:
    first = world.request()
    shown = browsers["checker"].look(f"/orders/{first}")
    world.server.lies[f"/orders/{first}"] = lambda _: world.server.orders[second] | {"cmd_id": first}
    second = world.request("warn")
    status, answer = browsers["checker"].press(shown, "approve", reason="FILE", last4=VIN[-4:])
    assert (status, "under the id" in answer) == (409, True)


def test_a_decline_withdraws(world: World, browsers: dict[str, Browser]) -> None:
    cmd_id = world.request()
    shown = browsers["checker"].look(f"/orders/{cmd_id}")
    assert "WITHDRAWN" in browsers["checker"].press(shown, "decline")[1]


def test_reported_is_unknown_until_the_car_has_signed(world: World, browsers: dict[str, Browser]) -> None:
    payload = to_bytes(world.server.orders[world.request()]["payload"], "")
    path = f"/cars/{world.car.device}"
    assert "UNKNOWN" in browsers["maker"].look(path)
    world.car.answer(State.LOCKED, payload)
    assert "LOCKED: the next start is inhibited" in browsers["maker"].look(path)


def test_another_site_reaches_nothing(world: World, browsers: dict[str, Browser]) -> None:
    browser, orders = browsers["checker"], dict(world.server.orders)
    secret = urlencode({"secret": browser.server.page.secret})
    path = f"{browser.home}/cars/{world.car.device}/unlock"
    assert browser.send("GET", "/")[0] == 404
    assert browser.send("GET", browser.home + "x/")[0] == 404
    assert browser.send("GET", browser.home + "/", host="evil.example")[0] == 403
    assert browser.send("POST", path, secret, origin="http://evil.example")[0] == 403
    assert browser.send("POST", path, secret, host="evil.example")[0] == 403
    assert browser.send("POST", path, urlencode({"secret": "x"}))[0] == 403
    assert browser.send("POST", path, "")[0] == 403
    assert browser.send("POST", path, "secret=" + "x" * 20_000)[0] == 413
    assert browser.send("GET", path)[0] == 404, "a look never decides"
    assert world.server.orders == orders


def test_the_page_runs_no_script_and_loads_nothing_from_elsewhere(
    world: World, browsers: dict[str, Browser]
) -> None:
    cmd_id = world.request()
    for path in ("/", f"/orders/{cmd_id}", f"/cars/{world.car.device}"):
        _, content, headers = browsers["checker"].send("GET", browsers["checker"].home + path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert "<script" not in content
        places = re.findall(r'(?:href|src|action)="([^"]*)"', content)
        assert all(place.startswith(browsers["checker"].home) for place in places)


def test_markup_of_a_server_is_text(world: World, browsers: dict[str, Browser]) -> None:
    world.request()
    world.server.lies["/orders"] = lambda value: {
        "items": [one | {"stage": "<b>LOCKED</b>", "cmd_id": '"><img src=x>'} for one in value["items"]]
    }
    content = browsers["checker"].look()
    assert "<b>LOCKED" not in content
    assert "<img" not in content


def test_both_languages_are_whole(world: World, browsers: dict[str, Browser]) -> None:
    cmd_id = world.request()
    chinese = browsers["checker"].look(f"/orders/{cmd_id}?lang=zh")
    assert "禁止该车下一次启动" in chinese
    assert "作为复核人签名" in chinese
    assert '<html lang="zh"' in chinese


def test_the_page_listens_to_this_machine_only(world: World) -> None:
    officer = open_officer(load_settings(world.desk / "maker.toml"))
    with serving(Page(officer, open_key_file(world.desk / "maker.key", PASSPHRASE))) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert len(urlsplit(server.address).path) > 30
