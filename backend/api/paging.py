"""Pages by key, not by offset: a list that grows meanwhile neither skips nor repeats an item.

Rules:
- A cursor is opaque, names its list, and carries a check sum: one that was cut, changed or taken from another
  list is answered with 400. It holds no secret and gives no access, since every query is made for the
  caller's organisation.
- The last page has `next_cursor` null.

Example:
    @router.get("/devices", dependencies=[allow(Permission.DEVICE_READ)])
    def list_boxes(caller: CurrentCaller, session: ReadSession, paging: Paging) -> Page[DeviceOut]:
        after = paging.after_text("devices")
        rows = list_devices(session, org_id=caller.org_id, after=after, limit=paging.limit + 1)
        return paging.page(rows, scope="devices", key=lambda row: [row.device_id], show=DeviceOut.of)
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from backend.api.problems import BAD_CURSOR, ProblemError
from protocol.limits import CURSOR_CHARS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, TIME_US_MAX

_CHECK_BYTES = 8
_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can name them, UTF-8 and so a database cannot

Item = TypeVar("Item")
Row = TypeVar("Row")

CursorKey = list[str | int]
"""Where a page ended: the sort key of its last item, one value for each column of the order."""


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item] = Field(description="The items, in the list's order.")
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


def encode_cursor(scope: str, key: CursorKey) -> str:
    """Return an opaque cursor for the items after `key` in the list `scope`."""
    text = json.dumps(key, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(scope, text) + text).rstrip(b"=").decode()


def decode_cursor(scope: str, cursor: str) -> CursorKey:
    """Return the key in a cursor of the list `scope`.

    Raises:
        ProblemError: BAD_CURSOR when it is none, was changed, or belongs to another list.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        text = raw[_CHECK_BYTES:]
        if not hmac.compare_digest(raw[:_CHECK_BYTES], _check(scope, text)):
            raise ProblemError(BAD_CURSOR)
        key: CursorKey = json.loads(text)
    except (binascii.Error, ValueError) as broken:
        raise ProblemError(BAD_CURSOR) from broken
    # The check sum is not a secret: someone may have made a cursor of his own, so its values are looked at.
    if encode_cursor(scope, key) != cursor or not _is_key(key):
        raise ProblemError(BAD_CURSOR)
    return key


def _check(scope: str, text: bytes) -> bytes:
    return hashlib.sha256(scope.encode() + b"\0" + text).digest()[:_CHECK_BYTES]


def _is_key(key: object) -> bool:
    """Whether this is a list of texts that a database can hold, and of numbers that fit a column."""
    return isinstance(key, list) and all(
        (isinstance(part, str) and not _SURROGATES.search(part))
        or (type(part) is int and -TIME_US_MAX <= part <= TIME_US_MAX)
        for part in key
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """What the caller asks of a list: how many, and after what."""

    cursor: str | None
    limit: int

    def after(self, scope: str, *kinds: type[str] | type[int]) -> CursorKey | None:
        """Return where the page before ended, or None for the first page.

        Args:
            scope: Name of the list; include what the cursor must not be carried across, e.g. the device.
            kinds: The type of each value that this list's key has.

        Raises:
            ProblemError: BAD_CURSOR when the cursor is not one of this list.
        """
        if self.cursor is None:
            return None
        key = decode_cursor(scope, self.cursor)
        if [type(part) for part in key] != list(kinds):
            raise ProblemError(BAD_CURSOR)
        return key

    def after_text(self, scope: str) -> str | None:
        """Return the last id of the page before, for a list ordered by one text."""
        key = self.after(scope, str)
        return None if key is None else str(key[0])

    def after_number(self, scope: str) -> int | None:
        """Return the last number of the page before, for a list ordered by one number."""
        key = self.after(scope, int)
        return None if key is None else int(key[0])

    def page(
        self,
        rows: Sequence[Row],
        *,
        scope: str,
        key: Callable[[Row], CursorKey],
        show: Callable[[Row], Item],
    ) -> Page[Item]:
        """Return a page from rows asked for with `limit + 1`: one too many says that there is more."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        cursor = encode_cursor(scope, key(shown[-1])) if more else None
        return Page(items=[show(row) for row in shown], next_cursor=cursor)


def _page_request(
    cursor: Annotated[
        str | None,
        Query(
            max_length=CURSOR_CHARS_MAX,
            description="`next_cursor` of the page before.",
        ),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=PAGE_ITEMS_MAX, description="Items of a page at most.")
    ] = PAGE_ITEMS_DEFAULT,
) -> PageRequest:
    return PageRequest(cursor=cursor, limit=limit)


Paging = Annotated[PageRequest, Depends(_page_request)]
