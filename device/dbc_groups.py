"""J1939 messages of a DBC that share a parameter group, and what tells their frames apart.

Rules:
- A frame that a message names whole is that one's. Of the others the addresses decide (`acquisition.lookup`),
  and one whose addresses no message of the group has is read as the first, any address before others.
- Messages of the same group and addresses differ in priority alone, which does not count: frames that none
  names whole are read as the first of them.

Example:
    >>> from device.acquisition.table import Message
    >>> both = [Message(can_id=0x98EF1017, name="A", length=8, group=None, selectors=()),
    ...         Message(can_id=0x98EF2017, name="B", length=8, group=None, selectors=())]
    >>> [sharing.done for sharing in shared_groups(both)]
    ['told apart by the destination address; others go by the one address that fits, else they are read as A']
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lookup import ANY_DESTINATION, ANY_SOURCE, addresses, parameter_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from device.acquisition.table import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """A message that shares its group with an earlier one.

    Attributes:
        can_id: Its identifier, bit 31 set.
        what: Which group, and whose it is as well.
        done: What tells them apart.
    """

    can_id: int
    what: str
    done: str


def shared_groups(messages: Sequence[Message]) -> Iterator[Sharing]:
    """Yield each J1939 message whose group an earlier one has, in the order of the table."""
    can_id = np.array([message.can_id for message in messages], np.uint32)
    groups = parameter_group(can_id).tolist()
    places = list(zip(*(column.tolist() for column in addresses(can_id)), strict=True))
    numbers: dict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        numbers[group].append(number)
    for group, sharing in numbers.items():
        first_at: dict[tuple[int, ...], int] = {}
        fallback = messages[min(sharing, key=lambda number: _rank(*places[number]))].name
        has_destination = any(places[number][1] != ANY_DESTINATION for number in sharing)
        for number in sharing:
            place = places[number]
            if number != sharing[0]:
                other = first_at.get(place, sharing[0])
                earlier = messages[other].name
                what = f"message {messages[number].name} has the parameter group {group} of {earlier}"
                apart = _told_apart(place, places[other])
                if not apart:
                    done = (
                        f"not told apart by addresses; frames that neither names whole are read as {earlier}"
                    )
                elif has_destination:
                    one = "others go by the one address that fits, else they are read as"
                    done = f"told apart by the {apart} address; {one} {fallback}"
                else:
                    done = f"told apart by the {apart} address; others are read as {fallback}"
                yield Sharing(can_id=messages[number].can_id, what=what, done=done)
            first_at.setdefault(place, number)


def _rank(source: int, destination: int) -> tuple[bool, bool]:
    return source != ANY_SOURCE, destination != ANY_DESTINATION


def _told_apart(mine: tuple[int, ...], its: tuple[int, ...]) -> str:
    """Return which addresses differ, empty when none does."""
    names = ("source", "destination")
    return " and ".join(name for name, one, two in zip(names, mine, its, strict=True) if one != two)
