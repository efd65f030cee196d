"""A message that a device is tried with, and the answer it must give.

Rules: `changes` are fields of `orders_story.DEVICE_STATE`, JSON-ready, and two of the story: `missing` names
documents that the device lacks, `revocations` are taken in before the message comes.

Example:
    >>> link("empty", b"").code
    'BAD_ENCODING'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A message, what differs in the device, and the answer.

    Attributes:
        name: unique, with its topic before the slash.
        message: the whole message.
        outcome: ACCEPT, LINK, REJECT or REPEAT; of a go token GO or LINK.
        code: name of the answer's code.
        changes: fields of `orders_story.DEVICE_STATE` that differ.
    """

    name: str
    message: bytes
    outcome: str
    code: str
    changes: Mapping[str, object] = field(default_factory=dict)


def link(name: str, message: bytes, code: str = "BAD_ENCODING", **changes: object) -> Tried:
    """Return a message that gets an unsigned code."""
    return Tried(name=name, message=message, outcome="LINK", code=code, changes=changes)


def reject(name: str, code: str, message: bytes, **changes: object) -> Tried:
    """Return a message that gets a signed rejection."""
    return Tried(name=name, message=message, outcome="REJECT", code=code, changes=changes)
