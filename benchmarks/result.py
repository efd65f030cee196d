r"""Goals, what was measured, and how both are shown: a table for people, `bench.json` for programs.

Rules:
- A goal is a ratio and a direction. It is met or missed by the ratio alone; a missed one is shown as missed,
  with what stands in the way.
- What a bench could not run is a `LeftOut` with its reason, never a silent gap.
- `bench.json` is a list with one object a row: id, goal, measured, baseline, met, and around them case,
  ratio, spread, limit, note, exact, machine, versions. A row left out has `met` null.

It measures nothing.

Example:
    >>> goal = at_least(10, "cantools' rate")
    >>> goal.text, goal.is_met(11.0), goal.is_met(9.0)
    ('≥ 10× cantools\' rate', True, False)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from benchmarks.harness import Timing
    from benchmarks.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio to be reached from below or from above; `text` says of what to what."""

    text: str
    bound: float
    is_floor: bool

    def is_met(self, ratio: float, *, slack: float = 0.0) -> bool:
        """Whether a ratio reaches the goal, given that much room (0.3: three tenths short is still met)."""
        return ratio >= self.bound * (1 - slack) if self.is_floor else ratio <= self.bound / (1 - slack)


def at_least(bound: float, of: str) -> Goal:
    """Return the goal of a ratio that should be large."""
    return Goal(text=f"≥ {bound:g}× {of}", bound=bound, is_floor=True)


def at_most(bound: float, of: str) -> Goal:
    """Return the goal of a ratio that should be small."""
    share = f"1/{1 / bound:g} of" if bound < 1 else f"{bound:g}×"
    return Goal(text=f"≤ {share} {of}", bound=bound, is_floor=False)


NO_GOAL = at_least(0, "nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One goal on one input.

    Attributes:
        id: The goal's name, as in the list of goals; several rows may share it.
        case: On what input, of what size.
        goal: What should be reached; None where no goal is set and the figure is only reported.
        measured: Our side, with units.
        baseline: The other side, with units.
        ratio: What the goal speaks of.
        spread: Best and worst round over the median, ours and theirs; empty for sizes.
        limit: What cannot be beaten, with units; empty when the bench has none.
        note: What stands in the way when the goal is missed, and what else a reader must know.
        is_exact: Whether the ratio is the same in every run (sizes), so that no slack is due.
    """

    id: str
    case: str
    goal: Goal | None
    measured: str
    baseline: str
    ratio: float
    spread: str = ""
    limit: str = ""
    note: str = ""
    is_exact: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        return None if self.goal is None else self.goal.is_met(self.ratio)

    def passes(self, slack: float) -> bool:
        """Whether a gate with this slack lets it through; what is exact has none."""
        return self.goal is None or self.goal.is_met(self.ratio, slack=0.0 if self.is_exact else slack)

    def as_json(self) -> dict[str, object]:
        """Return the row as plain data."""
        return {
            "id": self.id,
            "case": self.case,
            "goal": "" if self.goal is None else self.goal.text,
            "measured": self.measured,
            "baseline": self.baseline,
            "ratio": round(self.ratio, 3),
            "met": self.is_met,
            "spread": self.spread,
            "limit": self.limit,
            "note": self.note,
            "exact": self.is_exact,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Rows that could not be measured here, and why."""

    id: str
    case: str
    why: str

    def as_json(self) -> dict[str, object]:
        """Return it in the form of a row that is neither met nor missed."""
        return {
            "id": self.id,
            "case": self.case,
            "goal": "",
            "measured": "",
            "baseline": "",
            "met": None,
            "note": f"left out: {self.why}",
        }


Line = Row | LeftOut


def spread_of(ours: Timing, theirs: Timing) -> str:
    """Return best–worst over median of both sides as one text."""
    return " / ".join(f"{low:.2f}–{high:.2f}" for low, high in (ours.spread, theirs.spread))


def write_json(path: Path, lines: Iterable[Line], machine: Machine) -> None:
    """Write `bench.json`."""
    around = {"machine": machine.text, "versions": dict(machine.versions)}
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [line.as_json() | around for line in lines]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


COLUMNS = ("id", "case", "goal", "", "ratio", "measured", "baseline", "spread ours / theirs", "limit")


def table(lines: Sequence[Line]) -> str:
    """Return the table as text: one line a row, what is missed and left out explained below it."""
    rows = [line for line in lines if isinstance(line, Row)]
    cells = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(COLUMNS))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    text.insert(1, "-" * max(map(len, text)))
    notes = [f"{_verdict(row)} {row.id} {row.case}: {row.note}" for row in rows if row.note]
    out = [f"left out {line.id} {line.case}: {line.why}" for line in lines if isinstance(line, LeftOut)]
    return "\n".join([*text, "", *notes, *out, summary(lines)])


def markdown(lines: Sequence[Line], machine: Machine) -> str:
    """Return one line a goal, for a page: how far its cases reach, and the case that is furthest from it."""
    goals: dict[tuple[str, str], list[Row]] = {}
    for line in lines:
        if isinstance(line, Row) and line.goal is not None:
            goals.setdefault((line.id, line.goal.text), []).append(line)
    text = [
        "| goal | | reached | met | the case furthest from it | ours | baseline |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, goal), rows in goals.items():
        ordered = sorted(rows, key=lambda row: row.ratio, reverse=not (rows[0].goal or NO_GOAL).is_floor)
        reached = " … ".join(dict.fromkeys((_ratio(ordered[0]), _ratio(ordered[-1]))))
        met = sum(bool(row.is_met) for row in rows)
        worst = ordered[0]
        cells = (name, goal, reached, f"{met} of {len(rows)}", worst.case, worst.measured, worst.baseline)
        text.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return "\n".join([*text, "", f"{summary(lines)}.", "", f"Measured on {machine.text}: {versions}."]) + "\n"


def summary(lines: Sequence[Line]) -> str:
    """Return how many goals are met, and which are not."""
    rows = [line for line in lines if isinstance(line, Row) and line.goal is not None]
    missed = [f"{row.id} {row.case}" for row in rows if not row.is_met]
    text = f"{len(rows) - len(missed)} of {len(rows)} goals met"
    return text + (f"; missed: {', '.join(missed)}" if missed else "")


def _verdict(row: Row) -> str:
    if row.is_met is None:
        return "-"
    return "met" if row.is_met else "MISSED"


def _ratio(row: Row) -> str:
    if row.goal is None:
        return "-"
    return f"1/{1 / row.ratio:.1f}" if row.goal.bound < 1 and not row.goal.is_floor else f"{row.ratio:.4g}×"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.id,
        row.case,
        "-" if row.goal is None else row.goal.text,
        _verdict(row),
        _ratio(row),
        row.measured,
        row.baseline,
        row.spread or ("exact" if row.is_exact else "one run"),
        row.limit,
    )
