"""A depot for tests: roots of Linux boxes as folders, and a real SSH server on loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import need


def image(folder: Path) -> Path:
    """Return a folder that looks like the root of a box's Linux."""
    (folder / "etc" / "systemd" / "system").mkdir(parents=True)
    (folder / "etc" / "os-release").write_text(
        'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
    )
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (folder / "etc" / "group").write_text("root:x:0:\ndialout:x:20:\n")
    return folder


def everything(folder: Path) -> dict[str, tuple[int, bytes | str, int]]:
    """Return every path of a folder with its mode, content or target, and the time it was last written."""
    found: dict[str, tuple[int, bytes | str, int]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, content, status.st_mtime_ns)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SshServer:
    """A server that runs.

    Attributes:
        config: for ssh's `-F`.
        url: of the whole machine.
    """

    config: Path
    url: str


@contextmanager
def running_sshd(folder: Path) -> Iterator[SshServer]:
    """Run OpenSSH's server for one key."""
    need("sshd", "ssh", "ssh-keygen")
    for name in ("host", "user", "stranger"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "authorized_keys").write_bytes((folder / "user.pub").read_bytes())
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\n"
    )
    (folder / "ssh_config").write_text(f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n")
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where its unprivileged half lives
    process = subprocess.Popen(
        [program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 20
        while not _listens(port):
            assert process.poll() is None, "sshd ended"
            assert time.monotonic() < until, "sshd does not listen"
            time.sleep(0.02)
        yield SshServer(config=folder / "ssh_config", url=f"ssh://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
