"""The Linux side through real programs: OpenSSH's server, systemd's own readers, small file systems."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_tools.cli_errors import ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.linux_side import Settings, apply, difference, wanted
from firmware_tools.linux_side_image import ImageRoot
from firmware_tools.linux_side_ssh import SshRoot, Where, parse_where
from tests.builders.depot import SshServer, everything, image, running_sshd
from tests.conftest import need

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with running_sshd(tmp_path) as running:
        yield running


def _root(server: SshServer, folder: Path | str, tmp_path: Path) -> SshRoot:
    where = parse_where(f"{server.url}{folder}")
    assert isinstance(where, Where)
    return SshRoot(where, known_hosts=tmp_path / "known_hosts", config=server.config)


def test_over_ssh_a_box_gets_what_an_image_gets_and_nothing_the_second_time(
    server: SshServer, tmp_path: Path
) -> None:
    near, far = image(tmp_path / "near"), image(tmp_path / "far away")
    root = _root(server, far, tmp_path)
    assert root.look() == "Debian GNU/Linux 12 (bookworm)"
    for one in (root, ImageRoot(near)):
        apply(one, difference(one, wanted(Settings())))
    assert {path: entry[:2] for path, entry in everything(far).items()} == {
        path: entry[:2] for path, entry in everything(near).items()
    }
    before = everything(far)
    assert difference(root, wanted(Settings())) == []
    assert everything(far) == before


def test_over_ssh_what_is_no_linux_and_what_is_not_reached_have_their_sentences(
    server: SshServer, tmp_path: Path
) -> None:
    with pytest.raises(ToolError) as refused:
        _root(server, tmp_path, tmp_path).look()
    assert refused.value.code is DepotCode.NOT_LINUX
    nobody = SshRoot(
        Where(target="127.0.0.1", port=1, folder="/"), known_hosts=tmp_path / "k", config=server.config
    )
    with pytest.raises(ToolError) as away:
        nobody.look()
    assert (away.value.code, away.value.exit) == (DepotCode.UNREACHABLE, 3)


def test_a_key_that_the_box_does_not_know_and_a_box_with_another_key_are_told_apart(
    server: SshServer, tmp_path: Path
) -> None:
    folder = image(tmp_path / "box")
    assert _root(server, folder, tmp_path).look()
    known = (tmp_path / "known_hosts").read_text().split()
    (tmp_path / "known_hosts").write_text(
        " ".join([known[0], *(tmp_path / "stranger.pub").read_text().split()[:2]])
    )
    with pytest.raises(ToolError) as changed:
        _root(server, folder, tmp_path).look()
    assert changed.value.code is DepotCode.HOST_KEY
    (tmp_path / "known_hosts").unlink()
    server.config.write_text(server.config.read_text().replace("/user\n", "/stranger\n"))
    with pytest.raises(ToolError) as refused:
        _root(server, folder, tmp_path).look()
    assert refused.value.code is DepotCode.SSH_KEY


def test_systemd_reads_our_users_folders_and_units_as_we_mean_them(tmp_path: Path) -> None:
    need("systemd-sysusers", "systemd-tmpfiles", "systemd-analyze")
    folder = image(tmp_path / "box")
    apply(ImageRoot(folder), difference(ImageRoot(folder), wanted(Settings())))
    subprocess.run(["systemd-sysusers", f"--root={folder}"], check=True, capture_output=True)
    line = next(line for line in (folder / "etc/passwd").read_text().splitlines() if line.startswith("tbox:"))
    assert line.split(":")[5:] == ["/var/lib/tbox", "/usr/sbin/nologin"]
    members = {
        line.split(":")[0]: line.split(":")[3] for line in (folder / "etc/group").read_text().splitlines()
    }
    assert (members["dialout"], members["tss"]) == ("tbox", "tbox")
    subprocess.run(
        ["systemd-tmpfiles", f"--root={folder}", "--create", "tbox.conf"], check=True, capture_output=True
    )
    home = (folder / "var/lib/tbox").stat()
    assert home.st_mode & 0o777 == 0o700
    assert home.st_uid == int(line.split(":")[2])
    units = sorted((folder / "etc/systemd/system").glob("*.service"))
    for unit in units:
        unit.write_text(
            unit.read_text().replace("/opt/tbox/bin/tbox", str(Path(sys.executable).with_name("tbox")))
        )
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)]
    verified = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize(("size", "option", "code"), [("4m", "ro", "READ_ONLY"), ("512k", "rw", "NO_ROOM")])
def test_a_read_only_root_and_a_full_one_are_refused(
    tmp_path: Path, size: str, option: str, code: str
) -> None:
    need("unshare", "mount")
    place = tmp_path / "mounted"
    place.mkdir()
    look = (
        "import sys; from pathlib import Path; from firmware_tools.linux_side_image import ImageRoot\n"
        "try:\n    ImageRoot(Path(sys.argv[1])).look()\nexcept Exception as refused:\n    print(refused)"
    )
    script = (
        f"mount -t tmpfs -o size={size} tmpfs {place} && mkdir -p {place}/etc/systemd "
        f"&& touch {place}/etc/os-release "
        f'&& mount -o remount,{option},size={size} {place} && exec {sys.executable} -c "$1" {place}'
    )
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", look], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"{code}: {place}")
