"""Databases for tests: a file of SQLite, or a database of a real PostgreSQL server that this run started.

Rules:
- A test does not choose: the fixtures `both_databases` and `each_database` (tests/conftest.py) say which
  engine it runs on, and the builders of homes and backends ask here for an address.
- The same folder gives the same database for the length of a test, as a file would.
- A database is a copy of a template that was migrated once a run: tables are made by the migrations, fast.
- The server listens on a socket in a folder of its own, never on the network, in memory where the machine has
  a place for that. It may lose everything at a power cut: no test cuts the power of its own machine.

Example:
    url = database_url(tmp_path)                       # empty: no tables yet
    url = database_url(tmp_path, template="migrated", make=upgrade_at)
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlmodel import Session

    from backend.store.database import Database

PACKAGED = Path("/usr/lib/postgresql")
MEMORY = Path("/dev/shm")  # copying a database there takes 10 ms, on a disk 200 ms
POSTGRESQL_USER = "postgres"


class Engine(StrEnum):
    """What keeps the data of the running test."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


@dataclass
class _Running:
    """What the builders ask for: the engine of the running test and its databases by folder."""

    engine: Engine = Engine.SQLITE
    server: PostgresServer | None = None
    by_folder: dict[Path, str] = field(default_factory=dict)


_running = _Running()
_sqlite_templates: dict[str, Path] = {}


def current_engine() -> Engine:
    """The engine of the running test."""
    return _running.engine


@contextlib.contextmanager
def running_on(engine: Engine, server: PostgresServer | None = None) -> Iterator[None]:
    """Run a test on this engine; its databases are dropped afterwards."""
    _running.engine, _running.server = engine, server
    try:
        yield
    finally:
        if server is not None:
            for name in _running.by_folder.values():
                server.drop(name)
        _running.engine, _running.server, _running.by_folder = Engine.SQLITE, None, {}


def database_url(
    folder: Path, *, template: str | None = None, make: Callable[[str], None] | None = None
) -> str:
    """Return the address of this folder's database, made at the first call.

    Args:
        folder: Whose database.
        template: Name of what it starts as; None for empty.
        make: Fills the template, given its address; called once a run.
    """
    server = _running.server
    if server is None:
        path = folder / "tbox.sqlite"
        if template is not None and make is not None and not path.exists():
            shutil.copyfile(_sqlite_template(template, make), path)
        return sqlite_url(path)
    if folder not in _running.by_folder:
        if template is not None and make is not None:
            server.make_template(template, make)
        _running.by_folder[folder] = server.create(template)
    return server.url(_running.by_folder[folder])


_DISK_FULL = "53100"
_RAISED = "P0001"


def trip(
    session: Session, table: str, *, on: str, message: str, when: str = "true", code: str = _RAISED
) -> None:
    """Make every write of a kind fail from now on, inside the database: a power cut, or a mistake of ours.

    Args:
        session: A writing session in a transaction.
        table: Which table.
        on: `INSERT`, `UPDATE` or `DELETE`.
        message: What the error says.
        when: SQL condition over NEW or OLD.
        code: SQLSTATE of the error on PostgreSQL.
    """
    run = session.connection().exec_driver_sql
    if _running.server is None:
        body = f"SELECT RAISE(ABORT, '{message}')"
        run(f"CREATE TRIGGER trip BEFORE {on} ON {table} WHEN {when} BEGIN {body}; END")
        return
    body = f"RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'"
    run(f"CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$")
    run(f"CREATE TRIGGER trip BEFORE {on} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION trip()")


def untrip(session: Session, table: str) -> None:
    """Let writes through again."""
    run = session.connection().exec_driver_sql
    if _running.server is None:
        run("DROP TRIGGER trip")
    else:
        run(f"DROP TRIGGER trip ON {table}")
        run("DROP FUNCTION trip()")


@contextlib.contextmanager
def outage(database: Database, *, table: str = "batch_key") -> Iterator[None]:
    """Let the database not answer for a while: a table out of reach, or a server that ends its sessions."""
    server = _running.server
    if server is not None:
        name = str(database.engine.url.database)
        server.allow(name, connections=False)
        yield
        server.allow(name, connections=True)
        return
    _rename(database, table, "away")
    yield
    _rename(database, "away", table)


