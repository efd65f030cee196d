"""A machine over SSH as a box's Linux, and how the text of a tray names a box.

Rules: OpenSSH's own client, without questions (`BatchMode`), one shell script a conversation on its standard
input, so that neither files nor secrets stand on a command line. A box that is met the first time is believed
and remembered in the tray's folder; one that shows another key later is refused.

Example:
    >>> parse_where("ssh://root@192.168.7.2:2222")
    Where(target='root@192.168.7.2', port=2222, folder='/')
"""

from __future__ import annotations

import base64
import binascii
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from firmware_tools.cli_errors import Exit, ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.linux_side_image import ImageRoot
from firmware_tools.linux_side_roots import (
    KIBIBYTE,
    Entry,
    Ran,
    in_the_way,
    no_room,
    not_linux,
    pretty_name,
    read_only,
)
from protocol.limits import DEPOT_ANSWER_BYTES_MAX, DEPOT_SPARE_BYTES, DEPOT_SSH_S_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_tools.linux_side_roots import Root

_SSH_FAILED: Final = 255
_NOT_LINUX: Final = 41
_READ_ONLY: Final = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """How a machine is reached: `user@host`, TCP port (None: as ssh's own settings say), its root folder."""

    target: str
    port: int | None
    folder: str


class SshRoot:
    """A machine over SSH.

    Args:
        where: how it is reached; another folder than `/` is an image mounted there.
        known_hosts: file of the machines met before.
        config: a file for ssh's `-F`; None for the user's own.
    """

    def __init__(self, where: Where, *, known_hosts: Path, config: Path | None = None) -> None:
        self._where = where
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=accept-new"]
        options += ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "LogLevel=ERROR"]
        options += ["-F", str(config)] if config else []
        options += ["-p", str(where.port)] if where.port else []
        self._command = ["ssh", *options, "--", where.target, "sh", "-s"]
        self._base = "" if where.folder == "/" else where.folder.rstrip("/")

    @property
    def is_live(self) -> bool:
        """Whether it is the machine itself; see `Root`."""
        return not self._base

    def look(self) -> str:
        """Return the name of the system; see `Root`."""
        base = shlex.quote(self._base)
        found = self._script(
            f"b={base}\n"
            '[ -d "$b/etc/systemd" ] || exit 41\n'
            'f="$b/etc/os-release"; [ -f "$f" ] || f="$b/usr/lib/os-release"; [ -f "$f" ] || exit 41\n'
            '[ -w "$b/etc" ] || exit 42\n'
            'df -Pk "$b/etc" | tail -n 1\ncat "$f"\n'
        )
        if found.code in (_NOT_LINUX, _READ_ONLY):
            refusal = not_linux if found.code == _NOT_LINUX else read_only
            raise refusal(self._name)
        room, _, release = self._good(found).partition("\n")
        free = int(room.split()[3]) * KIBIBYTE
        if free < DEPOT_SPARE_BYTES:
            raise no_room(self._name, free, DEPOT_SPARE_BYTES)
        return pretty_name(release)

    def read(self, paths: Sequence[str]) -> dict[str, Entry | None]:
        """Return what stands at some paths."""
        lines = [
            f"p={shlex.quote(self._base + path)}\n"
            'if [ -L "$p" ]; then echo "L $(readlink "$p" | base64 | tr -d "\\n")"\n'
            'elif [ -f "$p" ]; then echo "F $(stat -c %a "$p") $(base64 < "$p" | tr -d "\\n")"\n'
            'elif [ -e "$p" ]; then echo O; else echo N; fi\n'
            for path in paths
        ]
        said = self._good(self._script("".join(lines))).splitlines()
        if len(said) != len(paths):
            raise self._garbled()
        return {path: self._entry(path, line) for path, line in zip(paths, said, strict=True)}

    def write(self, entries: Mapping[str, Entry]) -> None:
        """Write files and links; see `Root`."""
        script = f"set -e\numask 022\no=$(stat -c %u:%g {shlex.quote(self._base + '/etc')})\n"
        for path, entry in entries.items():
            place = Path(self._base + path)
            beside = place.with_name(f".{place.name}.tbox-new")
            names = {"d": place.parent, "n": beside, "p": place}
            script += "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in names.items())
            script += 'mkdir -p "$d"\nrm -f "$n"\n'
            if entry.target is not None:
                script += f'ln -s {shlex.quote(entry.target)} "$n"\nchown -h "$o" "$n"\n'
            else:
                text = base64.encodebytes(entry.data).decode()
                script += f'base64 -d > "$n" <<"END"\n{text}END\nchmod {entry.mode:o} "$n"\nchown "$o" "$n"\n'
            script += 'mv -f "$n" "$p"\n'
        done = self._script(script + "sync\necho DONE\n")
        if done.code or not done.out.endswith("DONE\n"):
            sentence = f"{self._name} is not written ({_last(done.err)}): check rights and room of the box."
            raise ToolError(DepotCode.NOT_WRITTEN, sentence, Exit.CUT_SHORT)

    def run(self, words: Sequence[str], *, user: str | None = None, secret: str = "") -> Ran:
        """Run a program there; see `Root`."""
        assert self.is_live, "nothing runs in an image"
        command = shlex.join(words)
        if user is not None:
            other = shlex.join(["runuser", "-u", user, "--", *words])
            command = f'if [ "$(id -un)" = {shlex.quote(user)} ]; then {command}; else {other}; fi'
        secrets = f"TBOX_ENROL_TOKEN={shlex.quote(secret)}\nexport TBOX_ENROL_TOKEN\n" if secret else ""
        return self._script(f"{secrets}{{ {command}; }} </dev/null\n")

    @property
    def _name(self) -> str:
        return self._where.target + self._base

    def _entry(self, path: str, line: str) -> Entry | None:
        kind, *rest = line.split(" ")
        try:
            match kind, rest:
                case "N", []:
                    return None
                case "O", []:
                    raise in_the_way(path)
                case "L", [target]:
                    return Entry(target=base64.b64decode(target).decode().rstrip("\n"), mode=0o777)
                case "F", [mode, data]:
                    return Entry(data=base64.b64decode(data), mode=int(mode, 8))
        except (binascii.Error, ValueError):
            pass
        raise self._garbled()

    def _garbled(self) -> ToolError:
        sentence = f"{self._name} answers with something else than asked: is its login shell silent?"
        return ToolError(DepotCode.GARBLED, sentence)

    def _good(self, ran: Ran) -> str:
        if ran.code:
            sentence = f"{self._name} cannot be read ({_last(ran.err)}): log in there and look."
            raise ToolError(DepotCode.GARBLED, sentence)
        return ran.out

    def _script(self, text: str) -> Ran:
        try:
            done = subprocess.run(  # noqa: S603 - OpenSSH's client, to a machine that the tray names
                self._command, input=text.encode(), capture_output=True, timeout=DEPOT_SSH_S_MAX, check=False
            )
        except FileNotFoundError as missing:
            sentence = "There is no ssh on this computer: apt install openssh-client."
            raise ToolError(DepotCode.UNREACHABLE, sentence) from missing
        except subprocess.TimeoutExpired as late:
            sentence = f"{self._name} does not answer within {DEPOT_SSH_S_MAX} s: check its cable and power."
            raise ToolError(DepotCode.UNREACHABLE, sentence, Exit.CUT_SHORT) from late
        err = done.stderr[:DEPOT_ANSWER_BYTES_MAX].decode(errors="replace")
        if done.returncode == _SSH_FAILED:
            raise _ssh_failed(self._name, err)
        return Ran(
            code=done.returncode,
            out=done.stdout[:DEPOT_ANSWER_BYTES_MAX].decode(errors="replace"),
            err=err,
        )


