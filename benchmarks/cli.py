"""`tbox bench`, `make bench`: run the benches, print the table, write `bench.json`.

Rules: a missed goal is printed as missed and is no failure; only a bench that breaks is (exit 1). With
`--gate` a goal missed by more than the slack fails too (exit 3): ratios differ from run to run, sizes do not
and get no slack. Progress goes to standard error, the table to standard output.

Example:
    $ make bench ONLY=A1,B1
    $ tbox bench --only C1 --json build/bench.json
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.bench import Setting
from benchmarks.machine import this_machine
from benchmarks.recordings import Recordings
from benchmarks.result import Row, markdown, table, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.result import Line

MODULES = (
    "decode_arrays",
    "decode_messages",
    "read_candump",
    "batch_size",
    "batch_encode",
    "envelope_verify",
    "ingest",
    "storage",
    "agent_process",
    "lock_funnel",
    "update_in_car",
    "install_bench",
)
OUT = Path("build") / "bench.json"
SLACK = 0.3  # on a shared machine ratios of one run lie within a third of those of another (measured)

EXIT_BROKEN, EXIT_USAGE, EXIT_MISSED = 1, 2, 3
EXITS = "Exit: 0 done, 1 a bench broke, 2 argument not usable, 3 with --gate: missed by more than the slack."

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Measure what the goals speak of.", epilog=EXITS
)


@app.callback(invoke_without_command=True, epilog=f"Example: tbox bench --only A1,B1   |   {EXITS}")
def bench(
    *,
    only: Annotated[str, typer.Option(help="Goals to measure, as A1,B1; empty for all.")] = "",
    out: Annotated[Path, typer.Option("--json", help="Where the rows are written as JSON.")] = OUT,
    page: Annotated[
        Path | None, typer.Option("--markdown", help="Where a line a goal is written as a table for a page.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Fail when a goal is missed by more than the slack.")
    ] = False,
    slack: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Part of a ratio that may be missing.")
    ] = SLACK,
) -> None:
    """Measure, print a table, write the rows as JSON."""
    code = measure(
        chosen(only, list(load_benches().values())), out=out, page=page, slack=slack if gate else None
    )
    if code:
        raise typer.Exit(code)


def measure(benches: Sequence[Bench], *, out: Path, slack: float | None, page: Path | None = None) -> int:
    """Run benches, print and write what they found, and return the exit code.

    Args:
        benches: Run one after the other.
        out: `bench.json`; scratch space is made beside it, and removed.
        page: Markdown with a line a goal, if wanted.
        slack: Part of a ratio that may be missing before the run fails; None lets every missed goal pass.
    """
    lines, broken = _run(benches, out.parent)
    machine = this_machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    sys.stdout.write(f"{table(lines)}\n{machine.text}; {versions}\n")
    write_json(out, lines, machine)
    if page is not None:
        page.write_text(markdown(lines, machine), encoding="utf-8")
    sys.stdout.write(f"written: {out}\n")
    if broken:
        sys.stdout.write(f"BROKEN: {', '.join(broken)}; the reasons stand above\n")
        return EXIT_BROKEN
    if slack is None:
        return 0
    short = [f"{line.id} {line.case}" for line in lines if isinstance(line, Row) and not line.passes(slack)]
    if short:
        sys.stdout.write(f"gate: missed by more than {slack:.0%}: {', '.join(short)}\n")
    return EXIT_MISSED if short else 0


def load_benches() -> dict[str, Bench]:
    """Return every bench by its module's name."""
    return {name: import_module(f"benchmarks.{name}").BENCH for name in MODULES}


def chosen(only: str, benches: Sequence[Bench]) -> list[Bench]:
    """Return the benches that measure any of the goals named, all when none is."""
    wanted = {name.strip().upper() for name in only.split(",") if name.strip()}
    known = {name for one in benches for name in one.ids}
    if unknown := wanted - known:
        sys.stderr.write(
            f"no such goal: {', '.join(sorted(unknown))}\nnext: name some of {', '.join(sorted(known))}\n"
        )
        raise typer.Exit(EXIT_USAGE)
    return [one for one in benches if not wanted or wanted & set(one.ids)]


def _run(benches: Sequence[Bench], folder: Path) -> tuple[list[Line], list[str]]:
    """Run benches one after the other; one that breaks costs only its own rows."""
    lines: list[Line] = []
    broken: list[str] = []
    recordings = Recordings.find()
    folder.mkdir(parents=True, exist_ok=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as scratch,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        for number, one in enumerate(benches, start=1):
            task = progress.add_task(f"{number}/{len(benches)} {', '.join(one.ids)}: {one.title}")
            own = Path(scratch) / str(number)
            own.mkdir()
            start = time.monotonic()
            try:
                lines += one.run(Setting(recordings=recordings, folder=own))
            except Exception:  # noqa: BLE001 - the one place that catches everything: a broken bench stops no other
                progress.console.print(traceback.format_exc(), markup=False, highlight=False)
                broken += one.ids
            progress.update(task, total=1, completed=1)
            progress.console.log(
                f"{', '.join(one.ids)} took {time.monotonic() - start:.0f} s", highlight=False
            )
    return lines, broken
