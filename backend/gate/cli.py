"""`tbox backend gate`: set a gate up, run it, look at it, lift a freeze; sign and check packs.

Rules: the gate's operator is whoever can read its home. `lift` needs a safety officer's signed request first,
so that the end of a freeze is two people's act. Nothing here signs an order: that is the running gate's.

Example:
    $ tbox backend gate init --home /srv/gate
    $ tbox backend gate pack sign --key pack.key --out /srv/gate/packs/us-nj.cose us-nj.toml
    $ tbox backend gate run --home /srv/gate --port 0
"""

import json
import logging
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from typer.core import TyperGroup

from backend.errors import BackendError, RefusedError, SettingsError
from backend.gate.app import create_gate_app, read_status
from backend.gate.asking import BadRequestError
from backend.gate.clock_watch import SystemClock
from backend.gate.escrow_cli import app as escrow_app
from backend.gate.escrow_cli import codes_of
from backend.gate.events import Event
from backend.gate.gate import Gate
from backend.gate.home import (
    GateHome,
    load_key,
    make_home,
    read_home,
    read_packs,
    read_public,
)
from backend.gate.pack import PackError, encode_toml, load_toml, sign_pack
from backend.gate.ports import NoForecast
from backend.gate.records import DocumentRefusedError
from backend.gate.remote import HttpForecasts, HttpLoanSystems, is_loopback
from backend.gate.store import GateStore, first_broken
from protocol import strict_cbor
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.limits import PACK_BYTES_MAX

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_BACKLOG = 64

