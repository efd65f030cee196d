"""`tbox evidence`: export an interval of a box as a sealed file, verify one offline, make a trust file.

Verifying needs no server and no network: it stands on `protocol` alone. Exit codes of `verify`: 0 VERIFIED ·
10 VERIFIED_WITH_GAPS · 20 UNVERIFIABLE · 30 CONTRADICTED · 1 the files could not be read · 2 wrong usage.

Example:
    $ tbox evidence export --api https://tbox.example --key-file auditor.key --device 9f… \
        --from 2026-11-24T08:00:00Z --to 2026-11-24T09:00:00Z --out drive.tbe
    $ tbox evidence verify drive.tbe --trust trust.json
"""

import http.client
import json
import ssl
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import typer

from protocol.errors import ProtocolError
from protocol.evidence import verify as verify_evidence
from protocol.evidence_report import Trust, TrustError
from protocol.ids import parse_device_id
from protocol.limits import EVIDENCE_BYTES_MAX

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="Export a trace as evidence, and verify one offline.",
    epilog="Example: tbox evidence verify drive.tbe --trust trust.json",
)

TIMEOUT_S = 120.0  # an export of a month takes the server a minute
_OK = 200

Api = Annotated[str, typer.Option("--api", help="Address of the server, e.g. https://tbox.example.")]
KeyFile = Annotated[Path, typer.Option("--key-file", help="File that holds the API key.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca", help="PEM of the server's authority, if it is not a public one.")
]


class _CannotError(Exception):
    """Something the person at the keyboard has to change; the text says what."""


@app.command(
    epilog="Example: tbox evidence export --api https://tbox.example --key-file k --device 9f… "
    "--from 2026-11-24T08:00:00Z --to 2026-11-24T09:00:00Z --out drive.tbe"
)
def export(
    *,
    api: Api,
    key_file: KeyFile,
    device: Annotated[str, typer.Option(help="Device id, 64 hex digits.")],
    begin: Annotated[str, typer.Option("--from", help="Start, included; RFC 3339 with an offset or Z.")],
    end: Annotated[str, typer.Option("--to", help="End, excluded; RFC 3339 with an offset or Z.")],
    out: Annotated[Path, typer.Option(help="File to write, .tbe.")],
    purpose: Annotated[
        str, typer.Option(help="Why; logged by the server and sealed into the file.")
    ] = "dispute",
    ca: CaFile = None,
) -> None:
    """Fetch the sealed evidence of an interval, at most 31 days, and write it to a file."""
    try:
        name = parse_device_id(device)
        query = urlencode({"from": _checked_time(begin), "to": _checked_time(end)})
        path = f"/v1/devices/{name}/evidence?{query}"
        data = _get(
            api, path, key_file=key_file, ca=ca, headers={"Access-Purpose": _checked_purpose(purpose)}
        )
        out.write_bytes(data)
    except (_CannotError, ProtocolError, OSError) as error:
        _end(error)
    typer.echo(f"{out}: {len(data)} bytes, sealed. Check it: tbox evidence verify {out} --trust TRUST.json")


