r"""`tbox install update`: bundles of releases, and the signed repository from which boxes take them.

Rules: every command says what it did, as text or with `--json`; failures are one sentence with a code.
Root keys are named one by one, since they lie on different machines. Nothing is sent anywhere: copy the
repository's folder to any server of files.

Example:
    $ tbox install update repo init build/repo --keys keys
    $ tbox install update bundle --release 2 --agent . --mcu build/mcu --profile profile --policy policy \
          --hardware rp2040 --out build/tbox-2.tar
    $ tbox install update repo add build/repo build/tbox-2.tar --keys keys
"""

from __future__ import annotations

import datetime as dt
import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firmware_tools.cli_errors import EXITS, Exit, ToolError, told
from firmware_tools.update_bundle import BundleCode, Sources, build_bundle
from firmware_tools.update_repo import UpdateRepo
from protocol.update_bundle import Needs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Releases for boxes.",
    epilog=EXITS,
)
repo_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The signed repository: init, add, publish, rotate."
)
app.add_typer(repo_app, name="repo")

Folder = Annotated[Path, typer.Argument(help="Folder of the repository.")]
Keys = Annotated[Path, typer.Option(help="Folder of the private keys this machine has.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(
    epilog="Example: tbox install update bundle --release 2 --agent . --mcu build/mcu --profile profile "
    f"--policy policy --hardware rp2040 --out build/tbox-2.tar   |   {EXITS}"
)
def bundle(
    *,
    release: Annotated[int, typer.Option(min=1, help="Number of the release; grows.")],
    agent: Annotated[Path, typer.Option(help="Folder with the agent's packages.")],
    mcu: Annotated[Path, typer.Option(help="Folder of the microcontroller's image.")],
    profile: Annotated[Path, typer.Option(help="Folder of the vehicle's profile.")],
    policy: Annotated[Path, typer.Option(help="Folder of policies.")],
    hardware: Annotated[list[str], typer.Option(help="Board it is for; may be given again.")],
    out: Annotated[Path, typer.Option(help="Where the bundle goes.")],
    mcu_version: Annotated[int, typer.Option(min=0, help="Version of the image; 0 unknown.")] = 0,
    min_mcu: Annotated[int, typer.Option(min=0, help="Lowest image that may run when it is applied.")] = 0,
    floor: Annotated[int, typer.Option(min=0, help="No release below it once this one is confirmed.")] = 0,
    as_json: Json = False,
) -> None:
    """Make one bundle of agent, image, profile and policy; the same folders give the same bytes."""
    needs = Needs(
        release=release,
        agent=version("tbox"),
        mcu=mcu_version,
        min_mcu=min_mcu,
        hardware=tuple(hardware),
        floor=floor,
    )
    with told(as_json=as_json), Console(stderr=True).status("reading the parts"):
        data = build_bundle(needs, Sources(agent=agent, mcu=mcu, profile=profile, policy=policy))
        try:
            out.write_bytes(data)
        except OSError as failure:
            sentence = f"{failure}: check the place and run it again."
            raise ToolError(BundleCode.BAD_PART, sentence, Exit.CUT_SHORT) from failure
    _say({"bundle": str(out), "bytes": len(data)} | needs.as_json(), as_json=as_json)


@repo_app.command(epilog=f"Example: tbox install update repo init build/repo --keys keys   |   {EXITS}")
def init(folder: Folder, *, keys: Keys, as_json: Json = False) -> None:
    """Make keys, the first root and an empty repository; boxes pin `metadata/1.root.json`."""
    with told(as_json=as_json):
        repo = UpdateRepo.init(folder, keys, now=_now())
        root = repo.root().signed
    threshold = root.roles["root"].threshold
    said = {"root": str(folder / "metadata" / "1.root.json"), "root_keys": len(root.roles["root"].keyids)}
    _say(said | {"threshold": threshold, "keys": str(keys)}, as_json=as_json)


@repo_app.command(
    epilog=f"Example: tbox install update repo add build/repo build/tbox-2.tar --keys keys   |   {EXITS}"
)
def add(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    *,
    keys: Keys,
    as_json: Json = False,
) -> None:
    """Take a bundle in and publish it. Which boxes get it when, a rollout decides."""
    with told(as_json=as_json):
        needs = UpdateRepo(folder, keys).add(file, now=_now())
    _say(needs.as_json(), as_json=as_json)


@repo_app.command(epilog=f"Example: tbox install update repo publish build/repo --keys keys   |   {EXITS}")
def publish(folder: Folder, *, keys: Keys, as_json: Json = False) -> None:
    """Sign the present state again with new dates; run it daily, the timestamp lives a week."""
    with told(as_json=as_json):
        stamped = UpdateRepo(folder, keys).publish(now=_now())
    _say({"timestamp": stamped}, as_json=as_json)


@repo_app.command(
    epilog="Example: tbox install update repo rotate build/repo targets --keys keys "
    f"--root-key keys/root-1.pem --root-key keys/root-2.pem   |   {EXITS}"
)
def rotate(
    folder: Folder,
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    *,
    keys: Keys,
    root_key: Annotated[list[Path], typer.Option(help="A root key that signs; give two.")],
    old: Annotated[str | None, typer.Option(help="Of root: name of the key that goes, as root-1.")] = None,
    as_json: Json = False,
) -> None:
    """Give a role a new key, with two of the present roots."""
    if role not in ("root", "targets", "snapshot", "timestamp"):
        raise typer.BadParameter("the role is root, targets, snapshot or timestamp")
    with told(as_json=as_json):
        made = UpdateRepo(folder, keys).rotate(role, roots=root_key, now=_now(), old_key=old)
    _say({"root": made, "role": role}, as_json=as_json)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _say(said: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(said))
        return
    for name, value in said.items():
        typer.echo(f"{name:<10} {value}")
