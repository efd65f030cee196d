"""`tbox agent code` and `tbox agent hand-over`: the ways out that need somebody at the car and no network.

Rules (O-02, C-05): the running agent is asked through its local door, as the user it runs as. What is printed
is the microcontroller's word, what it means, and what to do. The exit code is 0 only when the car opened, or
signed an answer that is no refusal. Blanks and dashes in a code are for the eye. Files are only read.

It signs nothing and judges nothing.

Example:
    $ tbox agent code 705-177-246 --home /var/lib/tbox
    $ tbox agent hand-over car.order --home /var/lib/tbox
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from device.adapters.car_door import DOOR, ask_door
from device.agent.process import Exit, fail, print_json
from device.at_car import WORDS, AtCar
from device.errors import EdgeError
from protocol import base64url
from protocol.limits import AUTHORITY_BUNDLE_BYTES_MAX, ORDER_BYTES_MAX

_NOT_NOW = frozenset({AtCar.WAIT, AtCar.BUSY, AtCar.CROWDED, AtCar.MCU_AWAY, AtCar.NO_ANSWER})
_UNUSABLE = frozenset({AtCar.MALFORMED, AtCar.NO_ORDER, AtCar.NO_RELEASE, AtCar.NO_BUNDLE})

Home = Annotated[Path, typer.Option(help="Folder of this box, whose agent runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def code(
    digits: Annotated[str, typer.Argument(help="The nine digits of the notice; - reads standard input.")],
    *,
    home: Home,
    as_json: AsJson = False,
) -> None:
    """Give the car an emergency code, without any network, and print what the car says."""
    typed = sys.stdin.readline() if digits == "-" else digits
    try:
        answer = ask_door(home / DOOR, {"code": re.sub(r"[\s.-]", "", typed)})
        _tell(answer, as_json=as_json)
    except EdgeError as error:
        fail(error)


def hand_over(
    file: Annotated[Path, typer.Argument(help="Order, as `tbox lender unlock --out FILE` wrote it.")],
    *,
    home: Home,
    authority: Annotated[
        Path | None, typer.Option(help="Its documents; default: FILE.authority, if it is there.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the car's signed answer in this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hand a signed unlock, cancel or decommission to the car, without any network, and print its answer."""
    beside = file.with_name(f"{file.name}.authority")
    documents = authority or (beside if beside.exists() else None)
    try:
        question = {
            "order": base64url.to_text(_read(file, ORDER_BYTES_MAX)),
            "authority": None
            if documents is None
            else base64url.to_text(_read(documents, AUTHORITY_BUNDLE_BYTES_MAX)),
        }
        answer = ask_door(home / DOOR, question)
        if out is not None and "disposition" in answer:
            _keep(out, base64url.to_bytes(answer["disposition"]))
        _tell(answer, as_json=as_json)
    except EdgeError as error:
        fail(error)


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print the answer, and end the process with its exit code."""
    if answer["word"] not in AtCar.__members__:
        raise EdgeError(
            f"the box says {answer['word']!r}, which this program does not know",
            is_transient=False,
            next_step="bring this program and the running agent to the same version",
        )
    word = AtCar(answer["word"])
    sentence = WORDS[word]
    is_good = sentence.is_good and answer.get("state") != "REJECTED"
    if as_json:
        print_json({**answer, "done": is_good})
    else:
        lines = [f"{word.value}: {sentence.meaning}"]
        lines += [f"answer:  {answer['state']} {answer['code']}"] if "state" in answer else []
        lines += [f"reason:  {answer['code']}"] if "code" in answer and "state" not in answer else []
        lines += [f"wait:    {answer['wait_s']} s until the next try counts"] if "wait_s" in answer else []
        lines += [f"next:    {sentence.next_step}"]
        sys.stdout.write("\n".join(lines) + "\n")
    if not is_good:
        known = Exit.NOT_NOW if word in _NOT_NOW else Exit.UNUSABLE if word in _UNUSABLE else Exit.REFUSED
        raise SystemExit(int(known))


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as failure:
        raise EdgeError(
            f"{path}: {failure.strerror}", is_transient=False, next_step="name a file that can be read"
        ) from failure
    if len(data) > limit:
        raise EdgeError(
            f"{path} has more than {limit} bytes",
            is_transient=False,
            meaning="it is no such file",
            next_step="use the file that `tbox lender unlock --out` wrote",
        )
    return data


def _keep(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as failure:
        sys.stderr.write(f"warning: the answer is not in {path}: {failure.strerror}\n")
