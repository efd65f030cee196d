"""What a storage bench runs on: SQLite, and a PostgreSQL server of this run when its programs are here.

Rules:
- Both are on the same disk, with the durability of production: SQLite in WAL mode with `synchronous=FULL`
  (the product's own setting), PostgreSQL as it comes, `fsync` and `synchronous_commit` on.
- The server belongs to this run: its own folder, a socket and no network, ended with the run. For root its
  files lie in the system's temporary folder, since the server runs as another user.
- Where PostgreSQL is missing, that is said; it is never installed.

Example:
    with engines(folder) as found:
        for engine in found:
            database = open_database(engine.url("one"))
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from backend.store.database import Database

PACKAGED = Path("/usr/lib/postgresql")
SERVER_USER = "postgres"
START_S_MAX = 60


class EngineName(StrEnum):
    """Which engine."""

    SQLITE = "SQLite"
    POSTGRESQL = "PostgreSQL"


class Engine(Protocol):
    """Gives databases and says how large they are."""

    @property
    def name(self) -> EngineName:
        """Which one it is."""
        ...

    def url(self, name: str) -> str:
        """Return the address of a new, empty database."""
        ...

    def size(self, name: str) -> int:
        """Return the bytes on disk of a database that nobody has open."""
        ...


class Sqlite:
    """Files in a folder."""

    name = EngineName.SQLITE

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        """Return the address of a new, empty database."""
        return f"sqlite+pysqlite:///{self._folder / name}.sqlite"

    def size(self, name: str) -> int:
        """Return the file's bytes; closing a database has emptied its log into it."""
        return sum(path.stat().st_size for path in self._folder.glob(f"{name}.sqlite*"))


def find_programs() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, the newest that Debian's packages put there, or None."""
    packaged = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if packaged:
        return packaged[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class Postgresql:
    """A server of its own; a context manager that starts and ends it.

    Args:
        programs: where its programs are.
        folder: on the disk that is to be measured.
    """

    name = EngineName.POSTGRESQL

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._user = SERVER_USER if os.geteuid() == 0 else getpass.getuser()

    def __enter__(self) -> Self:
        """Make the server's files and start it."""
        self._sockets = Path(tempfile.mkdtemp(prefix="tbox-bench-"))  # a socket's path must be short
        self._data = (self._sockets if os.geteuid() == 0 else self._folder) / "data"
        self._data.mkdir()
        if os.geteuid() == 0:  # the server refuses to run as root
            for path in (self._sockets, self._data):
                shutil.chown(path, SERVER_USER, SERVER_USER)
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", self._user, "-E", "UTF8", "--no-locale")
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._sockets}'"
        self._run("pg_ctl", "-D", self._data, "-w", "-o", options, "-l", self._data / "log", "start")
        self._admin = psycopg.connect(
            host=str(self._sockets), user=self._user, dbname="postgres", autocommit=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server and remove its files."""
        self._admin.close()
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._data)
        shutil.rmtree(self._sockets)

    def url(self, name: str) -> str:
        """Make an empty database and return its address."""
        self._admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return f"postgresql+psycopg://{self._user}@/{name}?host={self._sockets}"

    def size(self, name: str) -> int:
        """Return what the server says the database takes, beyond an empty one."""
        query = "SELECT pg_database_size(%s) - pg_database_size('template0')"
        row = self._admin.execute(query, [name]).fetchone()
        assert row is not None, "a SELECT without FROM has one row"
        return int(row[0])

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", SERVER_USER, "--", *command]
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open as long as the server
            done = subprocess.run(  # noqa: S603 - the server's own programs, no shell
                command, cwd="/", stdout=output, stderr=subprocess.STDOUT, check=False, timeout=START_S_MAX
            )
            output.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program} failed: {output.read()}")


def settle(database: Database) -> None:
    """Do what a server does by itself after a while: statistics, and PostgreSQL's visibility map."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        is_sqlite = database.engine.dialect.name == "sqlite"
        connection.exec_driver_sql("ANALYZE" if is_sqlite else "VACUUM ANALYZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What is here, and what is not."""

    found: tuple[Engine, ...]
    absent: dict[EngineName, str]


@contextlib.contextmanager
def engines(folder: Path, *, with_postgresql: bool = True) -> Iterator[Engines]:
    """Give every engine that is here, for as long as the context lasts."""
    sqlite = Sqlite(folder)
    programs = find_programs() if with_postgresql else None
    if programs is None:
        why = "no PostgreSQL programs here; on Debian: apt install postgresql"
        yield Engines(found=(sqlite,), absent={EngineName.POSTGRESQL: why})
        return
    with Postgresql(programs, folder) as server:
        yield Engines(found=(sqlite, server), absent={})
