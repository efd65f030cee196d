"""`tbox sim`: the simulated car, its log files and the simulated broker, each on its own.

Rules: everything stays on this machine: serial lines are ptys, the broker listens on loopback. Ctrl-C ends
a command and everything it opened. Exit codes: 0 done, 2 wrong usage.

Example:
    $ tbox sim log --seed 7 --seconds 120 --out drive.log --nmea drive.nmea
    $ tbox sim car --seed 7 --links build/car
"""

import contextlib
import datetime as dt
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from firmware_tools.image import Floors, build
from protocol.vectors.keys import published_scalar
from simulators import drive_cycles
from simulators.broker import Broker
from simulators.broker_access import BRIDGE
from simulators.car import Car, CarOnPorts
from simulators.drive_cycles import CycleName
from simulators.drive_log import write_drive
from simulators.install_bench_cli import bench
from simulators.lock_funnel_cli import funnel
from simulators.mcu_bench import McuBench
from simulators.mcu_board import McuBoard
from simulators.mcu_usb_cli import usb
from simulators.order_lives.life import live
from simulators.order_lives.oracle import LifeError
from simulators.pki import CertificateAuthority
from simulators.virtual_clock import SECOND_US

app = typer.Typer(help="Simulated car, receiver and broker, each on its own.", no_args_is_help=True)

DEFAULT_START = dt.datetime(2026, 1, 5, 8, 0, tzinfo=dt.UTC)  # a Monday morning; any fixed day would do
STATUS_SECONDS = 1.0
ENDINGS = {signal.SIGTERM, signal.SIGINT}

Seed = Annotated[int, typer.Option(help="The same seed gives the same drive.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

app.command(epilog="Example: tbox sim bench --fault swapped-wires")(bench)
app.command(epilog="Example: tbox sim usb --folder build/tray --boards 2")(usb)
app.command(epilog="Example: tbox sim funnel --cars 1000 --days 60 --races 500 --json")(funnel)


@app.command(epilog="Example: tbox sim log --seed 7 --seconds 120 --out drive.log --nmea drive.nmea")
def log(
    out: Annotated[Path, typer.Option(help="candump file to write.")],
    *,
    nmea: Annotated[Path | None, typer.Option(help="NMEA file to write.")] = None,
    seed: Seed = 1,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="Length of the log.")] = 120,
    cycle: Annotated[CycleName, typer.Option(help="What the driver does.")] = CycleName.CITY,
    start: Annotated[
        str, typer.Option(help="UTC of the first instant, ISO 8601.")
    ] = DEFAULT_START.isoformat(),
    as_json: Json = False,
) -> None:
    """Write a simulated drive as candump and NMEA files."""
    legs = drive_cycles.named(cycle, seed=seed, seconds=max(seconds, drive_cycles.SECONDS_MIN))
    written = write_drive(
        Car(seed=seed, legs=legs, utc_start_us=_utc_us(start)), seconds=seconds, out=out, nmea=nmea
    )
    if as_json:
        typer.echo(json.dumps({"frames": written.frames, "nmea_lines": written.nmea_lines, "out": str(out)}))
    else:
        typer.echo(
            f"{written.frames} frames in {out}, {written.nmea_lines} NMEA lines in {nmea or 'no file'}"
        )


@app.command(epilog="Example: tbox sim car --seed 7 --links build/car")
def car(
    *,
    seed: Seed = 1,
    links: Annotated[Path | None, typer.Option(help="Folder for stable names of the two lines.")] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=50, help="Car seconds in a real one.")] = 1.0,
    seconds: Annotated[int, typer.Option(min=0, help="End after this long; 0 drives until Ctrl-C.")] = 0,
    as_json: Json = False,
) -> None:
    """Drive a simulated car on two serial lines, until Ctrl-C."""
    world = Car(seed=seed, legs=drive_cycles.day(seed), utc_start_us=0)
    ports = CarOnPorts(
        world,
        can_link=links and links / "can0",
        nmea_link=links and links / "gnss0",
        speed=speed,
    )
    with _waiting_for_the_end() as pause, ports as driving:
        if as_json:
            typer.echo(
                json.dumps({"can": str(driving.can.path), "nmea": str(driving.nmea.path), "seed": seed})
            )
        else:
            typer.echo(
                f"CAN  (slcan)  {driving.can.path}\nGNSS (NMEA)   {driving.nmea.path}\nCtrl-C ends the drive."
            )
        ends = time.monotonic() + seconds if seconds else None
        while driving.is_driving and (ends is None or time.monotonic() < ends) and pause():
            if not as_json:
                typer.echo(_status(driving), nl=False)
    if not as_json:
        typer.echo()


