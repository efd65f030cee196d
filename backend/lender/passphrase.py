"""Where a passphrase or PIN comes from: a terminal, or a file of mode 0600. Nowhere else.

Rules: never from an argument, an environment variable or standard input, which other programs can see or
keep. Without a terminal and without a file the answer is a refusal, not an echoing prompt.

Example:
    >>> Passphrase(file=Path("maker.pass")).read("passphrase of maker.key")
"""

import getpass
import warnings
from dataclasses import dataclass
from pathlib import Path

from backend.lender.errors import KeyFileError
from backend.lender.files import read_secret
from backend.lender.limits import PASSPHRASE_CHARS_MAX, PASSPHRASE_CHARS_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Passphrase:
    """How to get a passphrase.

    Attributes:
        file: holds it in its first line; None asks at the terminal.
    """

    file: Path | None = None

    def read(self, name: str) -> str:
        """Return the passphrase for something.

        Raises:
            KeyFileError: the file is open to others or empty, or there is no terminal.
        """
        text = _from_file(self.file) if self.file is not None else _ask(f"{name}: ")
        if not text or len(text) > PASSPHRASE_CHARS_MAX:
            raise KeyFileError("the passphrase is empty or far too long")
        return text

    def read_new(self, name: str) -> str:
        """Return a new passphrase, asked twice.

        Raises:
            KeyFileError: as `read`; too short; the two differ.
        """
        text = self.read(f"new {name}, at least {PASSPHRASE_CHARS_MIN} characters")
        if len(text) < PASSPHRASE_CHARS_MIN:
            raise KeyFileError(
                f"a passphrase has at least {PASSPHRASE_CHARS_MIN} characters",
                next_step="take four or more words that nobody has said together",
            )
        if self.file is None and _ask(f"{name} once more: ") != text:
            raise KeyFileError("the two passphrases differ", next_step="run the command again")
        return text


def _from_file(path: Path) -> str:
    try:
        lines = read_secret(path).decode().splitlines()
    except UnicodeDecodeError as broken:
        raise KeyFileError(f"{path} is not text") from broken
    return lines[0] if lines else ""


def _ask(prompt: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would echo: refuse instead
        try:
            return getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError, OSError) as failed:
            raise KeyFileError(
                "there is no terminal to ask for the passphrase",
                next_step="run this in a terminal, or name a file of mode 0600 with --passphrase-file",
            ) from failed