def take_away(database: Database) -> None:
    """Let the database be gone for good: a folder where its file was, or a server that takes no session."""
    name = str(database.engine.url.database)
    if _running.server is not None:
        _running.server.allow(name, connections=False)
        return
    database.close()
    Path(name).unlink()
    Path(name).mkdir()


def fill_up(database: Database, table: str) -> None:
    """Let nothing be written to a table any more, as when the disk is full or the table is away."""
    if _running.server is None:
        _rename(database, table, f"{table}_away")
        return
    with database.writing() as session, session.begin():
        trip(session, table, on="INSERT", message="no space left", code=_DISK_FULL)


def _rename(database: Database, old: str, new: str) -> None:
    with database.writing() as session, session.begin():
        session.connection().exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def sqlite_url(path: Path) -> str:
    """Return the address of a SQLite file."""
    return f"sqlite+pysqlite:///{path}"


def _sqlite_template(name: str, make: Callable[[str], None]) -> Path:
    if name not in _sqlite_templates:
        path = Path(tempfile.mkdtemp(prefix="tbox-test-sqlite-")) / f"{name}.sqlite"
        make(sqlite_url(path))
        _sqlite_templates[name] = path
    return _sqlite_templates[name]


def forget_sqlite_templates() -> None:
    """Remove the files made by this run."""
    for path in _sqlite_templates.values():
        shutil.rmtree(path.parent, ignore_errors=True)
    _sqlite_templates.clear()


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`, the newest that Debian's packages put there, or None."""
    packaged = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if packaged:
        return packaged[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class PostgresServer:
    """A PostgreSQL server of this run alone, in a temporary folder."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        place = MEMORY if os.access(MEMORY, os.W_OK) else None
        self._folder = Path(tempfile.mkdtemp(prefix="tbox-pg-", dir=place))
        self._templates: set[str] = set()
        self._made = 0
        self._user = POSTGRESQL_USER if os.geteuid() == 0 else getpass.getuser()
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self._folder, POSTGRESQL_USER, POSTGRESQL_USER)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        data = self._folder / "data"
        self._run(
            "initdb", "-D", data, "-A", "trust", "-U", self._user, "-E", "UTF8", "--no-sync", "--no-locale"
        )
        options = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self._folder}'",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "deadlock_timeout": "100ms",
            "log_min_messages": "fatal",
        }
        with (data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in options.items())
        self._run("pg_ctl", "-D", data, "-w", "-l", self._folder / "log", "start")
        self._admin = psycopg.connect(
            host=str(self._folder), user=self._user, dbname="postgres", autocommit=True
        )

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", POSTGRESQL_USER, "--", *command]
        with (self._folder / "output").open("w+") as output:  # a pipe would stay open with the server
            done = subprocess.run(
                command, cwd="/", stdout=output, stderr=subprocess.STDOUT, check=False, timeout=60
            )
            output.seek(0)
            assert done.returncode == 0, f"{program} failed: {output.read()}"

    def url(self, name: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://{self._user}@/{name}?host={self._folder}"

    def make_template(self, name: str, make: Callable[[str], None]) -> None:
        """Make a database that others are copied from, once."""
        if name not in self._templates:
            self._execute("CREATE DATABASE {}", name)
            make(self.url(name))
            self._templates.add(name)

    def create(self, template: str | None) -> str:
        """Make a database and return its name."""
        self._made += 1
        name = f"test_{self._made}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template or "template0")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def allow(self, name: str, *, connections: bool) -> None:
        """Open a database, or close it and end its sessions, as a server does that goes away."""
        self._execute(f"ALTER DATABASE {{}} ALLOW_CONNECTIONS {connections}", name)
        if not connections:
            self._admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def stop(self) -> None:
        """End the server at once and remove its files."""
        if hasattr(self, "_admin"):
            self._admin.close()
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._folder / "data", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _execute(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
