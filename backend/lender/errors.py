"""Errors an officer can act on: what happened, what it means, what to do next.

Exit codes: 0 done · 1 failed · 2 wrong usage · 3 settings or pins · 5 key or passphrase · 6 not found ·
7 this tool refuses · 8 the server is unreachable or said no.

Example:
    >>> print(KeyFileError(what="maker.key cannot be opened").diagnostics())
    maker.key cannot be opened
      meaning: nothing was signed
      next:    check the passphrase and which key file is meant
"""


class LenderError(Exception):
    """Something the officer has to know or change.

    Args:
        what: one sentence without secrets.
        meaning: what follows from it; the class has a default.
        next_step: what to do; the class has a default.
    """

    exit_code = 1
    meaning = "nothing was signed and nothing was sent"
    next_step = "correct it and run the command again"

    def __init__(self, what: str, *, meaning: str | None = None, next_step: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.meaning = meaning if meaning is not None else type(self).meaning
        self.next_step = next_step if next_step is not None else type(self).next_step

    def diagnostics(self) -> str:
        """Return three lines: what happened, what it means, what to do next."""
        return f"{self.what}\n  meaning: {self.meaning}\n  next:    {self.next_step}"


class WrongUsageError(LenderError):
    """Options that do not go together, or a value of another form."""

    exit_code = 2
    next_step = "see the example at the end of --help"


class SettingsError(LenderError):
    """The settings or a pin are missing or wrong; all problems are named together."""

    exit_code = 3
    next_step = "correct each line above in lender.toml, or name another file with --config"


class KeyFileError(LenderError):
    """A key cannot be opened: its file, its token or its passphrase."""

    exit_code = 5
    meaning = "nothing was signed"
    next_step = "check the passphrase and which key file is meant"


class NotThereError(LenderError):
    """What the command names does not exist."""

    exit_code = 6
    next_step = "list what there is with `tbox lender list`"


class RefusesError(LenderError):
    """This tool does not sign or show this: something is not what the pins say."""

    exit_code = 7
    next_step = "do not sign by another way; tell the other officer and the platform's safety officer"


class ServerError(LenderError):
    """The server is unreachable, does not keep to the form, or said no.

    Attributes:
        status: HTTP status; None when there was no answer.
    """

    exit_code = 8
    meaning = "what was asked did not happen, or it is not known whether it did; asking again is safe"
    next_step = "see the reason above, then run the command again"

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        meaning: str | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(what, meaning=meaning, next_step=next_step)
        self.status = status
