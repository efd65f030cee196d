"""Errors an operator of the server can act on: what happened, what it means, what to do next.

Rules:
- A `BackendError` is for the person at the keyboard (the command line, a service that does not start). It
  never travels over HTTP: the API speaks through `backend.api.problems`.
- The rules saying no is not an error but a value, `backend.domain.refusal.Refusal`.

Example:
    >>> error = DatabaseMissingError(what="no database at /srv/tbox/tbox.sqlite")
    >>> print(error.diagnostics())
    no database at /srv/tbox/tbox.sqlite
      meaning: this home has not been set up, or another one is meant
      next:    run `tbox backend init`, or name the right folder with --home
"""


class BackendError(Exception):
    """Something the operator has to change before the server can do its work.

    Args:
        what: One line that names the thing and its place, without secrets.
        meaning: What follows from it; the class has a default.
        next_step: What to type or change; the class has a default.
    """

    exit_code = 1
    meaning = "the server cannot go on"
    next_step = "correct it and start again"

    def __init__(self, *, what: str, meaning: str | None = None, next_step: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.meaning = meaning if meaning is not None else type(self).meaning
        self.next_step = next_step if next_step is not None else type(self).next_step

    def diagnostics(self) -> str:
        """Return three lines: what happened, what it means, what to do next."""
        return f"{self.what}\n  meaning: {self.meaning}\n  next:    {self.next_step}"


class SettingsError(BackendError):
    """The settings are wrong; all problems are named together."""

    exit_code = 3
    meaning = "nothing was started, because a half-right configuration is worse than none"
    next_step = "correct each line above, in the environment (TBOX_...) or in settings.toml, and start again"


class DatabaseMissingError(BackendError):
    """There is no database, or it has no tables."""

    exit_code = 4
    meaning = "this home has not been set up, or another one is meant"
    next_step = "run `tbox backend init`, or name the right folder with --home"


class DatabaseOutdatedError(BackendError):
    """The database and this program do not have the same migrations."""

    exit_code = 4
    meaning = "the tables are of another version of this program"
    next_step = "run `tbox backend migrate`"


class SecretError(BackendError):
    """A key file is missing, unreadable, open to others, or a published example."""

    exit_code = 5
    meaning = "what this key signs could not be trusted"
    next_step = (
        "run `tbox backend init` for a missing key; chmod 600 for an open one; replace a published one"
    )


class NotFoundError(BackendError):
    """What the command names does not exist in this organisation."""

    exit_code = 6
    meaning = "nothing was changed"
    next_step = "list what there is, e.g. `tbox backend device list`"


class RefusedError(BackendError):
    """The rules say no to what the command asks."""

    exit_code = 7
    meaning = "nothing was changed"
    next_step = "see the reason above"
