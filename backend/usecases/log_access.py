"""Before exact positions are shown, who asks, for which box and why is written down.

The entry is committed first: if it cannot be written, nothing is shown.

Example:
    >>> log_position_read(session, caller=caller, device_id=device, purpose=Purpose.DISPUTE, subject="fixes",
    ...                   from_us=None, to_us=None, now_us=utc_us())
"""

from sqlmodel import Session

from backend.domain.access import Caller, Purpose
from backend.store.access_log import AccessLogEntry


def log_position_read(
    session: Session,
    *,
    caller: Caller,
    device_id: str,
    purpose: Purpose,
    subject: str,
    from_us: int | None,
    to_us: int | None,
    now_us: int,
) -> None:
    """Write one entry and commit it.

    Args:
        session: A writing session without an open transaction.
        caller: Who reads.
        device_id: Whose positions, a box of the caller's organisation.
        purpose: What for.
        subject: What is read, e.g. `fixes`, `gpx`, `evidence`.
        from_us: Start of the range, µs UTC, or None when open.
        to_us: End of the range, µs UTC, or None when open.
        now_us: When, µs UTC.
    """
    with session.begin():
        session.add(
            AccessLogEntry(
                org_id=caller.org_id,
                device_id=device_id,
                at_us=now_us,
                key_id=caller.key_id,
                role=caller.role,
                purpose=purpose,
                subject=subject,
                from_us=from_us,
                to_us=to_us,
            )
        )
