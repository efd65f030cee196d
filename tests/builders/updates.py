"""Pieces for tests of updates: bundles, a repository with keys, files served from a folder that may lie."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuf.api import exceptions
from tuf.ngclient import FetcherInterface

from device.update.repository import Repository
from firmware_tools.update_repo import UpdateRepo
from protocol.update_bundle import Needs, write_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)
URL = "http://repository"


def measured(release: int) -> bytes:
    """Return the measurement of a release's image."""
    return hashlib.sha256(b"image %d" % release).digest()


def a_bundle(
    release: int, *, floor: int = 0, min_mcu: int = 0, hardware: str = "rp2040", size: int = 9
) -> bytes:
    """Return a bundle whose agent has so many bytes."""
    needs = Needs(
        release=release, agent="0.1.0", mcu=release, min_mcu=min_mcu, hardware=(hardware,), floor=floor
    )
    files = {
        "agent/device/main.py": bytes(size),
        "mcu/main.mpy": b"image %d" % release,
        "profile/car.json": b"{}",
        "policy/policy.json": b"{}",
    }
    return write_bundle(needs, files, measurement=measured(release))


@dataclass
class Folder(FetcherInterface):
    """Serves a repository's folder; `instead` gives other bytes for a name, None takes the file away."""

    folder: Path
    instead: dict[str, bytes | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(f"{URL}/")
        self.asked.append(name)
        data = self.instead[name] if name in self.instead else self._read(name)
        if data is None:
            raise exceptions.DownloadHTTPError(f"{url}: 404", 404)
        return iter([data])

    def _read(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None


@dataclass
class Site:
    """A repository, its keys, and a box that pins its first root."""

    place: Path
    repo: UpdateRepo
    files: Folder

    @classmethod
    def make(cls, place: Path, *releases: int, now: dt.datetime = NOW) -> Site:
        repo = UpdateRepo.init(place / "repo", place / "keys", now=now)
        site = cls(place, repo, Folder(place / "repo"))
        for release in releases:
            site.add(release, now=now)
        return site

    def add(self, release: int, *, now: dt.datetime = NOW, data: bytes | None = None) -> None:
        path = self.place / f"{release}.tar"
        path.write_bytes(a_bundle(release) if data is None else data)
        self.repo.add(path, now=now)

    def box(self, *, root: int = 1, name: str = "box") -> Repository:
        return Repository(self.place / name, url=URL, root=self.repo.root_bytes(root), fetcher=self.files)

    def roots(self, *numbers: int) -> list[Path]:
        return [self.place / "keys" / f"root-{number}.pem" for number in numbers]

    def read(self, name: str) -> bytes:
        return (self.place / "repo" / name).read_bytes()
