"""What must not work in the lock story: forged, replayed and twice-signed orders, brought by the broker.

Rules: a hostile broker hands each message to the box as if the backend had sent it. A check looks at the
microcontroller's counters and refusals, at the signed dispositions, and at the engine, which has to start.
The car is parked and could be locked: what holds is the microcontroller.

Example:
    LockAttacks(world, report, eyes).forge()
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from backend.lender.key_file import open_key_file
from protocol import cose_sign, strict_cbor
from protocol.base64url import to_bytes
from protocol.envelope import SoftwareSigner
from protocol.ids import parse_device_id
from protocol.orders import Code, OrderSigner, OrderType, Role, State, encode_order, sign_order
from protocol.topics import Down, down_topic
from simulators.api_client import ApiClient
from simulators.demo.lock_fitting import JURISDICTION
from simulators.demo.lock_officers import LENDER_ID
from simulators.demo.lock_world import (
    CONTRACT,
)

if TYPE_CHECKING:
    from simulators.demo.lock_looking import Eyes
    from simulators.demo.lock_world import LockWorld
    from simulators.demo.report import Finding, Report

ARRIVES_S_MAX: Final = 15.0
DAY_S: Final = 86_400


class Impostor:
    """A key that claims to be another: it signs, under another's name."""

    def __init__(self, kid: bytes) -> None:
        self.kid = kid
        self._own = SoftwareSigner(generate_private_key(SECP256R1()))

    def sign(self, message: bytes) -> bytes:
        """Sign with the key it has."""
        return self._own.sign(message)


@dataclass(slots=True)
class LockAttacks:
    """All of them."""

    world: LockWorld
    report: Report
    eyes: Eyes
    _challenge: bytes | None = None

    def forge(self) -> None:
        """Let the broker's administrator write a LOCK, with everyone's name and nobody's key."""
        title = "a LOCK that a broker's administrator forges does nothing"
        with self.report.check("forged_order", title) as found:
            names = (("maker", Role.MAKER), ("checker", Role.CHECKER), ("gate", Role.GATE))
            signers = [
                OrderSigner(
                    signer=Impostor(self._kid(name)),
                    role=role,
                    delegation=self._delegation(name),
                    log_ref=["log.example/tbox", 0, 1, bytes(32)] if role is Role.GATE else None,
                    attestation=[1, [], 0] if role is Role.GATE else None,
                )
                for name, role in names
            ]
            order = sign_order(self._lock_fields(), *signers)
            count = self.eyes.link_codes().count("BAD_SIG")
            known = len(self.eyes.dispositions())
            self._inject(order)
            is_refused = self.world.wait_for(
                lambda: self.eyes.link_codes().count("BAD_SIG") > count, ARRIVES_S_MAX
            )
            found.is_right(is_refused, "refused: BAD_SIG" if is_refused else f"{self.eyes.link_codes()[-3:]}")
            found.is_right(len(self.eyes.dispositions()) == known, "no signed answer: it proves nothing")
            self._starts(found)

    def sign_twice(self) -> None:
        """Let the maker, with their real key, sign as maker and again in the checker's place."""
        with self.report.check("one_signer_twice", "one person's signature twice is not two people") as found:
            folder = self.world.officers.of("maker")
            key = open_key_file(folder / "maker.key", (folder / "pass").read_text("utf-8"))
            maker = OrderSigner(signer=key, role=Role.MAKER, delegation=self._delegation("maker"))
            payload = encode_order(self._lock_fields())
            order = sign_order(strict_cbor.loads(payload), maker, maker)
            cmd_id = cose_sign.read_sign(order)[0]
            name = strict_cbor.loads(cmd_id)[2].hex()
            self._inject(order)
            is_answered = self.world.wait_for(lambda: bool(self.eyes.of(name)), ARRIVES_S_MAX)
            found.is_right(
                is_answered, "the car answers" if is_answered else f"{self.eyes.link_codes()[-3:]}"
            )
            said = self.eyes.of(name)[-1]
            found.is_right(said.state is State.REJECTED, f"signed {said.state.name}")
            found.is_right(said.code is Code.SIGNER_SET, f"because of {said.code.name}")
            self._starts(found)

    def replay(self, cmd_id: str, check_id: str, title: str) -> None:
        """Let the broker send an order again, byte for byte."""
        with self.report.check(check_id, title) as found:
            order = self.eyes.order_bytes(cmd_id)
            before = self.eyes.dispositions()
            repeats = self.eyes.status().counters.get("repeats", 0)
            self._inject(order)
            is_seen = self.world.wait_for(
                lambda: self.eyes.status().counters.get("repeats", 0) > repeats, ARRIVES_S_MAX
            )
            found.is_right(is_seen, "the microcontroller knows it")
            found.is_right(len(self.eyes.dispositions()) == len(before), "nothing new was signed")
            state = self.eyes.status().state
            found.is_right(state not in (State.LOCKED, State.ARMED), f"the car stays {state.name}")
            self._starts(found)

    # --- shared ---

    def _starts(self, found: Finding) -> None:
        runs = self.world.driver.try_to_start()
        found.is_right(runs, "the engine starts")
        self.world.driver.park()

    def _inject(self, order: bytes) -> None:
        device = parse_device_id(self.world.box.device)
        self.world.cloud.broker.inject(down_topic(device, Down.ORDER), order)

    def _delegation(self, name: str) -> bytes:
        return hashlib.sha256(self.world.officers.delegation(name).read_bytes()).digest()

    def _kid(self, name: str) -> bytes:
        """Return the thumbprint of a person's public key, as everyone may know it."""
        content = json.loads(self.world.officers.public(name).read_text("utf-8"))
        return bytes.fromhex(content["kid"])

    def _lock_fields(self) -> dict[int, object]:
        """Return a LOCK as the car would take it from the right people: open challenge, right counters."""
        world = self.world
        if self._challenge is None:
            self._challenge = self._ask_challenge()
        said = strict_cbor.loads(cose_sign.read_sign1(self._challenge)[2])
        now_s = int(time.time())
        return {
            1: 1,
            2: secrets.token_bytes(16),
            3: int(OrderType.LOCK),
            4: bytes.fromhex(LENDER_ID),
            5: world.fitted.kid,
            6: world.papers.vin_bind,
            7: CONTRACT,
            8: said[3],
            9: said[6][0] + 1,
            10: now_s - 60,
            11: now_s - 60,
            12: now_s + DAY_S // 2,
            13: said[4],
            14: said[5] + DAY_S // 2,
            15: 3_600,
            16: 1,
            17: bytes(32),
            18: JURISDICTION,
            19: {1: 0},
            20: {1: 0, 2: 1},
            21: said[7],
            22: None,
            23: {1: 3, 2: DAY_S},
            24: world.episode,
        }

    def _ask_challenge(self) -> bytes:
        """Return the car's open challenge.

        The attacker has the maker's API key too: an administrator's may not even ask for a challenge. What
        the car refuses does not use it up.
        """
        api = ApiClient(port=self.world.cloud.api.port, key_file=self.world.officers.of("maker") / "api.key")
        device = f"/v1/devices/{self.world.box.device}"
        known = api.get(f"{device}/command")["challenge"]
        api.post(f"{device}/challenge")
        self.world.wait_for(lambda: api.get(f"{device}/command")["challenge"] != known, ARRIVES_S_MAX)
        return to_bytes(api.get(f"{device}/command")["challenge"]["document"])
