"""An officers' desk for tests: keys, roots and delegations made by the tool's own commands, in a folder."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from backend.lender.cli import app
from backend.lender.key_file import new_key_file
from backend.lender.keys import public_key_file, read_public_key

PASSPHRASE = "four words nobody said"
LENDER = "lender:00112233aabbccdd"
CHEAP_LOG2_N = 14


class Desk:
    """A folder in which officers' commands run, with one passphrase file for all.

    Attributes:
        folder: where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passphrase_file = self.secret("pass.txt", PASSPHRASE)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def secret(self, name: str, text: str) -> Path:
        """Write a file of mode 0600."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def run(self, *words: object, exit_code: int = 0, stdin: str = "") -> Result:
        """Run `tbox lender …` in the folder and expect an exit code."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        finally:
            os.chdir(before)
        assert result.exit_code == exit_code, (result.output, result.exception)
        return result

    def json(self, *words: object) -> dict[str, Any]:
        """Run with `--json` and return the object."""
        value: dict[str, Any] = json.loads(self.run(*words, "--json").stdout)
        return value

    def key(self, name: str) -> Path:
        """Make a cheap key file and its public key beside it."""
        path = self.folder / f"{name}.key"
        new_key_file(path, PASSPHRASE, log2_n=CHEAP_LOG2_N)
        (self.folder / f"{name}.pub").write_bytes(public_key_file(read_public_key(path)))
        return path

    def root(self, issuer: str, officers: Sequence[str], *, threshold: int, out: str) -> Path:
        """Make root officers' keys and the root file."""
        for name in officers:
            self.key(name)
        named = [word for name in officers for word in ("--officer", f"{name}.pub")]
        self.run("root", "new", "--issuer", issuer, *named, "--threshold", threshold, "--out", out)
        return self.folder / out

    def sign(self, group: str, draft: str, officer: str, *more: object) -> str:
        """Sign a draft as an officer and return the part's name."""
        out = f"{draft}.{officer}.part"
        words = ("--key", f"{officer}.key", "--passphrase-file", self.passphrase_file, "--out", out, "--yes")
        self.run(group, "sign", draft, *words, *more)
        return out

    def delegate(
        self, name: str, role: str, *, issuer: str, root: str, officers: Sequence[str], **more: Any
    ) -> Path:
        """Make a key `name` and its delegation, by a whole ceremony."""
        if not (self.folder / f"{name}.pub").exists():
            self.key(name)
        options = [word for key, value in more.items() for word in (f"--{key.replace('_', '-')}", value)]
        words = ("--issuer", issuer, "--role", role, "--person", f"P-{name}", "--public", f"{name}.pub")
        self.run("delegation", "draft", *words, "--out", f"{name}.draft", *options)
        parts = [self.sign("delegation", f"{name}.draft", officer) for officer in officers]
        out = f"{name}.delegation"
        self.run("delegation", "assemble", f"{name}.draft", *parts, "--root", root, "--out", out)
        return self.folder / out
