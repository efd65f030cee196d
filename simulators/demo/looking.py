"""What to type to look at a running demonstration: ready to paste, and no secret on any command line.

Rules: `curl` reads its header and the `tbox` commands read the key from files that only their owner may read.

Example:
    for title, command in places(world):
        console.print(title, command)
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulators.demo.checks import SPEED
from simulators.stored import iso

if TYPE_CHECKING:
    from simulators.world import World


def places(world: World, *, began_us: int) -> list[tuple[str, str]]:
    """Return titles and commands.

    Args:
        world: running.
        began_us: when the car was set off, microseconds of UTC.
    """
    cloud, box = world.cloud, world.box
    header, trust, bundle = world.home / "auth.header", world.home / "trust.json", world.home / "drive.tbe"
    _write_header(header, cloud.files.admin_key)
    box.write_trust(trust)
    device = f"{cloud.api_url}/v1/devices/{box.device}"
    since = iso(began_us).replace("+00:00", "Z")
    until = "$(date -u +%FT%TZ)"
    trace = f"{device}/trace?signals={SPEED}&from={since}&to={until}&limit=20"
    way = f"{device}/trace?kind=fixes&format=geojson&from={since}&to={until}"
    tbox = _command()
    curl = f"curl -sS -H @{_quoted(header)}"
    export = (
        f"{tbox} evidence export --api {cloud.api_url} --key-file {_quoted(cloud.files.admin_key)}"
        f" --device {box.device} --from {since} --to {until} --out {_quoted(bundle)}"
    )
    verify = f"{tbox} evidence verify {_quoted(bundle)} --trust {_quoted(trust)}"
    home = _quoted(cloud.files.home)
    return [
        ("the API's documentation", f"{cloud.api_url}/docs"),
        ("the trace, at the server", f"{tbox} backend trace {box.device} --home {home}"),
        ("latest state, over HTTP", f"{curl} {device}/state"),
        ("speeds, over HTTP", f'{curl} "{trace}"'),
        ("the way it drove, as GeoJSON", f'{curl} -H "Access-Purpose: commissioning" "{way}"'),
        ("its batches, each verified now", f"{curl} {device}/batches"),
        ("evidence of the drive", export),
        ("verify it, without the server", verify),
        ("what the processes log", f"tail -f {_quoted(world.logs)}/*.log"),
    ]


def _command() -> str:
    """Return how to call `tbox` from the shell that started this: by name, or by file if not on the path."""
    script = Path(sys.executable).with_name("tbox")
    return "tbox" if shutil.which("tbox") or not script.exists() else _quoted(script)


def _write_header(path: Path, key_file: Path) -> None:
    """Write the header that curl reads, for its owner's eyes only."""
    path.touch(mode=0o600)
    path.write_text(f"Authorization: Bearer {key_file.read_text('ascii').strip()}\n", "ascii")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
