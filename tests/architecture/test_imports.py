"""The import rules of the layout, run as tests: a wrong import fails here before a reviewer has to see it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What `protocol` may stand on, so that a court's expert can run it with four well-known libraries.
PROTOCOL_MAY_IMPORT = {"cbor2", "cryptography", "numpy", "zstandard", "protocol"}

# What exists on MicroPython, where `strict_cbor` must run unchanged.
MICROPYTHON_HAS = {"struct", "io", "sys", "binascii", "hashlib"}

PURE = [
    *("device/acquisition", "device/delivery", "device/orders"),
    *("device/tbox.py", "device/state.py", "device/order_state.py", "backend/domain"),
]
IMPURE_MODULES = {
    "time",
    "os",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "pathlib",
    "sqlite3",
    "threading",
    "asyncio",
}


def _imported(path: Path) -> set[str]:
    """Return the top-level names that a file imports, at module level or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def _sources(*places: str) -> list[Path]:
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def test_every_import_contract_is_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("path", _sources("protocol"), ids=lambda path: str(path.relative_to(ROOT)))
def test_protocol_imports_only_the_standard_library_and_four_packages(path: Path) -> None:
    foreign = _imported(path) - set(sys.stdlib_module_names) - PROTOCOL_MAY_IMPORT
    assert not foreign


def test_strict_cbor_uses_only_what_micropython_has() -> None:
    assert _imported(ROOT / "protocol" / "strict_cbor.py") <= MICROPYTHON_HAS


@pytest.mark.parametrize("path", _sources(*PURE), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_code_has_no_way_to_do_input_or_output(path: Path) -> None:
    assert not _imported(path) & IMPURE_MODULES


def test_only_the_system_clock_and_the_board_ask_the_device_for_the_time() -> None:
    clocks = {"system_clock.py", "board_rp2.py"}
    asking = {
        str(path.relative_to(ROOT))
        for path in _sources("device")
        if "time" in _imported(path) and path.name not in clocks
    }
    assert asking == set()


def test_a_storeroom_named_utils_does_not_exist() -> None:
    rooms = [
        path
        for place in ("protocol", "device", "backend", "firmware_tools", "simulators", "tbox")
        for path in _sources(place)
    ]
    assert rooms
    assert not [path for path in rooms if path.stem in {"utils", "util", "helpers", "common", "misc"}]
