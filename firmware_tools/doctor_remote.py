"""What the doctor finds in the office: the box as the backend has stored it.

Rules: it reads; a position is not asked for, only how old the newest batch is. What the office cannot know
of a box (its disk, its cables) is not looked for there.

Example:
    found = find_in_office(office, "9f3c…")
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from firmware_tools.doctor_checks import Found
    from firmware_tools.install_office import BackendOffice

UNAUTHENTIC: Final = ("BAD_SIG", "UNKNOWN_KEY", "WRONG_DEVICE", "HIGH_S")


def find_in_office(office: BackendOffice, device: str) -> Found:
    """Return everything that the office knows of a box.

    Raises:
        ToolError: the office refuses or is away.
    """
    box = office.look(f"/v1/devices/{device}")
    state = office.look(f"/v1/devices/{device}/state")
    chains = office.look(f"/v1/devices/{device}/chains")
    turned_away = office.look(f"/v1/devices/{device}/ingest-counters").get("turned_away", {})
    now = dt.datetime.fromisoformat(state["as_of"])
    return {
        "status": str(box["status"]),
        "certificate_days": _certificate_days(box, now),
        "last_heard_s": _age_s(state.get("last_received_at"), now),
        "holes": sum(last - first + 1 for chain in _items(chains) for first, last in chain.get("holes", [])),
        "unauthentic_messages": sum(turned_away.get(cause, 0) for cause in UNAUTHENTIC),
    }


def _items(page: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.get("items", [])
    return found


def _certificate_days(box: dict[str, Any], now: dt.datetime) -> float | None:
    ends = [
        dt.datetime.fromisoformat(row["not_after"])
        for row in box.get("certificates", [])
        if row.get("revoked_at") is None
    ]
    return round((max(ends) - now).total_seconds() / 86_400, 1) if ends else None


def _age_s(at: str | None, now: dt.datetime) -> float | None:
    return None if at is None else round((now - dt.datetime.fromisoformat(at)).total_seconds())
