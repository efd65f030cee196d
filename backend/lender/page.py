"""`tbox lender page`: the officer's own page on this machine's loopback, in code that no server served.

Rules (README §2.14): bound to 127.0.0.1; every path begins with a random token; each form carries a secret of
the page; Host and Origin must be this very address, so that no other site's page can reach it, also not by
rebinding a name. No script, no external resource. The key is opened once, at the start, and forgotten at the
end; what is signed is fetched and verified again at the moment of signing, and must be the payload that was
shown. The same use-cases as the typed commands do the work.

Example:
    >>> with serving(Page(officer, signer)) as page:
    ...     page.address
    'http://127.0.0.1:40001/AbC…'
"""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from backend.lender import page_html as html
from backend.lender.basis_text import basis_lines, warnings
from backend.lender.errors import LenderError, RefusesError, WrongUsageError
from backend.lender.files import read_file
from backend.lender.keys import KeySigner
from backend.lender.limits import PAGE_FORM_BYTES_MAX, PAGE_IDLE_S_MAX, PAGE_ORDERS_MAX
from backend.lender.making import Ask
from backend.lender.officer import Asked, Officer
from backend.lender.order_text import headline, lines
from backend.lender.plain import member, shown
from backend.lender.telling import reported, waits_for
from backend.lender.words import LANGUAGES, PAGE_WORDS, REASON_CODES
from protocol.limits import BASIS_BYTES_MAX
from protocol.orders import OrderType

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_KINDS = {"lock": OrderType.LOCK, "warn": OrderType.WARN, "renew": OrderType.RENEW}


@dataclass(slots=True, kw_only=True)
class Shown:
    """What the page answers."""

    status: int
    content: str
    type: str = "text/html; charset=utf-8"


