"""The database: migrations forward and back, durability, tenancy held by the schema, one writer at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, InternalError

from backend.errors import DatabaseMissingError, DatabaseOutdatedError, SettingsError
from backend.store.database import Database, open_database
from backend.store.devices import Device, DeviceKey
from backend.store.migrate import downgrade, require_current, status, upgrade
from backend.store.organisations import Organisation
from backend.store.partitions import is_partition
from backend.store.tables import METADATA
from tests.builders.databases import Engine, database_url, sqlite_url

DEVICE = "9f" * 32
# Counts messages that belong to no one for certain, under an empty organisation and box.
# The log is one for all organisations and holds commitments only; what it opens to names one, or is the
# platform's own (its witnesses).
THE_LOGS = {
    "ledger_head", "ledger_leaf", "ledger_node", "ledger_checkpoint", "ledger_content", "ledger_late",
}  # fmt: skip
ANYBODYS = {"ingest_counter"}
HERE, THERE = "0a" * 16, "0b" * 16


@pytest.fixture
def database(tmp_path: Path, both_databases: Engine) -> Iterator[Database]:
    del both_databases
    database = open_database(database_url(tmp_path))
    yield database
    database.close()


@pytest.fixture
def migrated(database: Database) -> Database:
    upgrade(database)
    return database


def tables(database: Database) -> set[str]:
    """All but Alembic's own and the parts that PostgreSQL keeps a table in."""
    found = set(inspect(database.engine).get_table_names()) - {"alembic_version"}
    return {name for name in found if not is_partition(name)}


# --- migrations ---


def test_migrations_make_exactly_the_tables_that_the_program_uses(migrated: Database) -> None:
    with migrated.engine.connect() as connection:

        def is_ours(name: str | None, kind: str, _: object) -> bool:
            return kind != "table" or not is_partition(str(name))

        options = {"compare_type": True, "include_name": is_ours}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
    assert tables(migrated) == set(METADATA.tables)


def test_migrations_go_back_to_nothing_and_forward_again(migrated: Database) -> None:
    downgrade(migrated, revision="base")
    assert tables(migrated) == set()
    assert status(migrated).current is None
    upgrade(migrated)
    assert status(migrated).is_current


def test_going_one_step_back_and_forward_keeps_what_the_first_step_holds(migrated: Database) -> None:
    with migrated.writing() as session, session.begin():
        session.add(Organisation(org_id=HERE, name="here", created_us=1))
    downgrade(migrated, revision="0001")
    upgrade(migrated)
    with migrated.reading() as session:
        assert session.get(Organisation, HERE) is not None


def test_migrating_twice_changes_nothing(migrated: Database) -> None:
    before = status(migrated)
    upgrade(migrated)
    assert status(migrated) == before


def test_a_missing_database_is_told_apart_from_an_outdated_one(database: Database) -> None:
    if not database.is_postgresql:
        with pytest.raises(DatabaseMissingError, match="no database at"):
            require_current(database)
    with database.engine.connect():
        pass  # connecting makes the file
    with pytest.raises(DatabaseMissingError, match="empty"):
        require_current(database)
    upgrade(database, revision="0001")
    with pytest.raises(DatabaseOutdatedError, match="0001"):
        require_current(database)
    upgrade(database)
    require_current(database)


# --- tenancy ---


def test_every_table_has_an_organisation_that_cannot_be_left_out() -> None:
    for name in set(METADATA.tables) - THE_LOGS:
        table = METADATA.tables[name]
        assert "org_id" in table.columns, table.name
        assert not table.columns["org_id"].nullable, table.name


def test_every_reference_to_a_box_names_its_organisation_too() -> None:
    for name in set(METADATA.tables) - ANYBODYS - {"device"}:
        table = METADATA.tables[name]
        if "device_id" in table.columns:
            pairs = [
                {element.parent.name for element in constraint.elements}
                for constraint in table.foreign_key_constraints
            ]
            assert any({"org_id", "device_id"} <= pair for pair in pairs), table.name


def test_the_database_refuses_a_row_about_another_organisations_box(migrated: Database) -> None:
    with migrated.writing() as session, session.begin():
        session.add_all(Organisation(org_id=org, name=org, created_us=1) for org in (HERE, THERE))
        session.flush()
        session.add(Device(device_id=DEVICE, org_id=HERE, status="enrolled", created_us=1))
    key = DeviceKey(kid=DEVICE, org_id=THERE, device_id=DEVICE, role="d2", cose_key=b"k", valid_from_us=1)
    with migrated.writing() as session, pytest.raises(IntegrityError), session.begin():
        session.add(key)


