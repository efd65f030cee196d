"""The interlock, row by row: a car that may be locked but for one thing is not locked by a good go token.

Rules (SPEC §19.2): before each row the car is parked, warned and asks for a token. Then one thing is made
wrong, the device must name that row's code in STATUS (key 15), and a token that is good for this parking must
not lock. A shake ends the parking, so that this token is dead before the next row. Rows that only production
floors have are tried on production floors alone; what no line can bring about (mode, crash hold, an open
emergency window, the rate of seven days) belongs to other groups or is left out.

With production floors each row takes the device some twenty-five minutes.

Example:
    for result in try_all(subject, bench):
        print(result)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from firmware_tools.conform.in_car import PARK_S_MAX, go_token, hear_warning
from firmware_tools.conform.subject import GO, PARKED, SILENCE_S, Subject
from firmware_tools.conform.trials import Result, lock_order, releasing_order, same, took
from protocol.orders import Code, OrderType, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from firmware_tools.conform.line import Bench

SHAKE_S: Final = 8  # of the device: longer than three seconds of motion
SEEN_S: Final = 12  # until a veto is in STATUS: facts are old after five


@dataclass(frozen=True, slots=True, kw_only=True)
class Veto:
    """One thing that is wrong.

    Attributes:
        name: as a person reads it.
        codes: that the device may name; more than one where SPEC leaves the order of two rows to the second.
        facts: changes of the agent's facts; None for an agent that says nothing.
        acts: of the bench, with what undoes each.
        is_production: only production floors refuse it.
    """

    name: str
    codes: tuple[Code, ...]
    facts: Mapping[int, object] | None = field(default_factory=dict)
    acts: tuple[tuple[tuple[object, ...], tuple[object, ...]], ...] = ()
    is_production: bool = False


_MOVES: Final = (Code.IN_MOTION, Code.MOTION_DISAGREE)
VETOES: Final = (
    Veto(name="the wheels turn", codes=_MOVES, facts={1: [1_000, 0]}),
    Veto(name="the receiver says 7 km/h", codes=_MOVES, facts={2: [2_000, 0, 0]}),
    Veto(name="the accelerometer shakes", codes=_MOVES, acts=((("move", 1), ("move", 0)),)),
    Veto(name="the receiver is jammed", codes=(Code.MOTION_DISAGREE,), facts={2: [0, 0, 2]}),
    Veto(name="the fix is lost", codes=(Code.SOURCES_INSUFFICIENT,), facts={2: [0, 0, 3]}),
    Veto(
        name="wheel speed was heard and is gone: the window begins again",
        codes=(Code.SOURCES_INSUFFICIENT, Code.IN_MOTION),
        facts={1: None},
    ),
    Veto(name="the agent says nothing", codes=(Code.SOURCES_INSUFFICIENT,), facts=None),
    Veto(name="the bus says ignition on", codes=(Code.IGN_ON,), facts={10: True}),
    Veto(
        name="the ignition wire is on and the agent says parked",
        codes=(Code.IGN_ON,),
        acts=((("turn_on",), ("turn_off",)),),
    ),
    Veto(name="the bus says that the engine runs", codes=(Code.ENGINE_RUNNING,), facts={11: True}),
    Veto(name="the hazard lights are on", codes=(Code.HAZARD_LIGHTS,), facts={8: True}),
    Veto(name="within a protected place", codes=(Code.NO_LOCK_ZONE,), facts={3: [1, 10, 3]}),
    Veto(name="the place is not known", codes=(Code.ZONE_UNKNOWN,), facts={3: [2, 10, 3]}),
    Veto(name="no place is said", codes=(Code.ZONE_UNKNOWN,), facts={3: None}),
    Veto(name="the place is 1,801 s old", codes=(Code.ZONE_UNKNOWN,), facts={3: [0, 1_801, 3]}),
    Veto(name="38.1 °C outside", codes=(Code.TEMP_RANGE,), facts={4: [381, 10]}),
    Veto(name="-10.1 °C outside", codes=(Code.TEMP_RANGE,), facts={4: [-101, 10]}),
    Veto(name="07:59", codes=(Code.QUIET_HOURS,), facts={5: 479}, is_production=True),
    Veto(name="18:00", codes=(Code.QUIET_HOURS,), facts={5: 1_080}, is_production=True),
    Veto(name="a Sunday", codes=(Code.QUIET_HOURS,), facts={6: False}, is_production=True),
    Veto(name="the hour is not known", codes=(Code.QUIET_HOURS,), facts={5: None}, is_production=True),
)


def try_all(subject: Subject, bench: Bench, topics: tuple[str, ...] = ("",)) -> Iterator[Result]:
    """Yield the result of each row that this device's floors have; the order is cancelled at the end.

    `topics` are beginnings of names.
    """
    is_demo = bool(subject.status[13][1])
    answer = subject.present(lock_order(subject))
    yield took("interlock", "LOCK", answer, State.ACCEPTED_PENDING)
    hear_warning(subject, bench)
    for veto in VETOES:
        if veto.name.startswith(topics) and not (veto.is_production and is_demo):
            yield from _try(subject, bench, veto)
    cancel = subject.present(releasing_order(subject, OrderType.CANCEL, "maker"))
    yield took("interlock", "CANCEL", cancel, State.DONE)


def _try(subject: Subject, bench: Bench, veto: Veto) -> Iterator[Result]:
    asked = len(subject.heard.go_requests)
    subject.wait(PARK_S_MAX, lambda: len(subject.heard.go_requests) > asked and _code(subject) is Code.NO_GO)
    if len(subject.heard.go_requests) == asked:
        yield same("interlock", f"{veto.name}: asks for a token before", Code.NO_GO.name, _code(subject).name)
        return
    subject.facts = None if veto.facts is None else dict(PARKED) | dict(veto.facts)
    for act, _ in veto.acts:
        bench.do(*act)
    subject.wait(SEEN_S, lambda: _code(subject) in veto.codes)
    code = _code(subject)
    subject.send(GO, go_token(subject))
    subject.wait(SILENCE_S)
    for _, undo in veto.acts:
        bench.do(*undo)
    state = subject.state
    yield Result(
        group="interlock",
        name=veto.name,
        expected=f"{' or '.join(found.name for found in veto.codes)}, not locked by a good token",
        got=f"{code.name}, {state.name}",
        passed=code in veto.codes and state is not State.LOCKED,
    )
    bench.do("move", 1)
    subject.wait(SHAKE_S)
    bench.do("move", 0)
    subject.facts = dict(PARKED)


def _code(subject: Subject) -> Code:
    return Code(subject.status[15])
