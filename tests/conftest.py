"""What every test shares: Hypothesis profiles, the recordings, and the rule that CI skips nothing."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import can  # noqa: F401  # whole, before the agent loads it without MF4: it is what our readers are compared with
import pytest
from hypothesis import HealthCheck, settings

from tests.builders.databases import (
    Engine,
    PostgresServer,
    find_programs,
    forget_sqlite_templates,
    running_on,
)

IN_CI = os.environ.get("CI") == "true"
ROOT = Path(__file__).resolve().parent.parent

# The same seeds on every machine: a red run can be repeated by anyone. `make deep` looks further.
settings.register_profile(
    "fast", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("fast"), max_examples=200)
settings.register_profile("deep", settings.get_profile("fast"), max_examples=5_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "fast"))


def find_test_data() -> Path | None:
    """Return the folder of recordings: `$TBOX_TEST_DATA`, else `../shared/data` beside the checkout."""
    named = os.environ.get("TBOX_TEST_DATA")
    for candidate in (Path(named) if named else None, ROOT.parent / "shared" / "data"):
        if candidate is not None and (candidate / "MANIFEST.tsv").is_file():
            return candidate
    return None


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of recordings; without it the test says why it did not run."""
    found = find_test_data()
    if found is None:
        pytest.skip("no recordings: set TBOX_TEST_DATA to the folder that holds MANIFEST.tsv")
    return found


def need(*programs: str) -> None:
    """Let a `real` test go on only where its programs are installed; CI installs them, so there it fails.

    Daemons live in /usr/sbin, which is not in everyone's path.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        (pytest.fail if IN_CI else pytest.skip)(f"not installed: {', '.join(missing)}; `.ci/run` shows how")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this run alone."""
    programs = find_programs()
    if programs is None:
        need("initdb")
    assert programs is not None, "initdb was found"
    server = PostgresServer(programs)
    yield server
    server.stop()


def _run_on(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = Engine(request.param)
    server = request.getfixturevalue("postgres_server") if engine is Engine.POSTGRESQL else None
    with running_on(engine, server):
        yield engine


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def both_databases(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run the test on SQLite and on PostgreSQL, on a desk too: where the two could differ."""
    yield from _run_on(request)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.real, pytest.mark.slow])])
def each_database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run the test on SQLite, and in CI on PostgreSQL as well."""
    yield from _run_on(request)


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.real)])
def postgresql(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run the test on PostgreSQL: what only it has, such as writers that run at the same time."""
    yield from _run_on(request)


@pytest.fixture(scope="session", autouse=True)
def _templates() -> Iterator[None]:
    yield
    forget_sqlite_templates()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tier to CI, so that `make test` on a desk stays under five minutes."""
    if IN_CI or config.getoption("-m"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is excused: a skipped test is a failed one."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: no test may skip in CI ({report.longrepr})"
    return report
