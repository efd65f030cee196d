"""E2: disk a sample takes. E3: reading one box's day. Both against one row a sample.

Compared, on the same engine and disk, with the same samples of ten boxes in order of arrival:
- ours: what `ingest` and `project` leave behind (signed headers, sections, chain state, dictionaries, latest
  values, minute roll-ups), read by the use case behind the API, `read_trace`, to its last row;
- rows: the table of `benchmarks.row_store` (a number, box, time, signal, value, index on box and time), read
  by one SELECT into tuples, which is faster than ORM objects.
SQLite reads in this process and from a warm cache, so its times are CPU seconds; PostgreSQL's are the wall's.
Sizes are those of closed, settled databases, without what an empty one takes. Both answers are compared value
by value before they are timed. Two kinds of batches: about 500 samples each, as in the design's figures, and
a minute of the demonstration profile; a day of a box is about 100,000 samples in either.

Source of the goals: design goals E2, E3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.usecases.query_trace import read_trace
from benchmarks.batch_inputs import BatchInput, cut, inputs
from benchmarks.bench import Bench
from benchmarks.databases import EngineName, engines, settle
from benchmarks.harness import CPU, WALL, require_same, round_robin
from benchmarks.product_store import ORG, ProductStore
from benchmarks.result import LeftOut, Row, at_least, at_most, spread_of
from benchmarks.row_store import RowStore, rows_of, signal_numbers
from benchmarks.signed_batches import BATCH_US, START_US, Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Setting
    from benchmarks.databases import Engine
    from benchmarks.result import Line
    from benchmarks.signed_batches import MadeBatch

FROM_US, TO_US = 20_000_000, 26_500_000  # of the simulated drive: the car moves, about 500 samples
BOXES = 10
DAY_SAMPLES = 100_000
SIGNAL = "can0.VehicleMotion.VehicleSpeed"
DISK_GOALS = {
    EngineName.SQLITE: at_most(1 / 10, "the rows' bytes"),
    EngineName.POSTGRESQL: at_most(1 / 30, "the rows' bytes"),
}
ALL_SIGNALS = at_least(2, "faster than rows")
ONE_SIGNAL = at_least(1, "rows' speed (one signal)")

Sample = tuple[int, int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The same samples for both sides.

    Attributes:
        name: What a batch is.
        key: For names of databases.
        fleet: Boxes, batches, dictionary.
    """

    name: str
    key: str
    fleet: Fleet

    @property
    def samples(self) -> int:
        """Of all boxes."""
        return sum(batch.samples for chain in self.fleet.chains for batch in chain)

    @property
    def one(self) -> MadeBatch:
        """A batch of the box whose day is read."""
        return self.fleet.chains[len(self.fleet.chains) // 2][0]

    @property
    def day(self) -> tuple[int, int]:
        """From and to, UTC in µs, around all batches."""
        return START_US, START_US + BATCH_US * (len(self.fleet.chains[0]) + 1)


def run(setting: Setting) -> Iterator[Line]:
    """Measure both kinds of batches on every engine."""
    minute = next(inputs(setting))
    assert isinstance(minute, BatchInput), "the simulated drive is always there"
    small = minute if setting.is_tiny else cut(minute, from_us=FROM_US, to_us=TO_US)
    worlds = [_world("batches", "small", small, setting), _world("minutes", "minute", minute, setting)]
    with engines(setting.folder, with_postgresql=not setting.is_tiny) as here:
        for engine in here.found:
            for world in worlds[: setting.size(2, 1)]:
                yield from _measure(engine, world, setting)
        for name, why in here.absent.items():
            yield LeftOut(id="E2", case=name, why=why)
            yield LeftOut(id="E3", case=name, why=why)


def _world(name: str, key: str, content: BatchInput, setting: Setting) -> World:
    batches = setting.size(max(1, round(DAY_SAMPLES / content.samples)), 2)
    boxes = setting.size(BOXES, 2)
    shape = f"{batches} {name} of {content.samples} samples a day"
    return World(name=shape, key=key, fleet=Fleet.of(boxes=boxes, batches=batches, content=content))


def _measure(engine: Engine, world: World, setting: Setting) -> Iterator[Row]:
    ours_name, rows_name = f"product_{world.key}", f"rows_{world.key}"
    arriving = world.fleet.in_order_of_arrival()
    with (
        ProductStore(engine.url(ours_name), world.fleet) as ours,
        RowStore(engine.url(rows_name)) as rows,
    ):
        empty = (engine.size(ours_name), engine.size(rows_name))
        ours.take_all(arriving)
        rows.fill(row for batch in arriving for row in rows_of(batch, world.fleet.definitions))
        for database in (ours.database, rows.database):
            settle(database)
        reading = list(_reading(engine, world, ours, rows, setting))
    sizes = [
        max(engine.size(name) - before, 1) for name, before in zip((ours_name, rows_name), empty, strict=True)
    ]
    bodies = sum(len(batch.payload) for batch in arriving)
    yield Row(
        id="E2",
        case=f"{engine.name}, {world.name}",
        goal=DISK_GOALS[engine.name],
        measured=f"{sizes[0] / 1e6:.2f} MB, {sizes[0] / world.samples:.2f} B/sample",
        baseline=f"{sizes[1] / 1e6:.1f} MB, {sizes[1] / world.samples:.1f} B/sample",
        ratio=sizes[0] / sizes[1],
        is_exact=engine.name is EngineName.SQLITE,  # PostgreSQL leaves free pages as it likes
        note=(
            f"the signed batches themselves are {bodies / 1e6:.2f} MB; the rest is keys, rows around header "
            f"and sections, roll-ups, indexes and free pages: it weighs more the smaller a batch is"
        ),
    )
    yield from reading


def _reading(
    engine: Engine, world: World, ours: ProductStore, rows: RowStore, setting: Setting
) -> Iterator[Row]:
    for what, signal, goal in (("all signals", None, ALL_SIGNALS), ("one signal", SIGNAL, ONE_SIGNAL)):
        _check(world, ours, rows, signal)
        timings = round_robin(
            {
                "ours": lambda signal=signal: _read(world, ours, signal),  # type: ignore[misc]
                "rows": lambda signal=signal: _select(world, rows, signal),  # type: ignore[misc]
            },
            rounds=setting.rounds,
            repeats=1,
            clock=CPU if engine.name is EngineName.SQLITE else WALL,
        )
        samples = len(_select(world, rows, signal))
        mine, theirs = timings["ours"], timings["rows"]
        yield Row(
            id="E3",
            case=f"{engine.name}, {world.name}: {what}, {samples} samples",
            goal=goal,
            measured=f"{mine.median_s * 1e3:.1f} ms",
            baseline=f"{theirs.median_s * 1e3:.1f} ms",
            ratio=theirs.median_s / mine.median_s,
            spread=spread_of(mine, theirs),
        )


def _read(world: World, ours: ProductStore, signal: str | None) -> list[object]:
    """Read the day through the product, to columns."""
    from_us, to_us = world.day
    wanted = None if signal is None else [signal]
    with ours.database.reading() as session:
        return list(
            read_trace(
                session, org_id=ORG, device_id=world.one.device, from_us=from_us, to_us=to_us, signals=wanted
            )
        )


def _select(world: World, rows: RowStore, signal: str | None) -> list[Sample]:
    from_us, to_us = world.day
    number = None if signal is None else signal_numbers(world.fleet.definitions)[signal]
    return rows.query(box=world.one.box, from_us=from_us, to_us=to_us, signal=number)


def _check(world: World, ours: ProductStore, rows: RowStore, signal: str | None) -> None:
    """Compare both answers, by repr so that NaN equals itself."""
    numbers = signal_numbers(world.fleet.definitions)
    found = [
        (utc_us, numbers[shown.name], repr(float("nan") if value is None else float(value)))
        for block in _read(world, ours, signal)
        for utc_us, _, shown, value, _ in block  # type: ignore[attr-defined]
    ]
    expected = [(utc_us, name, repr(value)) for utc_us, name, value in _select(world, rows, signal)]
    require_same(f"{len(found)} samples", sorted(found), sorted(expected))


BENCH = Bench(ids=("E2", "E3"), title="disk and reading a day, against one row a sample", run=run)
