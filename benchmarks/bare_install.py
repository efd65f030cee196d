"""A child interpreter that sees only what an installation with one extra has.

Rules: what the extra needs is followed through the installed packages' own metadata; every other package is
hidden from the child, as if it were not installed. So a process measured in a development environment loads
what it would load in the car: some libraries import a dozen others when they happen to be there.

It installs and removes nothing.

Example:
    command = [sys.executable, "-c", python_text("device", "from tbox.cli import main; main()"), "agent", …]
"""

from __future__ import annotations

import re
from importlib import metadata

OURS = "tbox"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")


def python_text(extra: str, text: str) -> str:
    """Return Python text that hides what the extra does not bring, and then does `text`."""
    return f"import sys; sys.modules.update(dict.fromkeys({hidden_modules(extra)!r})); {text}"


def hidden_modules(extra: str) -> list[str]:
    """Return the top-level modules of installed packages that `tbox[extra]` does not need."""
    needed = _needed(extra)
    modules = {
        module: {_normal(name) for name in names}
        for module, names in metadata.packages_distributions().items()
        if module.isidentifier()
    }
    return sorted(module for module, names in modules.items() if not names & needed)


def _needed(extra: str) -> set[str]:
    """Return the normalised names of all packages that `tbox[extra]` stands on, itself included."""
    found: set[str] = set()
    ahead: list[tuple[str, frozenset[str]]] = [(OURS, frozenset({extra}))]
    while ahead:
        name, extras = ahead.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system or version of Python
        for line in required:
            wanted = _EXTRA.search(line)
            match = _NAME.match(line)
            if match is not None and (wanted is None or wanted[1] in extras):
                ahead.append((_normal(match[0]), frozenset()))
    return found


def _normal(name: str) -> str:
    """Return a package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
