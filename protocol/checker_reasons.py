"""What a checker looked at himself before he signed: his own reason, apart from the maker's (§4.4 step 3).

Rules: words on screens, at the API and in stored rows; numbers at the gate and in its journal. A number is
never given a second meaning, the list grows at the end.

Example:
    >>> CheckerReason["NOTICES"]
    <CheckerReason.NOTICES: 2>
"""

from enum import IntEnum


class CheckerReason(IntEnum):
    """The checker's own reason."""

    ACCOUNT = 1  # the account: overdue as stated
    NOTICES = 2  # the notices and their delivery
    BORROWER = 3  # spoke with the borrower, or tried as required
    FILE = 4  # the whole file: account, notices, holds