Home = Annotated[Path, typer.Option("--home", envvar="TBOX_GATE_HOME", help="Folder of this gate.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


class _Reporting(TyperGroup):
    """Ends with an operator's error as three lines and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # the framework's own signature, of a library it hides
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BackendError as error:
            typer.echo(f"error: {error.diagnostics()}", err=True)
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    cls=_Reporting,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="The policy gate: a process of its own, with its own key, that signs third or does not.",
)
pack_app = typer.Typer(no_args_is_help=True, help="Jurisdiction packs: check, sign.")
app.add_typer(pack_app, name="pack")
app.add_typer(escrow_app, name="escrow")
app.command(
    "codes", epilog="Example: tbox backend gate codes --mcu 7f3a… --episode 00112233445566778899aabbccddeeff"
)(codes_of)


@app.command(epilog="Example: tbox backend gate init --home /srv/gate")
def init(*, home: Home = Path("gate-home"), as_json: AsJson = False) -> None:
    """Make key and token, and show the key that the platform's root delegates to."""
    signer = make_home(home)
    report = {
        "home": str(home.absolute()),
        "kid": signer.kid.hex(),
        "cose_key": cose_key_bytes(signer.public_key).hex(),
        "token_file": str((home / "token").absolute()),
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, value in report.items():
        typer.echo(f"{name:<11}{value}")
    typer.echo("Next: have the platform's root sign a delegation (role 4) for this key into gate.delegation,")
    typer.echo("write gate.toml and packs/*.cose (docs/guides/gate.md), then tbox backend gate run")


@app.command(epilog="Example: tbox backend gate run --home /srv/gate --port 0 --json")
def run(
    *,
    home: Home = Path("gate-home"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one and prints it.")] = 8_090,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key, mode 0600.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="PEM of whoever signs the backend's certificate.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer until Ctrl-C. Beyond this machine only with certificates on both sides."""
    if not is_loopback(host) and None in (tls_cert, tls_key, client_ca):
        raise SettingsError(
            what=f"{host} can be reached from outside",
            meaning="a bearer token alone does not guard a key that locks cars",
            next_step="give --tls-cert, --tls-key and --client-ca",
        )
    found = read_home(home)
    store = GateStore.open(found.store)
    try:
        gate = open_gate(found, store)
        with _listen(host, port) as listener:
            url = f"{'http' if tls_cert is None else 'https'}://{host}:{listener.getsockname()[1]}"
            typer.echo(json.dumps({"url": url, "kid": found.signer.kid.hex()}) if as_json else f"gate  {url}")
            logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
            config = uvicorn.Config(
                create_gate_app(gate, token=found.token),
                log_config=None,
                access_log=False,
                server_header=False,
                ssl_certfile=tls_cert,
                ssl_keyfile=tls_key,
                ssl_ca_certs=None if client_ca is None else str(client_ca),
                ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
            )
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()


@app.command(epilog="Example: tbox backend gate status --home /srv/gate --json")
def status(*, home: Home = Path("gate-home"), as_json: AsJson = False) -> None:
    """Show freezes, held orders, packs, and whether the journal is whole."""
    found = read_home(home)
    store = GateStore.open(found.store)
    try:
        report = read_status(open_gate(found, store)).model_dump()
        with store.writing() as at:
            report["journal_broken_at"] = first_broken(at.journal(limit=-1))
    finally:
        store.close()
    typer.echo(
        json.dumps(report) if as_json else "\n".join(f"{name:<18}{value}" for name, value in report.items())
    )
    if report["journal_broken_at"] is not None:
        raise RefusedError(
            what=f"line {report['journal_broken_at']} of the journal does not follow from those before"
        )


@app.command(epilog="Example: tbox backend gate journal --home /srv/gate --after 120")
def journal(
    *,
    home: Home = Path("gate-home"),
    after: Annotated[int, typer.Option(min=0, help="Number of the last line already seen.")] = 0,
) -> None:
    """Print the journal, a JSON object a line: what was asked, what was answered, and why."""
    store = GateStore.open(read_home(home).store)
    try:
        with store.writing() as at:
            lines = at.journal(after, limit=-1)
    finally:
        store.close()
    for line in lines:
        body = {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in _body(line.body).items()
        }
        shown = {"seq": line.seq, "at": _text(line.at_s), "event": line.event, "subject": line.subject.hex()}
        typer.echo(json.dumps(shown | body, default=lambda value: value.hex()))


@app.command(epilog="Example: tbox backend gate lift 00112233445566778899aabbccddeeff --operator 'person 7'")
def lift(
    freeze: Annotated[str, typer.Argument(help="Record id of the freeze, as `status` shows it.")],
    *,
    operator: Annotated[str, typer.Option(help="Who lifts it, as the journal will say.")],
    home: Home = Path("gate-home"),
) -> None:
    """End a freeze whose end a safety officer has asked for by a signed record.

    The operator is another person than any safety officer, ombuds or lender's officer; where `gate.toml` has
    `operators`, one of them.
    """
    try:
        freeze_id = bytes.fromhex(freeze)
    except ValueError as error:
        raise RefusedError(what=f"{freeze} is not a record id") from error
    found = read_home(home)
    store = GateStore.open(found.store)
    try:
        open_gate(found, store).lift(freeze_id, operator=operator)
    except DocumentRefusedError as error:
        raise RefusedError(what=str(error)) from error
    finally:
        store.close()
    typer.echo("lifted")


@app.command("accept-clock", epilog="Example: tbox backend gate accept-clock --home /srv/gate")
def accept_clock(*, home: Home = Path("gate-home")) -> None:
    """Say that this machine's clock is right, after it was behind; then start the gate again."""
    store = GateStore.open(read_home(home).store)
    try:
        now_s = SystemClock().now_s()
        with store.writing() as at:
            before = at.mark("latest_s")
            at.set_mark("latest_s", now_s)
            at.log(now_s, Event.CLOCK_ACCEPTED, b"", {"before": before})
    finally:
        store.close()
    typer.echo(f"from {_text(before)} to {_text(now_s)}")


@pack_app.command("check", epilog="Example: tbox backend gate pack check us-nj.toml")
def pack_check(
    file: Annotated[Path, typer.Argument(help="Pack in TOML.")], *, as_json: AsJson = False
) -> None:
    """Read a pack, compare it with the floors, and show what it comes to."""
    try:
        pack = load_toml(read_public(file, PACK_BYTES_MAX).decode())
    except (PackError, UnicodeDecodeError) as error:
        raise RefusedError(what=f"{file}: {error}") from error
    shown = {
        "jur": pack.jur,
        "version": pack.version,
        "lock": pack.lock.value,
        "warn": pack.warn.value,
        "expires": _text(pack.expires_s),
        "demo": pack.is_demo,
        "sha256": pack.digest.hex(),
    }
    typer.echo(
        json.dumps(shown) if as_json else "\n".join(f"{name:<9}{value}" for name, value in shown.items())
    )


@pack_app.command(
    "sign", epilog="Example: tbox backend gate pack sign --key pack.key --out us-nj.cose us-nj.toml"
)
def pack_sign(
    file: Annotated[Path, typer.Argument(help="Pack in TOML.")],
    *,
    key: Annotated[Path, typer.Option(help="PEM private key, mode 0600, of a pack key of the gate.")],
    out: Annotated[Path, typer.Option(help="Signed file to write, for the gate's packs folder.")],
) -> None:
    """Sign a pack that passes `check`, and read it back as the gate will."""
    try:
        signer = SoftwareSigner(load_key(key))
        data = sign_pack(read_public(file, PACK_BYTES_MAX).decode(), signer)
        out.write_bytes(data)
        read_packs(out.parent, {signer.kid: signer.public_key}, is_demo=True)
    except (PackError, UnicodeDecodeError) as error:
        raise RefusedError(what=f"{file}: {error}") from error
    typer.echo(f"{out}  {len(encode_toml(read_public(file, PACK_BYTES_MAX).decode()))} bytes signed")


def open_gate(home: GateHome, store: GateStore) -> Gate:
    """Return the gate of a home.

    Raises:
        SettingsError: its delegation is not for its key.
    """
    try:
        return Gate(
            trust=home.trust,
            packs=home.packs,
            signer=home.signer,
            store=store,
            loans=HttpLoanSystems(home.urls),
            forecasts=NoForecast() if home.forecast is None else HttpForecasts(home.forecast),
            clock=SystemClock(),
        )
    except BadRequestError as error:
        raise SettingsError(what=f"gate.delegation: {error}") from error


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as failed:
        listener.close()
        raise SettingsError(what=f"cannot listen on {host}:{port}: {failed.strerror}") from failed
    return listener


def _body(data: bytes) -> dict[str, Any]:
    value = strict_cbor.loads(data)
    return dict(value)


def _text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
