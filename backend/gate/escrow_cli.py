"""`tbox backend gate escrow` and `codes`: keep the keys of emergency codes, and write codes for a notice.

Rules (O-02): codes go to standard output, or with `--out` to a new file of mode 0600 for whoever prints the
notice; to no log and no journal. The gate's journal says that codes were computed, for which microcontroller
and episode, and how many. With `--key FILE` no gate is needed: so the ombuds uses his own copy.

Example:
    $ tbox backend gate escrow add --mcu 7f3a… --key k_ovr.hex --home /srv/gate
    $ tbox backend gate codes --mcu 7f3a… --episode 00112233445566778899aabbccddeeff --home /srv/gate
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from backend.errors import RefusedError
from backend.gate.clock_watch import SystemClock
from backend.gate.escrow import CODES_MAX, add_key, codes, find_key, held, read_key
from backend.gate.events import Event
from backend.gate.home import STORE, write_private
from backend.gate.store import GateStore

Home = Annotated[Path, typer.Option("--home", envvar="TBOX_GATE_HOME", help="Folder of this gate.")]
Mcu = Annotated[str, typer.Option(help="The microcontroller's mcu_id, 64 hex digits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

app = typer.Typer(no_args_is_help=True, help="Keys of emergency codes held in trust: add, list.")


@app.command("add", epilog="Example: tbox backend gate escrow add --mcu 7f3a… --key k_ovr.hex")
def add(
    *,
    mcu: Mcu,
    key: Annotated[Path, typer.Option(help="File of mode 0600 with K_ovr: 32 bytes, or 64 hex digits.")],
    home: Home = Path("gate-home"),
    as_json: AsJson = False,
) -> None:
    """Keep the key of a microcontroller's codes; one that is there is never replaced."""
    mcu_id = _hex(mcu, 32)
    path = add_key(home, mcu_id, read_key(key))
    _log(home, Event.ESCROW_KEPT, mcu_id, {})
    typer.echo(json.dumps({"mcu": mcu_id.hex(), "file": str(path)}) if as_json else f"kept  {path}")


@app.command("list", epilog="Example: tbox backend gate escrow list --home /srv/gate")
def list_(*, home: Home = Path("gate-home"), as_json: AsJson = False) -> None:
    """Name the microcontrollers whose keys are held here; no key is shown."""
    found = held(home)
    typer.echo(json.dumps({"mcus": found}) if as_json else "\n".join(found) or "none")


def codes_of(
    *,
    episode: Annotated[str, typer.Option(help="The episode of the notice, 32 hex digits.")],
    mcu: Annotated[str | None, typer.Option(help="mcu_id whose key is in this gate's escrow.")] = None,
    key: Annotated[Path | None, typer.Option(help="Instead: a file with K_ovr, as the ombuds holds.")] = None,
    count: Annotated[
        int, typer.Option(min=1, max=CODES_MAX, help="How many; the order's `ovr` names it.")
    ] = 3,
    out: Annotated[Path | None, typer.Option(help="Write them to this new file, mode 0600, instead.")] = None,
    home: Home = Path("gate-home"),
    as_json: AsJson = False,
) -> None:
    """Compute the codes of an episode, for its notice: the car takes them in this order, once each."""
    of = _hex(episode, 16)
    if (mcu is None) == (key is None):
        raise RefusedError(
            what="name either --mcu or --key", next_step="--mcu ID at the gate, --key FILE for an ombuds"
        )
    mcu_id = None if mcu is None else _hex(mcu, 32)
    if key is not None:
        found = codes(read_key(key), of, count)
    else:
        assert mcu_id is not None, "one of the two is named"
        found = codes(find_key(home, mcu_id), of, count)
        _log(home, Event.CODES_COMPUTED, mcu_id, {"episode": of, "count": count})
    text = (
        json.dumps({"episode": of.hex(), "codes": found})
        if as_json
        else "\n".join(f"{number}  {one[:3]} {one[3:6]} {one[6:]}" for number, one in enumerate(found, 1))
    )
    if out is None:
        typer.echo(text)
        return
    write_private(out, f"{text}\n".encode())
    typer.echo(json.dumps({"file": str(out)}) if as_json else f"written  {out}")


def _log(home: Path, event: Event, mcu_id: bytes, said: dict[str, object]) -> None:
    store = GateStore.open(home / STORE)
    try:
        with store.writing() as at:
            at.log(SystemClock().now_s(), event, mcu_id, said)
    finally:
        store.close()


def _hex(text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise RefusedError(
            what=f"{text[:80]!r} is not {2 * size} hex digits",
            next_step="copy it from the order or the label",
        )
    return value