def parse_where(text: str) -> Where | Path:
    """Return how a box is reached: a folder, or `ssh://[user@]host[:port][/folder]`.

    Raises:
        ToolError: it is neither.
    """
    if "://" not in text:
        return Path(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    if parts.scheme != "ssh" or not host or host.startswith("-") or parts.query or parts.password:
        raise ToolError(
            DepotCode.TRAY, f"{text} is no way to a box: write a folder, or ssh://user@host[:port][/folder]."
        )
    target = f"{parts.username}@{host}" if parts.username else host
    return Where(target=target, port=port, folder=parts.path or "/")


def open_root(text: str, *, known_hosts: Path, config: Path | None = None) -> Root:
    """Return a way to a box.

    Raises:
        ToolError: the text names none.
    """
    where = parse_where(text)
    return (
        ImageRoot(where)
        if isinstance(where, Path)
        else SshRoot(where, known_hosts=known_hosts, config=config)
    )


def _last(err: str) -> str:
    lines = [line for line in err.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


def _ssh_failed(name: str, err: str) -> ToolError:
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in err or "Host key verification failed" in err:
        return ToolError(
            DepotCode.HOST_KEY,
            f"{name} shows another host key than before: is it another box? Then take it out of known_hosts.",
        )
    if "Permission denied" in err:
        return ToolError(
            DepotCode.SSH_KEY,
            f"{name} does not take our SSH key: put it into its image, or load it (ssh-add).",
        )
    return ToolError(
        DepotCode.UNREACHABLE,
        f"{name} is not reached ({_last(err)}): check its cable, power and address.",
        Exit.CUT_SHORT,
    )
