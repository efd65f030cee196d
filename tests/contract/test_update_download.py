"""Downloads over HTTP that are cut: what came is kept, and the next attempt goes on from there."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import urllib3

from device.update.repository import HttpFiles, No, Repository, RepositoryError
from tests.builders.updates import NOW, Site, a_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Files(ThreadingHTTPServer):
    """Serves a folder, with ranges; a bundle is cut after `cut` bytes, and `ranges` can be switched off."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.cut, self.ranges, self.sent = folder, 0, True, 0


class Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, begin = path.read_bytes(), 0
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        piece = data[begin:]
        if self.server.cut and path.suffix == ".tar":
            piece = piece[: self.server.cut]
        self.server.sent += len(piece)
        self.wfile.write(piece)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
        pass


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site.make(tmp_path, 1)
    site.add(2, data=a_bundle(2, size=300_000))
    return site


@pytest.fixture
def server(site: Site) -> Iterator[Files]:
    with Files(site.place / "repo") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[HttpFiles]:
    with urllib3.PoolManager() as pool:
        yield HttpFiles(tmp_path / "parts", pool)


def box(site: Site, server: Files, files: HttpFiles) -> Repository:
    url = f"http://127.0.0.1:{server.server_port}"
    return Repository(site.place / "box", url=url, root=site.repo.root_bytes(), fetcher=files)


def test_a_download_that_is_cut_goes_on_where_it_ended(site: Site, server: Files, files: HttpFiles) -> None:
    client = box(site, server, files)
    server.cut = 100_000
    for _ in range(2):
        with pytest.raises(RepositoryError) as caught:
            client.bundle(2, now=NOW)
        assert caught.value.no is No.TORN
        assert caught.value.is_transient
    server.cut, server.sent = 0, 0
    assert client.bundle(2, now=NOW).needs.release == 2
    cost = 2 * 8_192  # a piece of each attempt
    assert 300_000 - 2 * cost < files.resumed_bytes <= 300_000  # 100,000 at the second, 200,000 at the third
    assert server.sent < 110_000 + cost + 10_000  # the rest, and metadata


def test_a_server_without_ranges_begins_again(site: Site, server: Files, files: HttpFiles) -> None:
    client = box(site, server, files)
    server.cut = 100_000
    with pytest.raises(RepositoryError):
        client.bundle(2, now=NOW)
    server.cut, server.ranges = 0, False
    assert client.bundle(2, now=NOW).needs.release == 2
    assert files.resumed_bytes == 0


def test_a_part_that_was_altered_on_the_disk_is_thrown_away_once_it_is_whole(
    site: Site, server: Files, files: HttpFiles, tmp_path: Path
) -> None:
    client = box(site, server, files)
    server.cut = 100_000
    with pytest.raises(RepositoryError):
        client.bundle(2, now=NOW)
    (part,) = (tmp_path / "parts").iterdir()
    part.write_bytes(b"!" + part.read_bytes()[1:])
    server.cut = 0
    with pytest.raises(RepositoryError) as caught:
        client.bundle(2, now=NOW)
    assert caught.value.no is No.TAMPERED
    assert client.bundle(2, now=NOW).needs.release == 2


def test_a_server_that_is_away_is_asked_again(site: Site, server: Files, files: HttpFiles) -> None:
    client = box(site, server, files)
    server.shutdown()
    server.server_close()
    with pytest.raises(RepositoryError) as caught:
        client.bundle(2, now=NOW)
    assert caught.value.no is No.AWAY
    assert client.counts == {"update_no_away": 1}