@app.command(epilog="Example: tbox sim broker --folder build/broker --device <device id>")
def broker(
    *,
    folder: Annotated[Path, typer.Option(help="Where a throw-away authority and certificates are written.")],
    device: Annotated[list[str] | None, typer.Option(help="Device id to issue a certificate to.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Run the simulated broker with an authority of its own, until Ctrl-C."""
    authority = CertificateAuthority.create(folder)
    server = authority.issue_server("broker")
    authority.issue_client(BRIDGE)
    for name in device or []:
        authority.issue_client(name)
    crl = folder / "crl.pem"
    listening = Broker(ca=authority.ca_file, cert=server.cert, key=server.key, port=port, crl=crl)
    with _waiting_for_the_end() as pause, listening as running:
        if as_json:
            typer.echo(json.dumps({"port": running.port, "ca": str(authority.ca_file), "crl": str(crl)}))
        else:
            typer.echo(f"broker on 127.0.0.1:{running.port}, certificates in {folder}\nCtrl-C ends it.")
        while pause():
            pass


@app.command(epilog="Example: tbox sim life --seed 1092")
def life(
    *,
    seed: Annotated[int, typer.Option(help="The same seed gives the same life.")],
    as_json: Json = False,
) -> None:
    """Live one seeded life of a car under orders, in virtual time; exit 1 when it found a defect."""
    try:
        found = live(seed)
    except LifeError as wrong:
        typer.echo(str(wrong), err=True)
        raise typer.Exit(1) from wrong
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"seed {seed}: {found.kind}, {found.simulated_s / 3600:.1f} simulated hours, nothing wrong")
    for title, counts in (("orders", found.orders), ("faults", found.faults), ("seen", found.seen)):
        typer.echo(
            f"  {title:<7} " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
        )


@app.command(epilog="Example: tbox sim mcu --flash build/mcu --link build/mcu0 --speed 20")
def mcu(
    *,
    flash: Annotated[Path, typer.Option(help="Folder of the board's flash; made when missing.")],
    image: Annotated[Path | None, typer.Option(help="Image to run; without one the demo's is built.")] = None,
    link: Annotated[Path | None, typer.Option(help="Stable name of the serial line.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Control port; 0 takes a free one.")] = 0,
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="Board seconds in a real one.")] = 1.0,
    test_key: Annotated[bool, typer.Option(help="Hold the published D1 that `tbox conform` wants.")] = True,
    as_json: Json = False,
) -> None:
    """Run the firmware on simulated hardware, its line on a pty, its car by a control port, until Ctrl-C."""
    folder = image or build(flash / "image", Floors.DEMO).folder
    board = McuBoard(folder, flash / "files", key=published_scalar("mcu-1") if test_key else None)
    with _waiting_for_the_end() as pause, McuBench(board, speed=speed, link=link, port=port) as running:
        host, taken = running.control
        if as_json:
            typer.echo(json.dumps({"line": str(running.line), "bench": f"{host}:{taken}"}))
        else:
            typer.echo(f"line {running.line}\nbench {host}:{taken}\nCtrl-C ends it.")
        while pause():
            running.check()


def _utc_us(text: str) -> int:
    """Return an ISO 8601 time as microseconds since the epoch; without an offset it is taken as UTC.

    Raises:
        typer.BadParameter: it is not a time.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as wrong:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 time", param_hint="--start") from wrong
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * SECOND_US)


@contextlib.contextmanager
def _waiting_for_the_end() -> Iterator[Callable[[], bool]]:
    """Keep requests to end (Ctrl-C, SIGTERM) for a pause, so that none comes at a wrong moment.

    Whatever thread a request reaches (libraries bring threads of their own), it ends up in a pipe.

    Yields:
        Waits a moment; false when someone asked to end.
    """
    requests, request = os.pipe()
    before = {ending: signal.signal(ending, lambda *_: os.write(request, b"!")) for ending in ENDINGS}
    try:
        yield lambda: not select.select([requests], [], [], STATUS_SECONDS)[0]
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
        os.close(requests)
        os.close(request)


def _status(driving: CarOnPorts) -> str:
    state, counters = driving.car.vehicle.state, driving.adapter.counters
    return (
        f"\r{state.ignition.name:<5} {state.speed_mps * 3.6:5.1f} km/h {state.rpm:5.0f} rpm "
        f"{state.odometer_m / 1000:9.2f} km {state.supply_v:5.2f} V   {counters.sent} frames sent "
    )
