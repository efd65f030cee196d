"""`tbox install firmware`: build a release, sign it by two of three, look at it.

Rules: building and showing need no key, signing needs no network. A signature lies beside the release as a
file of its own, so that officers sign on their own machines and only files of 110 bytes travel. Every command
reads the release whole and compares it first. Exit codes: see `cli_errors`.

Example:
    $ tbox install firmware build --out build/release --release 7 --version 1.4.0 --board rp2040
    $ tbox install firmware sign --release build/release --key officer-1.pem
    $ tbox install firmware show --release build/release --trust firmware-trust.json
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from firmware_tools import boards, release, release_keys, release_trust
from firmware_tools.boards import uf2 as uf2_file
from firmware_tools.cli_errors import EXITS, Common, ToolError, told
from firmware_tools.image import Floors, ImageError
from firmware_tools.release_manifest import Wrong
from firmware_tools.release_signature import sign_detached

app = typer.Typer(
    help="Build, sign and look at a release of the firmware.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Option("--release", help="Folder of the release.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Passphrase = Annotated[
    Path | None, typer.Option(help="File with the passphrase as its first line; asked for without it.")
]


@app.command(
    epilog="Example: tbox install firmware build --out build/release --release 7 --version 1.4.0 "
    f"--board rp2040   |   {EXITS}"
)
def build(
    out: Annotated[Path, typer.Option(help="Folder to make; a release that lies there is replaced.")],
    number: Annotated[int, typer.Option("--release", min=1, help="Its number; higher is newer.")],
    version: Annotated[str, typer.Option(help="Its name for people, for instance 1.4.0.")],
    *,
    board: Annotated[str, typer.Option(help="Which board it is for.")] = "rp2040",
    floors: Annotated[Floors, typer.Option(help="Floors that are compiled in.")] = Floors.PRODUCTION,
    floor: Annotated[
        int, typer.Option(min=0, help="Lowest release a board may be given after this one; 0: any.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Compile the firmware and write a release with its manifest; nobody has signed it yet."""
    with told(as_json=as_json):
        try:
            made = release.build(
                out, boards.load(board), floors, release=number, version=version, floor=floor
            )
        except ImageError as error:
            raise ToolError(Wrong.FILES, f"No image: {error}.") from error
        _say(made, as_json=as_json, signers=[])