# --- durability and concurrency ---


def test_sqlite_has_what_is_committed_on_the_disk_and_holds_references(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path / "tbox.sqlite"))
    with database.engine.connect() as connection:
        values = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    database.close()
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def setting(database: Database, name: str) -> str:
    with database.writing() as session, session.begin():
        return str(session.connection().execute(text(f"SHOW {name}")).scalar_one())


@pytest.mark.usefixtures("postgresql")
def test_postgresql_waits_for_the_disk_also_where_the_server_would_not(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    hasty = open_database(url)
    with hasty.writing() as session, session.begin():
        name = session.connection().execute(text("SELECT current_database()")).scalar_one()
        session.connection().execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
        session.connection().execute(text(f'ALTER DATABASE "{name}" SET lock_timeout = 0'))
        session.connection().execute(
            text(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
        )
    hasty.close()
    database = open_database(url)
    assert setting(database, "synchronous_commit") == "on"
    assert setting(database, "lock_timeout") == "10s"
    assert setting(database, "transaction_isolation") == "read committed"
    with database.reading() as session, pytest.raises(InternalError, match="read-only"):
        session.connection().execute(text("CREATE TABLE t (a int)"))
    database.close()


@pytest.mark.usefixtures("postgresql")
def test_a_stricter_server_is_left_as_strict_as_it_is(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    database = open_database(url)
    with database.writing() as session, session.begin():
        name = session.connection().execute(text("SELECT current_database()")).scalar_one()
        session.connection().execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = remote_apply'))
    database.close()
    assert setting(database, "synchronous_commit") == "remote_apply"
    database.close()


def test_a_reader_sees_one_state_while_a_writer_commits(migrated: Database) -> None:
    with migrated.reading() as reader:
        assert reader.get(Organisation, HERE) is None
        with migrated.writing() as writer, writer.begin():
            writer.add(Organisation(org_id=HERE, name="here", created_us=1))
        assert reader.get(Organisation, HERE) is None
    with migrated.reading() as reader:
        assert reader.get(Organisation, HERE) is not None


def test_writers_wait_for_each_other_and_none_is_turned_away(migrated: Database) -> None:
    writers, rows = 8, 5
    ready = threading.Barrier(writers)
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            ready.wait()
            for row in range(rows):
                with migrated.writing() as session, session.begin():
                    name = f"{number:02x}{row:02x}" * 8
                    session.get(Organisation, name)  # reads first: the pattern that fails when begun deferred
                    session.add(Organisation(org_id=name, name=name, created_us=1))
        except BaseException as failed:  # noqa: BLE001 - carried to the test's own thread
            failures.append(failed)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with migrated.reading() as session:
        assert (
            session.connection().execute(text("SELECT count(*) FROM organisation")).scalar() == writers * rows
        )


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite+pysqlite:///:memory:", "not an address", "mysql://secret:secret@db/tbox", "?://"],
)
def test_an_address_that_cannot_keep_anything_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_database(url)
    assert "secret" not in refused.value.diagnostics()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_spelling_of_postgresql_gets_the_driver_that_is_installed(scheme: str) -> None:
    database = open_database(f"{scheme}://tbox@db.invalid/tbox")
    assert database.is_postgresql
    assert database.engine.driver == "psycopg"


def test_a_postgresql_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    database = open_database(f"postgresql://tbox:secret@/tbox?host={tmp_path}")
    with pytest.raises(DatabaseMissingError) as missing:
        require_current(database)
    assert "does not answer" in missing.value.what
    assert "secret" not in missing.value.diagnostics()


def test_an_error_of_the_database_does_not_repeat_what_was_written(migrated: Database) -> None:
    with migrated.writing() as session, session.begin():
        session.add(Organisation(org_id=HERE, name="a secret name", created_us=1))
    with migrated.writing() as session, pytest.raises(IntegrityError) as failed, session.begin():
        session.add(Organisation(org_id=HERE, name="a secret name", created_us=1))
    assert "a secret name" not in str(failed.value)
