"""The signed repository as a box uses it: python-tuf with a pinned root, bounded, resumable.

Rules:
- The root that the depot put here is the beginning of all trust, at every start anew. Keys change by roots
  that both the old and the new ones signed.
- Each length has a maximum before a byte is read. What was downloaded of a bundle stays for the next attempt,
  and is thrown away once it proves not to be the signed one.
- Time is what the caller trusts. A clock behind the newest time at which this box accepted something asks
  nothing: a clock set back makes old metadata young.
- Each no has one word, one sentence and one counter.

It chooses no release (`asking`) and installs none (`transaction`).

Example:
    client = Repository(folder, url="https://updates.example/", root=pinned, fetcher=HttpFiles(...))
    needs = client.needs(8, now=now)
    bundle = client.bundle(8, now=now)

Source: The Update Framework specification 1.0, §5 (client workflow).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import contextmanager
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Final

import urllib3
from tuf.api import exceptions
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from device.adapters.durable_file import sync_directory, write_durably
from device.errors import EdgeError
from protocol.errors import ProtocolError
from protocol.limits import (
    UPDATE_BUNDLE_BYTES_MAX,
    UPDATE_HTTP_WAIT_S,
    UPDATE_METADATA_BYTES_MAX,
    UPDATE_ROOTS_MAX,
    UPDATE_TARGETS_BYTES_MAX,
)
from protocol.update_bundle import read_bundle, read_needs

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    from tuf.api.metadata import TargetFile

    from protocol.update_bundle import Bundle, Needs

CHUNK = 8_192  # what a cut costs at most
OK, PARTIAL, NOT_FOUND = 200, 206, 404
BOUNDS: Final = UpdaterConfig(
    max_root_rotations=UPDATE_ROOTS_MAX,
    max_delegations=1,
    root_max_length=UPDATE_METADATA_BYTES_MAX,
    timestamp_max_length=UPDATE_METADATA_BYTES_MAX,
    snapshot_max_length=UPDATE_METADATA_BYTES_MAX,
    targets_max_length=UPDATE_TARGETS_BYTES_MAX,
)


class No(StrEnum):
    """Why nothing was taken from the repository; the counter is `update_no_<word>`."""

    AWAY = "away"
    TORN = "torn"
    TAMPERED = "tampered"
    UNSIGNED = "unsigned"
    EXPIRED = "expired"
    OLDER = "older"
    TOO_LARGE = "too_large"
    NOT_THERE = "not_there"
    BAD_BUNDLE = "bad_bundle"
    CLOCK_BACK = "clock_back"


_SENTENCES: Final = {
    No.AWAY: "The repository does not answer: the box asks again later.",
    No.TORN: "The download ended early: the next attempt goes on from there.",
    No.TAMPERED: "What came is not what was signed: it is thrown away; look at the server that gave it.",
    No.UNSIGNED: "Too few of the trusted keys have signed it: publish again with the right keys.",
    No.EXPIRED: "The metadata has expired: run `tbox install update repo publish` and copy the repository.",
    No.OLDER: "The repository is older than what this box has seen: restore its newest state.",
    No.TOO_LARGE: "The server sends more than was signed for: look at that server.",
    No.NOT_THERE: "The repository does not have this release: add it, or correct the rollout.",
    No.BAD_BUNDLE: "The bundle is signed, and none: build and add it again under a new number.",
    No.CLOCK_BACK: "The clock is behind an earlier update: wait for a fix or the network's time.",
}


class RepositoryError(EdgeError):
    """Nothing was taken.

    Attributes:
        no: its word.
    """

    def __init__(self, no: No, detail: str = "") -> None:
        super().__init__(
            _SENTENCES[no],
            is_transient=no in (No.AWAY, No.TORN, No.CLOCK_BACK),
            meaning="the box keeps the release it has",
            next_step=detail,
        )
        self.no = no


class _TornError(exceptions.DownloadError):
    """It began to come, and ended early."""


class HttpFiles(FetcherInterface):
    """Files of a server over HTTP(S), with a bundle's first part kept.

    Args:
        parts: folder of what came of bundles so far.
        pool: of connections; its trust and certificate are the caller's.
    """

    def __init__(self, parts: Path, pool: urllib3.PoolManager) -> None:
        self._parts, self._pool = parts, pool
        self.resumed_bytes = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._chunks(url, 0)[1]

    def _chunks(self, url: str, begin: int) -> tuple[bool, Iterator[bytes]]:
        """Return whether the server goes on from there, and what it sends."""
        timeout = urllib3.Timeout(connect=UPDATE_HTTP_WAIT_S, read=UPDATE_HTTP_WAIT_S)
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        answer = self._pool.request(
            "GET", url, headers=headers, preload_content=False, timeout=timeout, retries=False
        )
        if answer.status not in (OK, PARTIAL):
            answer.close()
            raise exceptions.DownloadHTTPError(f"{url}: {answer.status}", answer.status)
        return answer.status == PARTIAL, self._stream(answer)

    @staticmethod
    def _stream(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            yield from answer.stream(CHUNK)
        finally:
            answer.close()

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Return a file's content; a bundle's begins where the last attempt ended.

        Raises:
            DownloadError: it did not come, or is longer than allowed.
        """
        if not url.endswith(".tar"):
            with super().download_file(url, max_length) as file:
                yield file
            return
        part = self._parts / f"{hashlib.sha256(url.encode()).hexdigest()}.part"
        self._parts.mkdir(parents=True, exist_ok=True)
        self._complete(url, part, max_length)
        try:
            with part.open("rb") as file:
                yield file
        finally:
            part.unlink(missing_ok=True)  # taken, or not the signed one

    def _complete(self, url: str, part: Path, length: int) -> None:
        begin = part.stat().st_size if part.exists() else 0
        if begin > length:
            part.unlink()
            begin = 0
        if begin == length:
            return
        try:
            is_continued, chunks = self._chunks(url, begin)
            self.resumed_bytes += begin if is_continued else 0
            came = begin if is_continued else 0
            with part.open("ab" if is_continued else "wb") as file:
                for chunk in chunks:
                    came += len(chunk)
                    if came > length:
                        break
                    file.write(chunk)
        except (urllib3.exceptions.HTTPError, OSError) as failure:
            kind = _TornError if part.exists() and part.stat().st_size else exceptions.DownloadError
            raise kind(f"{url}: {failure}") from failure
        if came > length:
            part.unlink()
            raise exceptions.DownloadLengthMismatchError(f"{url}: longer than {length} B")
        if came < length:
            raise _TornError(f"{url}: {came} of {length} B")


