"""What a car of the lock funnel needs of the world around it: time, papers, and somebody to talk to.

Rules: a car asks for nothing else; `lock_funnel.Funnel` is the world and `lock_funnel_desk.Desk` the desk.

Example:
    >>> World.__name__, Desk.__name__
    ('World', 'Desk')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.dispositions import Disposition
    from protocol.orders import OrderSigner
    from simulators.lock_funnel_car import Car
    from simulators.lock_funnel_lives import Calendar, Weather


class Desk(Protocol):
    """What a car talks to: the backend with everyone behind it."""

    def challenge_came(self, car: Car, message: bytes) -> None:
        """Take a challenge."""

    def disposition_came(self, car: Car, message: bytes, found: Disposition) -> None:
        """Take a disposition."""

    def go_asked(self, car: Car, message: bytes) -> bytes | None:
        """Answer a go request now, or not."""

    def document(self, digest: bytes) -> bytes | None:
        """Return a delegation by its hash."""

    def refused(self, car: Car, order: bytes, word: str) -> None:
        """Hear that an order got no signed answer."""


class World(Protocol):
    """Time and what everyone shares."""

    now_s: float
    calendar: Calendar
    weather: Weather

    @property
    def desk(self) -> Desk:
        """Who is talked to."""
        ...

    def at(self, at_s: float, what: Callable[[], None]) -> None:
        """Have something happen."""

    def signed_time(self, nonce: bytes) -> bytes:
        """Return a signed time token of now."""

    def provision(self, start_type: str) -> bytes:
        """Return the body of PROVISION."""

    def birth_documents(self) -> list[bytes]:
        """Return bodies of AUTHORITY for a new car."""

    def bind_signers(self) -> tuple[OrderSigner, OrderSigner]:
        """Return installer and gate."""

    def binding(self, car: Car) -> dict[int, object]:
        """Return lender_id, vin_bind and contract_ref of a car, by their keys of an order."""
