"""The book of what must be said: gaps in time and lost batches, until the backend has heard it.

Rules:
- A statement is open until a header declares it, declared until a receipt covers that header, then forgotten.
- When the declaring batch goes without a receipt (evicted, refused, damaged), its statements are open again.
- Open losses that touch each other and share chain and cause are merged, so that a header's list stays short.
- Losses of an ended chain are declared in a header of the chain that grows, under a key of their own.

It does not store anything: every method returns what the spool must write.

Example:
    >>> book = StatementBook()
    >>> [added] = book.add_losses(ChainId(bytes(16)), [(3, 4), (5, 5)], LossCause.QUOTA)
    >>> (added.body.first, added.body.last)
    (3, 5)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from device.seqs import without
from device.state import BatchKey, LostRange, Statement
from protocol.batch import EndedLoss, Gap, Loss, LossCause
from protocol.ids import ChainId
from protocol.limits import ENDED_LOSSES_MAX, GAPS_MAX, LOSSES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.seqs import Ranges

__all__ = ["ChainId", "Declared", "LossCause", "StatementBook"]


class Declared:
    """What one header is going to declare.

    Attributes:
        gaps: For the header.
        losses: For the header, of its own chain.
        ended: For the header, of ended chains.
        statements: All of the above, as the spool knows them.
    """

    __slots__ = ("ended", "gaps", "losses", "statements")

    def __init__(self, statements: list[Statement], chain: ChainId) -> None:
        bodies = [statement.body for statement in statements]
        lost = [body for body in bodies if isinstance(body, LostRange)]
        self.statements = tuple(statements)
        self.gaps = tuple(body for body in bodies if isinstance(body, Gap))
        self.losses = tuple(
            Loss(first=body.first, last=body.last, cause=body.cause)
            for body in sorted(lost, key=lambda body: body.first)
            if body.chain == chain
        )
        self.ended = tuple(
            EndedLoss(chain=body.chain, first=body.first, last=body.last, cause=body.cause)
            for body in lost
            if body.chain != chain
        )


class StatementBook:
    """Open and declared statements of one spool.

    Args:
        statements: As loaded from the spool.
    """

    def __init__(self, statements: Iterable[Statement] = ()) -> None:
        self._open: dict[int, Statement] = {}
        self._declared: dict[int, Statement] = {}
        for statement in statements:
            shelf = self._open if statement.declared_in is None else self._declared
            shelf[statement.number] = statement
        self._next = max([*self._open, *self._declared], default=0) + 1

    @property
    def has_open(self) -> bool:
        """Something waits to be declared."""
        return bool(self._open)

    def add_gap(self, gap: Gap) -> Statement:
        """Note a time of which nothing is recorded."""
        statement = Statement(number=self._next, body=gap)
        self._next += 1
        self._open[statement.number] = statement
        return statement

    def add_losses(
        self, chain: ChainId, ranges: Iterable[tuple[int, int]], cause: LossCause
    ) -> tuple[Statement, ...]:
        """Note lost batches; returns the statements to write (new ones, or older ones grown)."""
        touched: dict[int, Statement] = {}
        for first, last in ranges:
            statement = self._grow(LostRange(chain=chain, first=first, last=last, cause=cause))
            self._open[statement.number] = statement
            touched[statement.number] = statement
        return tuple(touched.values())

    def unsaid(self, chain: ChainId, ranges: Iterable[tuple[int, int]]) -> Ranges:
        """Return what of these ranges no statement covers yet."""
        bodies = (statement.body for statement in (*self._open.values(), *self._declared.values()))
        said = [
            (body.first, body.last) for body in bodies if isinstance(body, LostRange) and body.chain == chain
        ]
        return without(ranges, said)

    def draw(self, chain: ChainId, first: Iterable[Statement] = ()) -> Declared:
        """Return what the next header of `chain` can declare; nothing changes until `mark_declared`.

        Args:
            chain: Whose header it is.
            first: Open statements that must stand in this very header.
        """
        room = {"gap": GAPS_MAX, "loss": LOSSES_MAX, "ended": ENDED_LOSSES_MAX}
        drawn: list[Statement] = []
        for statement in {item.number: item for item in (*first, *self._open.values())}.values():
            kind = "gap" if isinstance(statement.body, Gap) else "loss"
            if isinstance(statement.body, LostRange) and statement.body.chain != chain:
                kind = "ended"
            if room[kind] > 0:
                room[kind] -= 1
                drawn.append(statement)
        return Declared(drawn, chain)

    def mark_declared(self, statements: Iterable[Statement], key: BatchKey) -> tuple[Statement, ...]:
        """The header of `key` declares these; returns them as the spool must write them."""
        marked = tuple(replace(statement, declared_in=key) for statement in statements)
        for statement in marked:
            del self._open[statement.number]
            self._declared[statement.number] = statement
        return marked

    def reopen(self, keys: Iterable[BatchKey]) -> tuple[Statement, ...]:
        """These batches go without a receipt; returns the statements that must be made again."""
        gone = set(keys)
        reopened = [
            replace(statement, declared_in=None)
            for statement in self._declared.values()
            if statement.declared_in in gone
        ]
        for statement in reopened:
            del self._declared[statement.number]
            self._open[statement.number] = statement
        return tuple(reopened)

    def forget(self, keys: Iterable[BatchKey]) -> None:
        """The backend has these batches: what they declare is said."""
        heard = set(keys)
        said = [number for number, item in self._declared.items() if item.declared_in in heard]
        for number in said:
            del self._declared[number]

    def _grow(self, body: LostRange) -> Statement:
        """Return an open statement that covers `body`: a neighbour grown, or a new one."""
        for statement in self._open.values():
            old = statement.body
            if (
                isinstance(old, LostRange)
                and (old.chain, old.cause) == (body.chain, body.cause)
                and old.first - 1 <= body.last
                and body.first <= old.last + 1
            ):
                first, last = min(old.first, body.first), max(old.last, body.last)
                return replace(statement, body=replace(old, first=first, last=last))
        statement = Statement(number=self._next, body=body)
        self._next += 1
        return statement
