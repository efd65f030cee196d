"""Whether a box is well: from what was found to one line a check, with what to do.

Rules: a finding is a number or word, or None when it is not known; what is not known is UNKNOWN and never OK.
Each check says what was measured, what is expected with its unit, and in one sentence what to do. The same
judge for a box at hand and for what the office stores: it does not know where a finding came from.

Example:
    >>> judge({"disk_free_mb": 12.0})[0].state
    <Health.FAIL: 'FAIL'>
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Found: TypeAlias = dict[str, float | str | bool | None]


class Health(StrEnum):
    """How a check came out."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's."""

    name: str
    state: Health
    measured: str
    expected: str
    todo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number that should lie in a range.

    Attributes:
        name: of the finding.
        unit: of the number.
        warn_min, fail_min: below these it is WARN and FAIL.
        warn_max, fail_max: above these it is WARN and FAIL.
        todo: what to do.
    """

    name: str
    unit: str
    todo: str
    warn_min: float | None = None
    fail_min: float | None = None
    warn_max: float | None = None
    fail_max: float | None = None

    def judge(self, value: object) -> Check:
        """Return how the number came out."""
        expected = self._expected()
        if not isinstance(value, int | float) or isinstance(value, bool):
            return Check(
                name=self.name, state=Health.UNKNOWN, measured="not known", expected=expected, todo=self.todo
            )
        number = float(value)
        state = Health.OK
        if _is_out(number, self.warn_min, self.warn_max):
            state = Health.WARN
        if _is_out(number, self.fail_min, self.fail_max):
            state = Health.FAIL
        measured = f"{number:g} {self.unit}".strip()
        return Check(name=self.name, state=state, measured=measured, expected=expected, todo=self.todo)

    def _expected(self) -> str:
        least = self.warn_min if self.warn_min is not None else self.fail_min
        most = self.warn_max if self.warn_max is not None else self.fail_max
        parts = [f"{sign} {bound:g}" for sign, bound in (("≥", least), ("≤", most)) if bound is not None]
        return f"{' and '.join(parts)} {self.unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word that should be one of some.

    Attributes:
        name: of the finding.
        good: these are OK.
        todo: what to do.
        bad: what another word means.
    """

    name: str
    good: frozenset[str]
    todo: str
    bad: Health = Health.FAIL

    def judge(self, value: object) -> Check:
        """Return how the word came out."""
        expected = " or ".join(sorted(self.good))
        if value is None:
            return Check(
                name=self.name, state=Health.UNKNOWN, measured="not known", expected=expected, todo=self.todo
            )
        word = {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
        state = Health.OK if word in self.good else self.bad
        return Check(name=self.name, state=state, measured=word, expected=expected, todo=self.todo)


YES: Final = frozenset({"yes"})
DAY_S: Final = 86_400.0

CHECKS: Final[tuple[Range | Word, ...]] = (
    Range(
        name="disk_free_mb",
        unit="MB",
        warn_min=300.0,
        fail_min=50.0,
        todo="Free the disk: old logs first (journalctl --vacuum-size=50M), never the spool.",
    ),
    Word(
        name="is_enrolled",
        good=YES,
        todo="Enrol the box: tbox agent enrol --api URL --token TOKEN --home DIR.",
    ),
    Word(
        name="keys_private", good=YES, todo="Let nobody but the agent's user read keys/: chmod -R go= keys/."
    ),
    Word(name="settings_read", good=YES, todo="Correct agent.toml: tbox agent status says what is wrong."),
    Word(
        name="is_running", good=YES, todo="Start the agent: systemctl start tbox-agent, then look at its log."
    ),
    Range(
        name="certificate_days",
        unit="days",
        warn_min=14.0,
        fail_min=1.0,
        todo="Renew the certificate: tbox agent renew --home DIR.",
    ),
    Word(
        name="clock_synchronised",
        good=YES,
        bad=Health.WARN,
        todo="Give the machine a time source: systemctl status systemd-timesyncd.",
    ),
    Word(
        name="clock_source",
        good=frozenset({"network", "GNSS"}),
        bad=Health.WARN,
        todo="Let the box see the sky or the network; its clock rests on neither.",
    ),
    Range(
        name="clock_contradictions",
        unit="times",
        warn_max=0.0,
        todo="A clock disagreed with a better one: set the RTC, and look who sets the time.",
    ),
    Range(
        name="broker_ms",
        unit="ms",
        warn_max=1_500.0,
        fail_max=9_000.0,
        todo="Look at network, SIM and the broker's name and port in agent.toml.",
    ),
    Word(name="uplink_connected", good=YES, todo="Broker refuses or is away: the agent's log says which."),
    Range(
        name="last_heard_s",
        unit="s",
        warn_max=3_600.0,
        fail_max=DAY_S,
        todo="The office has not heard the box: look whether the car is in a garage or its battery is off.",
    ),
    Range(
        name="unreceipted_batches",
        unit="batches",
        warn_max=200.0,
        fail_max=5_000.0,
        todo="Batches wait for receipts: network first, then the office's bridge.",
    ),
    Range(
        name="can_frames_per_s",
        unit="frames/s",
        warn_min=10.0,
        fail_min=0.1,
        todo="Turn the key on; then look at CAN wires, bit rate and table.",
    ),
    Range(
        name="can_malformed",
        unit="frames",
        warn_max=0.0,
        todo="The CAN driver read rubbish: look at adapter, cable and ground.",
    ),
    Range(
        name="gnss_fix_age_s",
        unit="s",
        warn_max=60.0,
        fail_max=DAY_S,
        todo="Let the antenna see the sky; look at its plug.",
    ),
    Word(name="mcu_up", good=YES, todo="Look at port, cable and supply of the microcontroller."),
    Range(
        name="mcu_frames_garbled",
        unit="frames",
        warn_max=20.0,
        todo="The line to the microcontroller is noisy: cable, ground, baud rate.",
    ),
    Range(
        name="mcu_storage_failed",
        unit="writes",
        fail_max=0.0,
        todo="The secure record does not hold: exchange the box.",
    ),
    Word(
        name="mcu_image",
        good=frozenset({"production"}),
        bad=Health.WARN,
        todo="A demonstration's image has seconds for floors: flash a release before the road.",
    ),
    Range(
        name="store_failed",
        unit="writes",
        fail_max=0.0,
        todo="The spool's disk fails or is full: exchange the card.",
    ),
    Range(
        name="batches_lost_to_quota",
        unit="batches",
        warn_max=0.0,
        todo="Data was lost while offline: raise [spool] quota_mb or look why it was offline so long.",
    ),
    Range(
        name="receipts_rejected",
        unit="receipts",
        warn_max=0.0,
        todo="Receipts do not verify: tell the office that its key changed or somebody forges.",
    ),
    Range(
        name="unauthentic_messages",
        unit="messages",
        warn_max=0.0,
        todo="Somebody sends in this box's name, or its key changed: tell the office before you go on.",
    ),
    Range(
        name="holes",
        unit="batches",
        warn_max=0.0,
        todo="Stored chains have holes: the box must be asked to send again, or its storage was exchanged.",
    ),
    Word(
        name="version_known",
        good=YES,
        bad=Health.WARN,
        todo="The agent's version is not known: reinstall it from a release.",
    ),
    Word(
        name="status",
        good=frozenset({"enrolled"}),
        todo="The office does not count this box as enrolled: ask why before you drive off.",
    ),
)


def judge(found: Mapping[str, object]) -> tuple[Check, ...]:
    """Return the checks whose finding was looked for, in their order; None is UNKNOWN.

    Args:
        found: findings by name.
    """
    return tuple(check.judge(found[check.name]) for check in CHECKS if check.name in found)


def worst(checks: tuple[Check, ...]) -> Health:
    """Return FAIL, WARN, UNKNOWN or OK, the first of these that there is."""
    order = (Health.FAIL, Health.WARN, Health.UNKNOWN)
    return next((state for state in order if any(check.state is state for check in checks)), Health.OK)


def _is_out(number: float, least: float | None, most: float | None) -> bool:
    return (least is not None and number < least) or (most is not None and number > most)
