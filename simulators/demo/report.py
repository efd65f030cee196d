"""What the demonstration found: one line a check while it runs, a table at the end, JSON for machines.

Rules: a check that fails does not stop the others; one that cannot even be tried counts as failed and says
why. The last line of the standard output is one JSON object. What is expected stands in the check's title,
what was measured in its detail.

Example:
    >>> from rich.console import Console
    >>> report = Report(console=Console(quiet=True))
    >>> with report.check("sums", "one and one is two") as found:
    ...     found.is_right(1 + 1 == 2, "it is 2")
    >>> report.is_ok, report.json()
    (True, '{"ok": true, "checks": [{"id": "sums", "ok": true, "detail": "it is 2"}]}')
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

from simulators.api_client import ApiRefusedError
from simulators.processes import ProcessDiedError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

# What a check may run into when the product does not do what it should; anything else is the
# demonstration's own mistake.
EXPECTED_FAILURES = (ApiRefusedError, ProcessDiedError, ToolFailedError, TimeoutError, OSError)


class CheckFailedError(Exception):
    """Something that should hold does not; says what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The outcome of one check."""

    check_id: str
    title: str
    is_ok: bool
    detail: str
    seconds: float


@dataclass(slots=True, kw_only=True)
class Finding:
    """What a check has to say while it runs."""

    detail: str = ""

    def is_right(self, holds: bool, detail: str) -> None:  # noqa: FBT001 - reads as the sentence it is
        """Note what was found, and fail unless it is as it should be.

        Raises:
            CheckFailedError: `holds` is false.
        """
        if not holds:
            raise CheckFailedError(detail)
        self.detail = f"{self.detail}; {detail}" if self.detail else detail

    def no_problems(self, problems: list[str], detail: str) -> None:
        """Note `detail` when there is no problem, and fail with the first few otherwise.

        Raises:
            CheckFailedError: there are problems.
        """
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")  # noqa: PLR2004 - a line holds three
        self.is_right(not problems, shown if problems else detail)


@dataclass(slots=True, kw_only=True)
class Report:
    """All checks of one run, in the order of their ends."""

    console: Console
    results: list[CheckResult] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        """Whether there were checks and all held."""
        return bool(self.results) and all(result.is_ok for result in self.results)

    @contextlib.contextmanager
    def check(self, check_id: str, title: str) -> Iterator[Finding]:
        """Run the block as one check; what fails inside is noted, not raised."""
        finding, begun = Finding(), time.monotonic()
        failure: str | None = None
        try:
            yield finding
        except CheckFailedError as failed:
            failure = str(failed)
        except EXPECTED_FAILURES as failed:
            failure = f"{type(failed).__name__}: {failed}"
        self._note(check_id, title, failure, finding.detail, time.monotonic() - begun)

    def say(self, text: str) -> None:
        """Tell what happens now."""
        self.console.print(f"  [dim]· {_plain(text)}[/]", highlight=False)

    def fail(self, check_id: str, title: str, why: str) -> None:
        """Note a check that could not be tried."""
        self._note(check_id, title, why, "", 0.0)

    def json(self) -> str:
        """Return everything as one line of JSON."""
        checks = [
            {"id": result.check_id, "ok": result.is_ok, "detail": result.detail} for result in self.results
        ]
        return json.dumps({"ok": self.is_ok, "checks": checks})

    def table(self) -> Table:
        """Return everything as a table."""
        table = Table(title="What was checked", title_justify="left", pad_edge=False)
        table.add_column("")
        table.add_column("check", no_wrap=True)
        table.add_column("what should hold")
        table.add_column("what was found")
        table.add_column("s", justify="right")
        for result in self.results:
            mark = "[green]✓[/]" if result.is_ok else "[bold red]✗[/]"
            line = _plain(result.detail.partition("\n")[0])
            found = line if result.is_ok else f"[red]{line}[/]"
            table.add_row(mark, result.check_id, result.title, found, f"{result.seconds:.1f}")
        return table

    def _note(self, check_id: str, title: str, failure: str | None, detail: str, seconds: float) -> None:
        is_ok = failure is None
        text = detail if failure is None else failure
        self.results.append(
            CheckResult(check_id=check_id, title=title, is_ok=is_ok, detail=text, seconds=seconds)
        )
        mark = "[green]✓[/]" if is_ok else "[bold red]✗[/]"
        self.console.print(f"  {mark} {title}: {_plain(text)}", highlight=False)


def _plain(text: str) -> str:
    """Return the text with nothing in it that the console would take as markup."""
    return text.replace("[", r"\[")
