"""Many (chain_ref, seq) pairs in one statement: a list that the database joins with.

Rules:
- One parameter holds the whole list, so the statement is the same for every length and is compiled once; a
  statement for each chain, or a term for each pair, costs more than the rows it finds.
- SQLite gets the list as JSON, PostgreSQL as two arrays. Either way each pair is one search in the index.

It reads no table.

Example:
    >>> wanted = ref_list(session, [(1, 7), (2, 9)])
    >>> select(BATCH_KEY.c.seq).join_from(wanted, BATCH_KEY, same_ref(wanted, BATCH_KEY))
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, and_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement, FromClause, Table
    from sqlmodel import Session


def ref_list(session: Session, refs: Iterable[tuple[int, int]]) -> FromClause:
    """Return the pairs as a table with the columns `chain_ref` and `seq`, each pair once, in order."""
    pairs = sorted(set(refs))
    if session.get_bind().dialect.name == "sqlite":
        listed = func.json_each(literal(json.dumps(pairs))).table_valued("value", name="listed")
        return select(
            func.json_extract(listed.c.value, "$[0]", type_=BigInteger).label("chain_ref"),
            func.json_extract(listed.c.value, "$[1]", type_=BigInteger).label("seq"),
        ).subquery("wanted")
    columns = [literal([pair[at] for pair in pairs], ARRAY(BigInteger)) for at in (0, 1)]
    return func.unnest(*columns).table_valued("chain_ref", "seq", name="wanted").render_derived()


def same_ref(wanted: FromClause, table: Table) -> ColumnElement[bool]:
    """Return the condition that a row of `table` is one of the pairs."""
    return and_(table.c.chain_ref == wanted.c.chain_ref, table.c.seq == wanted.c.seq)
