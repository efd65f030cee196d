"""What a car itself says, verified by its pinned key D1: challenges and dispositions.

Rules (README §2.10, §2.12): only the car's signature makes its word; what the server says
beside it is compared and a difference is a refusal, since then the server errs or lies. No disposition is
UNKNOWN, never "done". A chain of dispositions with a hole says so.

Example:
    >>> word = read_challenge(document, car)
    >>> word.heads, word.mode
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from backend.lender.cars import Car
from backend.lender.errors import RefusesError
from backend.lender.plain import shown
from backend.lender.server import Json
from protocol import orders_payload
from protocol.dispositions import Disposition, follows, open_disposition
from protocol.envelope import Kind, open_sign1
from protocol.errors import ProtocolError
from protocol.limits import ORDER_BYTES_MAX
from protocol.orders import State

_NO_ORDER: Final = bytes(16)
"""cmd_id of what a car says by itself."""
_HOLDS: Final = frozenset({State.LOCKED, State.OVERRIDDEN})
_ENDS: Final = frozenset({State.CANCELLED, State.EXPIRED, State.SUPERSEDED})
MODES: Final = ("COMMISSIONING", "ACTIVE", "MONITOR")
ACTIVE: Final = 1
_SAYS_NOTHING: Final = frozenset({State.NONE, State.RECEIVED, State.REJECTED, State.DONE})
"""States of an answer that leave the car as it is: a question, a binding, a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A car's signed challenge.

    Attributes:
        epoch, chal: 16 bytes each.
        tick_s: the car's own seconds when it was opened.
        heads: counters of classes A, B, C.
        prev: cmd_hash of the last order accepted.
        mode: 0 commissioning, 1 active, 2 monitor only.
        pack: jurisdiction, version and hash of its pack, or None.
    """

    epoch: bytes
    chal: bytes
    tick_s: int
    heads: tuple[int, int, int]
    prev: bytes
    mode: int
    pack: tuple[str, int, bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """All a car has proved.

    Attributes:
        dispositions: verified, by sequence, of the newest epoch's chain.
        missing: numbers between the first and the last that the server did not show.
        is_broken: two neighbours do not chain.
        digests: hashes of all dispositions shown, older epochs included.
    """

    dispositions: tuple[Disposition, ...]
    missing: int
    is_broken: bool
    digests: frozenset[bytes] = frozenset()

    def last(self, cmd_id: bytes | None = None) -> Disposition | None:
        """Return the newest disposition, of one order or of any."""
        for one in reversed(self.dispositions):
            if cmd_id is None or one.cmd_id == cmd_id:
                return one
        return None

    def last_of_lock(self) -> Disposition | None:
        """Return the newest disposition that says how the car stands; None while none does.

        A RENEW or a WARN beside a lock has states of its own: while a lock stands, only its own words and a
        fault that names no order say anything about the car.
        """
        telling = [one for one in self.dispositions if one.state not in _SAYS_NOTHING]
        held = next((one for one in reversed(telling) if one.state in _HOLDS), None)
        if held is not None:
            after = [
                one
                for one in telling
                if one.sequence > held.sequence and one.cmd_id in (held.cmd_id, _NO_ORDER)
            ]
            if not after:
                return held
            # What ends without ever having held the starter leaves the car as it was.
            later = [one for one in telling if one.sequence > after[-1].sequence and one.state not in _ENDS]
            return later[-1] if later else after[-1]
        return telling[-1] if telling else None


def read_challenge(document: bytes, car: Car) -> Challenge:
    """Read a challenge that this car's D1 has signed.

    Raises:
        RefusesError: another key's, altered, or not of its form.
    """
    try:
        message = open_sign1(document, Kind.CHALLENGE, _only(car), max_bytes=ORDER_BYTES_MAX)
        fields: Mapping[int, Any] = orders_payload.read_document("challenge", message.payload)
    except (ProtocolError, ValueError) as refused:
        raise RefusesError(
            f"the challenge is not signed by the pinned key of the car …{car.last4}: {refused}",
            meaning="the server shows another car's challenge, or an altered one",
        ) from refused
    if fields[2] != car.mcu_id:
        raise RefusesError("the challenge names another car than the one whose key signed it")
    pack = fields[10]
    return Challenge(
        epoch=fields[3],
        chal=fields[4],
        tick_s=fields[5],
        heads=(fields[6][0], fields[6][1], fields[6][2]),
        prev=fields[7],
        mode=fields[9],
        pack=None if pack is None else (pack[0], pack[1], pack[2]),
    )


def compare_command(command: Json, car: Car, challenge: Challenge | None, lender_id: bytes) -> None:
    """Refuse where the server says anything else than the pins and the car's signed challenge.

    Raises:
        RefusesError: it does; the sentence names the first difference.
    """
    expected: dict[str, object] = {
        "mcu_id": car.mcu_id.hex(),
        "vin_bind": car.vin_bind.hex(),
        "contract_ref": car.contract_ref.hex(),
        "lender_id": lender_id.hex(),
        "jur": car.jur,
    }
    if challenge is not None:
        expected |= {"epoch": challenge.epoch.hex()}
    for name, value in expected.items():
        said = command.get(name)
        if said != value:
            raise RefusesError(
                f"the server says {name} {shown(said)}, this machine's pin or the car itself says {value}"
            )


def read_dispositions(documents: Iterable[bytes], car: Car) -> Word:
    """Read a car's dispositions; its newest epoch is the one with the latest word by the car's own clock.

    A car that has lost its record does not know the time when it says so: between two epochs of which one has
    no time, the one that arrived later is the newer.

    Args:
        documents: verbatim, as they arrived.
        car: pinned.

    Raises:
        RefusesError: one is not signed by this car, or two of one number differ.
    """
    epochs: dict[bytes, dict[int, Disposition]] = {}
    for document in documents:
        try:
            one = open_disposition(document, _only(car))
        except ProtocolError as refused:
            raise RefusesError(
                f"a disposition is not signed by the pinned key of the car …{car.last4}: {refused}"
            ) from refused
        if epochs.setdefault(one.epoch, {}).setdefault(one.sequence, one).digest != one.digest:
            raise RefusesError(f"the car's disposition {one.sequence} exists twice, with different content")
    chains = [tuple(found[number] for number in sorted(found)) for found in epochs.values()]
    chain: tuple[Disposition, ...] = ()
    for each in chains:
        chain = each if not chain or not _is_earlier(each, chain) else chain
    neighbours = [(one, two) for one, two in pairwise(chain) if two.sequence == one.sequence + 1]
    missing = (chain[-1].sequence - chain[0].sequence + 1 - len(chain)) if chain else 0
    return Word(
        dispositions=chain,
        missing=missing,
        is_broken=not all(follows(later, earlier) for earlier, later in neighbours),
        digests=frozenset(one.digest for each in chains for one in each),
    )


def _is_earlier(chain: tuple[Disposition, ...], other: tuple[Disposition, ...]) -> bool:
    """Return whether both chains have times, and all of one lie before the other's latest."""
    ours, theirs = ([one.latest_s for one in each if one.latest_s is not None] for each in (chain, other))
    return bool(ours and theirs) and max(ours) < max(theirs)


def _only(car: Car) -> Any:  # noqa: ANN401  # a KeyLookup with one key
    return {car.mcu_id: car.public_key}.get
