"""How a step ends by what the car answered: VINs agree, fault codes did not grow, the odometer is read.

Rules: a VIN that two control units name differently, or that is not the ticket's, fails where it shows. Fault
codes of before are kept as a fact; after the work no code may be new.

Example:
    >>> from device.events import CarAnswered
    >>> event = CarAnswered(answers=((Question.ODOMETER, bytes.fromhex("41a600012d0a")),))
    >>> judge(Step.ODOMETER, event, {}, ticket_vin=None).measured
    '7707.4'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.car_questions import Question
from device.commissioning.diagnosis import codes_of, odometer_km_of, vin_of
from device.commissioning.sight import Outcome
from protocol.install_vocabulary import Step, VinSource

if TYPE_CHECKING:
    from device.events import CarAnswered

_SEPARATOR, _MORE = " ", " …"
CODES_LISTED_MAX = 25  # with a failure type each takes nine characters: within a text of 256 bytes


def judge(step: Step, event: CarAnswered, facts: dict[str, str], *, ticket_vin: str | None) -> Outcome:
    """Return how a step ends; what was found is put into `facts`.

    Args:
        step: which asked.
        event: what came.
        facts: of the job, text to text.
        ticket_vin: of the vehicle meant, None when the ticket names none.
    """
    found = dict(event.answers)
    match step:
        case Step.VIN_OBD | Step.VIN_UDS:
            source = VinSource.OBD if step is Step.VIN_OBD else VinSource.UDS
            question = Question.VIN_OBD if step is Step.VIN_OBD else Question.VIN_UDS
            return _vin(found.get(question), source, facts, ticket_vin)
        case Step.ODOMETER:
            return _odometer(found.get(Question.ODOMETER), facts)
        case _:
            return _codes(step, found, facts)


def vin_by_hand(vin: str, facts: dict[str, str], *, ticket_vin: str | None) -> Outcome:
    """Return how a VIN step ends with a VIN that was typed from a plate."""
    outcome = _agreed(vin, facts, ticket_vin)
    if outcome is not None:
        return outcome
    facts.setdefault("vin", vin)
    facts.setdefault("vin_source", VinSource.PHOTO)
    return Outcome.passed(expected=ticket_vin or "a VIN", measured=vin, code="VIN_BY_HAND")


def _vin(answer: bytes | None, source: VinSource, facts: dict[str, str], ticket_vin: str | None) -> Outcome:
    if answer is None:
        return Outcome.fail("CAR_NO_ANSWER", expected="a VIN")
    vin = vin_of(answer)
    if vin is None:
        return Outcome.fail("VIN_NO_FORM", expected="17 characters", measured=f"{len(answer)} bytes")
    outcome = _agreed(vin, facts, ticket_vin)
    if outcome is not None:
        return outcome
    before = facts.get("vin_source")
    is_second = before in (VinSource.OBD, VinSource.UDS) and before != source
    facts["vin"], facts["vin_source"] = vin, VinSource.BOTH if is_second else source
    return Outcome.passed(expected=ticket_vin or "a VIN", measured=vin)


def _agreed(vin: str, facts: dict[str, str], ticket_vin: str | None) -> Outcome | None:
    known = facts.get("vin")
    if known is not None and known != vin:
        return Outcome.fail("VIN_UNEQUAL", expected=known, measured=vin)
    if ticket_vin is not None and ticket_vin != vin:
        return Outcome.fail("VIN_OTHER_CAR", expected=ticket_vin, measured=vin)
    return None


def _odometer(answer: bytes | None, facts: dict[str, str]) -> Outcome:
    km = None if answer is None else odometer_km_of(answer)
    if km is None:
        return Outcome.fail("CAR_NO_ANSWER", expected="kilometres", unit="km")
    facts["odometer_km"] = str(km)
    return Outcome.passed(expected="kilometres", measured=str(km), unit="km")


def _codes(step: Step, found: dict[Question, bytes | None], facts: dict[str, str]) -> Outcome:
    read = [row for answer in found.values() if answer is not None and (row := codes_of(answer)) is not None]
    if not read:
        return Outcome.fail("CAR_NO_ANSWER", expected="fault codes")
    codes = sorted({code for row in read for code in row})
    text = _listed(codes)
    if step is Step.DTC_BEFORE:
        facts["codes_before"] = text
        return Outcome.passed(expected="read", measured=text or "none")
    facts["codes_after"] = text
    before = facts.get("codes_before")
    if before is None or before.endswith(_MORE):  # nothing, or not all, to compare with
        return Outcome.passed(expected="read", measured=text or "none")
    grown = sorted(set(codes) - set(before.split(_SEPARATOR)))
    if grown:
        return Outcome.fail("CODES_NEW", expected="none new", measured=_listed(grown))
    return Outcome.passed(expected="none new", measured="none new")


def _listed(codes: list[str]) -> str:
    """Return as many codes as a text takes; an ellipsis says that there are more."""
    text = _SEPARATOR.join(codes[:CODES_LISTED_MAX])
    return f"{text}{_MORE}" if len(codes) > CODES_LISTED_MAX else text