@app.command(epilog=f"Example: tbox install firmware sign --release build/release --key a.pem   |   {EXITS}")
def sign(
    folder: Folder,
    *,
    key: Annotated[Path | None, typer.Option(help="Your key's file (`tbox install firmware key`).")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Sign a demo image with published test keys.")] = False,
    passphrase_file: Passphrase = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is the release.")] = False,
    as_json: Json = False,
) -> None:
    """Sign a release with one officer's key; the release stays as it is, a signature lies beside it."""
    with told(as_json=as_json):
        found = release.read(folder)
        if (key is None) is not demo:
            raise typer.BadParameter("name a key, or --demo for published test keys")
        if demo:
            if found.manifest.floors is not Floors.DEMO:
                raise ToolError(Wrong.TRUST, "This is no demo image: an officer signs it with `--key`.")
            signers = release_trust.demo_signers()[: release_trust.THRESHOLD]
        else:
            assert key is not None
            if not yes and not as_json:
                _say(found, as_json=False, signers=[])
                typer.confirm("Sign this release?", abort=True)
            signers = [release_keys.load_key(key, _passphrase(passphrase_file))]
        place = folder / release.SIGNATURES
        place.mkdir(exist_ok=True)
        for signer in signers:
            (place / f"{signer.kid.hex()}.sig").write_bytes(sign_detached(found.manifest_bytes, signer))
        _say(release.read(folder), as_json=as_json, signers=[signer.kid.hex() for signer in signers])


@app.command(
    epilog=f"Example: tbox install firmware show --release build/release --trust t.json   |   {EXITS}"
)
def show(
    folder: Folder,
    *,
    trust: Annotated[Path | None, typer.Option(help="Trust file: judge the signatures too.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Trust the published test keys.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a release is; with a trust file, fail unless enough officers signed it."""
    with told(as_json=as_json):
        found = release.read(folder)
        signers: list[str] = []
        if trust is not None or demo:
            keys = release_trust.demo_trust() if trust is None else release_trust.read_trust(trust)
            signers = [kid.hex() for kid in release_trust.require_signed(found, keys)]
        _say(found, as_json=as_json, signers=signers)


@app.command(epilog=f"Example: tbox install firmware key --out officer-1.pem   |   {EXITS}")
def key(
    out: Annotated[Path, typer.Option(help="File to make; its public half goes beside it as .pub.")],
    *,
    passphrase_file: Passphrase = None,
) -> None:
    """Make an officer's key, on a machine without a network."""
    with told():
        signer = release_keys.make_key(out, _passphrase(passphrase_file, confirm=True))
        typer.echo(f"key {signer.kid.hex()}\nkeep {out}; hand out {out.with_suffix('.pub')}")


@app.command(
    epilog="Example: tbox install firmware trust --out t.json --key a.pub --key b.pub --key c.pub   |   "
    f"{EXITS}"
)
def trust(
    out: Annotated[Path, typer.Option(help="Trust file to write.")],
    *,
    key: Annotated[list[Path], typer.Option(help="Public key of an officer; each once.")],
    floors: Annotated[Floors, typer.Option(help="Images that these officers release.")] = Floors.PRODUCTION,
    threshold: Annotated[int, typer.Option(min=2, help="How many must sign.")] = release_trust.THRESHOLD,
) -> None:
    """Write the trust file that `flash` and `show` judge signatures by."""
    with told():
        keys = [release_keys.read_public(path) for path in key]
        made = release_trust.trust_of(keys, floors, threshold)
        out.write_bytes(made.encode())
        typer.echo(f"{out}: {made.threshold} of {len(made.keys)} release {made.floors} images")


@app.command(epilog=f"Example: tbox install firmware uf2 RPI_PICO.uf2 --board rp2040   |   {EXITS}")
def uf2(
    file: Annotated[Path, typer.Argument(help="MicroPython's UF2 file.")],
    *,
    board: Annotated[str, typer.Option(help="Which board it is for.")] = "rp2040",
) -> None:
    """Check the file of a board's very first flashing, without the board."""
    with told():
        form = boards.load(board).uf2
        if form is None:
            raise ToolError(Common.NO_FILE, f"The board {board} is not flashed with a UF2 file.")
        size = uf2_file.check(file, form)
        typer.echo(
            f"{file} fits: {size} B of flash. Hold BOOTSEL while plugging in, then copy it to the drive."
        )


def _passphrase(path: Path | None, *, confirm: bool = False) -> bytes:
    if path is None:
        text: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm)
        return text.encode()
    try:
        return path.read_bytes().split(b"\n", 1)[0]
    except OSError as error:
        raise ToolError(
            Common.NO_FILE, f"{path} cannot be read ({error.strerror}): name the passphrase's file."
        ) from error


def _say(found: release.Release, *, as_json: bool, signers: list[str]) -> None:
    manifest = found.manifest
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "release": manifest.release,
                    "version": manifest.version,
                    "floor": manifest.floor,
                    "board": manifest.board,
                    "floors": manifest.floors,
                    "measurement": manifest.measurement,
                    "manifest": found.manifest_hash,
                    "files": len(manifest.files),
                    "bytes": manifest.size,
                    "signatures": [name.removesuffix(".sig") for name in found.signatures],
                    "trusted": signers,
                }
            )
        )
        return
    typer.echo(f"release      {manifest.release} ({manifest.version}), floor {manifest.floor}")
    typer.echo(f"board        {manifest.board}, {manifest.floors} floors")
    typer.echo(f"measurement  {manifest.measurement}")
    typer.echo(f"manifest     {found.manifest_hash}")
    typer.echo(f"files        {len(manifest.files)}, {manifest.size} B")
    for name in found.signatures:
        kid = name.removesuffix(".sig")
        typer.echo(f"signed by    {kid}{' (trusted)' if kid in signers else ''}")
    if not found.signatures:
        typer.echo("signed by    nobody yet")