@dataclass(slots=True)
class Page:
    """The page of one officer with one key.

    Attributes:
        officer: does the work.
        signer: the opened key.
        language: of the page; the link at its top changes it.
        token: first part of every path.
        secret: of every form.
    """

    officer: Officer
    signer: KeySigner
    language: str = "en"
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _asked: dict[str, Asked] = field(default_factory=dict)

    @property
    def home(self) -> str:
        """The path of the page."""
        return f"/{self.token}"

    def get(self, path: str) -> Shown:
        """Answer a look."""
        parts = urlsplit(path)
        words = parts.path.strip("/").split("/")
        if not words or not hmac.compare_digest(words[0].encode(), self.token.encode()):
            return Shown(status=404, content="")
        language = parse_qs(parts.query).get("lang", [self.language])[0]
        self.language = language if language in LANGUAGES else self.language
        match words[1:]:
            case ["style.css"]:
                return Shown(status=200, content=html.STYLE, type="text/css; charset=utf-8")
            case []:
                return self._try(self._list)
            case ["orders", cmd_id]:
                return self._try(lambda: self._order(cmd_id))
            case ["cars", device]:
                return self._try(lambda: self._car(device))
            case _:
                return Shown(status=404, content="")

    def post(self, path: str, form: Mapping[str, str]) -> Shown:
        """Answer a decision; without the page's secret nothing happens."""
        words = urlsplit(path).path.strip("/").split("/")
        if not hmac.compare_digest(words[0].encode(), self.token.encode()):
            return Shown(status=404, content="")
        if not hmac.compare_digest(form.get("secret", "").encode(), self.secret.encode()):
            return Shown(status=403, content="")
        work = self._decision(words[1:], form)
        return Shown(status=404, content="") if work is None else self._try(work)

    def _decision(self, words: list[str], form: Mapping[str, str]) -> Callable[[], Shown] | None:
        """Return what a form asks for; None for nothing that there is."""
        if len(words) != 3:  # noqa: PLR2004  # a thing, its id, a decision
            return None
        name = words[1]
        known: dict[tuple[str, str], Callable[[], Shown]] = {
            ("orders", "approve"): lambda: self._approve(name, form),
            ("orders", "decline"): lambda: self._decline(name),
            ("cars", "request"): lambda: self._request(name, form),
            ("cars", "sign"): lambda: self._sign(form),
            ("cars", "unlock"): lambda: self._unlock(name),
        }
        return known.get((words[0], words[2]))

    def _word(self, name: str) -> str:
        return PAGE_WORDS[name][self.language]

    def _try(self, work: Callable[[], Shown]) -> Shown:
        """Show a refusal as a page; whatever was to be signed is not."""
        try:
            return work()
        except LenderError as refused:
            body = html.stop(refused.what) + html.table(
                [("meaning", refused.meaning), ("next", refused.next_step)]
            )
            return self._page("refused", body, status=409)

    def _page(self, title: str, body: str, *, status: int = 200) -> Shown:
        return Shown(status=status, content=html.document(self._word(title), body, self.language, self.home))

    def _list(self) -> Shown:
        cars = "".join(
            f'<div class=card><p class=head><a href="{self.home}/cars/{car.device}">…{escape(car.last4)}</a> '
            f"{escape(shown(car.ref))}</p>{self._unlock_form(car.device)}</div>"
            for car in self.officer.cars.by_device.values()
        )
        cars = f"<h2>{self._word('cars')}</h2>{cars or '<p>' + escape(self._word('no_cars')) + '</p>'}"
        try:
            items = member(self.officer.server.orders(stage="AWAITING_CHECKER"), "items", list)
            listed = html.order_list(
                [one for one in items[:PAGE_ORDERS_MAX] if isinstance(one, dict)], self.home, self.language
            )
        except LenderError as failed:  # the cars and their unlock stay within reach
            listed = html.stop(failed.what)
        return self._page("orders", listed + cars)

    def _order(self, cmd_id: str) -> Shown:
        checked = self.officer.fetch(cmd_id)
        action = f"{self.home}/orders/{checked.cmd_id.hex()}"
        seen = f'<input type=hidden name=seen value="{b64encode(checked.payload).decode()}">'
        opened, language = checked.basis, self.language
        body = (
            f"<p class=head>{escape(headline(checked.order, language))}</p>"
            + "".join(html.stop(one) for one in warnings(opened, now_s=self.officer.now(), language=language))
            + html.table(
                [
                    (self._word("car"), f"…{checked.car.last4} · {shown(checked.car.ref)}"),
                    (self._word("maker"), shown(checked.maker.person)),
                    *((line.name, line.value) for line in lines(checked.order, language)),
                ]
            )
            + f"<h2>{self._word('rests')}</h2>"
            + html.table(basis_lines(opened, language))
            + html.form(
                f"{action}/approve", self.secret, seen + html.approval_fields(language), self._word("approve")
            )
            + html.form(f"{action}/decline", self.secret, "", self._word("decline"), kind="no")
        )
        return self._page("order", body)

    def _approve(self, cmd_id: str, form: Mapping[str, str]) -> Shown:
        checked = self.officer.fetch(cmd_id)
        if b64encode(checked.payload).decode() != form.get("seen"):
            raise RefusesError("the server now shows another payload than the one you saw")
        if form.get("reason") not in REASON_CODES:
            raise WrongUsageError("choose what you checked yourself")
        if form.get("last4", "").strip().upper() != checked.car.last4.upper():
            raise RefusesError(f"the order is for the car …{checked.car.last4}, you typed another")
        answer = self.officer.approve(checked, self.signer, reason_code=form["reason"])
        return self._done(checked.cmd_id.hex(), answer)

    def _decline(self, cmd_id: str) -> Shown:
        answer = self.officer.server.withdraw(cmd_id, key=f"withdraw-{cmd_id}")
        return self._done(cmd_id, answer)

    def _car(self, device: str) -> Shown:
        car = self.officer.cars.of(device)
        newest = self.officer.server.newest_order(car.device)
        word = self.officer.word_of(car)
        what = reported(word, cmd_id=None, now_s=self.officer.now(), language=self.language)
        waits = waits_for(word.last_of_lock(), self.language)
        desired = f"{shown(newest['type'])} · {shown(newest.get('stage'))}" if newest else self._word("none")
        body = (
            f"<p class=head>…{escape(car.last4)} · {escape(shown(car.ref))}</p><div class=pair>"
            f"<div class=card><h2>{self._word('desired')}</h2><p>{escape(desired)}</p></div>"
            f"<div class=card><h2>{self._word('reported')}</h2><p class=head>{escape(what.state)}</p>"
            f"<p>{escape(what.meaning)}</p>"
            + html.table([(self._word("since"), what.since or "?"), (self._word("waits"), waits or "-")])
            + "</div></div>"
            + "".join(html.stop(one) for one in what.doubts)
            + self._unlock_form(car.device)
            + f"<h2>{self._word('kind')}</h2>"
            + html.form(
                f"{self.home}/cars/{car.device}/request",
                self.secret,
                html.request_fields(self.language),
                self._word("request"),
                kind="no",
            )
        )
        return self._page("car", body)

    def _request(self, device: str, form: Mapping[str, str]) -> Shown:
        if form.get("kind") not in _KINDS:
            raise WrongUsageError("choose warn, lock or renew")
        basis = read_file(Path(form.get("basis", "")).expanduser(), max_bytes=BASIS_BYTES_MAX)
        asked = self.officer.prepare(
            device,
            basis,
            lambda opened: Ask(type=_KINDS[form["kind"]], basis=basis, episode=opened.episode),
        )
        self._asked = {asked.order[2].hex(): asked}  # one at a time: what stands on the screen
        name = f'<input type=hidden name=order value="{asked.order[2].hex()}">'
        stops = warnings(asked.basis, now_s=self.officer.now(), language=self.language)
        body = (
            f"<p class=head>{escape(headline(asked.order, self.language))}</p>"
            + "".join(map(html.stop, stops))
            + html.table([(line.name, line.value) for line in lines(asked.order, self.language)])
            + f"<h2>{self._word('rests')}</h2>"
            + html.table(basis_lines(asked.basis, self.language))
            + html.form(f"{self.home}/cars/{asked.car.device}/sign", self.secret, name, self._word("sign"))
        )
        return self._page("order", body)

    def _sign(self, form: Mapping[str, str]) -> Shown:
        asked = self._asked.pop(form.get("order", ""), None)
        if asked is None:
            raise RefusesError("this is not the order on the screen", next_step="show it again, then sign")
        return self._done(asked.order[2].hex(), self.officer.hand_in(asked, self.signer))

    def _unlock(self, device: str) -> Shown:
        release = self.officer.prepare_release(OrderType.UNLOCK, device)
        _, _, body = self.officer.sign_release(release, self.signer)
        return self._done(release.order[2].hex(), self.officer.hand_in_release(release, body))

    def _unlock_form(self, device: str) -> str:
        return html.form(f"{self.home}/cars/{device}/unlock", self.secret, "", self._word("unlock"))

    def _done(self, cmd_id: str, answer: Mapping[str, object]) -> Shown:
        return self._page(
            "done", html.table([(self._word("order"), cmd_id), ("", shown(answer.get("stage")))])
        )


