"""`tbox lender` where nothing but its own requirements is installed: no server, no box, no test tools.

Another installation is imitated in a process of its own: every distribution that `pip install tbox`, or
`tbox[lender]`, would not bring is refused at import. What it would bring is read from the metadata of what is
installed here, so that a new dependency shows up as a failure and not as a guess.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

from tests.builders.lender_world import World, furnish, world_in

OURS = "tbox"
RUN = """
import importlib, json, pkgutil, sys

blocked, commands, spared = json.loads(sys.argv[1])


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)


sys.meta_path.insert(0, Missing())
import backend.lender
from tbox.cli import main

for module in pkgutil.iter_modules(backend.lender.__path__, "backend.lender."):
    if module.name not in spared:
        importlib.import_module(module.name)
for words in commands:
    try:
        main(words)
    except SystemExit as ended:
        print(f"ended {ended.code or 0}: {' '.join(words)}", flush=True)
"""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _brought(extra: str | None) -> set[str]:
    """Return the distributions that an installation with one extra, or none, brings; markers read as true."""
    found: set[str] = set()
    waiting = [(OURS, extra)]
    while waiting:
        name, wanted = waiting.pop()
        if _plain(name) in found:
            continue
        found.add(_plain(name))
        for requirement in distribution(name).requires or ():
            of_extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
            is_wanted = of_extra is None or of_extra[1] == wanted
            if is_wanted and (needed := re.match(r"[\w.-]+", requirement)) and _is_here(needed[0]):
                waiting.append((needed[0], None))
    return found


@cache
def _installed() -> dict[str, frozenset[str]]:
    """Return import names and the distributions that have them."""
    found = packages_distributions()
    return {package: frozenset(map(_plain, owners)) for package, owners in found.items()}


def _is_here(name: str) -> bool:
    return any(_plain(name) in owners for owners in _installed().values())


def _others(extra: str | None) -> list[str]:
    """Return the import names that such an installation would not have."""
    brought = _brought(extra)
    return sorted(package for package, owners in _installed().items() if not owners & brought)


def alone(folder: Path, *commands: tuple[str, ...], extra: str | None = None) -> str:
    """Run commands one after another where only those requirements are installed; return what they said."""
    spared = [] if extra == "lender" else ["backend.lender.token_key"]
    given = json.dumps([_others(extra), [["lender", *words] for words in commands], spared])
    ran = subprocess.run(
        [sys.executable, "-c", RUN, given],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    furnished = tmp_path_factory.mktemp("furnished")
    furnish(furnished)
    with world_in(furnished, tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.mark.parametrize(("extra", "has_token"), [(None, False), ("lender", True)])
def test_what_is_taken_away_is_the_server_and_what_is_left_is_the_core(
    *, extra: str | None, has_token: bool
) -> None:
    others = _others(extra)
    assert {"fastapi", "sqlmodel", "sqlalchemy", "uvicorn", "paho", "pytest"} <= set(others)
    assert not {"cbor2", "cryptography", "typer", "rich", "numpy", "backend", "protocol"} & set(others)
    assert ("pkcs11" not in others) is has_token


def test_an_officer_makes_a_key_and_signs_as_maker_and_as_checker(world: World) -> None:
    world.basis()
    secret = ("--passphrase-file", str(world.desk.passphrase_file))
    device = world.car.device
    said = alone(
        world.desk.folder,
        ("--help",),
        ("key", "new", "new.key", *secret),
        ("key", "show", "new.key", "--out", "new.pub"),
        ("request", "lock", device, "--basis", "case.basis", "--yes", *secret, "--config", "maker.toml"),
        ("unlock", device, "--offline", "--out", "car.order", "--yes", *secret, "--config", "maker.toml"),
    )
    assert re.findall(r"^ended (\d+)", said, re.MULTILINE) == ["0"] * 5, said
    assert {"new.key", "new.pub", "car.order"} <= {path.name for path in world.desk.folder.iterdir()}
    (name,) = world.server.orders
    approve = ("approve", name, "--reason-code", "FILE", "--yes", *secret, "--config", "checker.toml")
    said = alone(world.desk.folder, approve, extra="lender")
    assert "ended 0" in said, said
    assert len(world.server.orders[name]["parts"]) == 2


def test_a_token_without_its_extra_names_what_to_install(world: World) -> None:
    said = alone(world.desk.folder, ("key", "show", "pkcs11:token=t;object=o"))
    assert "tbox[lender]" in said
    assert "ended 0" not in said
