"""Which groups a batch must explain: the dictionary of the chain and what of it still has to be said.

Rules:
- A group gets the next free `gid` when it is first used and keeps it for the life of the spool, also across
  chains.
- It is announced in the batch that uses it first, at the latest; the whole dictionary is announced again by
  the first batches of each boot, after a declared loss and in a new chain, as room allows, and always
  before use.
- Two groups are the same only if everything in their definitions is: a changed DBC makes new groups.

It stores nothing: new groups ride in the sealed batch to the spool.

Example:
    >>> Dictionary().draw(required=(), room_bytes=1_000)
    ()
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from protocol.signals import GroupDef

GROUP_BYTES = 96  # hash, ids, names' heads and CBOR around one group
COLUMN_BYTES = 40  # numbers and CBOR around one column


def definition_bytes(group: GroupDef) -> int:
    """Return an upper bound of what one definition takes before compression."""
    texts = [group.bus, group.message, group.branch or ""]
    for column in group.columns:
        texts += [column.signal, column.path or "", column.unit or ""]
    size = sum(len(text.encode()) for text in texts)
    return GROUP_BYTES + COLUMN_BYTES * len(group.columns) + size


class Dictionary:
    """Numbers groups and remembers what has been announced.

    Args:
        known: As loaded from the spool; none of it counts as announced yet.
    """

    def __init__(self, known: Iterable[GroupDef] = ()) -> None:
        self._groups: dict[int, GroupDef] = {}
        self._gids: dict[GroupDef, int] = {}
        self._stored: set[int] = set()
        self._announced: set[int] = set()
        for group in known:
            self._add(group)
            self._stored.add(group.gid)
        self._next = max(self._groups, default=-1) + 1

    def number(self, definition: GroupDef) -> GroupDef:
        """Return the definition with its `gid`, a new one if this group was never used before."""
        gid = self._gids.get(replace(definition, gid=0))
        if gid is None:
            gid = self._next
            self._next += 1
            self._add(replace(definition, gid=gid))
        return self._groups[gid]

    def is_announced(self, gid: int) -> bool:
        """Whether the current chain explains this group since the last reset."""
        return gid in self._announced

    @property
    def has_unsaid(self) -> bool:
        """Some known group has not been announced since the last reset."""
        return len(self._announced) < len(self._groups)

    def announce_again(self) -> None:
        """Begin anew: a boot, a loss or a new chain may have taken earlier announcements away."""
        self._announced.clear()

    def draw(self, *, required: Collection[int], room_bytes: int) -> tuple[GroupDef, ...]:
        """Return what the next batch announces: all that it needs, then others while they fit.

        Args:
            required: gids that the batch uses.
            room_bytes: Room for the others, before compression.
        """
        unsaid = {gid: group for gid, group in self._groups.items() if gid not in self._announced}
        drawn = {gid: unsaid[gid] for gid in required if gid in unsaid}
        for gid, group in unsaid.items():
            if gid not in drawn:
                room_bytes -= definition_bytes(group)
                if room_bytes < 0:
                    break
                drawn[gid] = group
        return tuple(drawn[gid] for gid in sorted(drawn))

    def mark_announced(self, groups: Iterable[GroupDef]) -> tuple[GroupDef, ...]:
        """These ride in a sealed batch; returns those of them that the spool does not know yet."""
        fresh = []
        for group in groups:
            self._announced.add(group.gid)
            if group.gid not in self._stored:
                self._stored.add(group.gid)
                fresh.append(group)
        return tuple(fresh)

    def _add(self, group: GroupDef) -> None:
        self._groups[group.gid] = group
        self._gids[replace(group, gid=0)] = group.gid
