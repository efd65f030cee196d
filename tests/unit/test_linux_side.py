"""The Linux side of a box on a mounted image: written once, and refused where it must be."""

from pathlib import Path

import pytest

from firmware_tools.cli_errors import Common, ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.linux_side import Settings, apply, difference, shown, wanted
from firmware_tools.linux_side_image import ImageRoot
from firmware_tools.linux_side_ssh import Where, parse_where
from tests.builders.depot import everything, image

UNIT = "etc/systemd/system/tbox-agent.service"


def _prepare(folder: Path, settings: Settings | None = None) -> int:
    root = ImageRoot(folder)
    changes = difference(root, wanted(settings or Settings()))
    apply(root, changes)
    return len(changes)


def _refusal(folder: Path, **more: int) -> ToolError:
    with pytest.raises(ToolError) as refused:
        ImageRoot(folder, **more).look()
    return refused.value


def test_an_image_gets_units_switched_on_users_folders_limits_and_rules(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    assert ImageRoot(folder).look() == "Debian GNU/Linux 12 (bookworm)"
    assert _prepare(folder, Settings(bitrate=250_000, key_store="tpm")) == 9
    link = folder / "etc/systemd/system/multi-user.target.wants/tbox-agent.service"
    assert str(link.readlink()) == f"/{UNIT}"
    assert "bitrate 250000 listen-only on" in (folder / "etc/udev/rules.d/70-tbox.rules").read_text()
    assert "--key-store tpm" in (folder / "etc/systemd/system/tbox-keys.service").read_text()
    assert (folder / UNIT).stat().st_mode & 0o777 == 0o644
    assert not [path for path in folder.rglob("*") if "tbox-new" in path.name]


def test_a_second_run_finds_no_difference_and_writes_nothing(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    _prepare(folder)
    before = everything(folder)
    assert _prepare(folder) == 0
    assert everything(folder) == before


def test_looking_and_showing_the_difference_change_nothing(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    root = ImageRoot(folder)
    before = everything(folder)
    text = shown(difference(root, wanted(Settings())))
    assert f"+++ /{UNIT}" in text
    assert "+Description=T-Box agent" in text
    root.look()
    assert everything(folder) == before


def test_only_what_somebody_changed_is_written_again_and_shown_line_by_line(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    _prepare(folder)
    unit = folder / UNIT
    unit.write_text(unit.read_text().replace("User=tbox", "User=root"))
    (folder / "etc/tmpfiles.d/tbox.conf").chmod(0o600)
    changes = difference(ImageRoot(folder), wanted(Settings()))
    assert [change.path for change in changes] == [f"/{UNIT}", "/etc/tmpfiles.d/tbox.conf"]
    text = shown(changes)
    assert "-User=root\n" in text
    assert "+User=tbox\n" in text
    assert "mode of /etc/tmpfiles.d/tbox.conf: 600 -> 644" in text
    apply(ImageRoot(folder), changes)
    assert _prepare(folder) == 0


def test_a_file_of_ours_that_became_a_link_is_a_file_again_and_its_target_is_untouched(
    tmp_path: Path,
) -> None:
    folder = image(tmp_path / "box")
    _prepare(folder)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / UNIT).unlink()
    (folder / UNIT).symlink_to(victim)
    assert _prepare(folder) == 1
    assert not (folder / UNIT).is_symlink()
    assert victim.read_text() == "mine"


def test_a_folder_that_is_a_link_out_of_the_image_is_refused(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    (tmp_path / "outside").mkdir()
    (folder / "etc" / "udev").symlink_to(tmp_path / "outside")
    with pytest.raises(ToolError) as refused:
        _prepare(folder)
    assert refused.value.code is DepotCode.IN_THE_WAY
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_folder_where_a_file_should_be_is_refused(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    (folder / UNIT).mkdir()
    with pytest.raises(ToolError, match=r"IN_THE_WAY: /etc/systemd/system/tbox-agent\.service"):
        _prepare(folder)


def test_what_is_no_linux_is_refused_with_what_to_mount(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    without_systemd = image(tmp_path / "small")
    (without_systemd / "etc/systemd/system").rmdir()
    (without_systemd / "etc/systemd").rmdir()
    for folder in (tmp_path / "missing", tmp_path / "empty", without_systemd, Path("/")):
        refusal = _refusal(folder)
        assert refusal.code is DepotCode.NOT_LINUX
        assert "mount the image's root partition" in refusal.sentence


def test_a_root_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = image(tmp_path / "box")
    refusal = _refusal(folder, spare_bytes=1 << 60)
    assert refusal.code is DepotCode.NO_ROOM
    assert "needs 1125899906842624 KiB" in refusal.sentence


def test_without_the_checkout_the_tool_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as refused:
        wanted(Settings(), tree=tmp_path / "missing")
    assert refused.value.code is Common.NO_FILE


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("/mnt/box", Path("/mnt/box")),
        ("ssh://root@box", Where(target="root@box", port=None, folder="/")),
        ("ssh://box:22/mnt/image", Where(target="box", port=22, folder="/mnt/image")),
        ("ssh://root@[fe80::1]:22", Where(target="root@fe80::1", port=22, folder="/")),
    ],
)
def test_a_box_is_named_by_a_folder_or_a_machine(text: str, where: Where | Path) -> None:
    assert parse_where(text) == where


@pytest.mark.parametrize(
    "text", ["http://box", "ssh://", "ssh://-oProxyCommand=x", "ssh://a:b@box", "ssh://box:99999"]
)
def test_any_other_name_of_a_box_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="is no way to a box"):
        parse_where(text)