class Repository:
    """A box's view of the repository.

    Args:
        folder: of metadata and downloads; made when missing.
        url: of the repository, with `metadata/` and `targets/` below.
        root: the pinned root's bytes.
        fetcher: brings files.
    """

    def __init__(self, folder: Path, *, url: str, root: bytes, fetcher: FetcherInterface) -> None:
        self._folder, self._url, self._root, self._fetcher = folder, url.rstrip("/"), root, fetcher
        self._seen = folder / "newest"
        self.counts: Counter[str] = Counter()

    def needs(self, release: int, *, now: dt.datetime) -> Needs:
        """Return what a release needs of a box, as signed.

        Raises:
            RepositoryError: with its word; nothing has changed then.
        """
        with self._saying():
            return read_needs(self._find(self._open(now), release).unrecognized_fields.get("custom"))

    def bundle(self, release: int, *, now: dt.datetime) -> Bundle:
        """Return a release, verified; its own words agree with what was signed.

        Raises:
            RepositoryError: with its word; nothing has changed then.
        """
        with self._saying():
            updater = self._open(now)
            target = self._find(updater, release)
            if target.length > UPDATE_BUNDLE_BYTES_MAX:
                raise RepositoryError(No.TOO_LARGE)
            path = self._folder / "bundle"
            updater.download_target(target, str(path))
            try:
                bundle = read_bundle(path.read_bytes())
            finally:
                path.unlink(missing_ok=True)
            signed = read_needs(target.unrecognized_fields.get("custom"))
            if bundle.needs != signed or signed.release != release:
                raise RepositoryError(No.BAD_BUNDLE)
            return bundle

    def _open(self, now: dt.datetime) -> Updater:
        metadata = self._folder / "metadata"
        metadata.mkdir(parents=True, exist_ok=True)
        if self._seen.exists() and now.timestamp() < float(self._seen.read_text()):
            raise RepositoryError(No.CLOCK_BACK)
        updater = Updater(
            str(metadata),
            f"{self._url}/metadata/",
            str(self._folder),
            f"{self._url}/targets/",
            fetcher=self._fetcher,
            config=BOUNDS,
            bootstrap=self._root,
        )
        updater.refresh()
        for path in metadata.glob("*.json"):  # what was accepted must not be forgotten with the power
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(metadata)
        write_durably(self._seen, str(now.timestamp()).encode())
        return updater

    @staticmethod
    def _find(updater: Updater, release: int) -> TargetFile:
        target = updater.get_targetinfo(f"tbox-{release}.tar")
        if target is None:
            raise RepositoryError(No.NOT_THERE)
        return target

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """Turn whatever goes wrong into one word, counted."""
        try:
            yield
        except RepositoryError as error:
            self.counts[f"update_no_{error.no}"] += 1
            raise
        except (exceptions.RepositoryError, exceptions.DownloadError, ProtocolError, OSError) as failure:
            no = _word(failure)
            self.counts[f"update_no_{no}"] += 1
            raise RepositoryError(no, str(failure)) from failure


_WORDS: Final[tuple[tuple[type[Exception], No], ...]] = (
    (exceptions.ExpiredMetadataError, No.EXPIRED),
    (exceptions.BadVersionNumberError, No.OLDER),
    (exceptions.UnsignedMetadataError, No.UNSIGNED),
    (exceptions.DownloadLengthMismatchError, No.TOO_LARGE),
    (_TornError, No.TORN),
    (exceptions.DownloadError, No.AWAY),
    (exceptions.RepositoryError, No.TAMPERED),  # lengths, hashes, forms
    (ProtocolError, No.BAD_BUNDLE),
)


def _word(failure: Exception) -> No:
    if isinstance(failure, exceptions.DownloadHTTPError) and failure.status_code == NOT_FOUND:
        return No.NOT_THERE
    return next((no for kind, no in _WORDS if isinstance(failure, kind)), No.AWAY)