class PageServer(HTTPServer):
    """Serves a page to this machine, one request after the other.

    Attributes:
        page: what it serves.
    """

    timeout = PAGE_IDLE_S_MAX

    def __init__(self, page: Page, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.page, self.is_idle = page, False

    @property
    def host(self) -> str:
        """What a request's Host must be."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def address(self) -> str:
        """What the officer opens."""
        return f"http://{self.host}{self.page.home}/"

    def handle_timeout(self) -> None:
        """Note that nobody has looked for a long time: the key is to be forgotten."""
        self.is_idle = True

    def serve(self) -> None:
        """Serve until nobody looks any more."""
        while not self.is_idle:
            self.handle_request()


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "tbox", ""
    timeout = 10  # a browser's idle connection must not hold the page

    def do_GET(self) -> None:
        if self._is_ours():
            self._answer(self.server.page.get(self.path))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_ours(is_post=True):
            return
        if not length.isdecimal() or int(length) > PAGE_FORM_BYTES_MAX:
            self._answer(Shown(status=413, content=""))
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        form = {name: values[0] for name, values in parse_qs(text).items()}
        self._answer(self.server.page.post(self.path, form))

    def _is_ours(self, *, is_post: bool = False) -> bool:
        """Refuse what another site's page sent, or a name that was rebound to this machine."""
        origin = self.headers.get("Origin")
        is_foreign = origin != f"http://{self.server.host}" if is_post else False
        if self.headers.get("Host") != self.server.host or is_foreign:
            self._answer(Shown(status=403, content=""))
            return False
        return True

    def _answer(self, what: Shown) -> None:
        data = what.content.encode()
        self.send_response(what.status)
        for name, value in {**HEADERS, "Content-Type": what.type, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing: the path holds the token."""


@contextmanager
def serving(page: Page, port: int = 0) -> Iterator[PageServer]:
    """Open the page; the caller serves it."""
    server = PageServer(page, port)
    try:
        yield server
    finally:
        server.server_close()
