"""The world failed: what an adapter raises when the disk, the bus, the network or a file does.

Rules:
- Only adapters and the composition root raise these, always `raise … from` the library's own error.
- `is_transient` says whether trying again later may help; nothing else decides about retries.
- `diagnostics()` answers what, meaning and next step, for the person who reads it at the roadside.

It does not cover a peer that is wrong (`protocol.errors.ProtocolError`) nor a rule that says no (a value).

Example:
    >>> error = EdgeError("disk full", is_transient=True, meaning="nothing lost yet", next_step="free space")
    >>> print(error.diagnostics())
    disk full
    Meaning: nothing lost yet
    Next step: free space
"""

from __future__ import annotations


class EdgeError(Exception):
    """Something outside this process failed.

    Args:
        what: What happened, one line.
        is_transient: Trying again later may help.
        meaning: What it means for the box and its data.
        next_step: What a person can do.
    """

    def __init__(self, what: str, *, is_transient: bool, meaning: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.is_transient = is_transient
        self.meaning = meaning
        self.next_step = next_step

    def diagnostics(self) -> str:
        """Return what happened, what it means and what to do, one line each."""
        lines = [self.what]
        lines += [f"Meaning: {self.meaning}"] if self.meaning else []
        lines += [f"Next step: {self.next_step}"] if self.next_step else []
        return "\n".join(lines)


class SpoolError(EdgeError):
    """The spool's file or disk failed."""


class SpoolTooNewError(SpoolError):
    """The spool was written by a newer version of this program; it is left untouched."""


class ConfigError(EdgeError):
    """The configuration does not hold; `problems` lists everything that is wrong with it.

    Args:
        problems: One sentence each.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(
            f"configuration: {'; '.join(problems)}",
            is_transient=False,
            meaning="the agent does not start on a configuration it cannot keep to",
            next_step="correct every point named above",
        )
        self.problems = problems
