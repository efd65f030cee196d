"""E1: taking batches in, against the naive path and against the bare P-256 verify.

Compared, from the bytes a broker delivers to what is committed:
- ours: `ingest` in groups of 100, the bridge's size: topic, strict decode, signature, section hashes, chain
  rules, header, sections and chain state written, one commit, then a signed receipt for each chain. Twice: a
  group of 100 boxes (a fleet in steady state), and of ten boxes with ten batches each (catching up);
- naive: the same samples as JSON rows, parsed by orjson, an ORM object a sample, `add_all`, one commit a
  message, nothing verified, nothing answered (`benchmarks.row_store`).
Both on the same engine and disk with the same durability (SQLite WAL with `synchronous=FULL`; PostgreSQL
with `fsync` and `synchronous_commit`). Neither has a broker. Derived tables (`project`) are not in the ratio,
since traces are read without them; the note says what they cost.

On SQLite all work is in this process and is timed in processor seconds, for the goals speak of a core; so
waiting for the disk is left out, which the naive path does for every message and ours once a group. The note
says the wall's rate. PostgreSQL works in another process and is timed by the wall.

Limit: the bare verify, one core.

Source of the goals: design goal E1 (about 508 samples a batch).
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from backend.usecases.project import project
from benchmarks.batch_inputs import BatchInput, cut, inputs
from benchmarks.bench import Bench
from benchmarks.databases import EngineName, engines
from benchmarks.envelope_verify import bare_verify
from benchmarks.harness import CPU, WALL, round_robin
from benchmarks.product_store import GROUP, ProductStore
from benchmarks.result import LeftOut, Row, at_least, spread_of
from benchmarks.row_store import RowStore, json_message, rows_of
from benchmarks.signed_batches import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bench import Setting
    from benchmarks.databases import Engine
    from benchmarks.result import Line

FROM_US, TO_US = 20_000_000, 26_500_000  # of the simulated drive: the car moves, about 500 samples
CATCHING_UP = 10  # batches of each box in a group
AGAINST_NAIVE = at_least(100, "the naive path's rate")
AGAINST_VERIFY = at_least(0.25, "the bare verify's rate")


def run(setting: Setting) -> Iterator[Line]:
    """Measure both shapes of a group on every engine."""
    whole = next(inputs(setting))
    assert isinstance(whole, BatchInput), "the simulated drive is always there"
    content = whole if setting.is_tiny else cut(whole, from_us=FROM_US, to_us=TO_US)
    with engines(setting.folder, with_postgresql=not setting.is_tiny) as here:
        for engine in here.found:
            yield from _rows(engine, content, setting, shape="fleet", boxes=GROUP)
            yield from _rows(engine, content, setting, shape="catching up", boxes=GROUP // CATCHING_UP)
        for name, why in here.absent.items():
            yield LeftOut(id="E1", case=name, why=why)


def _rows(engine: Engine, content: BatchInput, setting: Setting, *, shape: str, boxes: int) -> Iterator[Row]:
    """Time groups of 100 batches, naive messages and bare verifies in turn."""
    turns = setting.rounds + 1  # the first warms up
    group = setting.size(GROUP, 10)
    boxes = min(boxes, group)
    fleet = Fleet.of(boxes=boxes, batches=turns * group // boxes, content=content)
    arriving = fleet.in_order_of_arrival()
    groups = iter([arriving[start : start + group] for start in range(0, turns * group, group)])
    messages = iter([json_message(rows_of(batch, fleet.definitions)) for batch in arriving[:turns]])
    key = f"{shape}_{boxes}".replace(" ", "_")
    walls = Walls()
    with (
        ProductStore(engine.url(f"ours_{key}"), fleet) as ours,
        RowStore(engine.url(f"naive_{key}")) as naive,
    ):
        timings = round_robin(
            {
                "ours": lambda: walls.time(lambda: ours.take(next(groups))),
                "naive": lambda: naive.take(next(messages)),
                "bare": _many(bare_verify(arriving[0], fleet.signers[0]), group),
            },
            rounds=setting.rounds,
            repeats=1,
            clock=CPU if engine.name is EngineName.SQLITE else WALL,
        )
        derived_s = _derive(ours) / (turns * group)
    each, message, bare = timings["ours"].a(group), timings["naive"], timings["bare"].a(group)
    samples = arriving[0].samples
    case = f"{engine.name}, {shape}: {group} batches of {boxes} boxes, {samples} samples each"
    measured = f"{1 / each.median_s:.0f} batches/s, {samples / each.median_s / 1e6:.2f} M samples/s"
    yield Row(
        id="E1",
        case=case,
        goal=AGAINST_NAIVE,
        measured=measured,
        baseline=f"{1 / message.median_s:.1f} messages/s, {samples / message.median_s / 1e3:.1f} k samples/s",
        ratio=message.median_s / each.median_s,
        spread=spread_of(each, message),
        limit=f"bare verify {1 / bare.median_s:.0f}/s",
    )
    yield Row(
        id="E1",
        case=case,
        goal=AGAINST_VERIFY,
        measured=measured,
        baseline=f"{1 / bare.median_s:.0f} verifies/s",
        ratio=bare.median_s / each.median_s,
        spread=spread_of(each, bare),
        note=(
            f"a batch takes {each.median_s * 1e6:.0f} µs, the bare verify {bare.median_s * 1e6:.0f}; "
            f"the rest is the header's strict reading, SQL for five tables through SQLAlchemy, and a signed "
            f"receipt a box; by the wall {group / walls.median_s:.0f} batches/s; deriving latest values and "
            f"roll-ups later (first dictionaries included) takes {derived_s * 1e6:.0f} µs a batch more"
        ),
    )


class Walls:
    """Wall seconds of calls that are timed otherwise."""

    def __init__(self) -> None:
        self._taken: list[float] = []

    def time(self, call: Callable[[], object]) -> None:
        """Call, and note how long it took."""
        start = WALL()
        call()
        self._taken.append(WALL() - start)

    @property
    def median_s(self) -> float:
        """The median of all but the first call, which warmed up."""
        return statistics.median(self._taken[1:])


def _many(call: Callable[[], object], count: int) -> Callable[[], object]:
    """Return `count` calls as one."""

    def calls() -> None:
        for _ in range(count):
            call()

    return calls


def _derive(store: ProductStore) -> float:
    """Bring the derived tables up to date and return the processor seconds it took here."""
    start = CPU()
    while project(store.database, now_us=store.now_us):
        pass
    return CPU() - start


BENCH = Bench(ids=("E1",), title="ingest, against rows through the ORM and the bare verify", run=run)
