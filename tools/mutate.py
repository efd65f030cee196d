"""Change a module in one place at a time and see whether its tests notice.

Rules: a mutant is one change: a comparison swapped, a whole number one more or less, a truth value flipped,
a `not` removed, `and` and `or` swapped, plus and minus swapped, min and max swapped, or a statement
deleted. Each runs its area's tests in a process of its own, forked from one that has the test tools loaded;
no file of the product is written. A mutant is killed when a test fails, the module does not load, or it
runs longer than `--timeout`. Survivors are listed with the reason given for them in
`tools/mutants_accepted.toml`; one without a reason makes the command fail.

The areas stand in `AREAS`. It does not change messages, docstrings or the order of statements.

Example:
    $ python tools/mutate.py lease guard          # reports: docs/reports/mutation-<area>.md
"""

import argparse
import ast
import copy
import datetime as dt
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "docs" / "reports"
ACCEPTED = ROOT / "tools" / "mutants_accepted.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Modules that are changed and the tests that must notice."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = {
    "interlock": Area(
        modules=("interlock", "sources", "at_rest", "drive_cycle", "interlock_watch", "interlock_holds",
            "warning",
        ),
        tests=(
            "tests/unit/test_mcu_windows.py", "tests/unit/test_mcu_interlock_pre.py",
            "tests/unit/test_mcu_interlock_spec.py",
            "tests/unit/test_mcu_interlock_watch.py", "tests/unit/test_mcu_warning.py",
            "tests/unit/test_mcu_interlock_table.py", "tests/scenario/test_mcu_interlock_stories.py",
            "tests/property/test_mcu_trackers.py",
        ),
    ),
    "guard": Area(
        modules=("guard",),
        tests=("tests/unit/test_mcu_guard.py", "tests/scenario/test_mcu_interlock_stories.py"),
    ),
    "lease": Area(modules=("lease",), tests=("tests/property/test_mcu_lease.py",)),
    "override": Area(
        modules=("override", "protocol.orders_override"), tests=("tests/property/test_mcu_override.py",)
    ),
    "verify": Area(modules=("p256",), tests=("tests/unit/test_mcu_p256.py",)),
    "reader": Area(
        modules=("protocol.orders_reader", "protocol.orders_checks", "protocol.cose_sign"),
        tests=(
            "tests/unit/test_protocol_orders.py", "tests/unit/test_protocol_orders_checks.py",
            "tests/unit/test_protocol_orders_authority.py", "tests/unit/test_protocol_cose_sign.py",
            "tests/contract/test_protocol_orders_vectors.py",
        ),
    ),
}  # fmt: skip

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_NAMES = {"min": "max", "max": "min"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed module.

    Attributes:
        module: dotted name.
        place: function or class it is in, and the line.
        key: module, function and change in words, without the line: what a reason is kept under.
        source: of the changed module.
    """

    module: str
    place: str
    key: str
    source: str


_SIGNS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """Yield what a node may become; None deletes a statement."""
    match node:
        case ast.Compare():
            yield from _compared(node)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int(number)):
            yield from (ast.Constant(number + 1), ast.Constant(number - 1))
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BoolOp():
            yield ast.BoolOp(op=ast.And() if isinstance(node.op, ast.Or) else ast.Or(), values=node.values)
        case ast.BinOp() if type(node.op) in _SIGNS:
            yield ast.BinOp(left=node.left, op=_SIGNS[type(node.op)](), right=node.right)
        case ast.Name() if node.id in _NAMES:
            yield ast.Name(id=_NAMES[node.id], ctx=ast.Load())
        case ast.Assign() | ast.AugAssign() | ast.Return() | ast.Raise() | ast.Expr(value=ast.Call()):
            yield None
        case _:
            return


def _compared(node: ast.Compare) -> Iterator[ast.AST]:
    for index, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            changed = copy.deepcopy(node)
            changed.ops[index] = other()
            yield changed


class _Swap(ast.NodeTransformer):
    """Replaces the node with a number, counted as `ast.walk` does."""

    def __init__(self, target: ast.AST, new: ast.AST | None) -> None:
        self._target, self._new = target, new

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if node is self._target:
            return ast.Pass() if self._new is None else self._new
        return super().generic_visit(node)


def mutants(module: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its text."""
    path = ROOT / (module.replace(".", "/") + ".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        for new in _changes(node):
            changed = copy.deepcopy(tree)
            twin = next(b for a, b in zip(ast.walk(tree), ast.walk(changed), strict=True) if a is node)
            source = ast.unparse(ast.fix_missing_locations(_Swap(twin, new).visit(changed)))
            where = _owner_name(node, owners)
            before, after = _statement(node, owners), "deleted" if new is None else ast.unparse(new)
            found.append(
                Mutant(
                    module=module,
                    place=f"{where}:{getattr(node, 'lineno', 0)}",
                    key=f"{module}.{where}: {ast.unparse(node)} → {after} in {before}",
                    source=source,
                )
            )
    return found


def _owner_name(node: ast.AST, owners: dict[ast.AST, ast.AST]) -> str:
    names: list[str] = []
    at: ast.AST | None = node
    while at is not None:
        if isinstance(at, ast.FunctionDef | ast.ClassDef):
            names.insert(0, at.name)
        at = owners.get(at)
    return ".".join(names) or "module"


def _statement(node: ast.AST, owners: dict[ast.AST, ast.AST]) -> str:
    """Return the first line of the statement a node is in."""
    while not isinstance(node, ast.stmt):
        node = owners[node]
    return ast.unparse(node).splitlines()[0][:120]


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from changed source, whoever imports it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        origin = str(ROOT / (fullname.replace(".", "/") + ".py"))
        spec = importlib.util.spec_from_loader(fullname, self, origin=origin)
        assert spec is not None
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self._mutant.source, f"<mutant of {self._mutant.module}>", "exec")
        exec(code, module.__dict__)  # noqa: S102 - running changed code is what this tool is for


def _child(mutant: Mutant | None, tests: Sequence[str]) -> None:
    import pytest  # noqa: PLC0415 - the parent loaded it before it forked

    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if mutant is not None:
        sys.meta_path.insert(0, _Finder(mutant))
    sys.dont_write_bytecode = True
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    os._exit(int(pytest.main([*options, *tests])))


def run_all(found: Sequence[Mutant], tests: Sequence[str], *, timeout_s: float, jobs: int) -> list[Mutant]:
    """Run every mutant, `jobs` at a time; return those that no test noticed, in their order."""
    fork = multiprocessing.get_context("fork")
    waiting, running = list(enumerate(found)), list[tuple[int, multiprocessing.process.BaseProcess, float]]()
    survived: list[int] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            index, mutant = waiting.pop(0)
            process = fork.Process(target=_child, args=(mutant, tests))
            process.start()
            running.append((index, process, time.monotonic() + timeout_s))
        for entry in list(running):
            index, process, deadline = entry
            process.join(0.02)
            if process.is_alive() and time.monotonic() < deadline:
                continue
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            running.remove(entry)
            if process.exitcode == 0:
                survived.append(index)
            done = len(found) - len(waiting) - len(running)
            print(f"\r{done}/{len(found)} run, {len(survived)} survived", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [found[index] for index in sorted(survived)]


def report(name: str, area: Area, count: int, survivors: Sequence[Mutant], reasons: dict[str, str]) -> str:
    """Return the report of an area as text."""
    today = dt.datetime.now(tz=dt.UTC).date()
    counts = f"{count} mutants, {count - len(survivors)} killed, {len(survivors)} survived."
    tests = ", ".join(f"`{test}`" for test in area.tests)
    lines = [
        *(f"# Mutants of {name}", ""),
        *(f"Date: {today}. Modules: {', '.join(_dotted(module) for module in area.modules)}.", ""),
        *(f"{counts} Made by `python tools/mutate.py {name}`; tests: {tests}.", ""),
    ]
    if survivors:
        lines += ["| place | change | why it may stay |", "|---|---|---|"]
    for mutant in survivors:
        change = mutant.key.partition(": ")[2].replace("|", "\\|")
        reason = reasons.get(mutant.key, "**none given**")
        lines.append(f"| {mutant.module}.{mutant.place} | `{change}` | {reason} |")
    return "\n".join(lines).rstrip() + "\n"


def _dotted(module: str) -> str:
    return module if "." in module else f"device.mcu.{module}"


def main() -> int:
    """Run the areas named; return 0 when every survivor has its reason."""
    parser = argparse.ArgumentParser(description="Mutate safety logic and see whether its tests notice.")
    parser.add_argument("areas", nargs="*", help="of " + ", ".join(AREAS) + "; default: all")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a mutant may run")
    parser.add_argument("--dry-run", action="store_true", help="count the mutants only")
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for loaded in ("pytest", "hypothesis", "schemathesis", "cryptography.hazmat.primitives.asymmetric.ec"):
        importlib.import_module(loaded)
    reasons = tomllib.loads(ACCEPTED.read_text(encoding="utf-8")) if ACCEPTED.is_file() else {}
    unexplained = 0
    for name in options.areas or AREAS:
        area = AREAS[name]
        found = [mutant for module in area.modules for mutant in mutants(_dotted(module))]
        print(f"{name}: {len(found)} mutants", file=sys.stderr)
        if options.dry_run:
            continue
        fork = multiprocessing.get_context("fork")
        unchanged = fork.Process(target=_child, args=(None, area.tests))
        unchanged.start()
        unchanged.join()
        if unchanged.exitcode != 0:
            print(f"{name}: the tests fail without a mutant; make them pass first", file=sys.stderr)
            return 2
        survivors = run_all(found, area.tests, timeout_s=options.timeout, jobs=options.jobs)
        given = reasons.get(name, {})
        REPORTS.mkdir(parents=True, exist_ok=True)
        text = report(name, area, len(found), survivors, given)
        (REPORTS / f"mutation-{name}.md").write_text(text, encoding="utf-8")
        for mutant in survivors:
            if mutant.key not in given:
                unexplained += 1
                print(f"survived: {mutant.key} (line {mutant.place.rpartition(':')[2]})", file=sys.stderr)
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
