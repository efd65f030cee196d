"""What an officer does, whether typed or clicked: request, approve, release, look.

Rules: verify, show, ask, sign, write down, send, in this order. A part that was signed is written down before
it is sent, so that asking again sends the same bytes; the idempotency key is the order's own id. A release
needs neither server nor challenge.

Example:
    >>> officer = open_officer(settings)
    >>> asked = officer.prepare(device, basis, OrderType.LOCK)
    >>> officer.hand_in(asked, signer)
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from backend.lender import order_text
from backend.lender.basis_text import OpenedBasis, open_basis
from backend.lender.car_word import Challenge, Word, compare_command, read_challenge, read_dispositions
from backend.lender.cars import Car, Cars, read_cars
from backend.lender.checking import Checked, Offered, Pins, check_order, check_pair, require_in_force
from backend.lender.clock import now_s
from backend.lender.errors import LenderError, NotThereError, RefusesError, ServerError, SettingsError
from backend.lender.files import read_file
from backend.lender.keys import KeySigner, read_public_key
from backend.lender.limits import CHALLENGE_POLL_S, CHALLENGE_WAIT_S, RELEASE_COUNTER_AHEAD_MAX
from backend.lender.making import Ask, releasing, restricting
from backend.lender.notebook import Notebook
from backend.lender.plain import member, shown, to_bytes
from backend.lender.server import Json, Server, open_server
from backend.lender.settings import Settings
from backend.lender.trust import Delegation, Trust, open_trust
from protocol import cose_sign
from protocol.base64url import to_text
from protocol.orders import OrderSigner, OrderType, Role, SignKind, assemble, sign_part
from protocol.orders_vocabulary import CLASS, CLASS_B

_HEX_ID: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A restricting order that is made and not yet signed.

    Attributes:
        payload: what will be signed.
        order: its fields, decoded from the payload.
        car: pinned.
        basis: opened.
        basis_bytes: as it is handed in.
    """

    payload: bytes
    order: Mapping[int, Any]
    car: Car
    basis: OpenedBasis
    basis_bytes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A releasing order that is made and not yet signed.

    Attributes:
        payload, order: as of `Asked`.
        car: pinned.
        epoch_is_proved: whether a signed word of the car gave the epoch; the server's unsigned word may give
            one too, since the worst it can do is to be refused.
    """

    payload: bytes
    order: Mapping[int, Any]
    car: Car
    epoch_is_proved: bool


class Officer:
    """One officer's machine, for one command or one page.

    Attributes:
        settings: as read.
        cars: pinned.
        trust: pinned roots, as far as known.
        notebook: what this machine remembers.
        now: gives POSIX seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        server: Server | None,
        now: Callable[[], int] = now_s,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self.notebook = Notebook(settings.state)
        self.cars: Cars = read_cars(settings.cars)
        self.trust: Trust = open_trust(settings, self.notebook)
        self.now = now
        self._pause = pause
        self._server = server

    @property
    def server(self) -> Server:
        """The server.

        Raises:
            ServerError: this command runs offline.
        """
        if self._server is None:
            raise ServerError("this command was told to do without the server")
        return self._server

    def pins(self) -> Pins:
        """Return what is held against the server's word.

        Raises:
            SettingsError: the loan system's key is not pinned.
        """
        if self.settings.loan_key is None:
            raise SettingsError("lender.toml pins no loan_key, the loan system's public key")
        return Pins(cars=self.cars, trust=self.trust, loan_key=read_public_key(self.settings.loan_key))

    # --- the maker -----------------------------------------------------------------------------------------

    def challenge(self, car: Car, *, wait_s: float = CHALLENGE_WAIT_S) -> Challenge:
        """Return the car's open challenge, asking for one if the server has none.

        Raises:
            RefusesError: the server's word differs from the pins or the car's own.
            ServerError: the car did not answer in time.
        """
        command = self.server.command(car.device)
        compare_command(command, car, None, self.trust.lender.lender_id)
        if not _is_open(command):
            self.server.ask_challenge(car.device)
            command = self.server.command(car.device)  # a car that is awake has answered by now
        left = wait_s
        while not _is_open(command):
            if left <= 0:
                raise ServerError(
                    f"the car …{car.last4} has not answered with a challenge yet",
                    meaning="it sleeps, or has no network; nothing was signed",
                    next_step="run the command again later: a parked box wakes at least every 6 hours",
                )
            self._pause(CHALLENGE_POLL_S)
            left -= CHALLENGE_POLL_S
            command = self.server.command(car.device)
        document = to_bytes(member(command["challenge"], "document", str), "challenge")
        challenge = read_challenge(document, car)
        compare_command(command, car, challenge, self.trust.lender.lender_id)
        self.notebook.note_car(car.device, epoch=challenge.epoch.hex(), head_b=challenge.heads[1])
        return challenge

    def prepare(self, device: str, basis: bytes, ask: Callable[[OpenedBasis], Ask]) -> Asked:
        """Make a restricting order from the car's challenge, without signing it.

        Raises:
            RefusesError: basis, car or roots are not what is pinned.
        """
        pins, car = self.pins(), self.cars.of(device)
        self.trust.learn(self.server)
        self.trust.require_current(self.now())
        opened = open_basis(basis, car, pins.loan_key)
        payload = restricting(
            ask(opened),
            car,
            self.challenge(car),
            lender_id=self.trust.lender.lender_id,
            now_s=self.now(),
            used=self._used_a(car),
        )
        order = order_text.decode(payload)
        return Asked(payload=payload, order=order, car=car, basis=opened, basis_bytes=basis)

    def hand_in(self, asked: Asked, signer: KeySigner) -> Json:
        """Sign as maker and hand in.

        Raises:
            RefusesError: no delegation of this key makes its holder a maker now.
            ServerError: unreachable, or it said no; the order is kept to be sent again.
        """
        delegation, document = self.delegation_of(signer, OrderType(asked.order[3]), Role.MAKER)
        protected, signature = self._sign(asked.payload, signer, delegation)
        body: Json = {
            "payload": to_text(asked.payload),
            "part": {"protected": to_text(protected), "signature": to_text(signature)},
            "delegation": to_text(document),
            "basis": to_text(asked.basis_bytes),
        }
        return self._post_order(asked.car, asked.order[2], body)

    def resend(self, cmd_id: str) -> Json:
        """Hand in again what was signed before and of which no answer came.

        Raises:
            NotThereError: nothing of this id is kept.
        """
        body = self.notebook.outbox().get(cmd_id)
        if body is None:
            raise NotThereError(f"no signed order {shown(cmd_id)} waits to be sent")
        order = order_text.decode(to_bytes(body["payload"], "payload"))
        return self._post_order(self.cars.by_mcu(order[5]), order[2], body)

    # --- the checker ---------------------------------------------------------------------------------------

    def fetch(self, cmd_id: str) -> Checked:
        """Fetch an order that waits for a checker and verify all of it.

        Raises:
            RefusesError: anything is not as pinned or signed.
        """
        name = _read_id(cmd_id)
        self.trust.learn(self.server)
        answer = self.server.order(name.hex())
        payload = to_bytes(member(answer, "payload", str), "payload")
        parts = [_part(one) for one in member(answer, "parts", list)]
        basis, challenge = answer.get("basis"), answer.get("challenge")
        offered = Offered(
            cmd_id=name,
            cmd_hash=member(answer, "cmd_hash", str),
            device=member(answer, "device", str),
            payload=payload,
            parts=parts,
            delegations=self._delegations(parts),
            basis=b"" if basis is None else to_bytes(basis, "basis"),
            challenge=b"" if challenge is None else to_bytes(challenge, "challenge"),
        )
        return check_order(offered, self.pins(), now_s=self.now())

    def approve(self, checked: Checked, signer: KeySigner, *, reason_code: str) -> Json:
        """Sign as checker and hand in.

        Raises:
            RefusesError: this officer is the maker too, or no checker now.
        """
        kind = OrderType(checked.order[3])
        delegation, document = self.delegation_of(signer, kind, Role.CHECKER)
        check_pair(checked.maker, delegation)
        protected, signature = self._sign(checked.payload, signer, delegation)
        body: Json = {
            "part": {"protected": to_text(protected), "signature": to_text(signature)},
            "delegation": to_text(document),
            "reason_code": reason_code,
        }
        name = checked.cmd_id.hex()
        return self.server.approve(name, body, key=f"approve-{name}-{delegation.digest.hex()[:16]}")

    # --- releases ------------------------------------------------------------------------------------------

    def prepare_release(self, kind: OrderType, device: str, *, cancels: bytes | None = None) -> Release:
        """Make an UNLOCK, CANCEL or DECOMMISSION, with the server or without."""
        car = self.cars.of(device)
        unproved, told = self._told(car)
        seen = self.notebook.car(car.device)
        proved = None if seen.epoch is None else bytes.fromhex(seen.epoch)
        epoch = proved or car.epoch or unproved
        if epoch is None:
            raise NotThereError(
                f"the epoch of the car …{car.last4} is not known on this machine",
                meaning="a release names the car's epoch, which its challenges and dispositions tell",
                next_step="run it once with the server, or pin it: tbox lender car pin … --epoch",
            )
        payload = releasing(
            kind,
            car,
            epoch=epoch,
            head=max(seen.head_b, seen.used_b, told),
            lender_id=self.trust.lender.lender_id,
            now_s=self.now(),
            cancels=cancels,
        )
        is_proved = proved is not None or car.epoch is not None
        return Release(payload=payload, order=order_text.decode(payload), car=car, epoch_is_proved=is_proved)

    def sign_release(self, release: Release, signer: KeySigner) -> tuple[bytes, bytes, Json]:
        """Sign a release.

        Returns:
            The whole COSE_Sign, the delegation's document, and the body to hand in.

        Raises:
            RefusesError: no delegation of this key may release.
        """
        kind = OrderType(release.order[3])
        role = Role.MAKER if kind is OrderType.DECOMMISSION else None  # the gate signs beside a maker
        delegation, document = self.delegation_of(signer, kind, role)
        protected, signature = self._sign(release.payload, signer, delegation)
        self.notebook.note_car(release.car.device, used_b=release.order[9])
        body: Json = {
            "payload": to_text(release.payload),
            "part": {"protected": to_text(protected), "signature": to_text(signature)},
            "delegation": to_text(document),
        }
        return assemble(release.payload, [(protected, signature)]), document, body

    def hand_in_release(self, release: Release, body: Json) -> Json:
        """Hand a signed release in."""
        return self._post_order(release.car, release.order[2], body)

    # --- looking -------------------------------------------------------------------------------------------

    def word_of(self, car: Car) -> Word:
        """Return what a car has proved, and remember the newest of it.

        Raises:
            RefusesError: a disposition that the car did not sign, or an older chain than was seen before.
        """
        documents = []
        for one in self.server.dispositions(car.device):
            text = one if isinstance(one, str) else member(one, "document", str)
            documents.append(to_bytes(text, "disposition"))
        word = read_dispositions(documents, car)
        last, seen = word.last(), self.notebook.car(car.device)
        is_shown = seen.digest is None or bytes.fromhex(seen.digest) in word.digests
        is_older = last is not None and seen.epoch == last.epoch.hex() and last.sequence < seen.sequence
        if not is_shown or is_older:
            raise RefusesError(
                f"the server shows an older state of the car …{car.last4} than this machine has seen",
                meaning="its newest word is withheld: the car's state is UNKNOWN",
            )
        if last is not None:
            self.notebook.note_car(
                car.device, epoch=last.epoch.hex(), sequence=last.sequence, digest=last.digest.hex()
            )
        return word

    def delegation_of(
        self, signer: KeySigner, kind: OrderType, role: Role | None
    ) -> tuple[Delegation, bytes]:
        """Return this officer's delegation for a type, and its document.

        Of several the one in force; a release takes any that is not revoked, as the car does.

        Args:
            signer: the officer's key.
            kind: what is to be signed.
            role: as what; None for any that may.

        Raises:
            RefusesError: there is none.
        """
        found = []
        for path in self.settings.delegations:
            document = read_file(path)
            delegation = self.trust.delegation(document)
            if delegation.kid == signer.kid and kind in delegation.types and role in (None, delegation.role):
                found.append((delegation, document))
        if not found:
            raise RefusesError(
                f"no delegation on this machine lets this key sign {kind.name}"
                + ("" if role is None else f" as {role.name.lower()}"),
                next_step="name it in `delegations` of lender.toml; `tbox lender delegation show` reads one",
            )
        current = [pair for pair in found if pair[0].nbf <= self.now() < pair[0].exp]
        if current:
            return max(current, key=lambda pair: int(pair[0].exp))
        newest = max(found, key=lambda pair: int(pair[0].exp))
        if CLASS[kind] != CLASS_B:
            require_in_force(newest[0], self.now())
        return newest

    # --- inside --------------------------------------------------------------------------------------------

    def _sign(self, payload: bytes, signer: KeySigner, delegation: Delegation) -> tuple[bytes, bytes]:
        """Return the part of this key, the same one whenever it is asked for."""
        by = OrderSigner(signer=signer, role=Role(delegation.role), delegation=delegation.digest)
        name = f"{hashlib.sha256(payload).hexdigest()}-{signer.kid.hex()}-{delegation.digest.hex()}"
        part = self.notebook.part(name)
        if part is None:
            part = sign_part(SignKind.COMMAND, payload, by)
            self.notebook.note_part(name, part)
        return part

    def _post_order(self, car: Car, cmd_id: bytes, body: Json) -> Json:
        name = cmd_id.hex()
        self.notebook.put_out(name, body)
        try:
            answer = self.server.post_order(car.device, body, key=f"order-{name}")
        except ServerError as failed:
            if failed.status is not None and failed.status < 500:  # noqa: PLR2004  # it judged and said no
                self.notebook.sent(name)
                raise
            raise ServerError(
                failed.what,
                status=failed.status,
                next_step=f"send the same order again: tbox lender resend {name}",
            ) from failed
        except NotThereError:
            self.notebook.sent(name)
            raise
        self.notebook.sent(name)
        return answer

    def _delegations(self, parts: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        found = {}
        for part in parts:
            try:
                digest = cose_sign.Signer(*part).delegation
            except ValueError as broken:
                raise RefusesError(f"a signer's header cannot be read: {broken}") from broken
            if digest is not None:
                answer = self.server.document(digest)
                found[digest] = to_bytes(member(answer, "document", str), "delegation")
        return found

    def _used_a(self, car: Car) -> int:
        """Return the highest counter of restricting orders that the server knows; bounded by the caller."""
        used = self.server.command(car.device).get("counters_used")
        return used[0] if isinstance(used, list) and used and isinstance(used[0], int) else 0

    def _told(self, car: Car) -> tuple[bytes | None, int]:
        """Return epoch and highest counter of releases as the server tells them; 0 for none to be believed.

        A colleague whose clock is ahead has used higher counters than this machine's seconds. Its
        dispositions go to the notebook.
        """
        if self._server is None:
            return None, 0
        with suppress(LenderError):  # a release never waits for what the server should know
            self.word_of(car)
        epoch, used = None, 0
        with suppress(LenderError, ValueError, TypeError):
            command = self.server.command(car.device)
            told = [command.get(name) for name in ("heads", "counters_used")]
            counters = [one[1] for one in told if isinstance(one, list) and len(one) > 1]
            most = self.now() + RELEASE_COUNTER_AHEAD_MAX
            used = max((one for one in counters if isinstance(one, int) and one <= most), default=0)
            epoch = bytes.fromhex(member(command, "epoch", str))
        return epoch if epoch is not None and len(epoch) == 16 else None, used  # noqa: PLR2004  # of the form


def open_officer(settings: Settings, *, offline: bool = False) -> Officer:
    """Return this machine's officer.

    Raises:
        SettingsError: something that every command needs is not set.
    """
    return Officer(settings, server=None if offline else open_server(settings))


def with_delegations(settings: Settings, paths: list[Path] | None) -> Settings:
    """Return the settings with other delegations, where a command names them."""
    return replace(settings, delegations=tuple(paths)) if paths else settings


def _is_open(command: Json) -> bool:
    """Return whether the server has a challenge that no order has used up."""
    challenge = command.get("challenge")
    return isinstance(challenge, dict) and not challenge.get("is_used")


def _part(one: object) -> tuple[bytes, bytes]:
    return (
        to_bytes(member(one, "protected", str), "protected header"),
        to_bytes(member(one, "signature", str), "signature"),
    )


def _read_id(text: str) -> bytes:
    digits = text.replace("-", "").lower()
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(digits) != _HEX_ID or len(value) * 2 != _HEX_ID:
        raise NotThereError(f"{shown(text)!r} is no order id: 32 hex digits")
    return value
