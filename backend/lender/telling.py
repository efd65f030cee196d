"""Orders and cars told at a terminal: the headline, every field, the basis, and how a car stands.

Rules (screens.md 1, 2, 10): desired and reported stand side by side, each with its time; no signed answer is
UNKNOWN; nothing is called locked before the car's own signed word, verified here.

Example:
    >>> for line in order_lines(order, "en"): print(line)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.lender.basis_text import OpenedBasis, basis_lines, warnings
from backend.lender.car_word import Word
from backend.lender.cars import Car
from backend.lender.order_text import headline, lines
from backend.lender.output import shown_span, shown_time
from backend.lender.words import STATES, WAITS
from protocol.dispositions import Disposition
from protocol.orders import Code, State

UNKNOWN = "UNKNOWN"


def order_lines(order: Mapping[int, Any], language: str) -> list[str]:
    """Return an order as lines of text: the headline, then every field."""
    shown = lines(order, language)
    width = max(len(line.name) for line in shown)
    return [headline(order, language), *(f"  {line.name:<{width}}  {line.value}" for line in shown)]


def basis_text(opened: OpenedBasis, *, now_s: int, language: str) -> list[str]:
    """Return a basis as lines of text, what a person should stop at first."""
    shown = basis_lines(opened, language)
    width = max(len(name) for name, _ in shown)
    stops = [f"  ! {text}" for text in warnings(opened, now_s=now_s, language=language)]
    return [*stops, *(f"  {name:<{width}}  {value}" for name, value in shown)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a car has proved of itself, or of one order.

    Attributes:
        state: name of a state, or UNKNOWN.
        meaning: in words.
        code: why.
        since: between which instants it happened, in words; None while unknown.
        age_s: seconds since the earliest of them; None while unknown.
        relay: what the coil was told and what was sensed, in words.
        proof: number and hash of the disposition; None without one.
        doubts: what is wrong with the chain, in words; empty when nothing is.
    """

    state: str
    meaning: str
    code: str | None
    since: str | None
    age_s: int | None
    relay: str | None
    proof: str | None
    doubts: tuple[str, ...]


def reported(word: Word, *, cmd_id: bytes | None, now_s: int, language: str) -> Reported:
    """Return what a car's verified dispositions say: of one order, or, without one, of how the car stands."""
    doubts = _doubts(word)
    last = word.last_of_lock() if cmd_id is None else word.last(cmd_id)
    if last is None or word.is_broken:
        return Reported(
            state=UNKNOWN,
            meaning={"en": "the car has not answered with its signature", "zh": "车辆尚未以签名答复"}[
                language
            ],
            code=None,
            since=None,
            age_s=None,
            relay=None,
            proof=None,
            doubts=doubts,
        )
    return Reported(
        state=last.state.name,
        meaning=STATES[last.state][language],
        code=last.code.name,
        since=_since(last),
        age_s=None if last.earliest_s is None else max(0, now_s - last.earliest_s),
        relay=_relay(last),
        proof=f"{last.sequence}, {last.digest.hex()}",
        doubts=(*doubts, *(["a demo image, with floors of its own"] if last.is_demo else [])),
    )


def waits_for(last: Disposition | None, language: str) -> str | None:
    """Return what an order that is accepted and not applied waits for, by the car's latest answer."""
    if last is None or last.state not in (State.ACCEPTED_PENDING, State.WARNING, State.ARMED):
        return None
    words = WAITS.get(last.code)
    if words is not None:
        return words[language]
    return STATES[last.state][language] if last.code is Code.OK else last.code.name


def status_lines(car: Car, desired: str, what: Reported, waits: str | None) -> list[tuple[str, str]]:
    """Return desired beside reported, line by line."""
    age = None if what.age_s is None else shown_span(what.age_s)
    return [
        ("car", f"…{car.last4} ({car.device[:16]}…)"),
        ("desired", desired),
        (
            "reported",
            f"{what.state}: {what.meaning}" + ("" if what.code in (None, "OK") else f" ({what.code})"),
        ),
        ("since", "unknown" if what.since is None else f"{what.since}" + (f", {age} ago" if age else "")),
        ("waits for", waits or "-"),
        ("relay", what.relay or "unknown"),
        ("proof", what.proof or "none"),
        *(("doubt", doubt) for doubt in what.doubts),
    ]


def _since(last: Disposition) -> str | None:
    if last.earliest_s is None or last.latest_s is None:
        return None
    return f"{shown_time(last.earliest_s)} ± {max(0, last.latest_s - last.earliest_s)} s"


def _relay(last: Disposition) -> str:
    sensed = {None: "not sensed", True: "energised", False: "at rest"}
    told = "energise" if last.relay_commanded else "rest"
    return f"told to {told}, {sensed[last.relay_sensed]}"


def _doubts(word: Word) -> tuple[str, ...]:
    found = []
    if word.missing:
        found.append(f"{word.missing} of the car's answers are missing in what the server shows")
    if word.is_broken:
        found.append("two of the car's answers do not follow one another: its state is UNKNOWN")
    return tuple(found)
