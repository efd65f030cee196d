"""What happens at the gate, by name: each is an event of its journal, and a counter of its status.

Rules: a name is kept for good, since journals of years hold it; the list grows at the end. As a counter it is
written with underscores, and `docs/metrics.md` says what to check when it rises.

Example:
    >>> Event.REVIEW_REFUSED.counter
    'review_refused'
"""

from enum import StrEnum


class Event(StrEnum):
    """A line of the journal."""

    SCREENED = "screened"
    REVIEW_REFUSED = "review refused"
    SIGNED = "signed"
    HELD = "held"
    ASKED_AGAIN = "asked again"
    ASKED_AGAIN_HELD = "asked again for a held order"
    ASKED_AGAIN_FROZEN = "asked again while frozen"
    ASKED_AGAIN_OVER = "asked again when over"
    GO = "go"
    GO_REFUSED = "go refused"
    NO_GO = "no go"
    RELEASE_SIGNED = "release signed"
    RELEASE_REFUSED = "release refused"
    DECOMMISSION_SIGNED = "decommission signed"
    DECOMMISSION_REFUSED = "decommission refused"
    ORDER_OVER = "order over"
    LOAN_RECORD_TAKEN = "loan record taken"
    AUTHORITY_TAKEN = "authority taken"
    REVOCATION_TAKEN = "revocation taken"
    DELEGATION_TAKEN = "delegation taken"
    FREEZE_TAKEN = "freeze taken"
    UNFREEZE_TAKEN = "unfreeze taken"
    LIMIT_TAKEN = "limit taken"
    OPINION_TAKEN = "opinion taken"
    FREEZE_LIFTED = "freeze lifted"
    CLOCK_ACCEPTED = "clock accepted"
    TICKET_SIGNED = "ticket signed"
    TICKET_REFUSED = "ticket refused"
    BIND_SIGNED = "bind signed"
    BIND_REFUSED = "bind refused"
    COMMISSIONING_TAKEN = "commissioning taken"
    COMMISSIONING_ENDED = "commissioning ended"
    ESCROW_KEPT = "escrow kept"
    CODES_COMPUTED = "codes computed"

    @property
    def counter(self) -> str:
        """Its name as a counter."""
        return self.value.replace(" ", "_")


class Dropped(StrEnum):
    """A request that did not reach the gate's rules; counted since the process began, and not kept."""

    UNAUTHORISED = "request_unauthorised"
    TOO_LARGE = "request_too_large"
    UNREADABLE = "request_unreadable"
    DOCUMENT_REFUSED = "document_refused"
