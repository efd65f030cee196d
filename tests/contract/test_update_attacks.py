"""Attacks on the repository of releases, with python-tuf on both sides: each ends in one word, counted."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata

from device.update.repository import No, RepositoryError
from firmware_tools.cli_errors import ToolError
from firmware_tools.update_repo import RepoCode, UpdateRepo
from tests.builders.updates import NOW, Site, a_bundle, measured

if TYPE_CHECKING:
    from pathlib import Path

    from device.update.repository import Repository


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path, 1, 2)


def refused(box: Repository, release: int = 2, *, now: dt.datetime = NOW) -> No:
    """Ask for a release that must not come, and return why; its sentence and counter are there."""
    with pytest.raises(RepositoryError) as caught:
        box.bundle(release, now=now)
    assert str(caught.value).endswith(".")
    assert box.counts == {f"update_no_{caught.value.no}": 1}
    return caught.value.no


def target(site: Site, release: int) -> str:
    return (
        next((site.place / "repo" / "targets").glob(f"*.tbox-{release}.tar"))
        .relative_to(site.place / "repo")
        .as_posix()
    )


def test_a_good_release_comes_whole(site: Site) -> None:
    bundle = site.box().bundle(2, now=NOW)
    assert (bundle.needs.release, bundle.measurement) == (2, measured(2))


def test_a_bundle_with_one_other_byte_is_thrown_away(site: Site) -> None:
    name = target(site, 2)
    site.files.instead[name] = site.read(name)[:-1] + b"\x01"
    assert refused(site.box()) is No.TAMPERED


def test_a_bundle_that_ends_early_is_not_taken(site: Site) -> None:
    name = target(site, 2)
    site.files.instead[name] = site.read(name)[:-700]
    assert refused(site.box()) is No.TAMPERED


def test_a_bundle_longer_than_signed_is_cut_off(site: Site) -> None:
    name = target(site, 2)
    site.files.instead[name] = site.read(name) + bytes(1)
    assert refused(site.box()) is No.TOO_LARGE


def test_another_release_under_this_ones_name_is_thrown_away(site: Site) -> None:
    site.files.instead[target(site, 2)] = site.read(target(site, 1))
    assert refused(site.box()) is No.TAMPERED


def test_a_bundle_that_says_another_number_than_was_signed_is_none(site: Site, tmp_path: Path) -> None:
    data = a_bundle(3)
    (tmp_path / "b").write_bytes(data)
    needs = site.repo.add(tmp_path / "b", now=NOW)
    metadata = site.repo._targets_now()
    custom = metadata.signed.targets["tbox-3.tar"].unrecognized_fields["custom"]
    assert custom == needs.as_json()
    custom["floor"] = 3  # signed by our own key, and not what the bundle says of itself
    site.repo._write_state(metadata.signed, now=NOW)
    assert refused(site.box(), 3) is No.BAD_BUNDLE


def test_a_release_that_nobody_added_is_not_there(site: Site) -> None:
    assert refused(site.box(), 9) is No.NOT_THERE


def test_metadata_that_expired_gives_nothing(tmp_path: Path) -> None:
    site = Site.make(tmp_path, 1, 2, now=NOW - dt.timedelta(days=8))
    assert refused(site.box()) is No.EXPIRED
    site.repo.publish(now=NOW)
    assert site.box(name="other").needs(2, now=NOW).release == 2


def test_a_frozen_timestamp_shows_the_old_state_until_it_expires_and_never_again(site: Site) -> None:
    box, frozen = site.box(), site.read("metadata/timestamp.json")
    assert box.needs(2, now=NOW).release == 2
    site.add(3)
    site.files.instead["metadata/timestamp.json"] = frozen
    assert refused(box, 3) is No.NOT_THERE  # withheld, and nothing worse
    site.files.instead.clear()
    assert box.needs(3, now=NOW).release == 3
    site.files.instead["metadata/timestamp.json"] = frozen
    with pytest.raises(RepositoryError) as caught:
        box.needs(3, now=NOW)
    assert caught.value.no is No.OLDER


def test_a_repository_from_a_backup_is_older_than_what_the_box_has_seen(site: Site) -> None:
    shutil.copytree(site.place / "repo", site.place / "backup")
    site.add(3)
    box = site.box()
    assert box.needs(3, now=NOW).release == 3
    site.files.folder = site.place / "backup"
    assert refused(box, 3) is No.OLDER


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_a_role_signed_by_another_roles_key_is_unsigned(site: Site, role: str) -> None:
    keys = site.place / "keys"
    (keys / f"{role}.pem").write_bytes((keys / "timestamp.pem").read_bytes())
    site.repo.publish(now=NOW)
    assert refused(site.box()) is No.UNSIGNED


def test_a_repository_of_other_keys_is_unsigned(site: Site, tmp_path: Path) -> None:
    other = Site.make(tmp_path / "other", 1, 2)
    box = site.box()
    site.files.folder = other.place / "repo"
    assert refused(box) is No.UNSIGNED


def test_states_that_were_never_together_are_refused(site: Site) -> None:
    old = site.read("metadata/3.targets.json")
    site.add(3)
    site.files.instead["metadata/4.targets.json"] = old
    assert refused(site.box()) is No.OLDER


def test_metadata_of_the_wrong_form_is_refused(site: Site) -> None:
    site.files.instead["metadata/timestamp.json"] = b"[1"
    assert refused(site.box()) is No.TAMPERED


def test_metadata_without_end_is_cut_off(site: Site) -> None:
    site.files.instead["metadata/timestamp.json"] = bytes(200_000)
    assert refused(site.box()) is No.TOO_LARGE


def test_a_server_without_a_repository_has_nothing(site: Site) -> None:
    site.files.instead["metadata/timestamp.json"] = None
    assert refused(site.box()) is No.NOT_THERE


def test_a_clock_set_back_asks_nothing(site: Site) -> None:
    box = site.box()
    box.needs(2, now=NOW)
    site.files.asked.clear()
    assert refused(box, now=NOW - dt.timedelta(seconds=1)) is No.CLOCK_BACK
    assert site.files.asked == []


def test_roots_change_by_two_of_the_old_and_two_of_the_new(site: Site) -> None:
    box = site.box()
    site.repo.rotate("root", roots=site.roots(1, 2), now=NOW, old_key="root-1")
    site.repo.rotate("root", roots=site.roots(1, 3), now=NOW, old_key="root-2")
    site.repo.rotate("targets", roots=site.roots(1, 2), now=NOW)
    site.add(3)
    assert box.bundle(3, now=NOW).needs.release == 3


def test_one_root_alone_changes_nothing(site: Site) -> None:
    with pytest.raises(ToolError) as caught:
        site.repo.rotate("targets", roots=site.roots(1), now=NOW)
    assert caught.value.code is RepoCode.FEW_ROOTS
    with pytest.raises(ToolError) as caught:
        site.repo.rotate("targets", roots=site.roots(1, 1), now=NOW)
    assert caught.value.code is RepoCode.FEW_ROOTS


def test_a_root_with_one_good_signature_is_unsigned(site: Site) -> None:
    site.repo.rotate("targets", roots=site.roots(1, 2), now=NOW)
    content = json.loads(site.read("metadata/2.root.json"))
    content["signatures"] = content["signatures"][:1]
    site.files.instead["metadata/2.root.json"] = json.dumps(content).encode()
    assert refused(site.box()) is No.UNSIGNED


def test_a_key_that_was_rotated_away_signs_nothing_any_more(site: Site) -> None:
    old = (site.place / "keys" / "targets.pem").read_bytes()
    site.repo.rotate("targets", roots=site.roots(1, 2), now=NOW)
    (site.place / "keys" / "targets.pem").write_bytes(old)
    site.repo.publish(now=NOW)
    assert refused(site.box()) is No.UNSIGNED


def test_numbers_grow_and_floors_never_fall(site: Site) -> None:
    for data, code in (
        (a_bundle(2), RepoCode.NUMBER_TAKEN),
        (a_bundle(1), RepoCode.NUMBER_TAKEN),
        (b"x" * 600, RepoCode.BAD_BUNDLE),
    ):
        with pytest.raises(ToolError) as caught:
            site.add(0, data=data)
        assert caught.value.code is code
    site.add(3, data=a_bundle(3, floor=2))
    with pytest.raises(ToolError) as caught:
        site.add(4, data=a_bundle(4, floor=1))
    assert caught.value.code is RepoCode.FLOOR_FALLS


def test_a_repository_is_not_made_over_another(site: Site) -> None:
    with pytest.raises(ToolError) as caught:
        UpdateRepo.init(site.place / "repo", site.place / "keys", now=NOW)
    assert caught.value.code is RepoCode.REPO_EXISTS
    assert Metadata.from_bytes(site.repo.root_bytes()).signed.version == 1