@app.command(epilog="Example: tbox evidence verify drive.tbe --trust trust.json --json")
def verify(
    file: Annotated[Path, typer.Argument(help="Evidence file, .tbe.")],
    *,
    trust: Annotated[Path, typer.Option(help="What you trust, as `tbox evidence trust` writes it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Verify a file offline, by the keys in your own trust file and none from the file itself.

    Of orders it says who authorised them, that they were logged first, when the starter was inhibited, and
    whether a lock was accepted at all.

    Exit codes: 0 VERIFIED, 10 VERIFIED_WITH_GAPS, 20 UNVERIFIABLE, 30 CONTRADICTED.
    """
    try:
        believed = Trust.from_json(trust.read_text("utf-8"))
        data = _read_file(file)
    except (_CannotError, TrustError, OSError, UnicodeDecodeError) as error:
        _end(error)
    report = verify_evidence(data, believed)
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        typer.echo("\n".join(report.sentences()))
    raise typer.Exit(report.verdict.exit_code)


@app.command(epilog="Example: tbox evidence trust --agent-home /var/lib/tbox-agent --out trust.json")
def trust(
    *,
    device: Annotated[
        list[str] | None, typer.Option(help="Device id of a box you expect evidence of; repeat for more.")
    ] = None,
    backend_key: Annotated[
        list[str] | None, typer.Option(help="COSE_Key of a backend's receipt key, hex; repeat for more.")
    ] = None,
    agent_home: Annotated[
        Path | None, typer.Option(help="Home of an enrolled agent: its id and the keys it pinned.")
    ] = None,
    mcu: Annotated[
        list[str] | None,
        typer.Option(help="Key id of the box's microcontroller, 64 hex digits; with one --device."),
    ] = None,
    roots: Annotated[
        Path | None,
        typer.Option(help='JSON of the roots of authority: {"platform": {"keys": […], "threshold": 3}, …}.'),
    ] = None,
    log_key: Annotated[
        list[str] | None, typer.Option(help="Key of a log, name+id+base64; repeat for more.")
    ] = None,
    witness_key: Annotated[
        list[str] | None, typer.Option(help="Key of a witness, name+id+base64; repeat for more.")
    ] = None,
    api: Annotated[str | None, typer.Option("--api", help="Ask this server for its receipt keys.")] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="File that holds the API key, for --api.")
    ] = None,
    ca: CaFile = None,
    out: Annotated[Path | None, typer.Option(help="File to write; without it, it is printed.")] = None,
) -> None:
    """Make a trust file from what you know: boxes, keys of a backend, and for orders roots, logs, witnesses.

    What --api answers is only as good as that server: compare the keys with what another way has told you.
    """
    try:
        devices, keys = list(device or []), list(backend_key or [])
        if agent_home is not None:
            pinned = json.loads((agent_home / "trust.json").read_text("utf-8"))
            devices.append(pinned["device"])
            keys += pinned["receipt_keys"]
        if api is not None:
            keys += _seal_keys(api, key_file=key_file, ca=ca)
        further = _trust_in_orders(
            devices, mcu=mcu or [], roots=roots, log_keys=log_key or [], witness_keys=witness_key or []
        )
        text = _trust_text(devices, keys, further)
        if out is not None:
            out.write_text(text, "utf-8")
    except (_CannotError, TrustError, OSError, ValueError, KeyError, TypeError) as error:
        _end(error)
    if api is not None:
        typer.echo(f"The keys were told by {api}: compare them with what another way has told you.", err=True)
    if out is None:
        typer.echo(text, nl=False)


def _read_file(file: Path) -> bytes:
    if file.stat().st_size > EVIDENCE_BYTES_MAX:
        raise _CannotError(f"{file} is larger than an evidence file may be")
    return file.read_bytes()


def _seal_keys(api: str, *, key_file: Path | None, ca: Path | None) -> list[str]:
    """Return what a server says its receipt keys are."""
    if key_file is None:
        raise _CannotError("--api needs --key-file")
    keys: list[str] = json.loads(_get(api, "/v1/seal-keys", key_file=key_file, ca=ca))["backend_keys"]
    return keys


def _trust_in_orders(
    devices: list[str], *, mcu: list[str], roots: Path | None, log_keys: list[str], witness_keys: list[str]
) -> dict[str, object]:
    """Return the members of a trust file that evidence of orders needs; what was not named is left out."""
    if mcu and len(set(devices)) != 1:
        raise _CannotError("--mcu belongs to one box: name one with --device or --agent-home")
    members: dict[str, object] = {
        "mcus": {devices[0]: sorted(set(mcu))} if mcu else None,
        "roots": None if roots is None else json.loads(roots.read_text("utf-8")),
        "log_keys": list(dict.fromkeys(log_keys)),
        "witness_keys": list(dict.fromkeys(witness_keys)),
    }
    return {name: member for name, member in members.items() if member}


def _trust_text(devices: list[str], keys: list[str], further: dict[str, object]) -> str:
    """Return a trust file, after reading it back as the verifier will."""
    if not devices or not keys:
        raise _CannotError("a trust file needs at least one box and one backend key")
    content = {"devices": sorted(set(devices)), "backend_keys": list(dict.fromkeys(keys))} | further
    text = json.dumps(content, indent=2) + "\n"
    Trust.from_json(text)
    return text


def _end(error: Exception) -> None:
    """Say what is wrong in one line and end with 1."""
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1) from error


def _checked_purpose(text: str) -> str:
    """Return a purpose that a header can carry; which ones there are, the server knows."""
    if not text.isascii() or not text.isprintable():
        raise _CannotError(f"{text!r} is not one of the purposes that the server knows, e.g. dispute")
    return text


def _checked_time(text: str) -> str:
    """Return an RFC 3339 time that has an offset, as it was given."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _CannotError(f"{text} is not a time like 2026-11-24T08:00:00Z") from error
    if moment.tzinfo is None:
        raise _CannotError(f"{text} has no offset: add Z for UTC")
    return text


def _get(
    api: str, path: str, *, key_file: Path, ca: Path | None, headers: dict[str, str] | None = None
) -> bytes:
    """Return the body of a successful answer.

    Raises:
        _CannotError: the address is none, the server does not answer, or says no.
        OSError: the key file or the authority cannot be read.
    """
    key = _key_in(key_file)
    try:
        place = urlsplit(api)
        port = place.port
    except ValueError as error:
        raise _CannotError(f"{api} is not an address like https://tbox.example") from error
    match place.scheme:
        case "https":
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.hostname or "", port, timeout=TIMEOUT_S, context=context
            )
        case "http":
            connection = http.client.HTTPConnection(place.hostname or "", port, timeout=TIMEOUT_S)
        case _:
            raise _CannotError(f"{api} is not an address like https://tbox.example")
    try:
        asked = {"Authorization": f"Bearer {key}"} | (headers or {})
        connection.request("GET", place.path.rstrip("/") + path, headers=asked)
        answer = connection.getresponse()
        body = answer.read(EVIDENCE_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _CannotError(f"{api} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != _OK:
        raise _CannotError(f"{api} says {answer.status}: {_problem(body)}")
    return body


def _key_in(file: Path) -> str:
    """Return the API key in a file, checked to be something that a header can carry."""
    key = file.read_bytes().strip()
    if not key or not key.isascii() or not key.decode("ascii", "replace").isprintable():
        raise _CannotError(f"{file} does not hold an API key, one line like tbox_…")
    return key.decode("ascii")


def _problem(body: bytes) -> str:
    """Return what a problem says, or that it says nothing."""
    try:
        problem = json.loads(body)
        reasons = [problem["detail"]] if problem.get("detail") else []
        reasons += [f"{field['where']}: {field['message']}" for field in problem.get("errors", [])]
        return f"{problem['title']}" + (f" ({'; '.join(reasons)})" if reasons else "")
    except (ValueError, KeyError, TypeError):
        return "no reason given"
